"""Caches that keep an answer `max-age` and serve it stale while they revalidate: exact
figures for requests that come at random, and a simulation that knows none of the formulas.

Requests for each key are a Poisson process, and an answer from the origin takes no time.
A cache asks the origin once a cycle: at a request later than max-age after the last time.
So a cycle lasts max-age and, as a Poisson process has no memory, the mean wait for one
more request. Within the stale-while-revalidate window that request is answered at once.
"""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp

MAX_AGE_S = 10.0
STALE_S = 10.0
WARM_UP_S = 60.0
CHANGES_APART_S = (25.0, 65.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`hit_ratio`: answered without waiting for the origin. `origin_rps`: requests that
    reach it, revalidations too. `wrong_s`: for so many seconds' worth of requests the
    caches go on naming an edge that the origin no longer names, without a purge."""

    hit_ratio: float
    origin_rps: float
    wrong_s: float


def expected(rates: Iterable[float]) -> Outcome:
    """Exact means. `rates`: requests a second, of each key in each cache."""
    total = missed = asked = wrong = 0.0
    for rate in rates:
        total += rate
        cycles = rate / (1 + rate * MAX_AGE_S)
        asked += cycles
        missed += cycles * exp(-rate * STALE_S)
        wrong += wrong_answers(rate)
    return Outcome(hit_ratio=1 - missed / total, origin_rps=asked, wrong_s=wrong / total)


def wrong_answers(rate: float) -> float:
    """How many answers of one key are out of date after the origin's answer changed.

    The moment falls into a cycle's fresh part with probability rate·A / (1 + rate·A), A
    being max-age. Then the requests of what is left of it, rate·A/2, are answered out of
    date, and the next one if it comes within the stale window. Else the wait for that
    request has begun, and both its parts, before the moment and after it, are exponential:
    together they must fit into the window (Erlang's distribution of two).
    """
    fresh = rate * MAX_AGE_S
    in_window = 1 - exp(-rate * STALE_S)
    both_in_window = 1 - exp(-rate * STALE_S) * (1 + rate * STALE_S)
    return (fresh * (fresh / 2 + in_window) + both_in_window) / (1 + fresh)


def simulated(rates: Sequence[float], seconds: float, seed: int = 1) -> Outcome:
    """The same, counted: each request drawn and met by a cache. The origin's answers change
    at random, long enough apart for every cache to forget; the first minute is not counted."""
    rng = random.Random(seed)
    total, cumulated = sum(rates), list(itertools.accumulate(rates))
    asked_at, version = [-math.inf] * len(rates), [0] * len(rates)
    now, changes, next_change = 0.0, 0, WARM_UP_S
    last_change = seconds + WARM_UP_S - MAX_AGE_S - STALE_S  # and what follows is counted
    served = hits = asked = wrong = 0
    while now < seconds + WARM_UP_S:
        for key in rng.choices(range(len(rates)), cum_weights=cumulated, k=10_000):
            now += rng.expovariate(total)
            while next_change <= min(now, last_change):
                changes += 1
                next_change += rng.uniform(*CHANGES_APART_S)
            age = now - asked_at[key]
            is_hit = age <= MAX_AGE_S + STALE_S
            is_wrong = is_hit and version[key] < changes
            if age > MAX_AGE_S:
                asked_at[key], version[key] = now, changes
            if now >= WARM_UP_S:
                served += 1
                hits += is_hit
                wrong += is_wrong
                asked += age > MAX_AGE_S
    counted_s = now - WARM_UP_S
    return Outcome(
        hit_ratio=hits / served,
        origin_rps=asked / counted_s,
        wrong_s=wrong / changes / (served / counted_s),
    )
