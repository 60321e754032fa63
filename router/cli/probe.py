"""`autorouter check --probe`: probes every edge once, and says what to change."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.config.inputs import read_catalog
from router.config.settings import load_settings
from router.health.advice import advice, models_advice
from router.health.client import open_client
from router.health.probe import Prober
from router.model import ModelsFormat, Outcome, Region

AT_ONCE = 32


def probe_edges(environ: Mapping[str, str], regions: Path | None) -> list[dict[str, Any]]:
    """A row for each edge, in catalog order. Raises ConfigError."""
    settings = load_settings(environ)
    if regions is not None:
        settings = msgspec.structs.replace(settings, regions=regions)
    catalog = read_catalog(settings)
    return asyncio.run(_probe_all(catalog.regions, settings.edge_api_key))


async def _probe_all(regions: tuple[Region, ...], key: str | None) -> list[dict[str, Any]]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(region: Region) -> dict[str, Any]:
        async with turns:
            return await _row(prober, region)

    async with open_client() as client:
        prober = Prober(client, key)
        return await asyncio.gather(*map(one, regions))


async def _row(prober: Prober, region: Region) -> dict[str, Any]:
    probe = await prober.health(region)
    passes = probe.outcome in (Outcome.OK, Outcome.DEGRADED)
    row: dict[str, Any] = {
        "id": region.id,
        "ok": passes,
        "outcome": probe.outcome,
        "rtt_ms": None if probe.rtt_ms is None else round(probe.rtt_ms, 1),
        "met": probe.detail,
        "change": advice(region, probe),
        "models": None,
        "models_met": None,
        "models_change": None,
    }
    if not passes or region.check.models is ModelsFormat.NONE:
        return row
    found = await prober.models(region)
    return row | {
        "models": None if found.models is None else len(found.models),
        "models_met": found.detail,
        "models_change": models_advice(found),
    }
