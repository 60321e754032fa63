"""The types of setting values, and how each is parsed. Pure. `parse` takes the text in the
environment; it raises ValueError that says what is wrong and what to write. `accepts` describes
valid values in a few words.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from router.store.urls import fault_in
from router.text_files import printable

MIN_SECRET_LENGTH = 16

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,9}", re.ASCII)
_SHARE = re.compile(r"[01](\.[0-9]{1,9})?")
_NOT_SENDABLE = "must be printable ASCII: it is sent in an HTTP header"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a listener binds."""

    host: str
    port: int

    accepts: ClassVar[str] = "HOST:PORT"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`127.0.0.1:8080`, `[::1]:8080`."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
            raise ValueError("must be HOST:PORT with a port from 0 to 65535, like 127.0.0.1:8080")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError("must be HOST:PORT with an IP address, like 0.0.0.0:8080") from None
        return cls(host, int(port))


class Cidrs(tuple[str, ...]):
    """CIDR blocks."""

    accepts = "CIDR,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10.0.0.0/8,2001:db8::/32`."""
        wrong = []
        for block in split_items(text):
            try:
                ipaddress.ip_network(block)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            faults = "; ".join(wrong)
            raise ValueError(f"{faults}; write CIDR blocks like 10.0.0.0/8, 2001:db8::/32")
        return cls(split_items(text))


class Names(tuple[str, ...]):
    """Names of CloudFront's viewer headers."""

    accepts = "NAME,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`CloudFront-Viewer-Country,CloudFront-Viewer-Latitude`."""
        wrong = [
            name for name in split_items(text) if not name.lower().startswith("cloudfront-viewer-")
        ]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: only CloudFront-Viewer-… headers are understood")
        return cls(split_items(text))


class Hosts(tuple[str, ...]):
    """DNS names, in lower case."""

    accepts = "NAME,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`ops.example.com,router.svc`."""
        wrong = [name for name in split_items(text) if not _HOST_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: write names like ops.example.com")
        return cls(name.lower() for name in split_items(text))


class Share(float):
    """A share of all."""

    accepts = "none, all, or from 0 to 1"

    def __str__(self) -> str:
        return {0.0: "none", 1.0: "all"}.get(self, f"{float(self):g}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`none`, `all`, `0.01`."""
        plain = {"none": "0", "all": "1"}.get(text, text)
        if not _SHARE.fullmatch(plain) or float(plain) > 1.0:
            raise ValueError(f"{text[:80]!r}: write none, all, or a share from 0 to 1, like 0.01")
        return cls(plain)


class Urls(tuple[str, ...]):
    """http or https URLs."""

    accepts = "URL,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`https://example.com/,https://example.net/`."""
        wrong = [url for url in split_items(text) if not _is_url(url)]
        if wrong:
            raise ValueError(f"{_shown(wrong)}: write URLs like https://example.com/")
        return cls(split_items(text))


@dataclass(frozen=True, slots=True)
class PurgeSpec:
    """One CDN to purge: its kind, and its URL or our service's id there."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}:{without_password(self.where)}"


class PurgeSpecs(tuple[PurgeSpec, ...]):
    """CDNs to purge."""

    accepts = "none, or varnish:URL, cloudfront:ID, fastly:ID, cloudflare:ID,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`varnish:http://127.0.0.1:6081/,cloudfront:E2QWRUHAPOMQZL`."""
        if text == "none":
            return cls()
        specs = [PurgeSpec(*item.partition(":")[::2]) for item in split_items(text)]
        wrong = [str(spec) for spec in specs if not _is_purgeable(spec)]
        if wrong:
            kinds = "varnish:URL, cloudfront:ID, fastly:ID or cloudflare:ID"
            raise ValueError(f"{_shown(wrong)}: write {kinds}")
        return cls(specs)


class GeoFiles(tuple[Path, ...]):
    """A geo database: one file, or one of IPv4 and one of IPv6."""

    accepts = "a path, or two: IPV4_PATH,IPV6_PATH"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`city.mmdb`, `city-ipv4.mmdb,city-ipv6.mmdb`."""
        paths = split_items(text)
        if not 1 <= len(paths) <= 2:
            raise ValueError("name one file, or one of IPv4 and one of IPv6, separated by a comma")
        return cls(parse_path(path) for path in paths)

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Secret(str):
    """Text that is never shown; repr() hides it."""

    accepts = "text"

    def __repr__(self) -> str:
        return "Secret(…)"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Any text that an HTTP header can carry: `Authorization: Bearer TEXT`."""
        if not _is_sendable(text):
            raise ValueError(_NOT_SENDABLE)
        return cls(text)


class Secrets(tuple[Secret, ...]):
    """One or two valid secrets. With two, one can replace the other without downtime."""

    accepts = "text,…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """One, or two by comma."""
        if any(len(item) < MIN_SECRET_LENGTH for item in split_items(text) or [""]):
            raise ValueError(f"each secret needs at least {MIN_SECRET_LENGTH} characters")
        if not _is_sendable(text):
            raise ValueError(_NOT_SENDABLE)
        return cls(Secret(item) for item in split_items(text))


class RedisUrl(Secret):
    """The URL of the store; it may contain a password. See router.store.urls."""

    accepts = "redis[s][+sentinel|+cluster]://…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`redis://127.0.0.1:6379/0`."""
        fault = fault_in(text)
        if fault is not None:
            raise ValueError(fault)
        return cls(text)


def parse_path(text: str) -> Path:
    """A path; `~` is a home directory."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text[:80]!r}: no such user, so no such home directory") from None


def split_items(text: str) -> list[str]:
    """The non-empty items between commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_sendable(text: str) -> bool:
    """Whether clients and servers read the same text from a header (RFC 9110 section 5.5)."""
    return text.isascii() and text.isprintable()


def _is_purgeable(spec: PurgeSpec) -> bool:
    if spec.kind == "varnish":
        return _is_url(spec.where)
    is_known = spec.kind in ("cloudfront", "fastly", "cloudflare")
    return is_known and spec.where.isascii() and spec.where.isalnum()


def without_password(text: str) -> str:
    """A URL, or text that should be one, without user name and password. A password that contains
    a comma was split before, so text that may be part of one is removed too.
    """
    text = re.sub(r"//.*@", "//…@", text)
    text = re.sub(r"^[^/]*@", "…@", text)
    return re.sub(r"//[^/@:\[]*:(?!\d*(?:[/?#]|$)).*", "//…", text)


def _shown(texts: Iterable[str]) -> str:
    return ", ".join(printable(without_password(text)) for text in texts)


def _is_url(text: str) -> bool:
    """Whether a client can use the URL. Also checks the port, which urlsplit parses only on
    access.
    """
    try:
        parts = urlsplit(text)
        is_port = parts.port is None or parts.port > 0
        host = (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    is_plain = text.isprintable() and " " not in text
    return parts.scheme in ("http", "https") and bool(host) and is_port and is_plain
