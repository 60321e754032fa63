# Without this, CloudFront does not measure hit rate and origin latency.
resource "aws_cloudfront_monitoring_subscription" "more_metrics" {
  distribution_id = aws_cloudfront_distribution.autorouter.id
  monitoring_subscription {
    realtime_metrics_subscription_config {
      realtime_metrics_subscription_status = "Enabled"
    }
  }
}

locals {
  alarm_actions   = var.alarm_topic_arn == null ? [] : [var.alarm_topic_arn]
  of_distribution = { DistributionId = aws_cloudfront_distribution.autorouter.id, Region = "Global" }
  of_function     = { FunctionName = aws_cloudfront_function.route_key.name, Region = "Global" }
}

resource "aws_cloudwatch_metric_alarm" "server_errors" {
  alarm_name          = "${var.name}-server-errors"
  alarm_description   = "More than 1 % of answers are 5xx. After each one, an SDK uses its built-in edge. Check the origin first; if there are only 503 and 504, check the network between."
  namespace           = "AWS/CloudFront"
  metric_name         = "5xxErrorRate"
  dimensions          = local.of_distribution
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "origin_latency" {
  alarm_name          = "${var.name}-origin-latency"
  alarm_description   = "One in ten requests to the origin takes more than 500 ms. After 1 s CloudFront gives up."
  namespace           = "AWS/CloudFront"
  metric_name         = "OriginLatency"
  dimensions          = local.of_distribution
  extended_statistic  = "p90"
  period              = 60
  evaluation_periods  = 10
  datapoints_to_alarm = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = 500
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "hit_rate" {
  alarm_name          = "${var.name}-hit-rate"
  alarm_description   = "Fewer answers than usual come from the cache. Check that the function makes the key (X-Autorouter-Key), and that the origin has the secret."
  namespace           = "AWS/CloudFront"
  metric_name         = "CacheHitRate"
  dimensions          = local.of_distribution
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 6
  datapoints_to_alarm = 6
  comparison_operator = "LessThanThreshold"
  threshold           = var.min_hit_rate_percent
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "function_errors" {
  alarm_name          = "${var.name}-function-errors"
  alarm_description   = "The function fails, and CloudFront answers those viewers with an error. Roll it back."
  namespace           = "AWS/CloudFront"
  metric_name         = "FunctionExecutionErrors"
  dimensions          = local.of_function
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "function_invalid" {
  alarm_name          = "${var.name}-function-invalid"
  alarm_description   = "The function returns something that CloudFront does not accept. Roll it back."
  namespace           = "AWS/CloudFront"
  metric_name         = "FunctionValidationErrors"
  dimensions          = local.of_function
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "function_throttles" {
  alarm_name          = "${var.name}-function-throttles"
  alarm_description   = "The function takes too long and is throttled. Publish a smaller one: fewer edges, or keys by location headers."
  namespace           = "AWS/CloudFront"
  metric_name         = "FunctionThrottles"
  dimensions          = local.of_function
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
