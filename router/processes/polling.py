"""A poller with everything that it needs, for `poll` and for the prober of `serve`. Composition
only.
"""

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from router.config.settings import Settings
from router.health.client import open_client
from router.health.poller import Poller
from router.health.probe import Prober
from router.health.publisher import Publisher
from router.health.state import HealthPolicy
from router.model import Catalog
from router.routing.fleet import FleetPolicy
from router.store import Store

if TYPE_CHECKING:
    from router.telemetry.metrics import Telemetry

FRESH_S = FleetPolicy().fresh_s


class Polling:
    """A poller of every edge, and its client. Needs a running loop."""

    def __init__(
        self, settings: Settings, catalog: Catalog, store: Store, telemetry: "Telemetry"
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._telemetry = telemetry
        self._open()

    def _open(self) -> None:
        """Make a new client, publisher and poller. Those of a failed run are not used again."""
        self._is_fresh = True
        self._client = open_client()
        prober = Prober(self._client, self._settings.edge_api_key)
        self._publisher = Publisher(
            catalog=self._catalog,
            store=self._store,
            observer=self._telemetry,
            vantage=self._settings.vantage,
            witnesses=partial(prober.witnesses, self._settings.witnesses),
        )
        self._poller = Poller(
            catalog=self._catalog,
            prober=prober,
            publisher=self._publisher,
            observer=self._telemetry,
            policy=_policy(self._settings),
        )

    async def run(self) -> None:
        """Poll until cancelled. May be called again after it raised."""
        if not self._is_fresh:
            self._open()
        self._is_fresh = False
        async with self._client:
            await self._poller.run()

    async def readiness(self) -> dict[str, Any]:
        """Its readiness: ready while the store accepts the views of this vantage."""
        heard_at = self._publisher.heard_at
        age_s = None if heard_at is None else max(0.0, time.time() - heard_at)
        ready = age_s is not None and age_s <= FRESH_S
        amiss = [] if ready else ["the store has not taken a view from here lately"]
        return {
            "ready": ready,
            "amiss": amiss,
            "vantage": self._publisher.vantage,
            "heard_s_ago": None if age_s is None else round(age_s, 1),
        }

    def replace_inputs(self, settings: Settings, catalog: Catalog) -> None:
        """Replace the catalog and the API key."""
        self._settings, self._catalog = settings, catalog
        self._poller.prober = Prober(self._client, settings.edge_api_key)
        if catalog != self._poller.catalog:
            self._poller.replace_catalog(catalog)


def _policy(settings: Settings) -> HealthPolicy:
    usual, interval_s = HealthPolicy(), settings.poll_interval_s
    return replace(usual, interval_s=interval_s, recheck_s=min(usual.recheck_s, interval_s))
