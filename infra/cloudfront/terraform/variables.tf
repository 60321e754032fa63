variable "name" {
  description = "The prefix of all resource names."
  type        = string
  default     = "autorouter"
}

variable "host_names" {
  description = "The host names that your SDKs use."
  type        = list(string)
}

variable "certificate_arn" {
  description = "An ACM certificate in us-east-1 that covers all of host_names."
  type        = string
  validation {
    condition     = can(regex("^arn:aws:acm:us-east-1:[0-9]{12}:certificate/.+", var.certificate_arn))
    error_message = "Use the ARN of a certificate in us-east-1: arn:aws:acm:us-east-1:…:certificate/…."
  }
}

variable "origin_domain_name" {
  description = "The name of the load balancer in front of `autorouter serve`. Its certificate must cover this name."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.origin_domain_name))
    error_message = "Use a host name in lower case, without a scheme or port."
  }
}

variable "origin_secret_arn" {
  description = "A plain-text secret in Secrets Manager: the value of X-Origin-Verify. The origin's AUTOROUTER_CDN_SECRET must have it."
  type        = string
}

variable "origin_secret_version" {
  description = "The VersionId of that secret. To rotate the secret, set the new VersionId here."
  type        = string
}

variable "function_file" {
  description = "The file of `autorouter cdn render --output FILE`, with or without --kvs. Without it, no key is made and viewers share no answers."
  type        = string
  default     = null
}

variable "price_class" {
  description = "In how much of the world CloudFront has locations for this distribution."
  type        = string
  default     = "PriceClass_All"
  validation {
    condition     = contains(["PriceClass_All", "PriceClass_200", "PriceClass_100"], var.price_class)
    error_message = "Use PriceClass_All, PriceClass_200 or PriceClass_100."
  }
}

variable "web_acl_arn" {
  description = "A WAF web ACL with scope CLOUDFRONT. Use it for rate limits, which autorouter does not have."
  type        = string
  default     = null
}

variable "alarm_topic_arn" {
  description = "An SNS topic for alarms."
  type        = string
  default     = null
}

variable "min_hit_rate_percent" {
  description = "The cache hit rate below which there is an alarm. With little traffic the rate is low, because answers are cached for only 10 s."
  type        = number
  default     = 80
}

variable "log_days" {
  description = "Days to keep access logs; 0 writes none. The logs have no viewer addresses."
  type        = number
  default     = 0
}
