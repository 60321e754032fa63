"""A geofeed places networks before the database does; every faulty line is told at once."""

import contextlib
import json
import random
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.inputs import input_paths, read_geo
from router.config.settings import Settings
from router.errors import ConfigError
from router.geo.database import GeoDatabase
from router.geo.geofeed import MAX_FAULTS, Network, Overrides, load_overrides, parse_overrides
from router.model import Level, Location, Position, Source
from tests.support.builders import COUNTRIES
from tests.support.servers import HOST, free_port, run_autorouter

WRAPPING = [IPv6Network(one) for one in ("::ffff:0:0/96", "2002::/16", "2001::/32")]
RFC_8805 = """\
# IETF106 (Singapore) - November 2019 - Singapore, SG
130.129.0.0/16,US,US-CA,Mountain View,
2001:df8::/32,DE,DE-BE,Berlin,

# here comes an unlocated one
31.133.128.0/18,,,,
31.130.224.0/20,CA,CA-QC,"Montreal, old town",
"""


def overrides(*lines: str) -> Overrides:
    return parse_overrides("\n".join(lines), COUNTRIES)


def faults_in(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(text, COUNTRIES)
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
def test_geofeed_is_read_as_it_is_published(address: str, location: Location | None) -> None:
    assert parse_overrides(RFC_8805, COUNTRIES).find(address) == location


def test_coordinates_make_it_a_city() -> None:
    found = overrides("192.0.2.0/24,ca,CA-ON,Toronto,,43.6532,-79.3832").find("192.0.2.9")
    assert found == Location("CA", Position(43.6532, -79.3832), Level.CITY, Source.OVERRIDE)


def test_coordinates_count_without_a_country() -> None:
    found = overrides("192.0.2.0/24,,,,,43.6532,-79.3832").find("192.0.2.9")
    assert found == Location(None, Position(43.6532, -79.3832), Level.CITY, Source.OVERRIDE)


def test_single_addresses_are_networks() -> None:
    some = overrides("192.0.2.7,CA", "2001:db8::7,DE")
    assert some.count == 2
    assert (some.find("192.0.2.7"), some.find("192.0.2.8")) == (in_country("CA"), None)
    assert (some.find("2001:db8::7"), some.find("2001:db8::8")) == (in_country("DE"), None)


def test_smallest_network_decides_whatever_the_order() -> None:
    lines = ["10.0.0.0/8,CA", "10.1.0.0/16,US", "10.1.2.0/24,DE", "10.1.2.3/32,JP"]
    wanted = {"10.9.9.9": "CA", "10.1.9.9": "US", "10.1.2.9": "DE", "10.1.2.3": "JP"}
    for order in (lines, lines[::-1]):
        found = {address: overrides(*order).find(address) for address in wanted}
        assert found == {address: in_country(code) for address, code in wanted.items()}


def test_whole_of_the_internet_can_be_overridden() -> None:
    some = overrides("0.0.0.0/0,CA", "::/0,DE", "255.255.255.255,US", "ffff::/16,JP")
    assert some.find("0.0.0.0") == some.find("255.255.255.254") == in_country("CA")
    assert some.find("255.255.255.255") == in_country("US")
    assert (some.find("::"), some.find("ffff::1")) == (in_country("DE"), in_country("JP"))


def test_empty_file_overrides_nothing() -> None:
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
    """Each network at a latitude of its own."""
    return overrides(*(f"{one},,,,,{place / 1000},1" for place, one in enumerate(networks, 1)))


def number_of(location: Location | None) -> int | None:
    """Which of the numbered networks it is."""
    if location is None or location.position is None:
        return None
    return round(location.position.latitude * 1000) - 1


unwrapped = v6_networks.filter(lambda network: not any(network.subnet_of(one) for one in WRAPPING))


@given(st.lists(v4_networks | unwrapped, unique=True, max_size=12), st.randoms())
def test_longest_prefix_wins_in_any_set_of_networks(
    networks: list[Network], rng: random.Random
) -> None:
    some = numbered(networks)
    ends = [end for network in networks for end in (network[0], network[-1])]
    beside = [ip_address(int(end) + rng.choice((-1, 1)) & 0xFFFFFFFF) for end in ends]
    for address in (*ends, *beside):
        holding = [one for one in networks if address in one]
        smallest = max(holding, key=lambda network: network.prefixlen, default=None)
        expected = None if smallest is None else networks.index(smallest)
        assert number_of(some.find(str(address))) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.0/33,CA", "prefix: '192.0.2.0/33'"),
        ("192.0.2.1/24,CA", "prefix: 192.0.2.1/24 has host bits set; use CIDR"),
        ("nonsense,CA", "prefix: 'nonsense'"),
        (",CA", "prefix: ''"),
        ("::ffff:192.0.2.0/120,CA", "prefix: ::ffff:c000:200/120 holds IPv4 inside IPv6"),
        ("2002:c000:200::/48,CA", "holds IPv4 inside IPv6; name the IPv4 network"),
        ("192.0.2.0/24,Canada", "country: Canada is no country; use its ISO 3166-1 code"),
        ("192.0.2.0/24,XX", "country: XX is no country"),
        ("192.0.2.0/24,CA,,,,91,0", "latitude, longitude: 91, 0 is no place"),
        ("192.0.2.0/24,CA,,,,43.6,", "latitude, longitude: 43.6,  is no place"),
        ("192.0.2.0/24,CA,,,,0,0", "is no place; give degrees, or neither"),
        ("192.0.2.0/24,CA,,,,nan,1", "is no place"),
        ("192.0.2.0/24,CA,,,,1,2,3", "has 8 columns; there are at most prefix, country"),
        ("192.0.2.0/24,\x1b[31m", "country: \\x1b[31m is no country"),
        (f'192.0.2.0/24,"{"C" * 200_000}"', "field larger than field limit"),
    ],
)
def test_bad_line_names_its_number_and_the_fix(line: str, words: str) -> None:
    (fault,) = faults_in(f"# first\n198.51.100.0/24,CA\n{line}\n")
    assert fault.startswith("geofeed.csv:3: ")
    assert words in fault


