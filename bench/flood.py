"""`python -m bench.flood`: memory during a million requests by different viewers.

The number of memoized entries is bounded. This benchmark shows the bound in MiB. It runs in this
process without a network, because it measures memory and not speed.
"""

import argparse
import os

from router.api.assembly import PublicParts
from router.api.http_protocol import Request
from router.config.inputs import Inputs, read_all
from router.config.settings import Settings
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.proc import private_mb

STEPS = 10


def main() -> None:
    """Send the requests, and print the used memory after each tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1_000_000)
    options = parser.parse_args()
    settings = Settings(trusted_proxies=("127.0.0.0/8",))  # type: ignore[arg-type]
    public = PublicParts(Inputs(settings, *read_all(settings)), MemoryStore(), Telemetry())
    print(f"{'questions':>10} {'MiB':>6}")
    print(f"{0:>10,} {private_mb(os.getpid()):>6.0f}")
    step = options.questions // STEPS
    for start in range(0, options.questions, step):
        for number in range(start, start + step):
            public.app.respond(question(number))
        print(f"{start + step:>10,} {private_mb(os.getpid()):>6.0f}", flush=True)


def question(number: int) -> Request:
    """A new question by a new viewer."""
    viewer = b"%d.%d.%d.1" % (1 + number // 65_536 % 223, number // 256 % 256, number % 256)
    target = b"/v1/route?all=true&model=m%d" % number
    return Request(b"GET", target, [(b"x-forwarded-for", viewer)], "127.0.0.1")


if __name__ == "__main__":
    main()
