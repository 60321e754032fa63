"""How to purge by tag at each CDN. One class per CDN; no rules, no retries.

Varnish   vmod xkey, by the VCL of infra/local-cdn/
CloudFront  AWS, "Invalidating content by cache tags"; needs boto3
Fastly    API reference, "Purge multiple surrogate key tags"
Cloudflare  API reference, "Purge Cached Content", by tags
"""

import asyncio
import functools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from router.cdn.purge import Target
from router.config.settings import Settings
from router.errors import ConfigError, PurgeError

TIMEOUT_S = 5.0
MAX_ERROR_LENGTH = 200

FASTLY_API = "https://api.fastly.com"
CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"


class Varnish:
    """A Varnish that accepts `PURGE` with `xkey-purge` from this server."""

    name = "varnish"

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = httpx.URL(url)

    async def purge(self, tags: Sequence[str]) -> None:
        """See router.cdn.purge.Target."""
        await _send(self._client, "PURGE", self._url, {"xkey-purge": " ".join(tags)})


class Fastly:
    """A Fastly service. Purges softly: purged answers are still served if the origin fails."""

    name = "fastly"

    def __init__(
        self, client: httpx.AsyncClient, service: str, token: str, api: str = FASTLY_API
    ) -> None:
        self._client = client
        self._url = f"{api}/service/{service}/purge"
        self._headers = {"Fastly-Key": token, "Fastly-Soft-Purge": "1"}

    async def purge(self, tags: Sequence[str]) -> None:
        """See router.cdn.purge.Target."""
        await _send(self._client, "POST", self._url, self._headers, {"surrogate_keys": list(tags)})


class Cloudflare:
    """A Cloudflare zone."""

    name = "cloudflare"

    def __init__(
        self, client: httpx.AsyncClient, zone: str, token: str, api: str = CLOUDFLARE_API
    ) -> None:
        self._client = client
        self._url = f"{api}/zones/{zone}/purge_cache"
        self._headers = {"Authorization": f"Bearer {token}"}

    async def purge(self, tags: Sequence[str]) -> None:
        """See router.cdn.purge.Target."""
        await _send(self._client, "POST", self._url, self._headers, {"tags": list(tags)})


class CloudFront:
    """A CloudFront distribution with `CacheTagConfig`. Credentials as boto3 finds them."""

    name = "cloudfront"

    def __init__(self, distribution: str) -> None:
        import botocore.session  # an optional dependency
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._faults = (BotoCoreError, ClientError)
        self._distribution = distribution
        limits = Config(
            connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}
        )
        # CloudFront is one global service, whose API is in this region.
        core = botocore.session.Session()
        core.register_component("data_loader", _descriptions())
        session = Session(botocore_session=core)
        self._client: Any = session.client("cloudfront", "us-east-1", config=limits)

    async def purge(self, tags: Sequence[str]) -> None:
        """See router.cdn.purge.Target."""
        paths = [f"#{tag}" for tag in tags]
        batch = {
            "Paths": {"Quantity": len(paths), "Items": paths},
            "CallerReference": secrets.token_hex(16),
        }
        try:
            await asyncio.to_thread(
                self._client.create_invalidation,
                DistributionId=self._distribution,
                InvalidationBatch=batch,
            )
        except self._faults as error:
            raise PurgeError(str(error)[:MAX_ERROR_LENGTH]) from error


@functools.cache
def _descriptions() -> Any:
    """What botocore knows of AWS. Parsing it holds the interpreter for 100 ms in whatever
    thread, so that it is parsed once."""
    from botocore.session import Session

    return Session().get_component("data_loader")


def open_targets(settings: Settings, client: httpx.AsyncClient) -> list[Target]:
    """The CDNs of AUTOROUTER_PURGE. Raises ConfigError if one cannot be used: boto3 is missing,
    AWS is configured wrongly, or httpx does not accept a URL. Reads files and loads boto3, which
    takes some 100 ms: call it in a thread while requests are served.
    """
    makers: dict[str, Callable[[str], Target]] = {
        "varnish": lambda url: Varnish(client, url),
        "cloudfront": CloudFront,
        "fastly": lambda service: Fastly(client, service, settings.fastly_token or ""),
        "cloudflare": lambda zone: Cloudflare(client, zone, settings.cloudflare_token or ""),
    }
    targets: list[Target] = []
    faults: list[str] = []
    for spec in settings.purge:
        try:
            targets.append(makers[spec.kind](spec.where))
        except ImportError:
            fix = "install boto3, whose version requirements/cloudfront.lock pins"
            faults.append(f"AUTOROUTER_PURGE: {spec.kind} needs boto3: {fix}")
        except Exception as error:  # noqa: BLE001 - botocore raises errors of many kinds
            reason = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
            faults.append(f"AUTOROUTER_PURGE: {spec} cannot be used: {reason}")
    if faults:
        raise ConfigError(faults)
    return targets


async def _send(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL | str,
    headers: dict[str, str],
    body: dict[str, list[str]] | None = None,
) -> None:
    """Send the request. Raises PurgeError unless the response is 2xx."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            request = client.stream(method, url, headers=headers, json=body)
            async with request as answer:
                code = answer.status_code
    except (httpx.HTTPError, TimeoutError) as error:
        raise PurgeError(f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]) from error
    if not 200 <= code < 300:
        raise PurgeError(f"answered {code}")
