"""Publishing a table to a CloudFront KeyValueStore.

There is one writer: every write names the ETag of the previous write, so a second writer is
noticed and not overwritten. The list names the current version and the previous one. Publishing
removes the previous version, writes the new values, and writes the list last. So every listed
version is complete at any moment.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import msgspec

from router.cdn.key_value_table import Table
from router.errors import ConfigError, PublishError

VERSIONS = "versions"
MAX_KEYS_PER_CALL = 50
TIMEOUT_S = 10.0
MAX_ERROR_LENGTH = 200

_ARN = re.compile(r"arn:aws[a-z-]*:cloudfront::[0-9]{12}:key-value-store/[A-Za-z0-9-]+")
_OURS = re.compile(r"([0-9a-f]{10})\..+")
T = TypeVar("T")


class Store(Protocol):
    """A key value store."""

    def read(self) -> tuple[str, dict[str, str]]:
        """The store's ETag and all its values. Raises PublishError."""

    def write(self, etag: str, puts: Mapping[str, str], deletes: Sequence[str]) -> str:
        """Write at most 50 values if the ETag is still the same. Returns the new ETag. Raises
        PublishError.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What publishing a table would change.

    `versions`: the list afterwards, the current version first; `before`: the list now;
    `meanwhile`: the list without the versions that are removed. `edges_added`, `edges_removed`:
    ids of routable edges.
    """

    etag: str
    version: str
    before: tuple[str, ...]
    meanwhile: tuple[str, ...]
    versions: tuple[str, ...]
    puts: Mapping[str, str]
    deletes: tuple[str, ...]
    edges_added: tuple[str, ...]
    edges_removed: tuple[str, ...]
    size_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether the store already holds exactly this."""
        return not self.puts and not self.deletes and self.before == self.versions

    @property
    def calls(self) -> int:
        """How many writes it takes."""
        lists = (self.before, self.meanwhile, self.versions)
        batches = sum(1 for rows in (self.puts, self.deletes) for _ in _batches([*rows]))
        return batches + sum(one != other for one, other in pairwise(lists))


def plan(store: Store, table: Table) -> Plan:
    """Compare a store with a table. Changes nothing. Raises PublishError."""
    etag, values = store.read()
    before = _read_versions(values)
    versions = tuple(dict.fromkeys((table.version, *before)))[:2]
    now, then = _edges(table.values), _edges(_values_of(values, before[0])) if before else set()
    return Plan(
        etag=etag,
        version=table.version,
        before=before,
        meanwhile=tuple(version for version in before if version in versions),
        versions=versions,
        puts={name: text for name, text in table.values.items() if values.get(name) != text},
        deletes=tuple(name for name in values if _version(name) not in {None, *versions}),
        edges_added=tuple(sorted(now - then)),
        edges_removed=tuple(sorted(then - now)),
        size_bytes=table.size_bytes,
    )


def publish(store: Store, change: Plan, progress: Callable[[int, int], None]) -> None:
    """Carry out a plan. Raises PublishError. In that case the versions listed before are still
    complete, and publishing again continues from where it stopped.
    """
    etag, done = change.etag, 0

    def write(puts: Mapping[str, str], deletes: Sequence[str]) -> None:
        nonlocal etag, done
        etag = store.write(etag, puts, deletes)
        done += 1
        progress(done, change.calls)

    def list_versions(versions: tuple[str, ...]) -> None:
        write({VERSIONS: msgspec.json.encode(versions).decode()}, ())

    if change.meanwhile != change.before:
        list_versions(change.meanwhile)
    for names in _batches(change.deletes):
        write({}, names)
    for names in _batches([*change.puts]):
        write({name: change.puts[name] for name in names}, ())
    if change.versions != change.meanwhile:
        list_versions(change.versions)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_KEYS_PER_CALL):
        yield items[start : start + MAX_KEYS_PER_CALL]


def _read_versions(values: Mapping[str, str]) -> tuple[str, ...]:
    """The versions that functions read. A list that we did not write counts as none."""
    try:
        return tuple(msgspec.json.decode(values.get(VERSIONS, "[]"), type=list[str]))
    except msgspec.DecodeError:
        return ()


def _version(name: str) -> str | None:
    """The version in the name of a value that we wrote; None for any other name."""
    match = _OURS.fullmatch(name)
    return None if match is None else match[1]


def _values_of(values: Mapping[str, str], version: str) -> dict[str, str]:
    return {name: text for name, text in values.items() if _version(name) == version}


def _edges(values: Mapping[str, str]) -> set[str]:
    """The ids of the edges in a table."""
    found: set[str] = set()
    for name, text in values.items():
        is_part = ".more." in name
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            continue
        rows = value if isinstance(value, list) else []
        lists = [rows] if is_part else [row[5] for row in rows if _is_row(row)]
        found.update(edge if isinstance(edge, str) else edge[0] for some in lists for edge in some)
    return found


def _is_row(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 7 and isinstance(value[5], list)


class KeyValueStore:
    """A CloudFront KeyValueStore. Credentials as boto3 finds them."""

    def __init__(self, arn: str) -> None:
        """Raises ConfigError if `arn` is not the ARN of a store, or without boto3 and awscrt."""
        if _ARN.fullmatch(arn) is None:
            raise ConfigError(
                [
                    f"{arn!r} is not the ARN of a key value store, which looks like "
                    "arn:aws:cloudfront::123456789012:key-value-store/…; "
                    "`aws cloudfront list-key-value-stores` shows yours"
                ]
            )
        try:
            import awscrt  # noqa: F401 - what signs these requests (SigV4A)
            from boto3.session import Session  # an optional dependency
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            fix = "install them as requirements/cloudfront.lock pins them"
            raise ConfigError([f"publishing needs boto3 and awscrt: {fix}"]) from error
        self._arn = arn
        self._faults = (BotoCoreError, ClientError)
        limits = Config(
            connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"mode": "standard"}
        )
        self._client: Any = Session().client("cloudfront-keyvaluestore", "us-east-1", config=limits)

    def read(self) -> tuple[str, dict[str, str]]:
        """See Store."""
        etag = self._ask("describe_key_value_store")["ETag"]
        values: dict[str, str] = {}
        page: dict[str, Any] = {"MaxResults": MAX_KEYS_PER_CALL}
        while True:
            found = self._ask("list_keys", **page)
            values.update((item["Key"], item["Value"]) for item in found.get("Items", ()))
            if not found.get("NextToken"):
                return etag, values
            page["NextToken"] = found["NextToken"]

    def write(self, etag: str, puts: Mapping[str, str], deletes: Sequence[str]) -> str:
        """See Store."""
        updated = self._ask(
            "update_keys",
            IfMatch=etag,
            Puts=[{"Key": name, "Value": text} for name, text in puts.items()],
            Deletes=[{"Key": name} for name in deletes],
        )
        return str(updated["ETag"])

    def _ask(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(KvsARN=self._arn, **arguments)
        except self._faults as error:
            raise PublishError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        response = getattr(error, "response", {})
        code = response.get("Error", {}).get("Code", "") or type(error).__name__
        fixes = {
            "ConflictException": "another writer changed the store at the same time. Viewers still "
            "get keys of a complete table. Look at who else publishes, then run this again",
            "ResourceNotFoundException": f"there is no store {self._arn}. "
            "`aws cloudfront list-key-value-stores` shows those of this account",
            "AccessDeniedException": "AWS does not allow it. Allow "
            "cloudfront-keyvaluestore:DescribeKeyValueStore, ListKeys and UpdateKeys on "
            f"{self._arn}",
            "ServiceQuotaExceededException": "the store is full. It holds 5 MB: remove what is "
            "not autorouter's, or use a store of its own",
            "NoCredentialsError": "boto3 finds no AWS credentials. Set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        }
        return fixes.get(code, f"{code}: {str(error)[:MAX_ERROR_LENGTH]}")
