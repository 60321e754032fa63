"""infra/cloudfront/terraform is valid and equals the CloudFormation template.

The tests check it against a saved extract of the provider's schema. If Terraform and the AWS
provider are installed, they also validate and plan it.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from router.cdn.edge_function import render
from router.cdn.programs import Target, read_program
from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.routing.ranking import Ranker
from tests.support.cloudformation import TEMPLATE, loaded
from tests.support.servers import ROOT
from tests.support.terraform import MODULE, Block, blocks, faults

CLOUDFORMATION = loaded(TEMPLATE.read_text())
RESOURCES, DATA = blocks("resource"), blocks("data")
TEXT = "\n".join(path.read_text() for path in sorted(MODULE.glob("*.tf")))


# The provider's schema


@pytest.mark.parametrize("address", RESOURCES)
def test_schema_knows_the_resource(address: str) -> None:
    assert faults(address, RESOURCES[address]) == []


@pytest.mark.parametrize("address", DATA)
def test_schema_knows_the_data(address: str) -> None:
    assert faults(address, DATA[address], "data") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"http_versoin": "http2"}, "unknown http_versoin"),
        ({"enabled": None}, "lacks enabled"),
        ({"restrictions": []}, "0 blocks restrictions"),
        ({"origin": [{"domain_name": "a.b", "read_timeout": 1}]}, "unknown read_timeout"),
    ],
)
def test_schema_error_is_detected(change: Block, fault: str) -> None:
    address = "aws_cloudfront_distribution.autorouter"
    body = {**RESOURCES[address], **change}
    document = faults(address, {name: value for name, value in body.items() if value is not None})
    assert any(fault in each for each in document), document


def test_references_are_defined() -> None:
    code = re.sub(r"#.*", "", TEXT)
    defined = {
        *(f"data.{address}" for address in DATA),
        *RESOURCES,
        *(f"var.{name}" for name in blocks("variable")),
    }
    references = re.findall(r"\b(?:data\.)?aws_\w+\.\w+|\bvar\.\w+", code)
    assert references
    assert set(references) <= defined
    assert {f"var.{name}" for name in blocks("variable")} <= set(references)


# Comparison with the template

# Terraform's names of the template's resources.
PAIRS = {
    "CachePolicy": "aws_cloudfront_cache_policy.route_key",
    "OriginRequestPolicy": "aws_cloudfront_origin_request_policy.viewer",
    "ResponseHeadersPolicy": "aws_cloudfront_response_headers_policy.safe",
    "RouteKeyFunction": "aws_cloudfront_function.route_key",
    "RouteKeyStore": "aws_cloudfront_key_value_store.route_key",
    "Distribution": "aws_cloudfront_distribution.autorouter",
    "Monitoring": "aws_cloudfront_monitoring_subscription.more_metrics",
    "ServerErrors": "aws_cloudwatch_metric_alarm.server_errors",
    "OriginLatency": "aws_cloudwatch_metric_alarm.origin_latency",
    "HitRate": "aws_cloudwatch_metric_alarm.hit_rate",
    "FunctionErrors": "aws_cloudwatch_metric_alarm.function_errors",
    "FunctionInvalid": "aws_cloudwatch_metric_alarm.function_invalid",
    "FunctionThrottles": "aws_cloudwatch_metric_alarm.function_throttles",
    "LogSource": "aws_cloudwatch_log_delivery_source.access",
    "LogDestination": "aws_cloudwatch_log_delivery_destination.access",
    "LogDelivery": "aws_cloudwatch_log_delivery.access",
}
# Terraform's expressions and the equivalent values in the template.
OPTIONAL_TOPIC = {"Fn::If": ["Topic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
SECRET = "{{resolve:secretsmanager:${OriginSecretArn}:SecretString:::${OriginSecretVersion}}}"
STORE = [{"KeyValueStoreARN": {"Fn::GetAtt": "RouteKeyStore.Arn"}}]
ACCOUNT = "${AWS::Partition}:cloudfront::${AWS::AccountId}"
EQUIVALENT: dict[str, Any] = {
    "var.host_names": {"Ref": "HostNames"},
    "var.certificate_arn": {"Ref": "CertificateArn"},
    "var.origin_domain_name": {"Ref": "OriginDomainName"},
    "var.price_class": {"Ref": "PriceClass"},
    "var.web_acl_arn": {"Fn::If": ["WebAcl", {"Ref": "WebAclArn"}, {"Ref": "AWS::NoValue"}]},
    "var.min_hit_rate_percent": {"Ref": "MinHitRatePercent"},
    "local.alarm_actions": OPTIONAL_TOPIC,
    "aws_cloudfront_distribution.autorouter.id": {"Ref": "Distribution"},
    "aws_cloudfront_function.route_key.name": {"Fn::Sub": "${AWS::StackName}-route-key"},
    "aws_cloudfront_cache_policy.route_key.id": {"Ref": "CachePolicy"},
    "aws_cloudfront_origin_request_policy.viewer.id": {"Ref": "OriginRequestPolicy"},
    "aws_cloudfront_response_headers_policy.safe.id": {"Ref": "ResponseHeadersPolicy"},
    "aws_cloudfront_function.route_key.arn": {
        "Fn::GetAtt": "RouteKeyFunction.FunctionMetadata.FunctionARN"
    },
    "aws_cloudfront_key_value_store.route_key[*].arn": {
        "Fn::If": ["Store", STORE, {"Ref": "AWS::NoValue"}]
    },
    "data.aws_secretsmanager_secret_version.origin_verify.secret_string": {"Fn::Sub": SECRET},
    "aws_cloudfront_distribution.autorouter.arn": {
        "Fn::Sub": f"arn:{ACCOUNT}:distribution/${{Distribution}}"
    },
    "aws_s3_bucket.logs[0].arn": {"Fn::GetAtt": "LogBucket.Arn"},
    "aws_cloudwatch_log_delivery_source.access[0].name": {"Fn::Sub": "${AWS::StackName}-access"},
    "aws_cloudwatch_log_delivery_destination.access[0].arn": {"Fn::GetAtt": "LogDestination.Arn"},
    "local.of_distribution": [
        {"Name": "DistributionId", "Value": {"Ref": "Distribution"}},
        {"Name": "Region", "Value": "Global"},
    ],
    "local.of_function": [
        {"Name": "FunctionName", "Value": {"Fn::Sub": "${AWS::StackName}-route-key"}},
        {"Name": "Region", "Value": "Global"},
    ],
}
# Properties with different names: Terraform's → the template's.
NAMES = {
    "originid": "id",
    "custom_header.name": "headername",
    "custom_header.value": "headervalue",
    "isipv6enabled": "ipv6enabled",
    "publish": "autopublish",
    "code": "functioncode",
}
# Properties that only Terraform has.
TERRAFORM_ONLY = {"restrictions", "http_port", "https_port", "alarm_name", "count", "depends_on"}
FUNCTIONS = ("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::If")

Fact = tuple[str, str]


def text_of(value: Any) -> str:
    """The text of a value for comparison, without the order of lists."""
    if isinstance(value, list):
        value = sorted(value, key=json.dumps)
    return json.dumps(value, sort_keys=True)


def is_value(node: Any) -> bool:
    if isinstance(node, dict):
        return any(name in node for name in FUNCTIONS)
    return not isinstance(node, list) or not any(
        isinstance(each, dict) and not is_value(each) for each in node
    )


def template_facts(node: Any, name: str = "") -> Iterator[Fact]:
    """The values of a template resource, with their names."""
    if name == "dimensions" or is_value(node):
        yield name, text_of(node)
    elif isinstance(node, list):
        for each in node:
            yield from template_facts(each, name)
    else:
        for key, value in node.items():
            yield from template_facts(value, name if key == "Items" else key.lower())


def module_facts(node: Any, name: str = "", above: str = "") -> Iterator[Fact]:
    """The values of a Terraform resource, with their names."""
    if isinstance(node, list) and node and isinstance(node[0], dict):
        for each in node:
            yield from module_facts(each, name, above)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in TERRAFORM_ONLY:
                names = (name, above) if key == "items" else (key, name)
                yield from module_facts(value, *names)
    else:
        plain = name.replace("_", "")
        yield NAMES.get(f"{above}.{name}", NAMES.get(plain, plain)), text_of(template_value(node))


def template_value(node: Any) -> Any:
    """The template's equivalent of an expression."""
    if not isinstance(node, str):
        return node
    if node == "${local.function}":
        return (MODULE / "no-key.js").read_text()
    if node.startswith("${") and node.endswith("}") and node.count("${") == 1:
        return EQUIVALENT[node[2:-1]]
    named = node.replace("${var.name}", "${AWS::StackName}")
    return node if named == node else {"Fn::Sub": named}


