"""regions.yaml as a Catalog, or every fault in it at once, each with its line.

regions.schema.json says what is allowed; its `errorMessage` is the advice that
editors and `autorouter check` show. Rules between regions, which a schema cannot express, are in
this module; router.config.yaml_lines rejects the traps of YAML.
"""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema_rs import Draft202012Validator, ValidationError

from router.config.yaml_lines import Document, Where, read_yaml
from router.geo.country_codes import code_advice
from router.model import (
    Catalog,
    Check,
    Country,
    HealthFormat,
    ModelsFormat,
    Nearness,
    Position,
    Region,
    is_private,
)
from router.text_files import MAX_SHOWN, printable, read_text

_MASK = "{value}"  # what jsonschema-rs writes instead of a value
_OPTIONAL = ("health_path", "models_path", "routable", "weight")
_CHECKED = ("fall", "rise", "hold_down_s", "connect_timeout_s", "timeout_s", "slow_ms")
_OPENAI_MODELS_PATH = "/v1/models"
_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a plain finite number",
    "object": "a mapping",
    "string": "text",
}


def load_catalog(path: Path, countries: dict[str, Country]) -> Catalog:
    """The catalog in a file such as regions.yaml. Raises ConfigError with every fault."""
    text = read_text(path, "create it, or set AUTOROUTER_REGIONS to where it is")
    return parse_catalog(text, countries, source=str(path))


def parse_catalog(
    text: str, countries: dict[str, Country], *, source: str = "regions.yaml"
) -> Catalog:
    """The catalog written in YAML. `countries`: the codes accepted; empty accepts any.

    Raises ConfigError with one line per fault, in file order: `regions.yaml:12:
    regions[3].latitude: …; fix`.
    """
    document = read_yaml(text, source)
    _check_schema(document)
    if isinstance(document.value, dict):
        _check_regions(document, countries)
        _check_aliases(document)
        _check_residency(document, countries)
    if document.faults:
        raise document.error()
    return _catalog(document.value, countries)


def with_endpoints(catalog: Catalog, endpoints: dict[str, str]) -> Catalog:
    """The catalog with the endpoints of some regions replaced, by id. Their health is probed there
    too.
    """
    regions = (
        replace(r, endpoint=endpoints[r.id], check=replace(r.check, url=None))
        if r.id in endpoints
        else r
        for r in catalog.regions
    )
    return replace(catalog, regions=tuple(regions))


@cache
def _schema() -> tuple[dict[str, Any], Draft202012Validator]:
    schema = json.loads(files("router").joinpath("regions.schema.json").read_bytes())
    return schema, Draft202012Validator(schema, mask=_MASK, offline=True)


def _check_schema(document: Document) -> None:
    schema, validator = _schema()
    unreadable = frozenset(document.faulty)
    for error in validator.iter_errors(document.value):
        for where, fault in _explain(error, schema, document):
            if where not in unreadable:
                document.add_fault(where, fault)


def _explain(
    error: ValidationError, schema: dict[str, Any], document: Document
) -> Iterator[tuple[Where, str]]:
    """Turns an error of jsonschema-rs into faults that say what to write instead."""
    where, limit = tuple(error.instance_path), error.kind.value
    shown = document.shown(where)
    rules, advice = _rules(schema, error.schema_path)
    match error.kind.name:
        case "required":
            yield (*where, limit), f"is missing; {rules['properties'][limit]['errorMessage']}"
        case "additionalProperties":
            yield from (((*where, key), _unknown(key, rules, advice)) for key in limit)
        case "type":
            yield where, _wrong_type(error.instance, limit[0], shown, advice)
        case "pattern":
            yield where, f"{shown} is not accepted; {advice}"
        case _:
            yield where, f"{error.message.replace(_MASK, shown)}; {advice}"


