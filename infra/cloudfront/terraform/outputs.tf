output "distribution_id" {
  description = "The distribution to purge"
  value       = aws_cloudfront_distribution.autorouter.id
}

output "distribution_domain_name" {
  description = "The target of the DNS records of host_names (ALIAS or CNAME)"
  value       = aws_cloudfront_distribution.autorouter.domain_name
}

output "function_name" {
  description = "For `aws cloudfront test-function`"
  value       = aws_cloudfront_function.route_key.name
}

output "purge_policy_arn" {
  description = "Attach it to the role that autorouter runs with"
  value       = aws_iam_policy.purge.arn
}

output "key_value_store_arn" {
  description = "For `autorouter cdn publish`"
  value       = one(aws_cloudfront_key_value_store.route_key[*].arn)
}

output "publish_policy_arn" {
  description = "Attach it to the role that publishes the table"
  value       = one(aws_iam_policy.publish[*].arn)
}
