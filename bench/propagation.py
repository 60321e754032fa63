"""`python -m bench.propagation`: time from a transition at a poller to the answers of all readers.

One process publishes as a poller does. Ten readers in two other processes follow the same Redis,
first with hints and then only by polling every second.
"""

import argparse

from bench.figures import save
from tests.support.site.propagation import measure


def main() -> None:
    """Measure, print a table, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=50)
    options = parser.parse_args()
    figures = measure(options.transitions)
    save("propagation", figures)
    print(f"{'transition to, ms':<30}{'p50':>8}{'p99':>8}{'max':>8}")
    for kind, found in figures.items():
        for whom, times in found.items():
            row = (f"{1_000 * times[name]:>8.1f}" for name in ("p50", "p99", "max"))
            print(f"{f'{whom}, {kind}':<30}{''.join(row)}")


if __name__ == "__main__":
    main()
