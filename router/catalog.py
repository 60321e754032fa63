"""regions.yaml and countries.csv as values: every fault at once, each with its line.

regions.schema.json says what is allowed; its `errorMessage` is the advice that
editors and `autorouter check` show. Here is what a schema cannot say: YAML's own
traps, and rules between regions.
"""

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema_rs import Draft202012Validator, ValidationError

from router.errors import ConfigError
from router.model import Catalog, Country, Position, Region

MAX_BYTES = 4 * 2**20  # 10,000 regions with every key written out are 2.5 MiB
MAX_DEPTH = 8
MAX_SHOWN = 60  # characters of a value or key quoted in a fault

Where = tuple[str | int, ...]  # keys and indexes from the top of the file

_MASK = "{value}"  # what jsonschema-rs writes in place of a value
_OPTIONAL = ("health_path", "models_path", "routable", "weight")
_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "number": "a plain finite number",
    "object": "a mapping",
    "string": "text",
}


def load_catalog(path: Path, countries: dict[str, Country]) -> Catalog:
    """The catalog in a file such as regions.yaml. ConfigError: all that is wrong with it."""
    text = _file_text(path, "create it, or set AUTOROUTER_REGIONS to where it is")
    return parse_catalog(text, countries, source=str(path))


def parse_catalog(
    text: str, countries: dict[str, Country], *, source: str = "regions.yaml"
) -> Catalog:
    """The catalog written in YAML. `countries`: the codes accepted; empty accepts any.

    ConfigError: one line a fault, by line, `regions.yaml:12: regions[3].latitude: …; fix`.
    """
    report = _Report(source)
    document = _read_yaml(text, report)
    _check_schema(document, report)
    if isinstance(document, dict):
        _check_regions(document, countries, report)
        _check_aliases(document, report)
    if report.faults:
        raise report.error()
    return _catalog(document, countries)


def with_endpoints(catalog: Catalog, endpoints: dict[str, str]) -> Catalog:
    """The same catalog with the endpoints of some regions, by id, replaced."""
    regions = (replace(r, endpoint=endpoints.get(r.id, r.endpoint)) for r in catalog.regions)
    return replace(catalog, regions=tuple(regions))


def load_countries(path: Path) -> dict[str, Country]:
    """Code → Country from CSV with code, name, latitude, longitude (both may be empty).

    ConfigError: every row that cannot be used, with its line.
    """
    rows = csv.DictReader(
        io.StringIO(_file_text(path, "restore it"), newline=""), restval="missing"
    )
    try:
        return _countries(rows, str(path))
    except csv.Error as error:
        raise ConfigError([f"{path}:{rows.line_num}: is not CSV: {error}"]) from error


def _countries(rows: "csv.DictReader[str]", source: str) -> dict[str, Country]:
    if not {"code", "name", "latitude", "longitude"} <= set(rows.fieldnames or ()):
        raise ConfigError([f"{source}:1: the columns must be code,name,latitude,longitude"])
    countries: dict[str, Country] = {}
    faults: list[str] = []
    for row in rows:
        try:
            country = _country(row)
        except ValueError as error:
            faults.append(f"{source}:{rows.line_num}: {error}")
            continue
        if country.code in countries:
            faults.append(f"{source}:{rows.line_num}: code: {country.code} is given twice")
        countries[country.code] = country
    if faults:
        raise ConfigError(faults)
    return countries


def _country(row: dict[str, str]) -> Country:
    """Raises ValueError naming the column."""
    code, name = row["code"], row["name"]
    if re.fullmatch("[A-Z]{2}", code) is None:
        raise ValueError(f"code: {code!r} is not two capital letters")
    if row["latitude"] == row["longitude"] == "":
        return Country(code=code, name=name, centre=None)
    latitude, longitude = _number(row["latitude"]), _number(row["longitude"])
    if isinstance(latitude, str) or abs(latitude) > 90:
        raise ValueError(f"latitude: {latitude!r} is not in degrees between -90 and 90")
    if isinstance(longitude, str) or abs(longitude) > 180:
        raise ValueError(f"longitude: {longitude!r} is not in degrees between -180 and 180")
    return Country(code=code, name=name, centre=Position(latitude, longitude))