def test_network_given_twice_names_the_first_line() -> None:
    (fault,) = faults_in("192.0.2.0/24,CA\n\n192.0.2.0/24,US\n")
    assert fault == "geofeed.csv:3: prefix: is on line 1 too; keep one"


def test_all_bad_lines_come_at_once() -> None:
    faults = faults_in("nonsense\n192.0.2.0/24,CA\n192.0.2.0/24,XX\n1.1.1.1/1,CA\n")
    assert [fault.split(":")[1] for fault in faults] == ["1", "3", "4"]


def test_endless_faults_are_counted() -> None:
    faults = faults_in("nonsense\n" * (MAX_FAULTS + 7))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "geofeed.csv: and 7 more faults"


def test_file_of_too_many_lines_is_refused() -> None:
    (fault,) = faults_in("#\n" * 1_000_001)
    assert fault == "geofeed.csv: has more than 1,000,000 lines; split the networks"


@given(st.text(max_size=200) | st.text(alphabet='0123456789.:/,"#CA\n-', max_size=80))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_overrides(text, COUNTRIES).count <= text.count("\n") + 1


def test_file_that_is_missing_is_a_fault_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unset AUTOROUTER_GEO_OVERRIDES"):
        load_overrides(tmp_path / "none.csv", COUNTRIES)


def settings(path: Path, *lines: str) -> Settings:
    file = path / "geofeed.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return Settings(geo_overrides=file)


def test_override_comes_before_the_database(tmp_path: Path) -> None:
    geo = read_geo(settings(tmp_path, "24.48.0.0/24,DE,,Berlin,,52.52,13.405"))
    assert geo.locate("24.48.0.1").source is Source.OVERRIDE
    assert geo.locate("24.48.1.1").source is Source.DATABASE
    assert geo.locate("nonsense") == Location()
    assert isinstance(geo, GeoDatabase)
    assert geo.type == "DBIP-City-Lite"


def test_unlocated_network_hides_what_the_database_says(tmp_path: Path) -> None:
    geo = read_geo(settings(tmp_path, "24.48.0.0/24,,,,"))
    assert geo.locate("24.48.0.1") == Location(source=Source.OVERRIDE)


def test_faults_of_overrides_and_database_come_at_once(tmp_path: Path) -> None:
    faulty = settings(tmp_path, "nonsense")
    without = Settings(geo_overrides=faulty.geo_overrides, geo_db=tmp_path / "none.mmdb")
    with pytest.raises(ConfigError) as caught:
        read_geo(without)
    assert len(caught.value.faults) == 2


def test_changed_overrides_are_noticed_by_a_reload(tmp_path: Path) -> None:
    some = settings(tmp_path, "192.0.2.0/24,CA")
    assert some.geo_overrides in input_paths(some, {})


def test_eighty_thousand_networks_are_found() -> None:
    rng = random.Random(5)
    networks = list({ip_network((rng.getrandbits(24) << 8, 24)) for _ in range(80_000)})
    some = numbered(networks)
    assert some.count == len(networks)
    for place in rng.sample(range(len(networks)), 2_000):
        assert number_of(some.find(str(networks[place][77]))) == place


def test_server_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    some = settings(tmp_path, "nonsense,CA", "192.0.2.0/24,CA", "192.0.2.0/24,US")
    done = run_autorouter("serve", GEO_OVERRIDES=str(some.geo_overrides))
    assert done.returncode == 1
    assert [line.split(":")[2] for line in done.stderr.splitlines()] == ["1", "3"]


def test_explain_tells_that_an_override_decided(tmp_path: Path) -> None:
    some = settings(tmp_path, "24.48.0.0/24,US,US-TX,Dallas,,32.7767,-96.7970")
    nobody = f"{HOST}:{free_port()}"
    done = run_autorouter(
        "explain", "24.48.0.1", "--json", GEO_OVERRIDES=str(some.geo_overrides), OPS_LISTEN=nobody
    )
    told = json.loads(done.stdout)
    assert told["location"]["source"] == "override"
    assert told["region"].startswith("dal-")
