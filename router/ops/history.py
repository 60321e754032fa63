"""The last 24 hours of the fleet in bounded memory: a sample for each minute of the last hour, and
one for each ten minutes before that. Pure; the caller passes the time.
"""

import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import msgspec

from router.model import Catalog, Intended, Observed, Status
from router.routing.fleet import Edge, Fleet, version
from router.store import MAX_HISTORY_BYTES

MINUTE_S = 60
HOUR_S = 3_600
COARSE_S = 600
KEPT_S = 86_400
DAY_S = 86_400
MAX_SAMPLES = HOUR_S // MINUTE_S + KEPT_S // COARSE_S + COARSE_S // MINUTE_S
MAX_PLAIN_BYTES = 16 * 1024 * 1024  # limit of a stored history after decompression

# From best to worst.
_BADNESS = (Observed.UP, Observed.UNKNOWN, Observed.DEGRADED, Observed.DOWN)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the fleet at `at`, and counts over the `span_s` seconds before. Each tuple has
    a value for each edge of `ids`. `fleet`: its version. `dials`: the shares that dialled edges
    keep.

    In a sample of ten minutes, `states` has the worst state of each edge, `rtt_ms` is the mean,
    and counts are sums.
    """

    at: float
    span_s: int
    fleet: str
    status: Status
    answers: int
    errors: int
    ids: tuple[str, ...]
    states: tuple[Observed, ...]
    intents: tuple[Intended, ...]
    rtt_ms: tuple[float | None, ...]
    given: tuple[int, ...]
    falls: tuple[int, ...]
    down_s: tuple[int, ...]
    dials: dict[str, float]


def sample(
    fleet: Fleet,
    *,
    at: float,
    given: Mapping[str, int],
    answers: int,
    errors: int,
    falls: Mapping[str, int],
    down_s: Mapping[str, float],
) -> Sample:
    """A sample of the last minute. `given`: edge → the number of answers that named it."""
    ids = tuple(edge.region.id for edge in fleet.edges)
    return Sample(
        at=at,
        span_s=MINUTE_S,
        fleet=version(fleet),
        status=fleet.status,
        answers=answers,
        errors=errors,
        ids=ids,
        states=tuple(edge.observed for edge in fleet.edges),
        intents=tuple(edge.intended for edge in fleet.edges),
        rtt_ms=tuple(_round(edge.rtt_ms) for edge in fleet.edges),
        given=tuple(given.get(id, 0) for id in ids),
        falls=tuple(falls.get(id, 0) for id in ids),
        down_s=tuple(round(down_s.get(id, 0)) for id in ids),
        dials={edge.region.id: edge.share for edge in fleet.edges if edge.share < 1.0},
    )


class History:
    """Samples, oldest first; bounded by MAX_SAMPLES and KEPT_S."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, oldest first."""
        return tuple(self._samples)

    def add(self, fresh: Sample) -> None:
        """Append the newest sample, and merge and remove old ones."""
        self._replace([*self._samples, fresh], fresh.at)

    def prepend(self, older: Iterable[Sample], now: float) -> None:
        """Put the samples of an earlier process before those of this one."""
        first = self._samples[0].at if self._samples else now
        self._replace([*(one for one in older if one.at < first), *self._samples], now)

    def _replace(self, samples: Sequence[Sample], now: float) -> None:
        kept = [one for one in samples if one.at > now - KEPT_S]
        self._samples = deque(_coarsen(kept, now - HOUR_S), maxlen=MAX_SAMPLES)

    def nearest(self, at: float) -> Sample | None:
        """The sample of one minute that was taken at this time or at most a minute later."""
        fits = (one for one in self._samples if 0 <= one.at - at <= MINUTE_S)
        return next((one for one in fits if one.span_s == MINUTE_S), None)

    def explain_gap(self, at: float) -> str:
        """A sentence about why there is no sample for that time."""
        fine = [one.at for one in self._samples if one.span_s == MINUTE_S]
        if not fine:
            return "the history is empty; it has a sample for each minute since the server started"
        first, last = _clock(fine[0]), _clock(fine[-1])
        return f"no sample for {_clock(at)}; there is one for each minute from {first} to {last}"


