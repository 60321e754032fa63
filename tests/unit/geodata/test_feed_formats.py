"""Published feeds are read in each format; hostile content is rejected."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import GeoDataError
from router.geo.geofeed import parse_network
from router.geodata.cloud_regions import load_cloud_regions
from router.geodata.feed_formats import Places, Published, read_feed
from tests.support.builders import COUNTRIES, TORONTO

SHIPPED = Path(__file__).parents[3] / "geodata" / "cloud_regions.csv"
CITIES = {("CA", "CA-ON", "Toronto"): TORONTO}
PLACES = Places(
    countries=COUNTRIES,
    find_city=lambda *named: CITIES.get(named),
    cloud_regions=load_cloud_regions(SHIPPED),
)

AWS = {
    "syncToken": "1",
    "createDate": "2026-08-22-15-17-05",
    "prefixes": [
        {"ip_prefix": "3.96.0.0/15", "region": "ca-central-1", "service": "EC2",
         "network_border_group": "ca-central-1"},
        {"ip_prefix": "15.181.0.0/20", "region": "us-west-2", "service": "EC2",
         "network_border_group": "us-west-2-lax-1"},
        {"ip_prefix": "99.77.0.0/24", "region": "us-west-2", "service": "EC2",
         "network_border_group": "us-west-2-nowhere-1"},
        {"ip_prefix": "52.94.0.0/22", "region": "GLOBAL", "service": "AMAZON",
         "network_border_group": "GLOBAL"},
    ],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2600:1f11::/36", "region": "ca-central-1", "service": "EC2",
         "network_border_group": "ca-central-1"},
    ],
}  # fmt: skip
GOOGLE = {
    "creationTime": "2026-08-22T00:00:00",
    "prefixes": [
        {"ipv4Prefix": "34.95.0.0/18", "service": "Google Cloud",
         "scope": "northamerica-northeast1"},
        {"ipv6Prefix": "2600:1900:40e0::/44", "service": "Google Cloud", "scope": "mars-north1"},
        {"ipv4Prefix": "34.1.0.0/20", "service": "Google Cloud", "scope": "global"},
    ],
}  # fmt: skip
AZURE = {
    "changeNumber": 321,
    "cloud": "Public",
    "values": [
        {"name": "AzureCloud.canadacentral", "id": "AzureCloud.canadacentral",
         "properties": {"region": "canadacentral", "addressPrefixes": ["13.71.160.0/19"]}},
        {"name": "AzureFrontDoor", "id": "x",
         "properties": {"region": "", "addressPrefixes": ["13.73.248.0/29"]}},
    ],
}  # fmt: skip
ORACLE = {
    "last_updated_timestamp": "2026-08-20T10:00:00",
    "regions": [
        {"region": "ca-toronto-1", "cidrs": [{"cidr": "129.153.48.0/20", "tags": ["OCI"]}]}
    ],
}


def read(document: Any) -> Published:
    return read_feed(json.dumps(document, indent=1).encode(), PLACES)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (AWS, {"Montréal": parse_network("2600:1f11::/36"),
               "Los Angeles": parse_network("15.181.0.0/20")}),
        (GOOGLE, {"Montréal": parse_network("34.95.0.0/18")}),
        (AZURE, {"Toronto": parse_network("13.71.160.0/19")}),
        (ORACLE, {"Toronto": parse_network("129.153.48.0/20")}),
    ],
)  # fmt: skip
def test_cloud_regions_are_placed_in_their_city(document: Any, expected: dict[str, Any]) -> None:
    found = read(document)
    assert {entry.city: entry.network for entry in found.entries} == expected
    assert all(entry.position is not None for entry in found.entries)
    assert found.faults == []
    assert found.dated


def test_unknown_regions_are_counted_and_skipped() -> None:
    assert read(AWS).unknown_regions == {"us-west-2-nowhere-1": 1}
    assert read(GOOGLE).unknown_regions == {"mars-north1": 1}


def test_network_has_its_line_in_the_text() -> None:
    text = json.dumps(ORACLE, indent=1)
    (entry,) = read(ORACLE).entries
    assert "129.153.48.0/20" in text.splitlines()[entry.number - 1]


def test_geofeed_is_placed_by_its_cities() -> None:
    found = read_feed(b"192.0.2.0/24,CA,CA-ON,Toronto\n198.51.100.0/24,UK\n", PLACES)
    (entry,) = found.entries
    assert entry.position == TORONTO
    assert [fault.number for fault in found.faults] == [2]


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "8.0.0.0/7", "2000::/3"])
def test_network_that_is_too_large_is_rejected(prefix: str) -> None:
    text = f"{prefix},CA\n192.0.2.0/24,CA\n"
    found = read_feed(text.encode(), PLACES)
    assert len(found.entries) == 1
    assert [fault.number for fault in found.faults] == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"prefixes": 1}',
        b"{" * 100_000,
        b'{"prefixes": [{"ip_prefix": 1, "region": "us-east-1"}]}',
        b"\xff\xfe\x00",
        b"<!DOCTYPE html><html>",
    ],
)
def test_other_content_is_rejected(content: bytes) -> None:
    with pytest.raises(GeoDataError):
        read_feed(content, PLACES)


@given(st.binary(max_size=300) | st.text(alphabet='{}[]":,prefixes/0123456789.', max_size=200))
def test_any_bytes_are_read_or_rejected(content: bytes | str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    try:
        found = read_feed(data, PLACES)
    except GeoDataError:
        return
    assert len(found.entries) <= len(data)


def test_shipped_regions_cover_four_providers() -> None:
    regions = load_cloud_regions(SHIPPED)
    assert {provider for provider, _ in regions} == {"aws", "azure", "google", "oracle"}
    assert regions["aws", "ca-central-1"].city == "Montréal"
