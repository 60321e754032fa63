"""The error for edges that regions.yaml does not have. Pure."""

from collections.abc import Collection, Iterable

from router.safe_text import escaped

MAX_NAMED = 20
MAX_ID = 64


def unknown_edges(asked: Iterable[str], known: Collection[str]) -> str | None:
    """One sentence that names all ids that are not known, and the known ones; None if all are
    known. However many and however long they are, the sentence is short."""
    unknown = sorted(set(asked).difference(known))
    if not unknown:
        return None
    return f"no such edge: {_join_ids(unknown)}; there are {_join_ids(sorted(known))}"


def _join_ids(ids: list[str]) -> str:
    more = len(ids) - MAX_NAMED
    named = ", ".join(map(_shown, ids[:MAX_NAMED]))
    return f"{named} and {more} more" if more > 0 else named


def _shown(id: str) -> str:
    shown = escaped(id)
    if not shown.strip():
        return f'"{shown[:MAX_ID]}"'
    return shown if len(shown) <= MAX_ID else f"{shown[:MAX_ID]}..."