def _rules(schema: dict[str, Any], schema_path: list[str | int]) -> tuple[dict[str, Any], str]:
    """The part of the schema with the keyword at the end of the path, and the nearest advice."""
    rules: Any = schema
    advice = schema["errorMessage"]
    for step in schema_path[:-1]:
        rules = rules[step]
        advice = rules.get("errorMessage", advice) if isinstance(rules, dict) else advice
    return rules, advice


def _unknown(key: str, rules: dict[str, Any], advice: str) -> str:
    known = rules.get("properties")
    if known is None:
        return f"is not accepted; {advice}"
    close = difflib.get_close_matches(key[:MAX_SHOWN].lower(), known, n=1, cutoff=0.5)
    if close:
        return f"is not a known key; did you mean {close[0]}?"
    return f"is not a known key; these are: {', '.join(known)}"


def _wrong_type(value: Any, expected: str, shown: str, advice: str) -> str:
    if value is None:
        return f"is empty; {advice}"
    if expected == "string" and isinstance(value, bool | float):
        kind = str(value).lower() if isinstance(value, bool) else "a number"
        return f'{shown} is {kind} in YAML, not text; quote it: "{shown}"'
    if expected == "number" and shown.startswith("'"):
        advice += ", without quotes"
    return f"{shown} is not {_KINDS[expected]}; {advice}"


def _check_regions(document: Document, countries: dict[str, Country]) -> None:
    listed = document.value.get("regions")
    entries = enumerate(listed if isinstance(listed, list) else ())
    regions = {("regions", index): entry for index, entry in entries if isinstance(entry, dict)}
    for where, region in regions.items():
        _check_place(where, region, countries, document)
    ids = (((*where, "id"), region.get("id")) for where, region in regions.items())
    _check_unique(ids, document)
    if isinstance(document.value.get("defaults", {}), dict):
        _check_unique(_endpoints(regions, document), document)
        _check_health_urls(regions, document)
    if regions and all(region.get("routable") is False for region in regions.values()):
        document.add_fault(("regions",), "none is routable; remove `routable: false` from one")


def _check_place(
    where: Where, region: dict[str, Any], countries: dict[str, Country], document: Document
) -> None:
    _check_code((*where, "country"), region.get("country"), countries, document)
    if region.get("latitude") == region.get("longitude") == 0.0:
        fault = "0, 0 is no city; use the position of the edge's city"
        document.add_fault((*where, "latitude"), fault)


def _endpoints(
    regions: dict[tuple[str, int], dict[str, Any]], document: Document
) -> Iterator[tuple[Where, str]]:
    """Each region's endpoint, unless its parts are faulty. Reports missing endpoints."""
    defaults = document.value.get("defaults", {})
    for where, region in regions.items():
        spot = (*where, "endpoint")
        made_of = {spot} if "endpoint" in region else {("defaults", "endpoint"), (*where, "id")}
        if "endpoint" not in region and "endpoint" not in defaults:
            document.add_fault(spot, "is missing; give it, or a template as defaults.endpoint")
        elif document.faulty.isdisjoint(made_of):
            yield spot, _endpoint(region, defaults).removesuffix(":443")


def _endpoint(region: dict[str, Any], defaults: dict[str, Any]) -> str:
    if "endpoint" in region:
        return str(region["endpoint"])
    return str(defaults["endpoint"]).replace("{id}", region["id"])


def _check_health_urls(regions: dict[tuple[str, int], dict[str, Any]], document: Document) -> None:
    """Reports health URLs that are plain http, unless the host is known to be private."""
    defaults = document.value.get("defaults", {})
    for where, region in [(("defaults",), defaults), *regions.items()]:
        url, spot = region.get("health_url"), (*where, "health_url")
        if not isinstance(url, str) or spot in document.faulty or not url.startswith("http://"):
            continue
        is_agreed = region.get("health_plain_http", defaults.get("health_plain_http"))
        if is_agreed is not True and not _is_private(url):
            fix = "use https://, a private address, or add `health_plain_http: true`"
            document.add_fault(spot, f"{printable(url)} is plain http; {fix}")


