"""How values are written for other releases to read, and read as other releases wrote them.

A value is the fields of its kind in router.model, and `v`, its format. Fields may be added
at any time: who does not know them ignores them. A name that is new in a closed set is
taken for the nearest that is known. Anything else is another format, which a release must
be able to read before any release writes it (docs/upgrade.md).
"""

from typing import Any, TypeVar

import msgspec

from router.model import Event, Intended, Intent, Observed, Outcome, View

FORMAT = 1

Kept = TypeVar("Kept", View, Intent, Event)


class _Head(msgspec.Struct):
    v: int = FORMAT  # releases before it was numbered wrote the same


_head = msgspec.json.Decoder(_Head)


def written(value: View | Intent | Event) -> bytes:
    """The value as JSON."""
    return b'{"v":%d,' % FORMAT + msgspec.json.encode(value)[1:]


def read(text: bytes, kind: type[Kept]) -> Kept:
    """The value in JSON of any release. Raises msgspec.DecodeError, UnicodeDecodeError or
    RecursionError."""
    format = _head.decode(text).v
    if format > FORMAT:
        raise msgspec.DecodeError(f"format {format} is newer than this release can read")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        return msgspec.convert(_understood(msgspec.json.decode(text), kind), kind)


def _understood(told: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """The same, with names that a newer release may have made up replaced."""
    if kind is Intent and _is_new(told.get("state"), Intended):
        return {**told, "state": Intended.DRAINING}  # nobody wishes for what is so anyway
    edges = told.get("edges")
    if kind is View and isinstance(edges, dict):
        return {**told, "edges": {id: _understood_edge(edge) for id, edge in edges.items()}}
    return told


def _understood_edge(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    known = dict(told)
    if _is_new(told.get("state"), Observed):
        known["state"] = Observed.UNKNOWN  # abstains
    if _is_new(told.get("reason"), Outcome):
        known["reason"] = None
    return known


def _is_new(name: Any, names: type[Intended] | type[Observed] | type[Outcome]) -> bool:
    return isinstance(name, str) and name not in set(names)
