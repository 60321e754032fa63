"""The poller's state of one edge, before it is published."""

from dataclasses import dataclass, field

from router.health.state import Health, HealthPolicy
from router.model import Outcome, Region


@dataclass(slots=True)
class Watched:
    """One edge according to its probes. `probed_at`: its last probe that counted; `is_local`: the
    latest probe met a local fault. `before_fall`: its health before it last went down. `passes`:
    the number of passes so far. `addresses`: failures in a row of each of its addresses.
    `reported`: the faults that were logged since it was last up.
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
    reported: set[Outcome] = field(default_factory=set)
