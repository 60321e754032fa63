"""Observers of pollers and publishers, for code that needs only some of their calls."""

from router.health.state import Transition
from router.model import Event, Probe, Region, View


class QuietObserver:
    """Ignores what pollers and publishers report. A failed loop raises its error."""

    def state_changed(self, region: Region, transition: Transition) -> None: ...

    def edge_probed(self, region: Region, probe: Probe) -> None: ...

    def fault_found(self, region: Region, probe: Probe) -> None: ...

    def view_published(self, view: View, error: Exception | None) -> None: ...

    def standing_by(self, vantage: str) -> None: ...

    def event_happened(self, event: Event) -> None: ...

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        raise error

    def loop_recovered(self, loop: str) -> None: ...
