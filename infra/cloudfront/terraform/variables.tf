variable "name" {
  description = "The beginning of every resource's name."
  type        = string
  default     = "autorouter"
}

variable "host_names" {
  description = "Names that your SDKs ask."
  type        = list(string)
}

variable "certificate_arn" {
  description = "An ACM certificate in us-east-1 that covers every one of host_names."
  type        = string
  validation {
    condition     = can(regex("^arn:aws:acm:us-east-1:[0-9]{12}:certificate/.+", var.certificate_arn))
    error_message = "It is the ARN of a certificate in us-east-1, arn:aws:acm:us-east-1:…:certificate/…."
  }
}

variable "origin_domain_name" {
  description = "The name of the load balancer in front of `autorouter serve`. Its certificate must cover this name."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.origin_domain_name))
    error_message = "It is a host name in lower case, without a scheme or port."
  }
}

variable "origin_secret_arn" {
  description = "A secret in Secrets Manager, as plain text: what X-Origin-Verify holds, one of the origin's AUTOROUTER_CDN_SECRET."
  type        = string
}

variable "origin_secret_version" {
  description = "The VersionId of that secret. Another one here is what makes a rotation happen."
  type        = string
}

variable "function_file" {
  description = "What `autorouter cdn render --output FILE` wrote, with or without --kvs. Without it no key is made, and nothing is shared."
  type        = string
  default     = null
}

variable "price_class" {
  description = "How much of the world is served from nearby."
  type        = string
  default     = "PriceClass_All"
  validation {
    condition     = contains(["PriceClass_All", "PriceClass_200", "PriceClass_100"], var.price_class)
    error_message = "Use PriceClass_All, PriceClass_200 or PriceClass_100."
  }
}

variable "web_acl_arn" {
  description = "A web ACL of WAF, of scope CLOUDFRONT, that limits rates: autorouter does not."
  type        = string
  default     = null
}

variable "alarm_topic_arn" {
  description = "An SNS topic that alarms are sent to."
  type        = string
  default     = null
}

variable "min_hit_rate_percent" {
  description = "The alarm for the cache hit rate goes off below this. Little traffic has a low rate by nature: an answer is kept for 10 s."
  type        = number
  default     = 80
}

variable "log_days" {
  description = "Days to keep access logs, which hold no viewer's address; 0 writes none."
  type        = number
  default     = 0
}