def past_fleet(catalog: Catalog, one: Sample, at: float, slot_s: int) -> Fleet:
    """The fleet of the sample, with the edges of the present catalog. The models of edges are
    unknown, because samples do not have them. `at`: the time in question; it decides the slot of
    a dial.
    """
    (places,) = _places([one])
    edges = tuple(
        Edge(region=region, votes={})
        if region.id not in places
        else Edge(
            region=region,
            observed=one.states[places[region.id]],
            rtt_ms=one.rtt_ms[places[region.id]],
            intended=one.intents[places[region.id]],
            share=one.dials.get(region.id, 1.0),
            votes={},
        )
        for region in catalog.regions
    )
    slot = int(at // max(1, slot_s)) if one.dials else None
    return Fleet(edges=edges, status=one.status, seen_at=one.at, slot=slot)


def _coarsen(samples: Sequence[Sample], until: float) -> list[Sample]:
    """The samples; those of ten minutes that ended before `until` are merged into one."""
    merged: list[Sample] = []
    for bucket, group in groupby(samples, key=lambda one: (one.at - 1) // COARSE_S):
        together = list(group)
        is_over = (bucket + 1) * COARSE_S <= until
        merged += [_merge(together)] if is_over and len(together) > 1 else together
    return merged


def _merge(samples: Sequence[Sample]) -> Sample:
    """One sample from several, with the edges of the last one."""
    last, places = samples[-1], _places(samples)

    def column(name: str) -> list[list[Any]]:
        """For each edge, its values in the samples that contain it."""
        columns = [getattr(one, name) for one in samples]
        return [
            [values[at[id]] for values, at in zip(columns, places, strict=True) if id in at]
            for id in last.ids
        ]

    return Sample(
        at=last.at,
        span_s=COARSE_S,
        fleet=last.fleet,
        status=last.status,
        answers=sum(one.answers for one in samples),
        errors=sum(one.errors for one in samples),
        ids=last.ids,
        states=tuple(max(values, key=_BADNESS.index) for values in column("states")),
        intents=last.intents,
        rtt_ms=tuple(_mean(values) for values in column("rtt_ms")),
        given=tuple(sum(values) for values in column("given")),
        falls=tuple(sum(values) for values in column("falls")),
        down_s=tuple(sum(values) for values in column("down_s")),
        dials=last.dials,
    )


def _places(samples: Iterable[Sample]) -> list[dict[str, int]]:
    """For each sample, edge → index in its columns. Samples with the same edges share it."""
    known: dict[tuple[str, ...], dict[str, int]] = {}
    for one in samples:
        if one.ids not in known:
            known[one.ids] = {id: place for place, id in enumerate(one.ids)}
    return [known[one.ids] for one in samples]


def _clock(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(at)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _round(sum(known) / len(known)) if known else None


def _round(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def encode(samples: Sequence[Sample]) -> bytes:
    """Samples as bytes to store. The oldest are left out if the size would exceed
    MAX_HISTORY_BYTES.
    """
    while True:
        plain = msgspec.json.encode(samples)
        body = zlib.compress(plain, level=1)
        if len(body) <= MAX_HISTORY_BYTES and len(plain) <= MAX_PLAIN_BYTES:
            return body
        samples = samples[len(samples) // 2 + 1 :]


def decode(body: bytes, now: float) -> list[Sample]:
    """Samples from stored bytes. Empty if anything is not as `encode` writes it."""
    unpack = zlib.decompressobj()
    try:
        plain = unpack.decompress(body, MAX_PLAIN_BYTES)
        samples = msgspec.json.decode(plain, type=list[Sample])
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    if not unpack.eof or len(samples) > MAX_SAMPLES or not all(map(_is_sound, samples)):
        return []
    return [
        msgspec.structs.replace(one, ids=known.setdefault(one.ids, one.ids))
        for one in sorted(samples, key=lambda one: one.at)
        if now - KEPT_S < one.at <= now
    ]


def _is_sound(one: Sample) -> bool:
    columns = (one.states, one.intents, one.rtt_ms, one.given, one.falls, one.down_s)
    numbers = (one.answers, one.errors, *one.given, *one.falls, *one.down_s)
    return (
        one.span_s in (MINUTE_S, COARSE_S)
        and all(len(column) == len(one.ids) for column in columns)
        and all(0 <= number < 2**53 for number in numbers)
        and all(0.0 <= share <= 1.0 for share in one.dials.values())
    )


def document(
    samples: Sequence[Sample], *, now: float, since: float, edge: str | None = None
) -> dict[str, Any]:
    """What `/v1/history` returns: the samples after `since` as columns; for each edge its columns,
    and its falls and downtime since midnight UTC. `edge`: only this one.
    """
    shown = [one for one in samples if one.at > since]
    whole = [sum(one.given) for one in shown]
    places = _places(shown)
    ids = dict.fromkeys(id for one in reversed(shown) for id in one.ids if edge in (None, id))
    falls, down_s = _since_midnight(samples, now)

    def series(id: str, name: str) -> list[Any]:
        return [
            getattr(one, name)[at[id]] if id in at else None
            for one, at in zip(shown, places, strict=True)
        ]

    def describe(id: str) -> dict[str, Any]:
        given = series(id, "given")
        return {
            "id": id,
            "state": series(id, "states"),
            "intent": series(id, "intents"),
            "rtt_ms": series(id, "rtt_ms"),
            "answers": given,
            "share": [_share(*each) for each in zip(given, whole, strict=True)],
            "today": {"falls": falls[id], "down_s": down_s[id]},
        }

    return {
        "now": now,
        "at": [one.at for one in shown],
        "span_s": [one.span_s for one in shown],
        "fleet": [one.fleet for one in shown],
        "status": [one.status for one in shown],
        "answers": [one.answers for one in shown],
        "errors": [one.errors for one in shown],
        "edges": [describe(id) for id in ids],
    }


def _share(given: int | None, whole: int) -> float | None:
    return round(given / whole, 4) if whole and given is not None else None


def _since_midnight(samples: Iterable[Sample], now: float) -> tuple[Counter[str], Counter[str]]:
    """Edge → how often it went down, and edge → the seconds that it was down."""
    falls: Counter[str] = Counter()
    down_s: Counter[str] = Counter()
    for one in samples:
        if one.at > now // DAY_S * DAY_S:
            falls.update(dict(zip(one.ids, one.falls, strict=True)))
            down_s.update(dict(zip(one.ids, one.down_s, strict=True)))
    return falls, down_s