def _file_text(path: Path, fix: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; {fix}"]) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{path}: is larger than {MAX_BYTES >> 20} MiB; is it the right file?"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8; save the file as UTF-8"]) from error


@dataclass(slots=True)
class _Report:
    """The faults found so far, and where and how each value was written."""

    source: str
    faults: list[tuple[int, str]] = field(default_factory=list)
    faulty: set[Where] = field(default_factory=set)
    lines: dict[Where, int] = field(default_factory=dict)
    scalars: dict[Where, str] = field(default_factory=dict)

    def add(self, where: Where, fault: str) -> None:
        self.faulty.add(where)
        self.add_line(self.line(where), f"{_dotted(where)}: {fault}" if where else fault)

    def add_line(self, line: int, fault: str) -> None:
        self.faults.append((line, f"{self.source}:{line}: {fault}"))

    def line(self, where: Where) -> int:
        """The line of a key, or of the nearest thing around it that was written."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def shown(self, where: Where) -> str:
        return _printable(self.scalars.get(where, "this"))

    def error(self) -> ConfigError:
        in_order = sorted(self.faults, key=lambda fault: fault[0])
        return ConfigError(fault for _, fault in in_order)


def _printable(text: str) -> str:
    """One line without control characters, cut where it gets long."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def _dotted(where: Where) -> str:
    return "".join(map(_step, where)).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, str) and re.fullmatch(r"[\w?-]+", step):
        return f".{_printable(step)}"
    return f"[{step}]" if isinstance(step, int) else f"['{_printable(step)}']"


def _read_yaml(text: str, report: _Report) -> Any:
    try:
        return _Reader(yaml.CSafeLoader(text), report).document()
    except yaml.MarkedYAMLError as error:
        mark, start = error.problem_mark, error.context_mark
        began = f" ({error.context}, line {start.line + 1})" if start is not None else ""
        report.add_line(
            mark.line + 1 if mark is not None else 1, f"not valid YAML: {error.problem}{began}"
        )
    except yaml.reader.ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        report.add_line(line, "has a control character; remove it")
    except UnicodeError:
        report.add_line(1, "has half a surrogate pair, which is not text; remove it")
    raise report.error()


