"""A compact database says what its source says, of every address, to 0.01 degrees."""

import json
import random
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import maxminddb
import pytest

from router.errors import GeoDataError
from router.geo.compact import Origin
from router.geo.database import GeoDatabase, find_database, open_database
from router.geo.sphere import distance_km
from router.geodata.build import SAMPLE_EVERY, agrees, build
from router.model import Level, Location, Position
from router.routing.client_address import parse_address
from tests.support.builders import a_location
from tests.support.databases import CITIES, country_only, flat, ipinfo, nested, write_mmdb
from tests.support.servers import HOST, free_port, run_autorouter

NOW = 1_800_000_000.0
NETWORKS = {
    "192.0.2.0/24": "Toronto",
    "192.0.3.0/24": "Toronto",
    "198.51.100.128/25": "Berlin",
    "2001:db8::/32": "Montreal",
    "2a00::/64": "Suva",
    "2a00:0:0:1::80/121": "Berlin",
}
V4 = {network: city for network, city in NETWORKS.items() if "." in network}
V6 = {network: city for network, city in NETWORKS.items() if ":" in network}
ADDRESSES = (
    "192.0.1.255", "192.0.2.0", "192.0.3.255", "192.0.4.0", "198.51.100.127", "198.51.100.128",
    "2001:db7:ffff::", "2001:db8::1", "2a00::ffff", "2a00:0:0:1::7f", "2a00:0:0:1::81",
    "2a00:0:0:1::100", "2a00:0:0:2::", "ffff::",
)  # fmt: skip


def compacted(path: Path, *sources: Path) -> GeoDatabase:
    build(sources, path / "small.geo", NOW)
    return open_database(path / "small.geo")


def differing(source: GeoDatabase, compact: GeoDatabase, addresses: list[str]) -> list[Any]:
    pairs = [(source.locate(address), compact.locate(address)) for address in addresses]
    return [pair for pair in pairs if not agrees(*pair)]


@pytest.mark.parametrize("layout", [nested, flat, ipinfo])
def test_each_layout_is_kept(tmp_path: Path, layout: Any) -> None:
    records = {network: layout(city) for network, city in NETWORKS.items()}
    source = write_mmdb(tmp_path / "source.mmdb", records)
    compact = compacted(tmp_path, source)
    assert differing(open_database(source), compact, list(ADDRESSES)) == []
    assert compact.locate("2a00:0:0:1::81").country == "DE"


def test_country_level_is_kept(tmp_path: Path) -> None:
    records = {"192.0.2.0/24": country_only("US"), "192.0.3.0/24": nested("Toronto")}
    compact = compacted(tmp_path, write_mmdb(tmp_path / "source.mmdb", records))
    assert compact.locate("192.0.2.1") == a_location(None, "US")
    assert compact.locate("192.0.3.1").level is Level.CITY


def test_two_files_of_one_family_each_become_one(tmp_path: Path) -> None:
    four = {network: flat(city) for network, city in V4.items()}
    six = {network: flat(city) for network, city in V6.items()}
    one = write_mmdb(tmp_path / "v4.mmdb", four, type="city ipv4", ip_version=4)
    other = write_mmdb(tmp_path / "v6.mmdb", six, type="city ipv6")
    compact = compacted(tmp_path, other, one)
    assert compact.locate("198.51.100.200").country == CITIES["Berlin"][0]
    assert compact.locate("2a00::1").country == CITIES["Suva"][0]
    assert compact.type == "city ipv6 + city ipv4"


def test_two_files_of_the_same_family_are_refused(tmp_path: Path) -> None:
    records = {network: flat(city) for network, city in V4.items()}
    one = write_mmdb(tmp_path / "one.mmdb", records, ip_version=4)
    other = write_mmdb(tmp_path / "other.mmdb", records)
    with pytest.raises(GeoDataError, match=f"{other}: holds IPv4"):
        compacted(tmp_path, one, other)


def test_compact_file_is_no_source(tmp_path: Path) -> None:
    source = write_mmdb(tmp_path / "source.mmdb", {"192.0.2.0/24": nested("Toronto")})
    compacted(tmp_path, source)
    with pytest.raises(GeoDataError, match="is compact already"):
        build([tmp_path / "small.geo"], tmp_path / "again.geo", NOW)


def test_source_tells_age_and_terms(tmp_path: Path) -> None:
    records = {"192.0.2.0/24": nested("Toronto")}
    source = write_mmdb(tmp_path / "source.mmdb", records, type="DBIP-City-Lite")
    compact = compacted(tmp_path, source)
    with maxminddb.open_database(source) as reader:
        assert compact.built_at == reader.metadata().build_epoch
    assert compact.terms.licence == "CC BY 4.0"
    assert "db-ip.com" in compact.terms.attribution


def test_told_origin_wins(tmp_path: Path) -> None:
    source = write_mmdb(tmp_path / "source.mmdb", {"192.0.2.0/24": nested("Toronto")})
    origin = Origin(type="of ours", built_at=1.0, licence="CC0")
    build([source], tmp_path / "small.geo", NOW, origin=origin)
    compact = open_database(tmp_path / "small.geo")
    assert (compact.type, compact.built_at, compact.terms.licence) == ("of ours", 1.0, "CC0")


