"""`python -m bench.soak`: a day in the life, in minutes, and what must hold at the end of it.

A site under load, with two workers, asked directly and through the stand-in for the CDN, while
everything around it fails now and then: edges, Redis, pollers, the geo database,
regions.yaml. What fails when follows from the seed.
"""

import argparse
import asyncio
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from tests.support.site.fleet import Pace
from tests.support.site.soak import run

RESULTS = Path(__file__).parent / "results" / "soak.json"


def main() -> None:
    """Run, print what came of it, keep the figures as JSON; exit 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}: repeat with --seed {seed}", file=sys.stderr, flush=True)
    result = asyncio.run(run(options.minutes, seed, Pace(slack_s=2.0)))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(asdict(result), indent=1) + "\n")
    print(json.dumps(asdict(result), indent=1))
    sys.exit(bool(result.breaches))


if __name__ == "__main__":
    main()
