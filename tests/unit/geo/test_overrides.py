"""Overrides have priority over the database; all invalid lines are reported at once."""

import contextlib
import random
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.inputs import input_paths, read_geo
from router.config.settings import Settings
from router.config.values import GeoFiles
from router.errors import ConfigError
from router.geo import geofeed
from router.geo.database import GeoDatabase
from router.geo.geofeed import Entry
from router.geo.overrides import (
    MAX_FAULTS,
    FeedLine,
    Overrides,
    Rules,
    load_overrides,
    look_up_overrides,
    parse_overrides,
)
from router.model import Level, Location, Position, Source
from tests.support.builders import COUNTRIES, DALLAS, TORONTO

Network = IPv4Network | IPv6Network

HEADER = "prefix,country,region,city,postal,latitude,longitude"
CITIES = {("CA", "CA-ON", "Toronto"): TORONTO, ("US", "US-TX", "Dallas"): DALLAS}
RULES = Rules(countries=COUNTRIES, find_city=lambda *named: CITIES.get(named))
FETCHED = Rules(countries=COUNTRIES, find_city=RULES.find_city, source=Source.FEED, is_strict=False)
EMBEDDING_IPV4 = [
    IPv6Network(one)
    for one in ("::ffff:0:0/96", "2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
]
RFC_8805 = """\
# IETF106 (Singapore) - November 2019 - Singapore, SG
130.129.0.0/16,US,US-CA,Mountain View,
2001:df8::/32,DE,DE-BE,Berlin,

# here comes an unlocated one
31.133.128.0/18,,,,
31.130.224.0/20,CA,CA-QC,"Montreal, old town",
"""


def overrides(*lines: str, rules: Rules = RULES) -> Overrides:
    return parse_overrides("\n".join([HEADER, *lines]), rules)


def faults_in(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(text, RULES)
    return caught.value.faults


def in_country(code: str) -> Location:
    return Location(code, None, Level.COUNTRY, Source.OVERRIDE)


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("130.129.0.0", in_country("US")),
        ("130.129.255.255", in_country("US")),
        ("130.130.0.0", None),
        ("2001:df8:1::1", in_country("DE")),
        ("31.130.230.1", in_country("CA")),
        ("31.133.128.1", Location(source=Source.OVERRIDE)),
        ("192.0.2.1", None),
        ("::1", None),
    ],
)
def test_published_geofeed_is_read(address: str, location: Location | None) -> None:
    assert parse_overrides(RFC_8805, RULES).find(address) == location


def test_coordinates_give_city_level() -> None:
    found = overrides("192.0.2.0/24,ca,CA-ON,Toronto,,43.6532,-79.3832").find("192.0.2.9")
    assert found == Location("CA", Position(43.6532, -79.3832), Level.CITY, Source.OVERRIDE)


def test_coordinates_are_used_without_a_country() -> None:
    found = overrides("192.0.2.0/24,,,,,43.6532,-79.3832").find("192.0.2.9")
    assert found == Location(None, Position(43.6532, -79.3832), Level.CITY, Source.OVERRIDE)


def test_single_address_is_a_network() -> None:
    some = overrides("192.0.2.7,CA", "2001:db8::7,DE")
    assert some.count == 2
    assert (some.find("192.0.2.7"), some.find("192.0.2.8")) == (in_country("CA"), None)
    assert (some.find("2001:db8::7"), some.find("2001:db8::8")) == (in_country("DE"), None)


def test_all_addresses_can_be_overridden() -> None:
    some = overrides("0.0.0.0/0,CA", "::/0,DE", "255.255.255.255,US", "ffff::/16,JP")
    assert some.find("0.0.0.0") == some.find("255.255.255.254") == in_country("CA")
    assert some.find("255.255.255.255") == in_country("US")
    assert (some.find("::"), some.find("ffff::1")) == (in_country("DE"), in_country("JP"))


def test_empty_file_has_no_overrides() -> None:
    assert overrides("", "# nothing yet").find("192.0.2.1") is None


v4_networks = st.builds(
    lambda value, bits: IPv4Network((value >> 32 - bits << 32 - bits, bits)),
    st.integers(0, 2**32 - 1) | st.integers(0, 1023),
    st.integers(0, 32),
)
v6_networks = st.builds(
    lambda value, bits: IPv6Network((value >> 128 - bits << 128 - bits, bits)),
    st.integers(0, 2**128 - 1) | st.integers(0x2001_0DB8 << 96, (0x2001_0DB8 << 96) + 1023),
    st.integers(0, 128),
)


def numbered(networks: Iterable[Network]) -> Overrides:
    """Overrides in which each network has a different latitude."""
    return overrides(*(f"{one},,,,,{place / 1000},1" for place, one in enumerate(networks, 1)))


