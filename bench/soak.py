"""`python -m bench.soak`: a site under load for some minutes, with random faults.

The server has two workers. Viewers ask it directly and through the CDN stand-in. Edges, Redis,
pollers, the geo database and regions.yaml fail at times that follow from the seed. Exit code 1 if a
promise was broken.
"""

import argparse
import asyncio
import json
import secrets
import sys
from dataclasses import asdict

from bench.figures import save
from tests.support.site.fleet import Pace
from tests.support.site.soak import run


def main() -> None:
    """Run, print the result and save it as JSON. Exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}: repeat with --seed {seed}", file=sys.stderr, flush=True)
    result = asyncio.run(run(options.minutes, seed, Pace(slack_s=2.0)))
    save("soak", asdict(result), indent=1)
    print(json.dumps(asdict(result), indent=1))
    sys.exit(bool(result.breaches))


if __name__ == "__main__":
    main()