def property_path(name: str) -> Any:
    return CLOUDFORMATION["Resources"][name]["Properties"]


@pytest.mark.parametrize("name", PAIRS)
def test_module_matches_the_template(name: str) -> None:
    assert sorted(module_facts(RESOURCES[PAIRS[name]])) == sorted(
        template_facts(property_path(name))
    )


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("CachePolicy", "min_ttl", 1),
        ("Distribution", "default_cache_behavior.0.allowed_methods", ["GET"]),
        ("Distribution", "default_cache_behavior.0.viewer_protocol_policy", "allow-all"),
        ("Distribution", "origin.0.connection_timeout", 10),
        ("Distribution", "custom_error_response.0.error_caching_min_ttl", 1),
        ("Distribution", "origin.0.custom_header.0.value", "abc"),
        ("OriginRequestPolicy", "headers_config.0.headers.0.items", ["CloudFront-Viewer-Country"]),
        ("RouteKeyFunction", "runtime", "cloudfront-js-1.0"),
    ],
)
def test_difference_is_detected(name: str, path: str, value: Any) -> None:
    body = deepcopy(RESOURCES[PAIRS[name]])
    *above, last = path.split(".")
    node: Any = body
    for step in above:
        node = node[int(step) if step.isdigit() else step]
    node[last] = value
    assert sorted(module_facts(body)) != sorted(template_facts(property_path(name)))