def number_of(location: Location | None) -> int | None:
    """Returns the number of the network that gave this location."""
    if location is None or location.position is None:
        return None
    return round(location.position.latitude * 1000) - 1


without_ipv4 = v6_networks.filter(
    lambda network: not any(network.subnet_of(one) for one in EMBEDDING_IPV4)
)


@given(st.lists(v4_networks | without_ipv4, unique=True, max_size=12), st.randoms())
def test_longest_prefix_is_used_in_any_set_of_networks(
    networks: list[Network], rng: random.Random
) -> None:
    some = numbered(networks)
    ends = [end for network in networks for end in (network[0], network[-1])]
    outside = [ip_address(int(end) + rng.choice((-1, 1)) & 0xFFFFFFFF) for end in ends]
    for address in (*ends, *outside):
        containing = [one for one in networks if address in one]
        smallest = max(containing, key=lambda network: network.prefixlen, default=None)
        expected = None if smallest is None else networks.index(smallest)
        assert number_of(some.find(str(address))) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.0/33,CA", "prefix: '192.0.2.0/33' is not a network; use CIDR"),
        ("192.0.2.0/-1,CA", "prefix: '192.0.2.0/-1' is not a network"),
        ("192.0.2.0/,CA", "prefix: '192.0.2.0/' is not a network"),
        ("192.0.2.0/٢٤,CA", "is not a network"),
        ("nonsense,CA", "prefix: 'nonsense'"),
        (",CA", "prefix: ''"),
        ("::ffff:192.0.2.0/120,CA", "prefix: ::ffff:192.0.2.0/120 holds IPv4 inside IPv6"),
        ("2002:c000:200::/48,CA", "holds IPv4 inside IPv6; name the IPv4 network"),
        ("192.0.2.0/24,Canada", "country: Canada is no country; use its ISO 3166-1 code"),
        ("192.0.2.0/24,XX", "country: XX is no country"),
        ("192.0.2.0/24,UK", "country: UK is no country; did you mean GB?"),
        ("192.0.2.0/24,CA,,,,91,0", "latitude, longitude: 91, 0 is no place"),
        ("192.0.2.0/24,CA,,,,43.6,", "latitude, longitude: 43.6,  is no place"),
        ("192.0.2.0/24,CA,,,,0,0", "is no place; give degrees, or neither"),
        ("192.0.2.0/24,CA,,,,nan,1", "is no place"),
        ("192.0.2.0/24,\x1b[31m", "country: \\x1b[31m is no country"),
        (f'192.0.2.0/24,"{"C" * 200_000}"', "field larger than field limit"),
    ],
)
def test_error_in_a_line_has_its_number_and_a_fix(line: str, words: str) -> None:
    (fault,) = faults_in(f"# {HEADER}\n198.51.100.0/24,CA\n{line}\n")
    assert fault.startswith("geofeed.csv:3: ")
    assert words in fault


def test_contradictory_line_is_an_error_with_the_first_line() -> None:
    (fault,) = faults_in("192.0.2.0/24,CA\n\n192.0.2.0/24,US\n")
    assert fault == "geofeed.csv:3: prefix: line 1 says another place of it; keep one"


def test_equal_repeated_lines_are_one_network() -> None:
    some = overrides("192.0.2.0/24,CA", "192.0.2.0/24,CA", "192.0.2.77/24,CA")
    assert some.count == 1
    assert some.find("192.0.2.9") == in_country("CA")


def test_city_without_coordinates_is_looked_up() -> None:
    some = overrides("192.0.2.0/24,CA,CA-ON,Toronto", "198.51.100.0/24,CA,CA-NS,New Glasgow")
    assert some.find("192.0.2.9") == Location("CA", TORONTO, Level.CITY, Source.OVERRIDE)
    assert some.find("198.51.100.9") == in_country("CA")


def test_line_of_an_override_is_known() -> None:
    some = overrides("10.0.0.0/8,CA", "", "10.1.0.0/16,US")
    assert some.line_of("10.1.2.3") == FeedLine("geofeed.csv", 4)
    assert some.line_of("10.2.2.3") == FeedLine("geofeed.csv", 2)
    assert some.line_of("11.0.0.1") is None


def test_feed_and_line_come_from_their_columns() -> None:
    text = f"{HEADER},feed,line\n192.0.2.0/24,CA,,,,1,2,aws,1234\n"
    assert parse_overrides(text, FETCHED).line_of("192.0.2.1") == FeedLine("aws", 1234)


def test_invalid_lines_of_a_feed_are_skipped_and_reported() -> None:
    some = overrides(
        "nonsense", "192.0.2.0/24,CA", "192.0.2.0/24,US", "198.51.100.0/24,UK", rules=FETCHED
    )
    assert some.count == 1
    assert some.find("192.0.2.9") == Location("CA", None, Level.COUNTRY, Source.FEED)
    assert [fault.number for fault in some.faults] == [2, 4, 5]


