"""Reports of a store besides errors."""

from collections.abc import Callable
from enum import StrEnum


class Notice(StrEnum):
    """Kinds of reports: a closed set, so that it can label a metric."""

    RECONNECTED = "reconnected"
    HINTS_LOST = "hints_lost"
    WRONG_TYPE = "wrong_type"
    INTENT_LOST = "intent_lost"
    INTENT_BACK = "intent_back"


Report = Callable[[Notice, str], None]


def no_report(notice: Notice, about: str) -> None:
    """Ignores reports; for callers that run one command only."""