def test_module_has_every_resource_of_the_template() -> None:
    in_other_words = {"PurgePolicy", "PublishPolicy", "LogBucket", "LogBucketPolicy"}
    assert set(CLOUDFORMATION["Resources"]) == {*PAIRS, *in_other_words}
    assert set(PAIRS.values()) <= set(RESOURCES)


@pytest.mark.parametrize(
    ("policy", "name"),
    [("aws_iam_policy.purge", "PurgePolicy"), ("aws_iam_policy.publish", "PublishPolicy")],
)
def test_policies_match_the_template(policy: str, name: str) -> None:
    (statement,) = property_path(name)["PolicyDocument"]["Statement"]
    actions = (
        statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    )
    document = RESOURCES[policy]["policy"]
    assert re.findall(r"cloudfront[\w-]*:\w+", document) == actions
    assert '"*"' not in document


@pytest.mark.parametrize("output", CLOUDFORMATION["Outputs"])
def test_outputs_match_the_template(output: str) -> None:
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", output).lower()
    document = blocks("output")[name]["description"]
    assert document == CLOUDFORMATION["Outputs"][output]["Description"].replace(
        "HostNames", "host_names"
    )


@pytest.mark.parametrize("parameter", CLOUDFORMATION["Parameters"])
def test_variables_match_the_parameters_of_the_template(parameter: str) -> None:
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", parameter).lower()
    variable = blocks("variable")[name]
    ours, theirs = variable.get("default"), CLOUDFORMATION["Parameters"][parameter].get("Default")
    assert ("default" in variable) == ("Default" in CLOUDFORMATION["Parameters"][parameter])
    assert (None if ours == "null" else ours) == (theirs or (0 if theirs == 0 else None))


def test_module_has_no_real_host_names() -> None:
    assert "default" not in blocks("variable")["host_names"]
    assert "default" not in blocks("variable")["origin_domain_name"]
    assert "polargrid" not in TEXT


