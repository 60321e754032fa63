"""Geofeeds are read as in RFC 8805; extra columns need a header."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.geofeed import (
    Entry,
    Fault,
    Network,
    parse_network,
    read_geofeed,
    unnamed_coordinates,
)
from router.model import Position
from tests.support.builders import COUNTRIES

PLACE = Position(43.6532, -79.3832)


def entries(*lines: str) -> list[Entry | Fault]:
    return list(read_geofeed("\n".join(lines), COUNTRIES, feed="f"))


def the_entry(*lines: str) -> Entry:
    (entry,) = entries(*lines)
    assert isinstance(entry, Entry)
    return entry


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2.0/24,CA,CA-ON,Toronto,M5V",
        "192.0.2.0/24,ca,CA-ON,Toronto,M5V,/22",
        "192.0.2.0/24,CA,CA-ON,Toronto,M5V,43.6,note,more",
        "192.0.2.0/24,CA,CA-ON,Toronto # head office",
        "  192.0.2.0/24 , CA , CA-ON , Toronto  ",
        '192.0.2.0/24,CA,CA-ON,"Toronto","M5V"',
        "192.0.2.77/24,CA,CA-ON,Toronto",
    ],
)
def test_line_is_read_as_in_the_rfc(line: str) -> None:
    network = Network(4, 0xC0000200, 24)
    assert the_entry(line) == Entry(network, "CA", "CA-ON", "Toronto", None, "f", 1)


@pytest.mark.parametrize("code", ["", "ZZ", "zz"])
def test_empty_and_zz_mean_unknown(code: str) -> None:
    assert the_entry(f"192.0.2.0/24,{code}").country is None


@pytest.mark.parametrize("line", ["", "  ", ",,,,", "# note", "  # note", "prefix,country", "#,,"])
def test_lines_without_data_are_skipped(line: str) -> None:
    assert entries(line) == []


@pytest.mark.parametrize(
    "header",
    [
        "# prefix, country, region, city, postal code, latitude, longitude",
        "prefix,country,region,city,postal,latitude,longitude",
        "IP_Prefix,Alpha2Code,Region,City,Postal Code,Latitude,Longitude",
    ],
)
def test_header_defines_the_coordinates(header: str) -> None:
    assert the_entry(header, "192.0.2.0/24,CA,,,,43.6532,-79.3832").position == PLACE


def test_header_may_contain_other_columns() -> None:
    header = "prefix,country,region,city,postal,note,longitude,latitude"
    assert the_entry(header, "192.0.2.0/24,CA,,,,x,-79.3832,43.6532").position == PLACE


def test_coordinates_without_a_header_are_ignored() -> None:
    assert the_entry("192.0.2.0/24,CA,,,,43.6532,-79.3832").position is None


@pytest.mark.parametrize(
    "comment", ["# latitude, longitude", "# our prefixes, country by country, latitude, longitude"]
)
def test_comment_that_is_not_a_header_is_ignored(comment: str) -> None:
    assert the_entry(comment, "192.0.2.0/24,CA,,,,43.6532,-79.3832").position is None


def test_bits_after_the_prefix_are_dropped() -> None:
    assert parse_network("2001:db8:161::1/44") == parse_network("2001:db8:160::/44")
    assert parse_network("192.0.2.255/31") == Network(4, 0xC00002FE, 31)


@given(st.text(max_size=60) | st.text(alphabet="0123456789.:/abcdef", max_size=40))
def test_any_text_is_an_aligned_network_or_rejected(text: str) -> None:
    with contextlib.suppress(ValueError):
        network = parse_network(text)
        assert network.start % network.size == 0


def test_coordinates_without_a_header_are_detected() -> None:
    line = "192.0.2.0/24,CA,,,,43.6532,-79.3832"
    assert unnamed_coordinates(f"# note\n{line}\n") == 2
    assert (
        unnamed_coordinates(f"# prefix,country,region,city,postal,latitude,longitude\n{line}")
        is None
    )
    assert unnamed_coordinates("192.0.2.0/24,CA,,,,note,more\n") is None


@given(st.text(max_size=200) | st.text(alphabet='0123456789.:/,"#CAprefixlatude\n-', max_size=90))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert len(entries(text)) <= len(text) + 1