def _is_private(url: str) -> bool:
    """Whether the host of a URL is an address on loopback or a private network."""
    host = urlsplit(url).hostname or ""
    try:
        return is_private(ip_address(host))
    except ValueError:
        return host == "localhost"


def _check_aliases(document: Document) -> None:
    aliases = document.value.get("models")
    if isinstance(aliases, dict):
        _check_unique(((("models", alias), alias) for alias in aliases), document)


def _check_residency(document: Document, countries: dict[str, Country]) -> None:
    """Reports residency rules that match no edge: their viewers would always get 404."""
    policy = document.value.get("residency")
    covered = _covered(document)
    for country, allowed in policy.items() if isinstance(policy, dict) else ():
        where = ("residency", country)
        codes = allowed if isinstance(allowed, list) else []
        spots = {where: country} | {(*where, place): code for place, code in enumerate(codes)}
        for spot, code in spots.items():
            _check_code(spot, code, countries, document)
        if document.faulty.isdisjoint(spots) and covered is not None and covered.isdisjoint(codes):
            fault = f"no routable region stands in {' or '.join(codes)}; add one, or a country"
            document.add_fault(where, fault)


def _check_code(where: Where, code: Any, countries: dict[str, Country], document: Document) -> None:
    if countries and where not in document.faulty and code not in countries:
        fault = f"{code} is no country; {code_advice(str(code))}"
        document.add_fault(where, fault)


def _covered(document: Document) -> set[str] | None:
    """Countries of the routable regions; None if other faults make them unknown."""
    for where in document.faulty:
        if where[:1] == ("regions",) and (len(where) < 3 or where[2] in ("country", "routable")):
            return None
    regions = document.value.get("regions", ())
    return {region["country"] for region in regions if region.get("routable") is not False}


def _check_unique(texts: Iterable[tuple[Where, Any]], document: Document) -> None:
    """Reports each text that occurred before, ignoring case."""
    first: dict[str, Where] = {}
    for where, text in texts:
        if not isinstance(text, str):
            continue
        earlier = first.setdefault(text.casefold(), where)
        if earlier != where:
            line = document.line(earlier)
            document.add_fault(where, f"{printable(text)} is taken on line {line}; use another")


def _catalog(value: dict[str, Any], countries: dict[str, Country]) -> Catalog:
    defaults, aliases = value.get("defaults", {}), value.get("models", {})
    return Catalog(
        regions=tuple(_region(entry, defaults) for entry in value["regions"]),
        nearness=Nearness(value.get("nearness", Nearness.DISTANCE)),
        aliases={alias.casefold(): model for alias, model in aliases.items()},
        countries=countries,
        residency={
            country: frozenset(allowed) for country, allowed in value.get("residency", {}).items()
        },
    )


def _region(entry: dict[str, Any], defaults: dict[str, Any]) -> Region:
    settings = {**defaults, **entry}
    check = _check(settings)
    given: dict[str, Any] = {key: settings[key] for key in _OPTIONAL if key in settings}
    if check.models is ModelsFormat.OPENAI:
        given.setdefault("models_path", _OPENAI_MODELS_PATH)
    return Region(
        id=entry["id"],
        name=entry["name"],
        country=entry["country"],
        position=Position(entry["latitude"], entry["longitude"]),
        endpoint=_endpoint(entry, defaults),
        check=check,
        **given,
    )


def _check(settings: dict[str, Any]) -> Check:
    """How a region is probed and judged: its own settings, or else the defaults."""
    given: dict[str, Any] = {key: settings[key] for key in _CHECKED if key in settings}
    url = settings.get("health_url")
    return Check(
        health=HealthFormat(settings.get("health", HealthFormat.JSON)),
        url=None if url is None else url.replace("{id}", settings["id"]),
        models=ModelsFormat(settings.get("models", ModelsFormat.STATUS)),
        **given,
    )
