# The same as ../template.yaml, for Terraform. Tests compare all values of the two.
# docs/cloudfront.md says how to use it; the template has the reasons for the values.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.46" # the first with cache_tag_config
    }
  }
}

# CloudFront uses certificates of this region only, and reports its metrics here.
provider "aws" {
  region = "us-east-1"
}

locals {
  function = file(coalesce(var.function_file, "${path.module}/no-key.js"))
  # A function from `autorouter cdn render --kvs` needs a KeyValueStore.
  stores = strcontains(local.function, "from 'cloudfront'") ? 1 : 0
}

# The whole cache key: the route key, and the query parameters that the origin reads.
resource "aws_cloudfront_cache_policy" "route_key" {
  name        = "${var.name}-route-key"
  comment     = "The route key and the query, and nothing else of the viewer"
  min_ttl     = 0
  default_ttl = 0
  max_ttl     = 3600

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_gzip   = false
    enable_accept_encoding_brotli = false
    headers_config {
      header_behavior = "whitelist"
      headers {
        items = ["X-Autorouter-Key"]
      }
    }
    query_strings_config {
      query_string_behavior = "whitelist"
      query_strings {
        items = ["scope", "model", "strict", "all"]
      }
    }
    cookies_config {
      cookie_behavior = "none"
    }
  }
}

# The headers that the function reads, and that the origin needs for viewers without a key.
resource "aws_cloudfront_origin_request_policy" "viewer" {
  name    = "${var.name}-viewer"
  comment = "Where the viewer is; not part of the cache key"

  headers_config {
    header_behavior = "whitelist"
    headers {
      items = [
        "CloudFront-Viewer-Country",
        "CloudFront-Viewer-Latitude",
        "CloudFront-Viewer-Longitude",
        "CloudFront-Viewer-Address",
      ]
    }
  }
  query_strings_config {
    query_string_behavior = "none"
  }
  cookies_config {
    cookie_behavior = "none"
  }
}

resource "aws_cloudfront_response_headers_policy" "safe" {
  name = "${var.name}-safe"

  security_headers_config {
    strict_transport_security {
      access_control_max_age_sec = 31536000
      include_subdomains         = false
      override                   = true
    }
    content_type_options {
      override = true
    }
  }
  cors_config {
    access_control_allow_credentials = false
    origin_override                  = false
    access_control_allow_origins {
      items = ["*"]
    }
    access_control_allow_methods {
      items = ["GET", "HEAD"]
    }
    access_control_allow_headers {
      items = ["*"]
    }
  }
}

resource "aws_cloudfront_key_value_store" "route_key" {
  count   = local.stores
  name    = "${var.name}-route-key"
  comment = "Written by `autorouter cdn publish`"
}

resource "aws_cloudfront_function" "route_key" {
  name                         = "${var.name}-route-key"
  comment                      = "Makes X-Autorouter-Key of where the viewer is"
  runtime                      = "cloudfront-js-2.0"
  publish                      = true
  code                         = local.function
  key_value_store_associations = aws_cloudfront_key_value_store.route_key[*].arn
}

# The value of X-Origin-Verify. Terraform writes it into its state, so keep the state private.
data "aws_secretsmanager_secret_version" "origin_verify" {
  secret_id  = var.origin_secret_arn
  version_id = var.origin_secret_version
}

resource "aws_cloudfront_distribution" "autorouter" {
  comment         = "autorouter (${var.name})"
  enabled         = true
  aliases         = var.host_names
  http_version    = "http2and3"
  is_ipv6_enabled = true
  price_class     = var.price_class
  web_acl_id      = var.web_acl_arn

  viewer_certificate {
    acm_certificate_arn      = var.certificate_arn
    minimum_protocol_version = "TLSv1.2_2021"
    ssl_support_method       = "sni-only"
  }
  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }
  cache_tag_config {
    header_name = "Cache-Tag"
  }

  default_cache_behavior {
    target_origin_id           = "autorouter"
    viewer_protocol_policy     = "https-only"
    allowed_methods            = ["GET", "HEAD"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = false
    cache_policy_id            = aws_cloudfront_cache_policy.route_key.id
    origin_request_policy_id   = aws_cloudfront_origin_request_policy.viewer.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.safe.id
    function_association {
      event_type   = "viewer-request"
      function_arn = aws_cloudfront_function.route_key.arn
    }
  }

  origin {
    origin_id           = "autorouter"
    domain_name         = var.origin_domain_name
    connection_attempts = 1
    connection_timeout  = 1
    custom_origin_config {
      http_port                = 80
      https_port               = 443
      origin_protocol_policy   = "https-only"
      origin_ssl_protocols     = ["TLSv1.2"]
      origin_read_timeout      = 1
      origin_keepalive_timeout = 60
    }
    custom_header {
      name  = "X-Origin-Verify"
      value = data.aws_secretsmanager_secret_version.origin_verify.secret_string
    }
  }

  custom_error_response {
    error_code            = 404
    error_caching_min_ttl = 0
  }
  custom_error_response {
    error_code            = 500
    error_caching_min_ttl = 1
  }
  custom_error_response {
    error_code            = 502
    error_caching_min_ttl = 1
  }
  custom_error_response {
    error_code            = 503
    error_caching_min_ttl = 1
  }
  custom_error_response {
    error_code            = 504
    error_caching_min_ttl = 1
  }
}

# For the AWS identity of autorouter, which purges when the state of an edge changes.
resource "aws_iam_policy" "purge" {
  name        = "${var.name}-purge"
  description = "Purge this distribution and nothing else"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "cloudfront:CreateInvalidation"
      Resource = aws_cloudfront_distribution.autorouter.arn
    }]
  })
}

# For the AWS identity that runs `autorouter cdn publish`.
resource "aws_iam_policy" "publish" {
  count       = local.stores
  name        = "${var.name}-publish"
  description = "Read and write the table of this function and nothing else"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "cloudfront-keyvaluestore:DescribeKeyValueStore",
        "cloudfront-keyvaluestore:ListKeys",
        "cloudfront-keyvaluestore:UpdateKeys",
      ]
      Resource = aws_cloudfront_key_value_store.route_key[0].arn
    }]
  })
}