@dataclass(frozen=True, slots=True)
class _Reader:
    """YAML events to plain values in one pass.

    Events, not PyYAML's node tree: several times faster, and deep nesting and
    aliases are refused before anything grows from them.
    """

    loader: Any  # a CSafeLoader, whose methods types-PyYAML leaves untyped
    report: _Report

    def document(self) -> Any:
        self.loader.get_event()  # the stream's start
        if self.loader.check_event(yaml.StreamEndEvent):
            return None
        self.loader.get_event()  # the document's start
        value = self._value(())
        self.loader.get_event()  # the document's end
        if not self.loader.check_event(yaml.StreamEndEvent):
            self.report.add_line(self._next_line(), "a second document starts here; keep one")
        return value

    def _value(self, where: Where) -> Any:
        if len(where) > MAX_DEPTH:
            self.report.add(where[:2], f"is nested more than {MAX_DEPTH} deep; flatten it")
            raise self.report.error()
        event = self.loader.get_event()
        self._refuse_extras(event, where)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(where)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        return None

    def _refuse_extras(self, event: yaml.Event, where: Where) -> None:
        if getattr(event, "anchor", None) is not None:
            self.report.add(where, "anchors (&) and aliases (*) are refused; write the value out")
        if getattr(event, "tag", None) is not None:
            self.report.add(where, "tags (!) are refused; remove the tag")

    def _list(self, where: Where) -> list[Any]:
        items: list[Any] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            spot = (*where, len(items))
            self.report.lines[spot] = self._next_line()
            items.append(self._value(spot))
        self.loader.get_event()
        return items

    def _mapping(self, where: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            line = self._next_line()
            key = self._key(where)
            spot = (*where, key)
            first = self.report.lines.get(spot)
            self.report.lines[spot] = line
            if key in mapping:
                self.report.add(spot, f"is given on line {first} already; keep one")
            mapping[key] = self._value(spot)
        self.loader.get_event()
        return mapping

    def _key(self, where: Where) -> str:
        """A key as written: `NO` and `1` are keys like any other."""
        event = self.loader.peek_event()
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
            return str(self.loader.get_event().value)
        self.report.add((*where, "?"), "a key must be plain text")
        self._value((*where, "?"))
        return "?"

    def _scalar(self, event: yaml.ScalarEvent, where: Where) -> Any:
        text = event.value
        self.report.scalars[where] = text if event.implicit[0] else f"'{text}'"
        tag = self.loader.resolve(yaml.ScalarNode, text, event.implicit).rpartition(":")[2]
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        return _number(text) if tag in ("int", "float") else text

    def _next_line(self) -> int:
        return int(self.loader.peek_event().start_mark.line) + 1


def _number(text: str) -> float | str:
    """A finite decimal number. YAML's others (.nan, 0x1F, 1:30) stay text, to be refused."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


@cache
def _schema() -> tuple[dict[str, Any], Draft202012Validator]:
    schema = json.loads(files("router").joinpath("regions.schema.json").read_bytes())
    return schema, Draft202012Validator(schema, mask=_MASK, offline=True)


def _check_schema(document: Any, report: _Report) -> None:
    schema, validator = _schema()
    unreadable = frozenset(report.faulty)
    for error in validator.iter_errors(document):
        for where, fault in _explain(error, schema, report):
            if where not in unreadable:
                report.add(where, fault)


def _explain(
    error: ValidationError, schema: dict[str, Any], report: _Report
) -> Iterator[tuple[Where, str]]:
    """jsonschema-rs's finding as faults, in words that say what to write instead."""
    where, limit = tuple(error.instance_path), error.kind.value
    shown = report.shown(where)
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
    """The schema holding the keyword at the path's end, and the nearest advice."""
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


def _check_regions(
    document: dict[str, Any], countries: dict[str, Country], report: _Report
) -> None:
    listed = document.get("regions")
    entries = enumerate(listed if isinstance(listed, list) else ())
    regions = {("regions", index): entry for index, entry in entries if isinstance(entry, dict)}
    for where, region in regions.items():
        _check_place(where, region, countries, report)
    ids = (((*where, "id"), region.get("id")) for where, region in regions.items())
    _check_unique(ids, report)
    defaults = document.get("defaults", {})
    if isinstance(defaults, dict):
        _check_unique(_endpoints(regions, defaults, report), report)
    if regions and all(region.get("routable") is False for region in regions.values()):
        report.add(("regions",), "none is routable; remove `routable: false` from one")


def _check_place(
    where: Where, region: dict[str, Any], countries: dict[str, Country], report: _Report
) -> None:
    country, spot = region.get("country"), (*where, "country")
    if countries and spot not in report.faulty and country not in countries:
        report.add(
            spot, f"{country} is no country; use its ISO 3166-1 code, such as GB for Britain"
        )
    if region.get("latitude") == region.get("longitude") == 0.0:
        report.add((*where, "latitude"), "0, 0 is no city; use the position of the edge's city")


def _endpoints(
    regions: dict[tuple[str, int], dict[str, Any]], defaults: dict[str, Any], report: _Report
) -> Iterator[tuple[Where, Any]]:
    """Each region's endpoint, unless what it is made of is faulty; missing ones are reported."""
    for where, region in regions.items():
        spot = (*where, "endpoint")
        made_of = {spot} if "endpoint" in region else {("defaults", "endpoint"), (*where, "id")}
        if "endpoint" not in region and "endpoint" not in defaults:
            report.add(spot, "is missing; give it, or a template as defaults.endpoint")
        elif report.faulty.isdisjoint(made_of):
            yield spot, _endpoint(region, defaults).removesuffix(":443")


def _endpoint(region: dict[str, Any], defaults: dict[str, Any]) -> str:
    own: str | None = region.get("endpoint")
    return own if own is not None else str(defaults["endpoint"]).replace("{id}", region["id"])


def _check_aliases(document: dict[str, Any], report: _Report) -> None:
    aliases = document.get("models")
    if isinstance(aliases, dict):
        _check_unique(((("models", alias), alias) for alias in aliases), report)


def _check_unique(texts: Iterable[tuple[Where, Any]], report: _Report) -> None:
    """Reports each text that an earlier place has, letter case aside."""
    first: dict[str, Where] = {}
    for where, text in texts:
        if not isinstance(text, str):
            continue
        earlier = first.setdefault(text.casefold(), where)
        if earlier != where:
            line = report.line(earlier)
            report.add(where, f"{_printable(text)} is taken on line {line}; use another")


def _catalog(document: dict[str, Any], countries: dict[str, Country]) -> Catalog:
    defaults, aliases = document.get("defaults", {}), document.get("models", {})
    return Catalog(
        regions=tuple(_region(entry, defaults) for entry in document["regions"]),
        aliases={alias.casefold(): model for alias, model in aliases.items()},
        countries=countries,
    )


def _region(entry: dict[str, Any], defaults: dict[str, Any]) -> Region:
    settings = {**defaults, **entry}
    given: dict[str, Any] = {key: settings[key] for key in _OPTIONAL if key in settings}
    return Region(
        id=entry["id"],
        name=entry["name"],
        country=entry["country"],
        position=Position(entry["latitude"], entry["longitude"]),
        endpoint=_endpoint(entry, defaults),
        **given,
    )
