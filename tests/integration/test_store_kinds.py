"""The store with every kind of Redis that a URL can name, and when parts of it fail."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from router.errors import StoreError
from router.model import Event, EventKind
from router.store import Change
from router.store.redis import RedisStore, view_key
from tests.support.builders import CITIES, a_view, an_intent, wishes
from tests.support.redis_kinds import (
    SERVICE,
    Certificates,
    Node,
    a_sentinel,
    cluster,
    running,
    watched,
)
from tests.support.servers import HOST, eventually, free_port
from tests.support.stores import is_hinted, opened, refused_s

pytestmark = pytest.mark.anyio

FAILED_OVER_WITHIN_S = 12.0
LONG_S = 30.0
REPORTED_WITHIN_S = 1.2

Folders = pytest.TempPathFactory


async def check_contract(url: str) -> None:
    """Check all that vantages, servers and operators need of a store."""
    await with_retries(lambda: _check_contract(url))


async def with_retries(attempt: Callable[[], Awaitable[None]]) -> None:
    """Retry twice on a StoreError: calls time out early on a busy machine."""
    for _ in range(2):
        with suppress(StoreError):
            return await attempt()
    return await attempt()


async def _check_contract(url: str) -> None:
    async with opened(url) as writer, opened(url) as reader:
        await eventually(lambda: is_hinted(reader, writer))
        view = a_view("east", seq=round(time.time() * 1_000))
        assert await writer.publish(view) == view.seq
        assert await writer.publish(a_view("east", {}, seq=1)) == view.seq
        intent = an_intent(expires_at=round(time.time()) + 60)
        await writer.change_intents(wishes(intent))
        stored = await reader.read(list(CITIES))
        assert view in stored.views
        assert (stored.intents, stored.faults) == ((intent,), ())
        await writer.change_intents([Change(intent.edge, None)])
        assert (await reader.read(list(CITIES))).intents == ()
        assert [await writer.hold_lease("east", holder, 5) for holder in "aba"] == [
            True,
            False,
            True,
        ]
        await writer.drop_lease("east", "a")
        assert await reader.hold_lease("east", "b", 5)
        await reader.drop_lease("east", "b")
        event = Event(at=time.time(), kind=EventKind.TRANSITION, edge="yto-01", after="down")
        await writer.log_events([event])
        assert (await reader.events())[-1].event == event


async def can_write_and_read(store: RedisStore) -> bool:
    try:
        await store.publish(a_view("works", {}, seq=time.time_ns()))
        await store.read(list(CITIES))
    except StoreError:
        return False
    return True


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: Folders) -> Iterator[list[Node]]:
    with watched(tmp_path_factory.mktemp("sentinels"), sentinels=3) as nodes:
        yield nodes


def sentinel_url(sentinels: list[Node], path: str = "") -> str:
    servers = ",".join(f"{HOST}:{node.port}" for node in sentinels)
    return f"redis+sentinel://{servers}/{SERVICE}{path}"


async def test_store_works_behind_sentinels(sentinels: list[Node]) -> None:
    await check_contract(sentinel_url(sentinels[2:]))


async def test_database_number_is_used_behind_sentinels(sentinels: list[Node]) -> None:
    async with opened(sentinel_url(sentinels[2:], "/5")) as fifth:
        await fifth.publish(a_view("fifth", {}))
        async with opened(sentinel_url(sentinels[2:])) as usual:
            assert "fifth" not in {view.vantage for view in (await usual.read([])).views}


@pytest.mark.parametrize("fault", ["dead", "hung"])
async def test_one_working_sentinel_is_enough(sentinels: list[Node], fault: str) -> None:
    unused = f"{HOST}:{free_port()},"
    hung = sentinels[2]
    url = sentinel_url(sentinels[3:]).replace("//", f"//{unused}{unused}")
    if fault == "hung":
        url = sentinel_url(sentinels[2:])
        hung.pause()
    try:
        async with opened(url) as store:
            await store.publish(a_view("any", {}))
    finally:
        hung.resume()


async def test_sentinel_password_is_used(tmp_path: Path) -> None:
    with running() as nodes:
        primary = Node(tmp_path, 'save ""')
        nodes += [primary, a_sentinel(tmp_path, primary, 1, "requirepass sesame")]
        url = sentinel_url(nodes[1:])
        async with opened(url) as store:
            await refused_s(store.read(list(CITIES)))
        async with opened(f"{url}?sentinel_password=sesame") as store:
            await store.publish(a_view("any", {}))


async def test_unknown_service_is_a_store_error(sentinels: list[Node]) -> None:
    async with opened(sentinel_url(sentinels[2:]).replace(SERVICE, "other")) as store:
        await refused_s(store.read(list(CITIES)))


@pytest.mark.parametrize(
    "url", ["redis+sentinel://{address}/" + SERVICE, "redis+cluster://{address}"]
)
async def test_unreachable_servers_are_a_store_error(url: str) -> None:
    async with opened(url.format(address=f"{HOST}:{free_port()}")) as store:
        assert await refused_s(store.read(list(CITIES))) < REPORTED_WITHIN_S


@pytest.mark.parametrize("fault", ["killed", "hung"])
async def test_store_follows_a_failover(tmp_path: Path, fault: str) -> None:
    with watched(tmp_path, sentinels=1) as nodes:
        primary, replica, sentinel = nodes
        url = sentinel_url([sentinel])
        async with opened(url) as writer, opened(url) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            await writer.publish(a_view(seq=1))
            replica.until(lambda client: client.exists(view_key("local")))
            primary.kill() if fault == "killed" else primary.pause()
            assert await refused_s(writer.read(list(CITIES))) < REPORTED_WITHIN_S
            await eventually(lambda: can_write_and_read(writer), FAILED_OVER_WITHIN_S)
            await eventually(lambda: can_write_and_read(reader), FAILED_OVER_WITHIN_S)
            assert a_view(seq=1) in (await reader.read([])).views
            if fault == "killed":
                await eventually(lambda: is_hinted(reader, writer))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: Folders) -> Iterator[list[Node]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def cluster_url(*nodes: Node) -> str:
    return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes)


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_store_works_in_a_cluster(nodes: list[Node], first: int) -> None:
    await check_contract(cluster_url(nodes[first]))


async def test_keys_are_spread_over_the_cluster(nodes: list[Node]) -> None:
    async def publish_many() -> None:
        async with opened(cluster_url(*nodes)) as store:
            for number in range(20):
                await store.publish(a_view(f"vantage-{number}", {}))
            assert len((await store.read(list(CITIES))).views) >= 20

    await with_retries(publish_many)
    assert all(node.is_so(lambda client: client.dbsize() > 0) for node in nodes)


async def test_single_redis_as_a_cluster_is_a_store_error(sentinels: list[Node]) -> None:
    async with opened(cluster_url(sentinels[0])) as store:
        assert await refused_s(store.read(list(CITIES))) < REPORTED_WITHIN_S


async def test_cluster_is_found_through_any_node(nodes: list[Node]) -> None:
    url = cluster_url(nodes[1]).replace("//", f"//{HOST}:{free_port()},")
    await check_contract(url)


@pytest.mark.parametrize("dead", [0, 1, 2])
async def test_cluster_works_again_when_a_node_restarts(nodes: list[Node], dead: int) -> None:
    url = cluster_url(nodes[0])
    async with opened(url) as writer, opened(url) as reader:
        await eventually(lambda: is_hinted(reader, writer))
        nodes[dead].kill()
        for _ in range(5):
            assert await refused_s(writer.read(list(CITIES))) < REPORTED_WITHIN_S
        nodes[dead].start()
        await eventually(lambda: can_write_and_read(writer), FAILED_OVER_WITHIN_S)
        await eventually(lambda: is_hinted(reader, writer))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: Folders) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


Secured = Callable[..., str]


@pytest.fixture
def secured(certificates: Certificates, tmp_path: Path) -> Iterator[Secured]:
    """Starts a Redis with TLS only; returns its URL without options."""
    with running() as started:

        def start(certificate: Path, key: Path, clients: str = "no") -> str:
            lines = (
                f"tls-cert-file {certificate}",
                f"tls-key-file {key}",
                f"tls-ca-cert-file {certificates.ca}",
                f"tls-auth-clients {clients}",
            )
            started.append(Node(tmp_path, 'save ""', *lines, tls=True))
            return f"rediss://{HOST}:{started[-1].port}/0"

        yield start


async def test_store_works_over_tls(secured: Secured, certificates: Certificates) -> None:
    url = secured(certificates.server, certificates.server_key)
    await check_contract(f"{url}?ssl_ca_certs={certificates.ca}")


async def test_client_certificate_is_used(secured: Secured, certificates: Certificates) -> None:
    url = secured(certificates.server, certificates.server_key, clients="yes")
    url = f"{url}?ssl_ca_certs={certificates.ca}"
    async with opened(url) as store:
        await refused_s(store.read(list(CITIES)))
    ours = f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client_key}"
    await check_contract(url + ours)


async def test_unknown_certificate_authority_is_a_store_error(
    secured: Secured, certificates: Certificates
) -> None:
    async with opened(secured(certificates.server, certificates.server_key)) as store:
        assert await refused_s(store.read(list(CITIES))) < REPORTED_WITHIN_S


async def test_certificate_of_another_host_is_a_store_error(
    secured: Secured, certificates: Certificates
) -> None:
    url = secured(certificates.elsewhere, certificates.elsewhere_key)
    url = f"{url}?ssl_ca_certs={certificates.ca}"
    async with opened(url) as store:
        assert await refused_s(store.read(list(CITIES))) < REPORTED_WITHIN_S
    async with opened(f"{url}&ssl_check_hostname=false") as store:
        assert await can_write_and_read(store)


async def test_missing_certificate_file_is_a_store_error(
    secured: Secured, certificates: Certificates
) -> None:
    url = secured(certificates.server, certificates.server_key)
    async with opened(f"{url}?ssl_ca_certs=/nowhere/ca.crt") as store:
        assert await refused_s(store.read(list(CITIES))) < REPORTED_WITHIN_S


ALLOWED = (
    "~autorouter:*",
    "&autorouter:*",
    *("+eval", "+get", "+getrange", "+set", "+del", "+mget", "+pexpire", "+expire"),
    *("+sadd", "+smembers", "+xadd", "+xrevrange", "+multi", "+exec"),
    *("+publish", "+subscribe", "+unsubscribe", "+ping", "+select"),
)


@pytest.fixture
def restricted(tmp_path: Path) -> Iterator[Node]:
    """A Redis with one user, who has only the permissions that autorouter needs."""
    rules = " ".join(ALLOWED)
    user = f"user router on >correct:horse/battery@staple {rules}"
    with running() as nodes:
        nodes.append(Node(tmp_path, 'save ""', "user default off", user))
        yield nodes[0]


async def test_documented_permissions_are_enough(restricted: Node) -> None:
    login = "router:correct%3Ahorse%2Fbattery%40staple"
    await check_contract(f"redis://{login}@{HOST}:{restricted.port}/0")


@pytest.mark.parametrize("login", ["", "router:wrong@", ":correct%3Ahorse%2Fbattery%40staple@"])
async def test_wrong_login_is_a_store_error_without_the_password(
    restricted: Node, login: str
) -> None:
    async with opened(f"redis://{login}{HOST}:{restricted.port}/0") as store:
        with pytest.raises(StoreError) as caught:
            await store.read(list(CITIES))
    assert not any(word in str(caught.value) for word in ("wrong", "horse"))
