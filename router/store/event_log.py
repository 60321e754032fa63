"""The stream of events. Each kind has a limit of its own, so that many events of one kind do not
displace those of another. The limits apply once there are more than EVENTS_KEPT events. Older
releases trim the stream to about that length.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from router.model import Event
from router.store import EVENTS_KEPT, KIND_KEPT, OTHER_KINDS_KEPT, Logged, scripts
from router.store.codec import UNREADABLE, decode, encode
from router.store.connect import Client
from router.store.link import raise_first

EVENTS = "autorouter:events"
MAX_EVENT_BYTES = 16 * 1024
HARD_LIMIT = 2 * EVENTS_KEPT


def append(pipe: Any, event: Event) -> None:
    """Add the command that appends an event to a pipeline."""
    pipe.xadd(EVENTS, {"event": encode(event)}, maxlen=HARD_LIMIT, approximate=True)


async def log_events(client: Client, events: Sequence[Event]) -> bool:
    """Append events. Returns whether a key of a wrong type had to be removed."""
    pipe = client.pipeline(transaction=False)
    pipe.eval(scripts.MEND_EVENTS, 1, EVENTS)
    for event in events[-EVENTS_KEPT:]:
        append(pipe, event)
    add_trim(pipe)
    answers = await pipe.execute(raise_on_error=False)
    raise_first(answers)
    return bool(answers[0])


def add_trim(pipe: Any) -> None:
    """Add the command that applies the limits to a pipeline."""
    kinds: list[Any] = [each for kind, kept in KIND_KEPT.items() for each in (str(kind), kept)]
    pipe.eval(scripts.TRIM_EVENTS, 1, EVENTS, EVENTS_KEPT, OTHER_KINDS_KEPT, *kinds)


async def log_once(client: Client, events: Sequence[Event]) -> None:
    """Append each event, unless a recent one is equal except for its time."""
    pipe = client.pipeline(transaction=False)
    for event in events:
        text = encode(event)
        pipe.eval(scripts.LOG_ONCE, 1, EVENTS, text, text[text.index(b'"kind"') :])
    raise_first(await pipe.execute(raise_on_error=False))


async def read_events(client: Client, after: str, limit: int, now: float) -> tuple[Logged, ...]:
    """Events later than the id `after`, oldest first; the newest `limit` of them."""
    oldest = f"({after}" if after else "-"
    args = (EVENTS, oldest, str(limit), str(MAX_EVENT_BYTES))
    found: Any = await client.eval(scripts.EVENTS, 1, *args)
    pairs = zip(found[::2], found[1::2], strict=True)
    return tuple(reversed(list(_decode(pairs, now))))


def _decode(pairs: Iterable[tuple[bytes, bytes]], now: float) -> Iterable[Logged]:
    for id, text in pairs:
        try:
            yield Logged(id.decode(), decode(text, Event, now))
        except UNREADABLE:
            continue  # from a newer release, or not an event