def test_guide_sets_every_required_variable() -> None:
    guide = (ROOT / "docs" / "cloudfront.md").read_text()
    (example,) = re.findall(r"(?s)```hcl\n(.*?)```", guide)
    given = set(re.findall(r"(?m)^(\w+) +=", example))
    required = {name for name, one in blocks("variable").items() if "default" not in one}
    assert required <= given <= set(blocks("variable"))
    assert all(name in blocks("output") for name in re.findall(r"-raw\s+(\w+)", guide))


# Terraform itself


# A local mirror of providers, so that Terraform downloads nothing.
PROVIDERS = Path(os.environ.get("TF_PLUGIN_CACHE_DIR", "none"))
TERRAFORM = shutil.which("terraform")
IS_INSTALLED = TERRAFORM is not None and any(PROVIDERS.glob("*/hashicorp/aws/*/*/*"))
"""Whether `terraform validate` can run; else its part is left to the schema above."""

PLANS = """
mock_provider "aws" {}
variables {
  host_names            = ["a.example.com"]
  certificate_arn       = "arn:aws:acm:us-east-1:123456789012:certificate/a"
  origin_domain_name    = "origin.example.com"
  origin_secret_arn     = "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"
  origin_secret_version = "0123456789abcdef0123456789abcdef"
}
run "as_it_stands" {
  command = plan
  assert {
    condition     = length(aws_cloudfront_key_value_store.route_key) == 0
    error_message = "a store without a function that reads it"
  }
  assert {
    condition     = length(aws_s3_bucket.logs) == 0
    error_message = "logs unasked"
  }
}
run "with_the_shipped_table_in_the_function" {
  command = plan
  variables {
    function_file = "inline.js"
    log_days      = 7
  }
  assert {
    condition     = length(aws_cloudfront_key_value_store.route_key) == 0
    error_message = "a store without a function that reads it"
  }
  assert {
    condition     = length(aws_s3_bucket.logs) == 1
    error_message = "no logs"
  }
}
run "with_the_table_in_a_store" {
  command = plan
  variables { function_file = "kvs.js" }
  assert {
    condition     = length(aws_cloudfront_key_value_store.route_key) == 1
    error_message = "no store"
  }
  assert {
    condition     = length(aws_iam_policy.publish) == 1
    error_message = "nobody may publish"
  }
}
run "host_with_a_scheme" {
  command = plan
  variables { origin_domain_name = "https://origin.example.com" }
  expect_failures = [var.origin_domain_name]
}
"""


def terraform(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    assert TERRAFORM is not None
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1"}
    return subprocess.run(
        [TERRAFORM, *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def module_copy(folder: Path) -> Path:
    """A copy of the module for the installed provider, which may be too old for cache tags."""
    for path in MODULE.iterdir():
        text = path.read_text()
        text = re.sub(r'version = ">= 6.46".*', 'version = ">= 5"', text)
        (folder / path.name).write_text(re.sub(r"(?ms)^  cache_tag_config \{.*?^  \}\n", "", text))
    ranker = Ranker(read_catalog(Settings()))
    for name, target in (("inline", Target.CLOUDFRONT), ("kvs", Target.CLOUDFRONT_KVS)):
        (folder / f"{name}.js").write_text(render(ranker, read_program(target)))
    (folder / "plans.tftest.hcl").write_text(PLANS)
    started = terraform(folder, "init", f"-plugin-dir={PROVIDERS}", "-no-color")
    assert started.returncode == 0, started.stderr
    return folder


if IS_INSTALLED:

    def test_terraform_accepts_and_plans_the_module(tmp_path: Path) -> None:
        folder = module_copy(tmp_path)
        assert terraform(folder, "fmt", "-check", "-diff", str(MODULE)).stdout == ""
        validated = terraform(folder, "validate", "-no-color")
        assert validated.returncode == 0, validated.stderr
        planned = terraform(folder, "test", "-no-color")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert "4 passed, 0 failed" in planned.stdout

    def test_terraform_rejects_errors(tmp_path: Path) -> None:
        folder = module_copy(tmp_path)
        main = folder / "main.tf"
        main.write_text(main.read_text().replace("http_version ", "http_versoin "))
        assert "http_versoin" in terraform(folder, "validate", "-no-color").stderr
