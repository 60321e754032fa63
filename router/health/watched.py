"""One edge as the poller has it: what its probes found, before it is published."""

from dataclasses import dataclass, field

from router.health.state import Health, HealthPolicy
from router.model import Outcome, Region


@dataclass(slots=True)
class Watched:
    """One edge as its probes have it now.

    `probed_at`: its last probe that counted; `is_local`: the one after that did not.
    `before_fall`: its health before it last went down. `passes`: how many so far.
    `addresses`: failures in a row of each of its addresses. `met`: the faults that were
    logged since it was last up.
    """

    region: Region
    health: Health
    policy: HealthPolicy = HealthPolicy()
    probed_at: float | None = None
    is_local: bool = False
    before_fall: Health | None = None
    passes: int = 0
    models: tuple[str, ...] | None = None
    models_at: float | None = None
    models_fault: Outcome | None = None
    addresses: dict[str, int] = field(default_factory=dict)
    met: set[Outcome] = field(default_factory=set)
