"""docs/edges.md: each recipe works with its inference server, healthy and unhealthy."""

import re
from dataclasses import replace

import pytest

from router.config.catalog import parse_catalog
from router.health.client import open_client
from router.health.probe import Prober
from router.model import Outcome, Region
from tests.support.inference_servers import HOST, KINDS, stand_in
from tests.support.servers import ROOT

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "edges.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n.*?```yaml\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
REGION = "regions:\n  - {id: a, name: A, country: CA, latitude: 43.6, longitude: -79.4}\n"


def a_region_from(recipe: str, port: int) -> Region:
    region = parse_catalog(RECIPES[recipe] + REGION, {}).regions[0]
    return replace(region, endpoint=f"http://{HOST}:{port}")


def test_each_inference_server_has_one_recipe() -> None:
    assert set(RECIPES) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
async def test_recipe_works_with_its_server(name: str) -> None:
    kind = KINDS[name]
    async with stand_in(kind) as server, open_client() as client:
        region, prober = a_region_from(name, server.port), Prober(client, kind.key)
        assert (await prober.health(region)).outcome is Outcome.OK
        assert (await prober.models(region)).models == kind.models
        server.is_well = False
        assert (await prober.health(region)).outcome is Outcome.STATUS
    assert set(server.asked) <= set(kind.well)
