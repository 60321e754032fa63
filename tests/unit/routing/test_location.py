"""The location of a viewer: from CDN headers if their secret is valid, else from the address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Level, Location, Position, Source
from router.routing.cache_headers import Sharing
from router.routing.client_address import Networks, parse_address
from router.routing.location import Locator, Placed, PlacedBy
from router.routing.ranking import RouteKey, place_seed
from tests.support.builders import BERLIN, a_location

SECRET, NEXT_SECRET = "0123456789abcdef", "fedcba9876543210"
PROXIES = Networks.parse(["10.0.0.0/8"])
PLACING = ("CloudFront-Viewer-Country", "cloudfront-viewer-latitude", "CloudFront-Viewer-Longitude")
IN_GERMANY = a_location(BERLIN, "DE")
VIEWER = "203.0.113.9"
VALID_SECRET = [(b"x-origin-verify", SECRET.encode())]
TORONTO_HEADERS = [
    (b"cloudfront-viewer-country", b"CA"),
    (b"cloudfront-viewer-latitude", b"43.65320"),
    (b"cloudfront-viewer-longitude", b"-79.38320"),
]
AN_ADDRESS = (b"cloudfront-viewer-address", b"198.51.100.10:46532")
A_KEY = (b"x-autorouter-key", b"CA~yto-01.yul-01")

Header = tuple[bytes, bytes]


class FakeDatabase:
    """A geo database of one country that records the addresses looked up."""

    def __init__(self) -> None:
        self.lookups: list[str] = []

    def __call__(self, address: str) -> Location:
        self.lookups.append(address)
        return IN_GERMANY


def a_locator(
    database: FakeDatabase | None = None,
    secrets: tuple[str, ...] = (SECRET, NEXT_SECRET),
    key_headers: tuple[str, ...] = (),
) -> Locator:
    return Locator(
        database or FakeDatabase(), trusted=PROXIES, secrets=secrets, key_headers=key_headers
    )


def placed(
    *headers: Header, peer: str | None = VIEWER, key_headers: tuple[str, ...] = ()
) -> Placed:
    return a_locator(key_headers=key_headers).place(peer, headers)


def placed_by_cdn(*headers: Header, key_headers: tuple[str, ...] = ()) -> Placed:
    return placed(*VALID_SECRET, *headers, key_headers=key_headers)


def seed_of(address: str) -> int:
    parsed = parse_address(address)
    assert parsed is not None
    return parsed.seed


# By address


def test_viewer_is_looked_up_by_peer() -> None:
    assert placed() == Placed(IN_GERMANY, seed_of(VIEWER), Sharing.PRIVATE)


def test_viewer_behind_a_proxy_is_looked_up() -> None:
    database = FakeDatabase()
    a_locator(database).place("10.0.0.1", [(b"x-forwarded-for", b"203.0.113.9, 10.0.0.2")])
    assert database.lookups == [VIEWER]


def test_every_forwarded_for_line_is_read() -> None:
    database = FakeDatabase()
    lines = [(b"x-forwarded-for", b"6.6.6.6, 203.0.113.9"), (b"x-forwarded-for", b"10.0.0.2")]
    a_locator(database).place("10.0.0.1", lines)
    assert database.lookups == [VIEWER]


@pytest.mark.parametrize("peer", [None, "", "unix"])
def test_viewer_without_address_is_unknown(peer: str | None) -> None:
    found = placed(peer=peer)
    assert found.location == Location()
    assert (found.location.source, found.sharing) == (Source.NONE, Sharing.PRIVATE)


# The secret


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET])
def test_either_secret_is_accepted(secret: str) -> None:
    found = placed((b"x-origin-verify", secret.encode()), A_KEY)
    assert found.key == RouteKey("CA", ("yto-01", "yul-01"))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-origin-verify", b"")],
        [(b"x-origin-verify", b"wrong")],
        [(b"x-origin-verify", SECRET[:-1].encode())],
        [(b"x-origin-verify", SECRET.upper().encode())],
        [(b"x-origin-verify", b"\xff\xfe")],
        [(b"x-origin-verify", f"{SECRET},{NEXT_SECRET}".encode())],
        [*VALID_SECRET, *VALID_SECRET],
        [*VALID_SECRET, (b"x-origin-verify", b"wrong")],
        [(b"X-Origin-Verify", SECRET.encode())],
    ],
)
def test_without_the_secret_cdn_headers_are_ignored(headers: list[Header]) -> None:
    found = placed(*headers, A_KEY, *TORONTO_HEADERS, AN_ADDRESS, key_headers=PLACING)
    assert found == placed()


@pytest.mark.parametrize("secret", [b"", b"None", b"guess"])
def test_cdn_headers_are_ignored_if_no_secret_is_set(secret: bytes) -> None:
    locator = a_locator(secrets=())
    found = locator.place(VIEWER, [(b"x-origin-verify", secret), A_KEY])
    assert found == locator.place(VIEWER, [])


# The CDN's key


def test_cdn_key_is_used_unchanged() -> None:
    found = placed_by_cdn(A_KEY, *TORONTO_HEADERS)
    assert found.key == RouteKey("CA", ("yto-01", "yul-01"))
    assert found.sharing is Sharing.KEYED
    assert found.location == Location(country="CA", source=Source.CDN_KEY)


def test_cdn_key_needs_no_lookup() -> None:
    database = FakeDatabase()
    a_locator(database).place(VIEWER, [*VALID_SECRET, A_KEY])
    assert database.lookups == []


@pytest.mark.parametrize(
    "keys",
    [
        [b""],
        [b"nonsense"],
        [b"CA~a.b.c.d"],
        [b"CA~\xff"],
        [b"CA~yto-01", b"CA~yto-01"],
        [b"CA~yto-01", b"DE~yul-01"],
    ],
)
def test_malformed_or_repeated_key_is_ignored(keys: list[bytes]) -> None:
    headers = [(b"x-autorouter-key", key) for key in keys]
    assert placed_by_cdn(*headers) == placed()
    assert placed_by_cdn(*headers, *TORONTO_HEADERS).location.source is Source.CDN_HEADERS


# The CDN's location headers


def test_cdn_headers_place_the_viewer() -> None:
    found = placed_by_cdn(*TORONTO_HEADERS, AN_ADDRESS)
    assert found.location == Location(
        country="CA",
        position=Position(43.6532, -79.3832),
        level=Level.CITY,
        source=Source.CDN_HEADERS,
    )
    assert found.key is None


def test_country_header_alone_is_country_level() -> None:
    location = placed_by_cdn((b"cloudfront-viewer-country", b"ca")).location
    assert (location.country, location.position, location.level) == ("CA", None, Level.COUNTRY)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (b"", b""),
        (b"43.6", b""),
        (b"north", b"west"),
        (b"nan", b"nan"),
        (b"inf", b"0"),
        (b"0", b"0"),
        (b"91", b"10"),
        (b"\xff", b"\xfe"),
    ],
)
def test_invalid_coordinates_mean_only_the_country(latitude: bytes, longitude: bytes) -> None:
    location = placed_by_cdn(
        (b"cloudfront-viewer-country", b"CA"),
        (b"cloudfront-viewer-latitude", latitude),
        (b"cloudfront-viewer-longitude", longitude),
    ).location
    assert (location.country, location.level) == ("CA", Level.COUNTRY)


INVALID_COUNTRIES = pytest.mark.parametrize(
    "country",
    [
        *(b"", b"CAN", b"C", b"C1", b"??", b"\xc3\x84", b"\xc4\xc4", b"\xdf"),
        *(b"EU", b"AP", b"XX", b"ZZ", b"UK", b"AN", b"T1", b"A1", b"A2"),
    ],
)


@INVALID_COUNTRIES
def test_position_is_used_without_a_country(country: bytes) -> None:
    headers = [(b"cloudfront-viewer-country", country), *TORONTO_HEADERS[1:]]
    location = placed_by_cdn(*headers, key_headers=PLACING).location
    position = Position(43.6532, -79.3832)
    assert location == Location(None, position, Level.CITY, Source.CDN_HEADERS)


@INVALID_COUNTRIES
def test_invalid_country_alone_is_ignored(country: bytes) -> None:
    headers = [(b"cloudfront-viewer-country", country)]
    assert placed_by_cdn(*headers, key_headers=PLACING) == placed()


def test_repeated_country_is_ignored() -> None:
    assert placed_by_cdn(*TORONTO_HEADERS, TORONTO_HEADERS[0]).location.country is None


# A country alone, with edges in several cities


GERMANY = (b"cloudfront-viewer-country", b"DE")
PROXIED = (b"x-forwarded-for", b"192.0.2.77")


def placed_in_divided_germany(
    *headers: Header,
    place: Location = IN_GERMANY,
    peer: str = VIEWER,
    key_headers: tuple[str, ...] = PLACING,
) -> Placed:
    locator = Locator(
        lambda _: place,
        trusted=PROXIES,
        secrets=[SECRET],
        key_headers=key_headers,
        divided={"DE"},
    )
    return locator.place(peer, [*VALID_SECRET, *headers])


@pytest.mark.parametrize("key_headers", [(), PLACING])
def test_city_in_the_country_of_the_cdn_comes_from_the_address(
    key_headers: tuple[str, ...],
) -> None:
    found = placed_in_divided_germany(GERMANY, AN_ADDRESS, key_headers=key_headers)
    seed = seed_of("198.51.100.10")
    assert found == Placed(IN_GERMANY, seed, Sharing.PRIVATE, None, PlacedBy.CDN_ADDRESS)


def test_forwarded_address_is_used_if_the_cdn_sends_none() -> None:
    found = placed_in_divided_germany(GERMANY, PROXIED, peer="10.0.0.1")
    assert (found.location, found.seed) == (IN_GERMANY, seed_of("192.0.2.77"))


def test_address_of_the_cdn_itself_is_not_looked_up() -> None:
    found = placed_in_divided_germany(GERMANY, PROXIED)
    assert found.location == Location("DE", None, Level.COUNTRY, Source.CDN_HEADERS)
    assert found.sharing is Sharing.PRIVATE


@pytest.mark.parametrize(
    "place", [Location(), a_location(None, "DE"), a_location(None, "FR"), a_location(BERLIN, "FR")]
)
def test_cdn_country_is_kept_if_the_address_has_no_city_in_it(place: Location) -> None:
    found = placed_in_divided_germany(GERMANY, AN_ADDRESS, place=place)
    assert found.location == Location("DE", None, Level.COUNTRY, Source.CDN_HEADERS)
    assert (found.seed, found.sharing) == (seed_of("198.51.100.10"), Sharing.PRIVATE)
    assert found.placed_by is PlacedBy.CDN_HEADERS


def test_override_has_priority_over_the_cdn_country() -> None:
    override = a_location(BERLIN, "FR")._replace(source=Source.OVERRIDE)
    assert placed_in_divided_germany(GERMANY, AN_ADDRESS, place=override).location == override


def test_position_without_a_country_gets_the_cdn_country() -> None:
    found = placed_in_divided_germany(GERMANY, AN_ADDRESS, place=a_location(BERLIN, None))
    assert found.location == IN_GERMANY


def test_cdn_coordinates_have_priority_over_the_address() -> None:
    berlin = [(b"cloudfront-viewer-latitude", b"52.5"), (b"cloudfront-viewer-longitude", b"13.4")]
    found = placed_in_divided_germany(GERMANY, *berlin, AN_ADDRESS)
    assert (found.sharing, found.placed_by) == (Sharing.BY_HEADERS, PlacedBy.CDN_HEADERS)


@pytest.mark.parametrize(
    ("address", "viewer"),
    [
        (b"198.51.100.10:46532", "198.51.100.10"),
        (b"2001:db8:77::1:46532", "2001:db8:77::1"),
        (b"[2001:db8:77::1]:46532", "2001:db8:77::1"),
    ],
)
def test_seed_comes_from_the_cdn_address(address: bytes, viewer: str) -> None:
    found = placed_by_cdn(*TORONTO_HEADERS, (b"cloudfront-viewer-address", address))
    assert found.seed == seed_of(viewer)
    assert found.sharing is Sharing.PRIVATE


@pytest.mark.parametrize("address", [b"", b"invalid", b"198.51.100.10"])
def test_seed_comes_from_the_place_without_a_cdn_address(address: bytes) -> None:
    found = placed_by_cdn(*TORONTO_HEADERS, (b"cloudfront-viewer-address", address))
    assert found.seed == place_seed(found.location)
    assert found.sharing is Sharing.PRIVATE


# Sharing by headers


def test_answer_is_shared_if_its_headers_are_listed() -> None:
    found = placed_by_cdn(*TORONTO_HEADERS, AN_ADDRESS, key_headers=PLACING)
    assert found.sharing is Sharing.BY_HEADERS
    assert found.seed == place_seed(found.location)


@pytest.mark.parametrize("missing", PLACING)
def test_one_unlisted_header_makes_the_answer_private(missing: str) -> None:
    listed = tuple(name for name in PLACING if name != missing)
    found = placed_by_cdn(*TORONTO_HEADERS, AN_ADDRESS, key_headers=listed)
    assert found.sharing is Sharing.PRIVATE


def test_country_level_answer_is_shared_by_headers() -> None:
    found = placed_by_cdn(TORONTO_HEADERS[0], AN_ADDRESS, key_headers=PLACING)
    assert found.sharing is Sharing.BY_HEADERS


def test_answer_without_the_listed_headers_is_private() -> None:
    assert placed_by_cdn(key_headers=PLACING).sharing is Sharing.PRIVATE


names = st.sampled_from(
    [name for name, _ in [*TORONTO_HEADERS, AN_ADDRESS, A_KEY]]
    + [b"x-forwarded-for", b"x-origin-verify", b"accept"]
)
values = st.binary(max_size=20) | st.sampled_from(
    [SECRET.encode(), b"CA", b"43.6", b"-79.3", b"CA~yto-01", b"198.51.100.10:1", b"10.0.0.1"]
)


@given(st.sampled_from([VIEWER, "10.0.0.1"]), st.lists(st.tuples(names, values), max_size=12))
def test_arbitrary_headers_never_raise(peer: str, headers: list[Header]) -> None:
    found = a_locator().place(peer, headers)
    assert (found.key is not None) is (found.sharing is Sharing.KEYED)
    assert 0 <= found.seed <= 0xFFFFFFFF


@given(st.lists(st.tuples(names, values), max_size=12))
def test_answer_without_the_secret_is_private(headers: list[Header]) -> None:
    headers = [(name, value) for name, value in headers if value != SECRET.encode()]
    found = a_locator(key_headers=PLACING).place(VIEWER, headers)
    assert found == placed()


@given(st.lists(st.tuples(names, values), max_size=12))
def test_shared_answer_depends_only_on_its_headers(headers: list[Header]) -> None:
    placing = [each for each in headers if each[0] in {name for name, _ in TORONTO_HEADERS}]
    full, bare = (
        a_locator(key_headers=PLACING).place(peer, [*VALID_SECRET, *headers])
        for peer, headers in (("10.0.0.1", [*placing, AN_ADDRESS]), (VIEWER, placing))
    )
    if Sharing.BY_HEADERS in (full.sharing, bare.sharing):
        assert full == bare


@pytest.mark.parametrize("headers", [[], [(b"cloudfront-viewer-country", b"")]])
def test_cdn_address_is_used_if_the_cdn_sends_no_country(headers: list[Header]) -> None:
    address = (b"cloudfront-viewer-address", b"203.0.113.9:4711")
    forwarded = (b"x-forwarded-for", b"6.6.6.6")
    found = placed_by_cdn(*headers, address, forwarded)
    seed = seed_of(VIEWER)
    assert found == Placed(IN_GERMANY, seed, Sharing.PRIVATE, None, PlacedBy.CDN_ADDRESS)
