"""Hit ratio and staleness of caches with max-age and stale-while-revalidate: exact formulas, and a
simulation that does not use them.

Requests for each key are a Poisson process. The origin answers in no time. A cache asks the origin
once a cycle: at the first request after max-age has passed. A Poisson process has no memory, so a
cycle lasts max-age plus the mean wait for one request. Within the stale-while-revalidate window
that request is answered at once.
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
    """The figures of some caches.

    `hit_ratio`: the share of requests answered without waiting for the origin. `origin_rps`:
    requests/s that reach the origin, including revalidations. `wrong_s`: outdated answers after
    a change at the origin without a purge, divided by the request rate.
    """

    hit_ratio: float
    origin_rps: float
    wrong_s: float


def calculate(rates: Iterable[float]) -> Outcome:
    """Exact means. `rates`: requests/s for each key in each cache."""
    total = missed = asked = wrong = 0.0
    for rate in rates:
        total += rate
        cycles = rate / (1 + rate * MAX_AGE_S)
        asked += cycles
        missed += cycles * exp(-rate * STALE_S)
        wrong += wrong_answers(rate)
    return Outcome(hit_ratio=1 - missed / total, origin_rps=asked, wrong_s=wrong / total)


def wrong_answers(rate: float) -> float:
    """The mean number of outdated answers for one key after the origin's answer changed.

    With A as max-age, the change is in the fresh part of a cycle with probability
    rate·A / (1 + rate·A). Then the requests in the rest of the fresh part, rate·A/2, get an
    outdated answer. The next request also gets one if it comes within the stale window.
    Otherwise the cache is waiting for that request. The wait before the change and the wait after
    it are both exponential. Their sum must be within the window (Erlang distribution, k = 2).
    """
    fresh = rate * MAX_AGE_S
    in_window = 1 - exp(-rate * STALE_S)
    both_in_window = 1 - exp(-rate * STALE_S) * (1 + rate * STALE_S)
    return (fresh * (fresh / 2 + in_window) + both_in_window) / (1 + fresh)


def simulate(rates: Sequence[float], seconds: float, seed: int = 1) -> Outcome:
    """The same figures by simulation of each request.

    The origin's answers change at random times, far enough apart that every cache forgets the
    previous answer. The first minute is not counted.
    """
    rng = random.Random(seed)
    total, cumulated = sum(rates), list(itertools.accumulate(rates))
    asked_at, version = [-math.inf] * len(rates), [0] * len(rates)
    now, changes, next_change = 0.0, 0, WARM_UP_S
    last_change = seconds + WARM_UP_S - MAX_AGE_S - STALE_S  # its outdated answers are counted
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
