"""The purge request to each CDN, and errors of the CDN."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.loaders import JSONFileLoader

from router.cdn.providers import Cloudflare, CloudFront, Fastly, Varnish, open_targets
from router.cdn.purge import Target
from router.config.settings import load_settings
from router.errors import ConfigError, PurgeError
from tests.support.servers import HOST, Process, free_port, is_open, plain_client, served

pytestmark = pytest.mark.anyio

TAGS = ["edge:yto-01", "edge:yul-01"]
TOKEN = "a-token-for-tests-only"


class Recorder:
    """An HTTP API that records requests and always replies with one status."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append((scope["method"], scope["path"]))
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.body = (await receive()).get("body", b"")
        if self.status == 0:
            await receive()  # until the client disconnects
            return
        head = {"type": "http.response.start", "status": self.status, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with plain_client() as one:
        yield one


@pytest.fixture
async def api() -> Recorder:
    return Recorder()


@pytest.fixture
async def url(api: Recorder) -> AsyncIterator[str]:
    async with served(api) as port:
        yield f"http://{HOST}:{port}"


async def test_varnish_gets_the_tags(api: Recorder, url: str, client: httpx.AsyncClient) -> None:
    await Varnish(client, f"{url}/").purge(TAGS)
    assert api.requests == [("PURGE", "/")]
    assert api.headers["xkey-purge"] == "edge:yto-01 edge:yul-01"


async def test_fastly_gets_a_soft_purge(api: Recorder, url: str, client: httpx.AsyncClient) -> None:
    await Fastly(client, "SVC1", TOKEN, url).purge(TAGS)
    assert api.requests == [("POST", "/service/SVC1/purge")]
    assert json.loads(api.body) == {"surrogate_keys": TAGS}
    assert (api.headers["fastly-key"], api.headers["fastly-soft-purge"]) == (TOKEN, "1")


async def test_cloudflare_gets_the_tags(api: Recorder, url: str, client: httpx.AsyncClient) -> None:
    await Cloudflare(client, "zone1", TOKEN, url).purge(TAGS)
    assert api.requests == [("POST", "/zones/zone1/purge_cache")]
    assert json.loads(api.body) == {"tags": TAGS}
    assert api.headers["authorization"] == f"Bearer {TOKEN}"


MAKERS: list[Callable[[httpx.AsyncClient, str], Target]] = [
    Varnish,
    lambda client, url: Fastly(client, "SVC1", TOKEN, url),
    lambda client, url: Cloudflare(client, "zone1", TOKEN, url),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
async def test_unsuccessful_response_is_an_error(
    make: Callable[[httpx.AsyncClient, str], Target],
    status: int,
    api: Recorder,
    url: str,
    client: httpx.AsyncClient,
) -> None:
    api.status = status
    with pytest.raises(PurgeError, match=f"answered {status}"):
        await make(client, url).purge(TAGS)


@pytest.mark.parametrize("make", MAKERS)
async def test_refused_connection_is_an_error(
    make: Callable[[httpx.AsyncClient, str], Target], client: httpx.AsyncClient
) -> None:
    with pytest.raises(PurgeError, match="ConnectError") as caught:
        await make(client, f"http://{HOST}:{free_port()}").purge(TAGS)
    assert TOKEN not in str(caught.value)


async def test_hung_api_is_a_timeout(api: Recorder, url: str, client: httpx.AsyncClient) -> None:
    client.timeout = None  # so that only the target's own timeout applies
    api.status = 0
    with pytest.raises(PurgeError, match="TimeoutError"):
        await Varnish(client, url).purge(TAGS)


# CloudFront, with moto's server


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", HOST, "-p", str(port)]
    server = Process(command, tmp_path_factory.mktemp("moto") / "moto.log")
    server.wait_for(lambda: is_open(port))
    yield f"http://{HOST}:{port}"
    server.kill()


@pytest.fixture
def aws_env(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return aws


def a_distribution() -> str:
    origin = {
        "Id": "o",
        "DomainName": "o.example",
        "CustomOriginConfig": {
            "HTTPPort": 80,
            "HTTPSPort": 443,
            "OriginProtocolPolicy": "https-only",
        },
    }
    config = {
        "CallerReference": "1",
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all"},
        "Comment": "",
        "Enabled": True,
    }
    made = boto3.client("cloudfront", "us-east-1").create_distribution(DistributionConfig=config)
    id: str = made["Distribution"]["Id"]
    return id


def invalidations(distribution: str) -> list[list[str]]:
    """The paths of each invalidation, oldest first."""
    client = boto3.client("cloudfront", "us-east-1")
    listed = client.list_invalidations(DistributionId=distribution)["InvalidationList"]["Items"]
    invalidations_found = [
        client.get_invalidation(DistributionId=distribution, Id=one["Id"]) for one in listed
    ]
    return [
        one["Invalidation"]["InvalidationBatch"]["Paths"]["Items"] for one in invalidations_found
    ]


async def test_cloudfront_gets_a_new_invalidation_each_time(aws_env: str) -> None:
    distribution = a_distribution()
    target = CloudFront(distribution)
    await target.purge(TAGS)
    await target.purge(TAGS)
    assert invalidations(distribution) == [["#edge:yto-01", "#edge:yul-01"]] * 2


async def test_unknown_distribution_is_an_error(aws_env: str) -> None:
    with pytest.raises(PurgeError, match="NoSuchDistribution"):
        await CloudFront("E000").purge(TAGS)


async def test_missing_aws_credentials_are_an_error(
    aws_env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PurgeError, match="credentials"):
        await CloudFront("E000").purge(TAGS)


async def test_unreachable_cloudfront_is_an_error(
    aws_env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")
    with pytest.raises(PurgeError, match="Could not connect"):
        await CloudFront("E000").purge(TAGS)


# Settings


def test_aws_service_descriptions_are_parsed_once(
    aws_env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsing holds the GIL for 100 ms, so requests wait although it runs in a thread."""
    CloudFront("E1")
    parsed: list[str] = []
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed.append(path))
    CloudFront("E2")
    assert parsed == []


async def test_setting_selects_the_purge_targets(client: httpx.AsyncClient, aws_env: str) -> None:
    setting = (
        "varnish:http://127.0.0.1:6081, cloudfront:E1, fastly:S1, cloudflare:z1, varnish:http://b"
    )
    settings = load_settings(
        {
            "AUTOROUTER_PURGE": setting,
            "AUTOROUTER_FASTLY_TOKEN": TOKEN,
            "AUTOROUTER_CLOUDFLARE_TOKEN": TOKEN,
        }
    )
    names = [target.name for target in open_targets(settings, client)]
    assert names == ["varnish", "cloudfront", "fastly", "cloudflare", "varnish"]


def test_missing_boto3_is_an_error_with_the_package() -> None:
    code = """
import sys; sys.modules["boto3"] = None
import httpx
from router.cdn.providers import open_targets
from router.config.settings import load_settings
open_targets(load_settings({"AUTOROUTER_PURGE": "cloudfront:E1"}), httpx.AsyncClient())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert ConfigError.__name__ in done.stderr
    assert "install boto3, whose version requirements/cloudfront.lock pins" in done.stderr
