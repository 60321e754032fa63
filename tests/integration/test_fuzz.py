"""Random or damaged input from outside is either read or rejected with an error.

These tests use whole requests, nearly valid documents and damaged files. Unit tests try the
rest.
"""

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.api.app import PublicApp
from router.api.channel import MAX_BYTES, StoreContents, messages
from router.api.http_protocol import Request
from router.api.live_fleet import FleetWatch
from router.config.catalog import parse_catalog
from router.errors import ConfigError, GeoDataError, StoreError
from router.geo.database import open_database, packaged_database
from router.health.answers import MAX_MODEL_LENGTH, MAX_MODELS, judge_health, read_models
from router.model import Catalog, Outcome
from router.routing.client_address import Networks
from router.routing.location import Locator
from router.store import Stored
from router.telemetry.metrics import Telemetry
from tests.support.builders import COUNTRIES, a_location, a_ranker
from tests.support.databases import a_city, a_country, survives
from tests.support.databases import a_file as a_database
from tests.support.servers import ROOT

SECRET = "0123456789abcdef"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=10,
)


# Requests


class UnavailableStore:
    """A store whose every read fails."""

    async def read(self, edges: object) -> Stored:
        raise StoreError("nothing")

    async def changed(self, seen: int, timeout_s: float) -> int:
        return 0


PUBLIC_APP = PublicApp(
    FleetWatch(a_ranker(), UnavailableStore(), Telemetry()),
    Locator(
        lambda _: a_location(),
        trusted=Networks.parse(["127.0.0.0/8", "::1/128"]),
        secrets=[SECRET],
        key_headers=["CloudFront-Viewer-Country"],
    ),
)

HEADERS = (
    b"x-forwarded-for",
    b"x-origin-verify",
    b"x-autorouter-key",
    b"cloudfront-viewer-country",
    b"cloudfront-viewer-latitude",
    b"cloudfront-viewer-longitude",
    b"cloudfront-viewer-address",
    b"host",
)
FRAGMENTS = (
    SECRET.encode(), b"CA~yto-01.yul-01", b"CA~", b"ZZ~nowhere", b"~", b"CA~yto-01.yto-01",
    b"24.48.0.1", b"[2001:db8::1]:443", b"::ffff:1.2.3.4%eth0", b", ,", b'W/"x"', b"*",
    b"43.65", b"-79.38", b"1e9", b"CA", b"\xff\xfe", b"\t",
)  # fmt: skip
texts = st.binary(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=4).map(b"".join)
headers = st.lists(st.tuples(st.sampled_from(HEADERS), texts), max_size=8)
ROUTES = (b"/v1/route", b"/v1/route?", b"/v1/%72oute?", b"/", b"*", b"http://x/v1/route?", b"")
targets = st.builds(
    bytes.__add__,
    st.sampled_from(ROUTES),
    st.binary(max_size=40)
    | st.lists(
        st.sampled_from(
            [b"scope=", b"global", b"&", b"model=", b"kokoro", b"%00", b"%zz", b"strict=true"]
        ),
        max_size=8,
    ).map(b"".join),
)  # fmt: skip
peers = st.sampled_from([None, "127.0.0.1", "::1", "203.0.113.7", "fe80::1%lo", "nonsense"])
methods = st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"POST", b"CONNECT"])


@given(st.builds(Request, methods, targets, headers, peers, texts))
def test_every_request_gets_a_well_formed_response(request: Request) -> None:
    response = PUBLIC_APP.respond(request)
    code = int(response.opening.split()[1])
    head, _, body = response.rest.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n"))
    assert code in (200, 304, 400, 403, 404)
    assert b"cache-control" in fields
    if body:
        assert len(body) == int(fields[b"content-length"])
        assert json.loads(body).keys() & {"region", "code", "status"}


# Responses of edges


