"""Chooses databases from an archive: one with IPv4 and IPv6, or one of each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import maxminddb

from router.errors import GeoDataError
from router.geo.database import GeoDatabase, open_database

_UNREADABLE = (OSError, ValueError, TypeError, LookupError, ArithmeticError)


class Member(NamedTuple):
    """An unpacked database. `name`: its name in the archive."""

    name: str
    path: Path


class _Kind(NamedTuple):
    has_v4: bool
    has_v6: bool


def choose(
    members: Sequence[Member], *, wanted: str | None, origin: str, outputs: int
) -> tuple[Member, ...]:
    """One member, or one of IPv4 and one of IPv6. `wanted`: the name that was asked for;
    `outputs`: the number of files to replace, 0 for any number. Raises GeoDataError that lists the
    members.
    """
    if wanted is not None:
        return _find_named(members, wanted, origin)
    if len(members) == 1:
        return (members[0],)
    kinds = {member: _kind(member, origin) for member in members}
    whole = [member for member, kind in kinds.items() if kind == _Kind(True, True)]
    pair = [
        *(member for member, kind in kinds.items() if kind == _Kind(True, False)),
        *(member for member, kind in kinds.items() if kind == _Kind(False, True)),
    ]
    is_pair = len(pair) == 2 and kinds[pair[0]].has_v4 and kinds[pair[1]].has_v6
    if len(whole) == 1 and not (outputs == 2 and is_pair):
        return (whole[0],)
    if is_pair and not whole:
        return tuple(pair)
    if is_pair and outputs == 2:
        return tuple(pair)
    raise GeoDataError(
        f"{origin}: holds {len(members)} databases: {_names(members)}; "
        "choose one with --member NAME"
    )


def _find_named(members: Sequence[Member], wanted: str, origin: str) -> tuple[Member, ...]:
    found = [member for member in members if member.name == wanted]
    if not found:
        raise GeoDataError(f"{origin}: holds no {wanted}; it holds {_names(members)}")
    return (found[0],)


def _names(members: Iterable[Member]) -> str:
    return ", ".join(member.name for member in members)


def _kind(member: Member, origin: str) -> _Kind:
    """Which families a database holds. An IPv6 tree may also hold IPv4, as its first networks."""
    try:
        with maxminddb.open_database(member.path, maxminddb.MODE_FILE) as reader:
            first, _ = next(iter(reader))
            return _Kind(first.version == 4, reader.metadata().ip_version == 6)
    except StopIteration:
        raise GeoDataError(f"{origin}: {member.name}: holds no networks") from None
    except _UNREADABLE as error:
        raise GeoDataError(f"{origin}: {member.name}: is damaged ({error})") from error


def open_member(origin: str, *members: Member) -> GeoDatabase:
    """Open the database in these files. Errors name the origin and the member, not the temporary
    file.
    """
    try:
        return open_database(*(member.path for member in members))
    except GeoDataError as error:
        text = str(error)
        for member in members:
            shown = origin if member.name == origin else f"{origin}: {member.name}"
            text = text.replace(str(member.path), shown)
        raise GeoDataError(text) from error
