"""regions.yaml: what is accepted, and the line and key of every error."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from router.config.catalog import load_catalog, parse_catalog, with_endpoints
from router.errors import ConfigError
from router.model import Catalog, Check, Country, HealthFormat, Position, Region

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "regions.yaml"
FLEET = "yto-01 yto-02 yul-01 yul-02 yvr-02 nyc-01 nyc-02 dal-01 dal-02 sfo-01"


def three_countries() -> dict[str, Country]:
    centre = Position(45.0, -75.0)
    return {code: Country(code=code, name=code, centre=centre) for code in ("CA", "NO", "US")}


def a_region(**changes: str | None) -> str:
    """One region as YAML on one line; a key changed to None is omitted."""
    keys = {"id": "yto-01", "name": "Toronto", "country": "CA", "latitude": "43.6532"}
    keys |= {"longitude": "-79.3832"}
    listed = {key: value for key, value in {**keys, **changes}.items() if value is not None}
    return "{" + ", ".join(f"{key}: {value}" for key, value in listed.items()) + "}"


def a_file(
    *regions: str,
    defaults: str = '{endpoint: "https://{id}.example.com"}',
    models: str = "{kokoro: kokoro-82m}",
) -> str:
    """A file with defaults on line 1, models on line 2 and regions from line 4."""
    listed = "".join(f"  - {region}\n" for region in regions or (a_region(),))
    return f"defaults: {defaults}\nmodels: {models}\nregions:\n{listed}"


def parse(text: str) -> Catalog:
    return parse_catalog(text, three_countries())


def faults_in(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.faults


def the_fault_in(text: str) -> str:
    faults = faults_in(text)
    assert len(faults) == 1, faults
    return faults[0]


def test_shipped_file_has_the_ten_regions() -> None:
    catalog = load_catalog(SHIPPED, three_countries())
    assert " ".join(region.id for region in catalog.regions) == FLEET
    assert catalog.aliases == {"kokoro": "kokoro-82m"}
    assert all(region.routable and region.weight == 1.0 for region in catalog.regions)


def test_shipped_file_matches_its_schema() -> None:
    schema = json.loads((ROOT / "router" / "regions.schema.json").read_text())
    validator = Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(SHIPPED.read_text()))


def test_every_key_of_the_schema_is_described() -> None:
    schema = json.loads((ROOT / "router" / "regions.schema.json").read_text())
    region = schema["properties"]["regions"]["items"]["properties"]
    tops = [schema["properties"], schema["properties"]["defaults"]["properties"], region]
    assert all(rules["description"] for properties in tops for rules in properties.values())


def test_region_inherits_missing_keys_from_defaults() -> None:
    defaults = "{endpoint: 'https://{id}.example.com', health_path: /up, models_path: /m}"
    own = a_region(models_path="/own", weight="2", routable="false", id="b")
    first, second = parse(a_file(a_region(), own, defaults=defaults)).regions
    assert first == Region(
        id="yto-01",
        name="Toronto",
        country="CA",
        position=Position(43.6532, -79.3832),
        endpoint="https://yto-01.example.com",
        health_path="/up",
        models_path="/m",
    )
    assert (second.health_path, second.models_path) == ("/up", "/own")
    assert (second.routable, second.weight) == (False, 2.0)


def test_region_may_have_its_own_endpoint() -> None:
    for endpoint in ("https://a.example.com:8443/x", "http://127.0.0.1:9", "'http://[::1]:9'"):
        catalog = parse(a_file(a_region(endpoint=endpoint)))
        assert catalog.regions[0].endpoint == endpoint.strip("'")


def test_health_check_follows_the_file() -> None:
    defaults = (
        "{endpoint: 'https://{id}.example.com', health: status, fall: 5, timeout_s: 3, "
        "health_url: 'https://{id}.internal:8443/up?full=1'}"
    )
    own = a_region(id="b", health="json", models="openai", health_url="'http://10.0.0.7:8000'")
    first, second = parse(a_file(a_region(), own, defaults=defaults)).regions
    assert first.check == Check(
        health=HealthFormat.STATUS,
        url="https://yto-01.internal:8443/up?full=1",
        fall=5,
        timeout_s=3,
    )
    assert (second.check.health, second.health_url) == (HealthFormat.JSON, "http://10.0.0.7:8000")
    assert second.models_path == "/v1/models"


@pytest.mark.parametrize(
    "url",
    ["http://10.1.2.3/h", "http://100.64.0.9:1/h", "'http://[fd00::1]:80/h'", "http://localhost/h"],
)
def test_plain_http_health_is_accepted_on_private_addresses(url: str) -> None:
    region = parse(a_file(a_region(health_url=url))).regions[0]
    assert region.health_url == url.strip("'")


def test_plain_http_health_by_name_needs_permission() -> None:
    own = a_region(health_url="http://vllm.internal:8000/health", health_plain_http="true")
    assert parse(a_file(own)).regions[0].health_url == "http://vllm.internal:8000/health"


def test_aliases_are_kept_in_lower_case() -> None:
    catalog = parse(a_file(models="{Kokoro: Kokoro-82M, same: same, NO: x, 1: y}"))
    assert catalog.aliases == {"kokoro": "Kokoro-82M", "same": "same", "no": "x", "1": "y"}


def test_quoted_no_is_norway() -> None:
    assert parse(a_file(a_region(country='"NO"'))).regions[0].country == "NO"


def test_any_country_is_accepted_without_a_list() -> None:
    assert parse_catalog(a_file(a_region(country="XX")), {}).regions[0].country == "XX"


REGION_FAULTS = [
    ("latitude", "143.6", "143.6 is greater than the maximum of 90; use degrees between -90"),
    ("longitude", "-181", "-181 is less than the minimum of -180; use degrees between -180"),
    ("latitude", "true", "true is not a plain finite number; use degrees"),
    ("latitude", "'43.6'", "between -90 and 90, without quotes"),
    ("latitude", ".nan", ".nan is not a plain finite number"),
    ("latitude", "", "is empty; use degrees"),
    ("latitude", None, "is missing; use degrees"),
    ("country", "NO", 'NO is false in YAML, not text; quote it: "NO"'),
    ("country", "ca", "ca is not accepted; use a two-letter code in capitals"),
    ("country", "UK", "UK is no country"),
    ("country", "[CA]", "this is not text; use a two-letter code"),
    ("id", "-a", "-a is not accepted; use 1 to 63 of a-z, 0-9 and -"),
    ("id", "a" * 64, "… is not accepted"),
    ("name", "12", '12 is a number in YAML, not text; quote it: "12"'),
    ("name", "' '", "' ' is not accepted; use 1 to 80 characters"),
    ("name", '"a\\x1b[31mb"', r"'a\x1b[31mb' is not accepted"),
    ("weight", "0", "use a number above 0"),
    ("weight", "1001", "at most 1000"),
    ("routable", "'yes'", "use true or false, without quotes"),
    ("health_path", "up", "starts with /"),
    ("models_path", '"/a\\nb"', "starts with /"),
    ("health", "text", "use json or status"),
    ("models", "all", "use status, openai or none"),
    ("health_url", "ftp://a/health", "use an https:// URL"),
    ("health_url", "http://a.example.com/health", "add `health_plain_http: true`"),
    ("health_url", "http://8.8.8.8/health", "is plain http; use https://"),
    ("health_plain_http", "1", "use true or false"),
    ("fall", "0", "use a whole number from 1 to 10"),
    ("rise", "1.5", "is not a whole number"),
    ("hold_down_s", "301", "use a number of seconds from 0 to 300"),
    ("connect_timeout_s", "0", "from 0.1 to 5"),
    ("timeout_s", "6", "from 0.1 to 5"),
    ("slow_ms", "5001", "use a number of milliseconds from 10 to 5000"),
    ("endpoint", "https://a.example.com/", "no slash at the end"),
    ("endpoint", "http://a.example.com", "http:// for loopback only"),
    ("endpoint", "https://a.example.com:65536", "is not accepted"),
    ("lat", "1", "is not a known key; did you mean latitude?"),
    ("zzz", "1", "is not a known key; these are: id, name, country"),
    ("name", "*x", "anchors (&) and aliases (*) are refused"),
]


@pytest.mark.parametrize(("key", "value", "words"), REGION_FAULTS)
def test_error_in_a_region_has_line_and_key(key: str, value: str | None, words: str) -> None:
    fault = the_fault_in(a_file(a_region(id="b"), a_region(**{key: value})))
    assert fault.startswith(f"regions.yaml:5: regions[1].{key}: ")
    assert words in fault
    assert fault.isprintable()


FILE_FAULTS = [
    (a_file(defaults="{}"), "4: regions[0].endpoint: is missing; give it, or a template"),
    (a_file(defaults="{endpoint: 'https://a.b'}"), "1: defaults.endpoint: 'https://a.b' is not"),
    (a_file(defaults="{endpoint: 'ftp://{id}'}"), "1: defaults.endpoint: 'ftp://{id}' is not"),
    (a_file(defaults="[]"), "1: defaults: this is not a mapping; give a mapping"),
    (a_file(models="{a: ''}"), "2: models.a: '' is not accepted; use a model id"),
    (a_file(models="{' a': b}"), "2: models[' a']: is not accepted; map aliases"),
    (a_file(models="{Kokoro: a, kokoro: b}"), "2: models.kokoro: kokoro is taken on line 2"),
    (a_file(models="{? [a] : b}"), "2: models.?: a key must be plain text"),
    (a_file(a_region(latitude="0", longitude="0.0")), "4: regions[0].latitude: 0, 0 is no city"),
    (a_file(a_region(routable="false")), "3: regions: none is routable"),
    (a_file(a_region(), a_region()), "5: regions[1].id: yto-01 is taken on line 4"),
    (
        a_file(a_region(), a_region(id="b", endpoint="https://yto-01.example.com:443")),
        "5: regions[1].endpoint: https://yto-01.example.com is taken on line 4",
    ),
    (a_file("- 1"), "4: regions[0]: this is not a mapping; give a mapping with id"),
    (a_file() + "region: []\n", "5: region: is not a known key; did you mean regions?"),
    ("regions: []", "1: regions: this has less than 1 item; list 1 to 2000 regions"),
    ("regions:", "1: regions: is empty; list 1 to 2000 regions"),
    ("[]", "1: this is not a mapping; start with a line `regions:`"),
    ("", "1: is empty; start with a line `regions:`"),
    ("# only a comment\n---\n", "1: is empty; start with a line `regions:`"),
]


@pytest.mark.parametrize(("text", "expected"), FILE_FAULTS)
def test_error_in_the_file_has_line_and_key(text: str, expected: str) -> None:
    assert the_fault_in(text).startswith(f"regions.yaml:{expected}")


def test_ids_differing_in_case_are_the_same() -> None:
    faults = faults_in(a_file(a_region(), a_region(id="YTO-01")))
    assert "regions.yaml:5: regions[1].id: YTO-01 is taken on line 4; use another" in faults


def test_all_errors_are_reported_at_once_by_line() -> None:
    bad = (a_region(latitude="99"), a_region(id="b", country="no", lat="1"), "3")
    faults = faults_in(a_file(*bad, defaults="{endpont: x}", models="{a: 1}"))
    starts = [fault.split(": ")[:2] for fault in faults]
    keys = {key for _, key in starts}
    assert [start for start, _ in starts] == sorted(start for start, _ in starts)
    assert keys >= {"defaults.endpont", "models.a", "regions[0].latitude", "regions[2]"}
    assert keys >= {"regions[1].country", "regions[1].lat", "regions[1].endpoint"}


def test_number_of_regions_is_limited_to_2000() -> None:
    regions = [a_region(id=f"e-{i}") for i in range(2_001)]
    assert len(parse(a_file(*regions[1:])).regions) == 2_000
    assert "3: regions: this has more than 2000 items" in the_fault_in(a_file(*regions))


@given(st.text() | st.text(alphabet="regionsid:- \n\t{}[]&*!?,'\"#|<>@0.1_x"))
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    for candidate in (text, a_file(a_region(name=text)), f"{a_file()}{text}"):
        with suppress(ConfigError):
            parse(candidate)


def test_error_for_a_missing_file_has_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="create it, or set AUTOROUTER_REGIONS") as caught:
        load_catalog(path, {})
    assert str(caught.value).startswith(f"{path}: cannot be read")


def test_endpoints_are_replaced_by_id() -> None:
    catalog = parse(a_file(a_region(), a_region(id="b")))
    moved = with_endpoints(catalog, {"b": "http://127.0.0.1:1"})
    ends = [region.endpoint for region in moved.regions]
    assert ends == ["https://yto-01.example.com", "http://127.0.0.1:1"]
