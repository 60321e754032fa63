"""Encodes and decodes values so that different releases can share them. A value has the fields of
its class in router.model, and `v`, its format. Fields may be added at any time: a release ignores
the fields that it does not know. An unknown name from a closed set is replaced by the nearest
known one. Any other change needs a new format, which releases must be able to read before one
writes it (docs/upgrade.md). To add one, raise the kind's number in READABLE, and in a later
release the one in WRITTEN.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, TypeVar, get_args

import msgspec

from router.model import EdgeView, Event, Intended, Intent, Observed, Outcome, View
from router.routing.steps import run_to_end
from router.store.bounds import (
    MAX_ADDRESSES,
    MAX_MODELS,
    OutOfBoundsError,
    bound_edge,
    bound_event,
    bound_intent,
    bound_view,
    check_count,
    safe_event,
)

Value = View | Intent | Event
Kept = TypeVar("Kept", View, Intent, Event)

FORMAT = 1
READABLE: dict[type[Value], int] = dict.fromkeys(get_args(Value), FORMAT)
WRITTEN: dict[type[Value], int] = dict.fromkeys(get_args(Value), FORMAT)

# Exceptions for values that cannot be read.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OutOfBoundsError)


class _Head(msgspec.Struct):
    v: int = FORMAT  # releases before numbered formats wrote this one


class _LooseEdge(msgspec.Struct, gc=False):
    """An EdgeView that may have names from a newer release; its models are not decoded."""

    state: str
    since: float
    reason: str | None = None
    rtt_ms: float | None = None
    streak: int = 0
    models: msgspec.Raw = msgspec.Raw(b"null")
    models_at: float | None = None
    probed_at: float | None = None
    models_fault: str | None = None
    bad_addresses: msgspec.Raw = msgspec.Raw(b"[]")
    back_at: float | None = None
    changes: int = 0
    calm_at: float | None = None
    usual_ms: float | None = None
    worked: bool | None = None


class _LooseView(msgspec.Struct, gc=False):
    """A View with such edges, which are decoded one by one."""

    vantage: str
    seq: int
    probed_at: float
    v: int = FORMAT
    isolated: bool = False
    isolated_since: float | None = None
    held: msgspec.Raw = msgspec.Raw(b"[]")
    held_since: float | None = None
    held_until: float | None = None
    edges: dict[str, msgspec.Raw] = {}


_head = msgspec.json.Decoder(_Head)
_loose_edge = msgspec.json.Decoder(_LooseEdge)
_loose_view = msgspec.json.Decoder(_LooseView)
_names = msgspec.json.Decoder(tuple[str, ...])
_models = msgspec.json.Decoder(tuple[str, ...] | None)
_states = {str(state): state for state in Observed}
_reasons = {str(reason): reason for reason in Outcome}


def encode(value: Value) -> bytes:
    """The value as JSON. The texts of an event are made safe."""
    if isinstance(value, Event):
        value = safe_event(value)
    return b'{"v":%d,' % WRITTEN[type(value)] + msgspec.json.encode(value)[1:]


def decode(text: bytes, kind: type[Kept], now: float) -> Kept:
    """The value in JSON of any release, within its bounds. Raises one of the exceptions in
    UNREADABLE.
    """
    if kind is View:
        return run_to_end(view_in_steps(text, now))  # type: ignore[return-value]
    _check_format(text, kind)
    try:
        value = msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        value = msgspec.convert(_check_fields(msgspec.json.decode(text), kind), kind)
    return _bound(value, now)  # type: ignore[return-value]


def _bound(value: Value, now: float) -> Value:
    return bound_intent(value, now) if isinstance(value, Intent) else bound_event(value)  # type: ignore[arg-type]


def view_in_steps(text: bytes, now: float) -> Generator[None, None, View]:
    """The same for a view, as a generator, so that the caller can pause: at each edge, and twice
    within one, because its inventory can be long.
    """
    # Every edge is an object. Counting them first refuses a view with too many before
    # decoding it costs time and memory.
    check_count("objects, a quarter of them,", text.count(b"{") // 4)
    yield
    loose = _read_loosely(text)
    yield
    check_count("held", _count_names(loose.held))
    edges = {}
    for id, part in loose.edges.items():
        loose_edge = _loose_edge.decode(part)
        has_models = _count_names(loose_edge.models) <= MAX_MODELS
        yield
        edge = _read_edge(loose_edge, has_models=has_models)
        yield
        edges[id] = bound_edge(id, edge, now)
    view = View(
        vantage=loose.vantage,
        seq=loose.seq,
        probed_at=loose.probed_at,
        isolated=loose.isolated,
        isolated_since=loose.isolated_since,
        held=_names.decode(loose.held),
        held_since=loose.held_since,
        held_until=loose.held_until,
        edges=edges,
    )
    return bound_view(view)


def _read_loosely(text: bytes) -> _LooseView:
    try:
        loose = _loose_view.decode(text)
    except msgspec.ValidationError:
        _check_format(text, View)  # this error is clearer
        raise
    _check_readable(loose.v, View)
    check_count("edges", len(loose.edges))
    return loose


def _read_edge(edge: _LooseEdge, *, has_models: bool) -> EdgeView:
    """An unknown state, from a newer release, becomes UNKNOWN, which abstains; an unknown reason
    is left out.
    """
    return EdgeView(
        state=_states.get(edge.state, Observed.UNKNOWN),
        since=edge.since,
        reason=None if edge.reason is None else _reasons.get(edge.reason),
        rtt_ms=edge.rtt_ms,
        streak=edge.streak,
        models=_models.decode(edge.models) if has_models else None,
        models_at=edge.models_at,
        probed_at=edge.probed_at,
        models_fault=None if edge.models_fault is None else _reasons.get(edge.models_fault),
        bad_addresses=_read_addresses(edge.bad_addresses),
        back_at=edge.back_at,
        changes=edge.changes,
        calm_at=edge.calm_at,
        usual_ms=edge.usual_ms,
        worked=edge.worked,
    )


def _read_addresses(part: msgspec.Raw) -> tuple[str, ...]:
    return _names.decode(part) if _count_names(part) <= MAX_ADDRESSES else ()


def _count_names(part: msgspec.Raw) -> int:
    """An upper bound for the number of strings in undecoded JSON."""
    return bytes(part).count(b'"') // 2


def _check_format(text: bytes, kind: type[Value]) -> None:
    _check_readable(_head.decode(text).v, kind)


def _check_readable(format: int, kind: type[Value]) -> None:
    if format > READABLE[kind]:
        raise msgspec.DecodeError(f"format {format} is newer than this release can read")


def _check_fields(fields: dict[str, Any], kind: type[Value]) -> dict[str, Any]:
    """The JSON, with an unknown state of an intent, from a newer release, replaced."""
    if kind is Intent and _is_new(fields.get("state"), Intended):
        # "enabled" is the default and is not stored, so a new state keeps its edge out.
        return {**fields, "state": Intended.DRAINING}
    return fields


def _is_new(name: Any, names: type[Intended]) -> bool:
    return isinstance(name, str) and name not in set(names)


def fit_view(view: View, limit: int) -> View:
    """The view, without its largest inventories if its JSON would exceed `limit` bytes."""
    excess = len(msgspec.json.encode(view)) + 32 - limit
    if excess <= 0:
        return view
    sizes = {id: len(msgspec.json.encode(edge.models)) for id, edge in view.edges.items()}
    edges = dict(view.edges)
    for id in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        edges[id] = replace(edges[id], models=None, models_at=None)
        excess -= sizes[id]
    return replace(view, edges=edges)