def test_unknown_country_in_a_feed_means_the_database() -> None:
    some = overrides("192.0.0.0/16,CA", "192.0.2.0/24,ZZ", rules=FETCHED)
    assert some.find("192.0.1.9") == Location("CA", None, Level.COUNTRY, Source.FEED)
    assert some.find("192.0.2.9") is None


def test_all_invalid_lines_are_reported_at_once() -> None:
    faults = faults_in("nonsense\n192.0.2.0/24,CA\n192.0.2.0/24,XX\n1.1.1.1/99,CA\n")
    assert [fault.split(":")[1] for fault in faults] == ["1", "3", "4"]


def test_errors_over_the_limit_are_counted() -> None:
    faults = faults_in("nonsense\n" * (MAX_FAULTS + 7))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "geofeed.csv: and 7 more faults"


def test_file_of_too_many_lines_is_rejected() -> None:
    (fault,) = faults_in("#\n" * 1_000_001)
    assert fault == "geofeed.csv: has more than 1,000,000 lines; split the networks"


@given(st.text(max_size=200) | st.text(alphabet='0123456789.:/,"#CA\n-', max_size=80))
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_overrides(text, RULES).count <= text.count("\n") + 1


def test_missing_file_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unset AUTOROUTER_GEO_OVERRIDES"):
        load_overrides(tmp_path / "none.csv", RULES, "create it, or unset AUTOROUTER_GEO_OVERRIDES")


places = st.builds(Position, st.floats(1, 80), st.floats(1, 170)) | st.none()
codes = st.sampled_from(["CA", "US", None])


@given(st.sampled_from(["CA", "US"]), st.booleans(), codes, places)
def test_feed_is_never_less_precise_than_its_own_data(
    country: str, has_city: bool, known_country: str | None, known: Position | None
) -> None:
    level = Level.CITY if known else Level.COUNTRY if known_country else Level.UNKNOWN
    database = Location(known_country, known, level, Source.DATABASE)
    city = {"CA": "CA-ON,Toronto", "US": "US-TX,Dallas"}[country] if has_city else ","
    feed = overrides(f"192.0.2.0/24,{country},{city}", rules=FETCHED)
    found = look_up_overrides(feed, lambda _: database)("192.0.2.1")
    assert found.country == country
    if has_city:
        assert found.position == {"CA": TORONTO, "US": DALLAS}[country]
    elif known_country == country:
        assert found.position == known
    else:
        assert found.position is None


def settings(path: Path, *lines: str) -> Settings:
    file = path / "geofeed.csv"
    file.write_text("\n".join([f"# {HEADER}", *lines]), encoding="utf-8")
    return Settings(geo_overrides=file)


def test_override_has_priority_over_the_database(tmp_path: Path) -> None:
    geo = read_geo(settings(tmp_path, "24.48.0.0/24,DE,,Berlin,,52.52,13.405"))
    assert geo.locate("24.48.0.1").source is Source.OVERRIDE
    assert geo.locate("24.48.1.1").source is Source.DATABASE
    assert geo.locate("nonsense") == Location()
    assert isinstance(geo, GeoDatabase)
    assert geo.type == "DBIP-City-Lite"


def test_override_without_a_location_hides_the_database(tmp_path: Path) -> None:
    geo = read_geo(settings(tmp_path, "24.48.0.0/24,,,,"))
    assert geo.locate("24.48.0.1") == Location(source=Source.OVERRIDE)


def test_errors_of_overrides_and_database_are_reported_at_once(tmp_path: Path) -> None:
    invalid = settings(tmp_path, "nonsense")
    without = Settings(
        geo_overrides=invalid.geo_overrides, geo_db=GeoFiles([tmp_path / "none.mmdb"])
    )
    with pytest.raises(ConfigError) as caught:
        read_geo(without)
    assert len(caught.value.faults) == 2


def test_overrides_are_watched_for_changes(tmp_path: Path) -> None:
    some = settings(tmp_path, "192.0.2.0/24,CA")
    assert some.geo_overrides in input_paths(some, {})


def test_five_thousand_networks_are_found() -> None:
    starts = [number << 8 for number in random.Random(5).sample(range(1 << 24), 5_000)]
    entries = [
        Entry(geofeed.Network(4, start, 24), None, position=Position(place / 1000, 1.0))
        for place, start in enumerate(starts, 1)
    ]
    some = Overrides(entries, (), RULES)
    assert some.count == len(starts)
    for place in range(0, len(starts), 5):
        assert number_of(some.find(str(IPv4Address(starts[place] + 77)))) == place
