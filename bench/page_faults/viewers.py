"""Faults that viewers notice, on `autorouter dev` with a residency rule, a low connection limit and
a planted bug.

Findings that count the last 5 minutes come in order of severity, the worst last. So each one
becomes the headline although the earlier ones have not ended.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.page_faults.edges import DevSite, running
from bench.page_faults.site import Fault, Stage
from router.ops.findings import FindingKind
from tests.support.dashboard import break_edge
from tests.support.servers import HOST, ROOT, wait_until

FLAPPER = "dal-02"
FAR_MODEL = "whisper-large"
BURST = 200  # simultaneous connections, over ten times the limit
DEFECTIVE = (sys.executable, "-m", "tests.support.site.planted_defect")


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[DevSite]:
    document = yaml.safe_load((ROOT / "regions.yaml").read_text())
    document["defaults"]["hold_down_s"] = 1  # so that an edge can flap within the minute
    document["residency"] = {"CA": ["CA"]}
    document["models"]["far"] = FAR_MODEL
    regions = folder / "regions.yaml"
    regions.write_text(yaml.safe_dump(document, sort_keys=False))
    settings = {"REGIONS": str(regions), "MAX_CONNECTIONS": "16"}
    with running(folder, program=DEFECTIVE, **settings) as site:
        yield site


def _flap(site: DevSite) -> None:
    for mode, state in (("down", {"down"}), ("healthy", {"up", "degraded"})) * 2:
        break_edge(site.dev, FLAPPER, mode)
        wait_until(lambda state=state: site.states("state", FLAPPER) <= state)  # type: ignore[misc]


def _drain_canada(site: DevSite) -> None:
    words = ("--for", "1h", "--reason", "test", "--force")
    site.command("drain", *site.ids("CA"), *words)
    wait_until(lambda: site.states("intent", *site.ids("CA")) == {"draining"})
    site.ask(5)


def _crowd(site: DevSite) -> None:
    """Open many connections at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(BURST):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((HOST, site.port))
        time.sleep(1.0)  # the server accepts them and rejects most while all are open


def _load_far_model(site: DevSite) -> None:
    edge = site.ids("CA")[0]
    site.put(f"simulation/{edge}/models/kokoro-82m,{FAR_MODEL}")


def _traceback_is_in_the_log(site: DevSite) -> None:
    wait_until(lambda: "a planted defect" in site.dev.process.output)


_FAULTS: tuple[Fault[DevSite], ...] = (
    Fault(
        name="edge: flaps",
        kind=FindingKind.FLAPPING,
        inject=_flap,
        follow=lambda site: site.command("enable", FLAPPER, "--now"),
    ),
    Fault(
        name="viewers: a proxy hides them",
        kind=FindingKind.UNPLACED,
        inject=lambda site: site.ask(150, viewer=None),
        again=lambda site: site.ask(20, viewer=None),
        follow=lambda site: site.ask(2_000),
    ),
    Fault(
        name="viewers: ask for a model that no edge has",
        kind=FindingKind.MODEL_NOWHERE,
        inject=lambda site: site.ask(5, "/v1/route?model=far"),
        follow=_load_far_model,
        lasts=True,
    ),
    Fault(
        name="viewers: get 500 by a defect",
        kind=FindingKind.FAULTS,
        inject=lambda site: site.ask(5, "/v1/route?planted=defect"),
        follow=_traceback_is_in_the_log,
        lasts=True,
    ),
    Fault(
        name="viewers: more connections than allowed",
        kind=FindingKind.SHED,
        inject=_crowd,
        follow=lambda site: site.ask(5),
        lasts=True,
    ),
    Fault(
        name="viewers: must stay where no edge works",
        kind=FindingKind.RESIDENCY,
        inject=_drain_canada,
        again=lambda site: site.ask(1),
        follow=lambda site: site.command("enable", *site.ids("CA")),
        lasts=True,
    ),
)

VIEWERS = Stage(name="viewers", start=_running, faults=_FAULTS)
