"""`python -m bench.storm`: faults, one by one and in pairs, while edges break.

It uses real servers, pollers, a Redis and simulated edges on loopback, and checks every answer of
the viewers. The seed chooses the pairs, the edges and the times. Exit code 1 if a promise was
broken.
"""

import argparse
import asyncio
import itertools
import random
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench.figures import save
from tests.support.site.fleet import Pace
from tests.support.site.storm import HEADINGS, breaches, covering, row, run
from tests.support.site.storm_faults import FAULTS


def main() -> None:
    """Run, print a table, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--faults", nargs="*", default=sorted(FAULTS), help="faults that run alone")
    parser.add_argument("--pairs", type=int, default=12, help="number of random pairs")
    parser.add_argument(
        "--together", type=int, metavar="N", help="also sets of N faults that contain every pair"
    )
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}: repeat with --seed {seed}", file=sys.stderr, flush=True)
    rng = random.Random(seed)
    chosen: list[tuple[str, ...]] = [(name,) for name in options.faults]
    chosen += rng.sample([*itertools.combinations(sorted(FAULTS), 2)], options.pairs)
    if options.together:
        chosen += covering(sorted(FAULTS), options.together, rng)
    broken = asyncio.run(storm(seed, chosen))
    print("\n".join(broken))
    sys.exit(bool(broken))


async def storm(seed: int, chosen: Sequence[tuple[str, ...]]) -> list[str]:
    """Run all rounds. Print and save each one when it ends. Returns the broken promises."""
    rounds = []
    print(HEADINGS, flush=True)
    async for one in run(seed, chosen, Pace(interval_s=0.5, slack_s=2.0)):
        rounds.append(one)
        print(row(one), flush=True)
        figures = {
            "seed": seed,
            "rounds": [asdict(each) for each in rounds],
            "breaches": breaches(rounds),
        }
        save("storm", figures, indent=1)
    return breaches(rounds)


if __name__ == "__main__":
    main()
