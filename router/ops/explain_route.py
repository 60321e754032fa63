"""`GET /v1/explain`: why a viewer gets an edge, now or at a time in the last hour."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from router.api.live_fleet import FleetWatch
from router.errors import RouterError
from router.geo.database import GeoDatabase
from router.model import Catalog
from router.ops.explanation import explain_subject
from router.ops.health_routes import answer_json
from router.ops.history import History, past_fleet
from router.ops.questions import Params, QuestionError, past_time, subject
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import Fleet, version
from router.routing.location import Locator
from router.routing.query import parse_query
from router.routing.ranking import Ranker


class NotKeptError(RouterError):
    """The history has no sample for that time."""


@dataclass(kw_only=True)
class ExplainRoute:
    """Answers one question at a time, in a thread. `placing` returns the current locator and geo
    database.
    """

    watch: FleetWatch
    policy: CachePolicy
    history: History
    placing: Callable[[], tuple[Locator, GeoDatabase]]
    _ranker: Ranker | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def explain(self, request: Request) -> Response:
        """Explain the viewer that `?ip=`, `?key=`, `?header=` (a CDN header; repeatable) or
        `?country=` (optionally with `latitude` and `longitude`) describes. Other parameters:
        `scope`, `model`, `strict`, `at`.
        """
        query = parse_query(request.scope["query_string"])
        if query is None:
            return answer_json({"detail": "the model is not valid"}, 400)
        params: Params = request.query_params.multi_items()
        locator, geo = self.placing()
        try:
            who = subject(params, locator)
            fleet, when = self._fleet(past_time(params))
        except QuestionError as error:
            return answer_json({"detail": str(error)}, 400)
        except NotKeptError as error:
            return answer_json({"detail": str(error)}, 404)
        async with self._lock:
            ranker = self._own_ranker(self.watch.table.ranker.catalog)
            answer = await asyncio.to_thread(
                explain_subject, ranker, fleet, who, query, self.policy, geo
            )
        return answer_json({**answer, **when})

    def _fleet(self, at: float | None) -> tuple[Fleet, dict[str, object]]:
        """The fleet to use, its time and its version."""
        table = self.watch.table
        if at is None:
            return table.fleet, {"at": None, "fleet": version(table.fleet)}
        found = self.history.nearest(at)
        if found is None:
            raise NotKeptError(self.history.explain_gap(at))
        fleet = past_fleet(table.ranker.catalog, found, at, self.policy.max_age_s)
        return fleet, {"at": found.at, "fleet": found.fleet}

    def _own_ranker(self, catalog: Catalog) -> Ranker:
        """A separate ranker, because explanations run in a thread, and must not use the ranker
        that answers requests.
        """
        if self._ranker is None or self._ranker.catalog is not catalog:
            self._ranker = Ranker(catalog)
        return self._ranker