def test_damaged_source_leaves_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "small.geo"
    output.write_bytes(b"the old one")
    source = write_mmdb(tmp_path / "source.mmdb", {"192.0.2.0/24": nested("Toronto")}, ip_version=4)
    tree = bytearray(source.read_bytes())
    # The walk follows this node; the first records that are tried are found without it.
    tree[0:3] = bytes(3)
    source.write_bytes(tree)
    with pytest.raises(GeoDataError):
        build([source], output, NOW)
    assert output.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.geo", "source.mmdb"]


def test_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    source = write_mmdb(tmp_path / "source.mmdb", {"192.0.2.0/24": nested("Toronto")})
    with pytest.raises(GeoDataError, match="cannot be written"):
        build([source], source / "below.geo", NOW)


@pytest.mark.parametrize(
    ("told", "kept", "agree"),
    [
        (Position(10.004, 20.0), Position(10.0, 20.0), True),
        (Position(10.006, 20.0), Position(10.0, 20.0), False),
        (Position(10.0, 20.006), Position(10.0, 20.0), False),
        (None, None, True),
        (Position(10.0, 20.0), None, False),
        (None, Position(10.0, 20.0), False),
    ],
)
def test_agreement_means_rounded_and_no_more(
    told: Position | None, kept: Position | None, agree: bool
) -> None:
    assert agrees(a_location(told, "CA"), a_location(kept, "CA")) is agree
    assert not agrees(a_location(told, "CA"), a_location(kept, "US"))


def test_rounding_moves_nobody_by_800_metres() -> None:
    rng = random.Random(3)
    for _ in range(2_000):
        place = Position(rng.uniform(-90, 90), rng.uniform(-180, 180))
        rounded = Position(round(place.latitude, 2), round(place.longitude, 2))
        assert distance_km(place, rounded) < 0.8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> GeoDatabase:
    """All of DB-IP City Lite, compact."""
    path = tmp_path_factory.mktemp("whole") / "db-ip.geo"
    built = build([find_database(None)], path, NOW)
    assert built.compared > 10_000_000 // SAMPLE_EVERY
    assert built.bytes < find_database(None).stat().st_size / 2
    return open_database(path)


def some_v6(rng: random.Random, count: int) -> list[str]:
    """Addresses in what the five registries give out: by /12, so that many are known."""
    registries = (0x240, 0x260, 0x280, 0x2A0, 0x2C0)
    return [
        str(
            IPv6Address(rng.choice(registries) << 116 | rng.getrandbits(116) >> rng.choice((0, 12)))
        )
        for _ in range(count)
    ]


def test_200_000_addresses_agree_with_their_source(whole: GeoDatabase) -> None:
    rng = random.Random(20_26)
    v4 = [str(IPv4Address(rng.getrandbits(32))) for _ in range(120_000)]
    v6 = some_v6(rng, 79_000)
    wrapped = [f"2002:{rng.getrandbits(16):x}:{rng.getrandbits(16):x}::1" for _ in range(1_000)]
    source = open_database(find_database(None))
    # 6to4 and Teredo never reach a database: the viewer's IPv4 is taken out before.
    asked = [parsed.text for text in v4 + v6 + wrapped if (parsed := parse_address(text))]
    assert differing(source, whole, asked) == []
    assert len(asked) == 200_000
    assert sum(whole.locate(address) != Location() for address in asked) > 120_000
    known_v6 = sum(whole.locate(address) != Location() for address in v6)
    assert known_v6 > 20_000


@pytest.mark.parametrize("wrapped", ["2002:1830:1::", "2001:0:4136:e378:8000:63bf:e7cf:fffe"])
def test_ipv4_inside_ipv6_is_found_as_ipv4(whole: GeoDatabase, wrapped: str) -> None:
    address = parse_address(wrapped)
    assert address is not None
    assert whole.locate(address.text).country == "CA"


def test_command_builds_and_tells(tmp_path: Path) -> None:
    records = {network: nested(city) for network, city in NETWORKS.items()}
    source = write_mmdb(tmp_path / "source.mmdb", records)
    output = tmp_path / "small.geo"
    done = run_autorouter("geodata", "build", str(source), "--output", str(output), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["output"], told["places"]) == (str(output), 5)
    assert told["bytes"] == output.stat().st_size
    explained = run_autorouter("explain", "192.0.2.1", "--json", GEO_DB=str(output), **nobody())
    assert json.loads(explained.stdout)["location"]["latitude"] == 43.65


def test_command_says_what_is_wrong_with_a_source(tmp_path: Path) -> None:
    done = run_autorouter("geodata", "build", "--output", str(tmp_path / "a"), GEO_DB="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere: no such file" in done.stderr


def nobody() -> dict[str, str]:
    """An ops listener that nobody has opened."""
    return {"OPS_LISTEN": f"{HOST}:{free_port()}"}