def nearly(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A valid document with random values in some places; it may be truncated."""
    document = st.fixed_dictionaries(
        {}, optional={name: st.just(value) | anything for name, value in valid.items()}
    )
    text = (document | anything).map(lambda one: json.dumps(one).encode())
    return st.builds(lambda whole, end: whole[:end], text, st.integers(1, 10_000)) | st.binary()


HEALTH = {
    "status": "healthy",
    "node": "n",
    "features": {},
    "backend": {"healthy": True, "info": {}},
}
MODELS = {"loaded": ["kokoro-82m"], "object": "list", "data": [{"id": "whisper"}]}


@given(st.integers(100, 599), nearly(HEALTH))
def test_every_health_response_has_an_outcome(status: int, body: bytes) -> None:
    outcome = judge_health(status, body).outcome
    assert outcome in (
        Outcome.OK,
        Outcome.DEGRADED,
        Outcome.UNHEALTHY,
        Outcome.STATUS,
        Outcome.BAD_BODY,
    )
    assert status == 200 or outcome is Outcome.STATUS


@given(nearly(MODELS))
def test_every_inventory_is_valid_or_unknown(body: bytes) -> None:
    models = read_models(body).models
    if models is not None:
        assert len(models) <= MAX_MODELS
        assert models == tuple(sorted(set(models)))
        assert all(0 < len(model) <= MAX_MODEL_LENGTH for model in models)


# The catalog

SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "regions.yaml").read_text())


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


PLACES = list(_places(SHIPPED))


@given(st.lists(st.tuples(st.sampled_from(PLACES), anything), min_size=1, max_size=3))
def test_catalog_with_random_values_is_read_or_rejected(changes: list[tuple[Any, Any]]) -> None:
    document = yaml.safe_load(yaml.safe_dump(SHIPPED))
    for path, value in changes:
        with suppress(KeyError, IndexError, TypeError):
            _set(document, path, value)
    read = _read(yaml.safe_dump(document, allow_unicode=True))
    if isinstance(read, ConfigError):
        assert all(fault.startswith("regions.yaml:") for fault in read.faults)
    else:
        assert any(region.routable for region in read.regions)


def _read(text: str) -> Catalog | ConfigError:
    try:
        return parse_catalog(text, COUNTRIES)
    except ConfigError as error:
        return error


def _set(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


# Geo databases


def test_small_database_with_a_changed_byte_is_read_or_rejected(tmp_path: Path) -> None:
    path = a_database(tmp_path, a_city(), known=a_country())
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        for other in {0, 255, byte ^ 0x20, byte ^ 0x80} - {byte}:
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            survives(path)


def test_truncated_small_database_is_read_or_rejected(tmp_path: Path) -> None:
    path = a_database(tmp_path, a_city(), known=a_country())
    whole = path.read_bytes()
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        survives(path)


@pytest.fixture(scope="module")
def real_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(packaged_database(), tmp_path_factory.mktemp("geo") / "real.mmdb"))


@given(
    st.integers(0, 3_000_000) | st.integers(0, 100_000_000) | st.integers(-400, -1),
    st.binary(min_size=1, max_size=64),
)
def test_real_database_with_changed_bytes_is_read_or_rejected(
    real_database: Path, place: int, damage: bytes
) -> None:
    with real_database.open("r+b") as file:
        file.seek(place, 2 if place < 0 else 0)
        start = file.tell()
        before = file.read(len(damage))
        file.seek(start)
        file.write(damage[: len(before)])
    survives(real_database)
    with real_database.open("r+b") as file:
        file.seek(start)
        file.write(before)


@given(st.binary(max_size=400))
def test_random_bytes_are_rejected_as_a_database(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mmdb"
    path.write_bytes(content)
    with pytest.raises(GeoDataError, match=r"not a usable geo database"):
        open_database(path)


# Messages of a worker


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=8))
def test_random_messages_of_a_worker_are_ignored(bodies: list[bytes], rest: bytes) -> None:
    sent = b"".join(len(body).to_bytes(4, "big") + body for body in bodies) + rest

    async def receive() -> list[object]:
        near_end, far_end = socket.socketpair()
        far_end.sendall(sent)
        far_end.close()
        reader, writer = await asyncio.open_unix_connection(sock=near_end)
        received: list[object] = [message async for message in messages(reader)]
        writer.close()
        return received

    assert not [
        one for one in asyncio.run(receive()) if isinstance(one, StoreContents) and one.views
    ]


def test_too_long_message_of_a_worker_is_not_awaited() -> None:
    async def receive() -> list[object]:
        near_end, far_end = socket.socketpair()
        with far_end:
            far_end.sendall((MAX_BYTES + 1).to_bytes(4, "big"))
            reader, writer = await asyncio.open_unix_connection(sock=near_end)
            async with asyncio.timeout(5):
                received: list[object] = [message async for message in messages(reader)]
            writer.close()
        return received

    assert asyncio.run(receive()) == []
