"""Reads published network locations in five formats as geofeed entries. Pure. The content tells
the format: a geofeed (RFC 8805) is text; AWS `ip-ranges.json`, Google `cloud.json`, Azure Service
Tags and Oracle `public_ip_ranges.json` are JSON objects. A cloud region gets the position of its
city. If that is not known, its networks are left to the database.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from router.errors import GeoDataError
from router.geo.geofeed import Entry, Fault, TooManyLinesError, parse_network, read_geofeed
from router.geo.overrides import FindCity
from router.geodata.cloud_regions import CloudRegions
from router.model import Country
from router.text_files import printable

# The shortest prefixes accepted: a feed must not claim the whole Internet.
SHORTEST_PREFIX = {4: 8, 6: 16}
# Regions whose addresses are used all over the world.
_EVERYWHERE = frozenset({"", "global"})
_QUOTED_NETWORK = re.compile(r'"([0-9a-fA-F.:]{2,43}/\d{1,3})"')


@dataclass(kw_only=True)
class Published:
    """The content of one source. `dated`: its own date or version."""

    dated: str = ""
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unknown_regions: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Known countries, cities and cloud regions."""

    countries: Mapping[str, Country]
    find_city: FindCity
    cloud_regions: CloudRegions


class _Aws(msgspec.Struct):
    class Prefix(msgspec.Struct):
        region: str
        ip_prefix: str = ""
        ipv6_prefix: str = ""
        network_border_group: str = ""

    prefixes: list[Prefix]
    ipv6_prefixes: list[Prefix] = []
    createDate: str = ""  # noqa: N815


class _Google(msgspec.Struct):
    class Prefix(msgspec.Struct):
        scope: str
        ipv4Prefix: str = ""  # noqa: N815
        ipv6Prefix: str = ""  # noqa: N815

    prefixes: list[Prefix]
    creationTime: str = ""  # noqa: N815


class _Azure(msgspec.Struct):
    class Tag(msgspec.Struct):
        class Properties(msgspec.Struct):
            addressPrefixes: list[str]  # noqa: N815
            region: str = ""

        properties: Properties

    values: list[Tag]
    changeNumber: int = 0  # noqa: N815


class _Oracle(msgspec.Struct):
    class Region(msgspec.Struct):
        class Block(msgspec.Struct):
            cidr: str

        region: str
        cidrs: list[Block]

    regions: list[Region]
    last_updated_timestamp: str = ""


class _Cloud(NamedTuple):
    """Networks of a cloud, each with its region."""

    provider: str
    dated: str
    networks: Iterator[tuple[str, str]]


def read_feed(content: bytes, places: Places) -> Published:
    """Read a source in any of the formats. Raises GeoDataError if it has none of them."""
    if content.lstrip()[:1] == b"{":
        return _read_cloud(content, places)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GeoDataError(f"is not UTF-8 at byte {error.start}") from error
    return _read_lines(text, places)


def _read_lines(text: str, places: Places) -> Published:
    found = Published()
    try:
        for each in read_geofeed(text, places.countries):
            if isinstance(each, Fault):
                found.faults.append(each)
            elif (fault := _claims_too_much(each)) is not None:
                found.faults.append(fault)
            else:
                found.entries.append(_with_city(each, places.find_city))
    except TooManyLinesError as error:
        raise GeoDataError("has too many lines") from error
    if not found.entries and found.faults:
        raise GeoDataError(f"is no geofeed: line {found.faults[0].number} is no network")
    return found


def _with_city(entry: Entry, find_city: FindCity) -> Entry:
    if entry.position is not None or entry.country is None or not entry.city:
        return entry
    return entry._replace(position=find_city(entry.country, entry.region, entry.city))


def _claims_too_much(entry: Entry) -> Fault | None:
    shortest = SHORTEST_PREFIX[entry.network.version]
    if entry.network.length >= shortest:
        return None
    return Fault(entry.number, f"prefix: is shorter than /{shortest}, too much for one network")


def _read_cloud(content: bytes, places: Places) -> Published:
    cloud = _cloud(content)
    found = Published(dated=cloud.dated[:40])
    lines = _lines_of_networks(content)
    for prefix, region in cloud.networks:
        if region.lower() in _EVERYWHERE:
            continue
        place = places.cloud_regions.get((cloud.provider, region.lower()))
        if place is None:
            found.unknown_regions[printable(region)] += 1
            continue
        number = lines.get(prefix, 1)
        try:
            network = parse_network(prefix)
        except ValueError as error:
            found.faults.append(Fault(number, str(error)))
            continue
        entry = Entry(network, place.country, "", place.city, place.position, "", number)
        fault = _claims_too_much(entry)
        if fault is None:
            found.entries.append(entry)
        else:
            found.faults.append(fault)
    return found


def _cloud(content: bytes) -> _Cloud:
    for read in (_aws, _google, _azure, _oracle):
        try:
            return read(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    raise GeoDataError("is JSON, but not the list of addresses of AWS, Google, Azure or Oracle")


def _aws(content: bytes) -> _Cloud:
    """Networks by network border group: a Local Zone is a group of its own, and may be far from
    its region.
    """
    read = msgspec.json.decode(content, type=_Aws)
    networks = (
        (each.ip_prefix or each.ipv6_prefix, each.network_border_group or each.region)
        for each in (*read.prefixes, *read.ipv6_prefixes)
    )
    return _Cloud("aws", read.createDate, networks)


def _google(content: bytes) -> _Cloud:
    read = msgspec.json.decode(content, type=_Google)
    networks = ((each.ipv4Prefix or each.ipv6Prefix, each.scope) for each in read.prefixes)
    return _Cloud("google", read.creationTime, networks)


def _azure(content: bytes) -> _Cloud:
    read = msgspec.json.decode(content, type=_Azure)
    networks = (
        (prefix, tag.properties.region)
        for tag in read.values
        for prefix in tag.properties.addressPrefixes
    )
    return _Cloud("azure", str(read.changeNumber or ""), networks)


def _oracle(content: bytes) -> _Cloud:
    read = msgspec.json.decode(content, type=_Oracle)
    networks = ((block.cidr, each.region) for each in read.regions for block in each.cidrs)
    return _Cloud("oracle", read.last_updated_timestamp, networks)


def _lines_of_networks(content: bytes) -> dict[str, int]:
    """The number of the line on which each network first occurs."""
    lines: dict[str, int] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        for match in _QUOTED_NETWORK.finditer(line):
            lines.setdefault(match[1], number)
    return lines
