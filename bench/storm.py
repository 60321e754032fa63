"""`python -m bench.storm`: faults, one by one and in pairs, while edges break, and a judge
outside of the processes that knows what the edges do.

Real servers, pollers, edges and a Redis on loopback. The seed chooses the pairs, the edges and
the times. Exit 1 if a promise was broken.
"""

import argparse
import asyncio
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from tests.support.site.fleet import Pace
from tests.support.site.storm import breaches, run, table
from tests.support.site.storm_faults import FAULTS

RESULTS = Path(__file__).parent / "results" / "storm.json"


def main() -> None:
    """Run, print a table, keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--faults", nargs="*", default=sorted(FAULTS), help="alone, at first")
    parser.add_argument("--pairs", type=int, default=12)
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}: repeat with --seed {seed}", file=sys.stderr, flush=True)
    pace = Pace(interval_s=0.5, slack_s=2.0)
    rounds = asyncio.run(run(seed, options.faults, options.pairs, pace))
    broken = breaches(rounds)
    RESULTS.parent.mkdir(exist_ok=True)
    figures = {"seed": seed, "rounds": [asdict(one) for one in rounds], "breaches": broken}
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(rounds))
    print("\n".join(broken))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
