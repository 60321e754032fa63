"""`uvicorn router.api.asgi:app`, as docs/running.md describes it."""

import signal
import sys
from functools import partial
from pathlib import Path

from tests.support.servers import HOST, Process, clean_env, free_port, get, is_open, wait_until

FEW_EDGES = """
regions:
  - {id: yto-01, name: Toronto, country: CA, latitude: 43.65, longitude: -79.38}
  - {id: nyc-01, name: New York, country: US, latitude: 40.71, longitude: -74.0}
defaults: {endpoint: "http://127.0.0.1:1/{id}"}
"""


def uvicorn(output: Path, port: int, **settings: str) -> Process:
    words = ["-m", "uvicorn", "router.api.asgi:app", "--no-proxy-headers"]
    command = [sys.executable, *words, "--host", HOST, "--port", str(port)]
    return Process(command, output, clean_env(**settings))


def test_stock_uvicorn_answers_and_reloads_files(tmp_path: Path) -> None:
    port, regions = free_port(), tmp_path / "regions.yaml"
    regions.write_text(FEW_EDGES)
    process = uvicorn(
        tmp_path / "uvicorn.log", port, REGIONS=str(regions), TRUSTED_PROXIES="127.0.0.0/8"
    )
    try:
        process.wait_for(lambda: is_open(port))
        url = f"http://{HOST}:{port}/v1/route?all=true"
        viewer = {"X-Forwarded-For": "24.48.0.1"}
        wait_until(lambda: get(url, headers=viewer).json()["status"] == "fail_open")
        assert get(url, headers=viewer).json()["region"] == "yto-01"
        assert get(url.replace("/v1", "/v2")).json()["code"] == "not_found"
        regions.write_text(FEW_EDGES.replace("yto-01", "yto-09"))
        wait_until(lambda: get(url, headers=viewer).json()["region"] == "yto-09")
        assert process.stop() == -signal.SIGTERM  # uvicorn raises it again after its shutdown
        assert "Traceback" not in process.output
    finally:
        if process.is_alive():
            process.kill()


def test_stock_uvicorn_keeps_the_last_good_health(tmp_path: Path) -> None:
    """The next start uses the saved health while Redis is unreachable."""
    regions, state, statuses = tmp_path / "regions.yaml", tmp_path / "state", []
    regions.write_text(FEW_EDGES)
    state.mkdir()
    settings = {"REGIONS": str(regions), "STATE_DIR": str(state)}
    for run in (settings, settings | {"REDIS_URL": "redis://127.0.0.1:1/0"}):
        port = free_port()
        process = uvicorn(tmp_path / "uvicorn.log", port, **run)
        url = f"http://{HOST}:{port}/v1/route?all=true"
        try:
            process.wait_for(partial(is_open, port))
            process.wait_for(lambda: any(state.iterdir()))
            statuses.append(get(url).json()["status"])
            process.stop()
        finally:
            if process.is_alive():
                process.kill()
    assert statuses[1] == "fail_open"  # from the saved health


def test_stock_uvicorn_does_not_start_with_invalid_settings(tmp_path: Path) -> None:
    process = uvicorn(tmp_path / "uvicorn.log", free_port(), TTL_S="soon")
    assert process.exit_code() != 0
    assert "AUTOROUTER_TTL_S" in process.output
