"""`autorouter check --probe` against real edges, healthy and unhealthy."""

import asyncio
import json
from pathlib import Path

import pytest

from router.processes.simulated_edges import Mode, SimulatedEdge
from tests.support.inference_servers import KINDS, stand_in
from tests.support.servers import HOST, free_port, run_autorouter

pytestmark = pytest.mark.anyio


def a_catalog_file(folder: Path, **endpoints: str) -> Path:
    lines = [
        f"  - {{id: {id}, name: {id}, country: CA, latitude: 43.6, longitude: -79.4, "
        f"endpoint: '{endpoint}'}}"
        for id, endpoint in endpoints.items()
    ]
    path = folder / "regions.yaml"
    path.write_text("\n".join(["regions:", *lines, ""]))
    return path


async def test_probe_reports_each_edge_and_what_to_change(tmp_path: Path) -> None:
    healthy, down = SimulatedEdge(id="healthy", models=("whisper",)), f"http://{HOST}:{free_port()}"
    broken = SimulatedEdge(id="broken", models=())
    await healthy.start()
    await broken.start()
    await broken.set_mode(Mode.ERROR)
    async with stand_in(KINDS["vLLM"]) as vllm:
        path = a_catalog_file(
            tmp_path,
            healthy=healthy.endpoint,
            down=down,
            broken=broken.endpoint,
            vllm=f"http://{HOST}:{vllm.port}",
        )
        done = await asyncio.to_thread(run_autorouter, "check", "--probe", "--regions", str(path))
        as_json = await asyncio.to_thread(
            run_autorouter, "check", "--probe", "--json", "--regions", str(path)
        )
    await healthy.stop()
    await broken.stop()
    lines = [line for line in done.stdout.splitlines() if line.startswith("probe")]
    assert done.returncode == 1
    assert lines[0].startswith("probe   healthy; ok; ")
    assert lines[0].endswith("1 model")
    assert "down; refused" in lines[1]
    assert f"make {down}/health resolve and accept connections" in lines[1]
    assert "broken; status" in lines[2]
    assert "set health_path" in lines[2]
    assert "vllm; bad_body" in lines[3]
    assert "an empty body; to change: use `health: status`" in lines[3]
    rows = json.loads(as_json.stdout)["probes"]
    assert [row["outcome"] for row in rows] == ["ok", "refused", "status", "bad_body"]


async def test_healthy_fleet_passes(tmp_path: Path) -> None:
    edge = SimulatedEdge(id="healthy", models=())
    await edge.start()
    path = a_catalog_file(tmp_path, healthy=edge.endpoint)
    done = await asyncio.to_thread(run_autorouter, "check", "--probe", "--regions", str(path))
    await edge.stop()
    assert done.returncode == 0, done.stdout
