"""The wheel has everything that a machine without the checkout needs."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router import __version__
from tests.support.servers import HOST, ROOT, clean_env, free_port

SITE_PACKAGES = sysconfig.get_path("purelib")
SHIPPED = [
    "regions.yaml",
    "geodata/cells.csv",
    "geodata/countries.csv",
    "geodata/outlines.json",
]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    run([*PIP, "wheel", *offline, "--wheel-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    run([*PIP, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)])
    return folder


def run(
    command: list[str], *, check: bool = True, **options: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command outside of the checkout."""
    env = clean_env() | options
    return subprocess.run(
        command, cwd="/", env=env, capture_output=True, text=True, timeout=90, check=check
    )


def run_installed(
    installed: Path, *words: str, check: bool = True, **options: str
) -> "subprocess.CompletedProcess[str]":
    """Run the installed command with only the libraries of this environment."""
    paths = os.pathsep.join([str(installed), SITE_PACKAGES])
    command = [sys.executable, "-S", str(installed / "bin" / "autorouter"), *words]
    here = {"PYTHONPATH": paths, "AUTOROUTER_OPS_LISTEN": f"{HOST}:{free_port()}"}
    return run(command, check=check, **(here | options))


def entries(wheel: Path) -> dict[str, int]:
    """The files in the wheel and their sizes."""
    with zipfile.ZipFile(wheel) as packed:
        return {entry.filename: entry.file_size for entry in packed.infolist()}


def test_wheel_is_pure_and_has_the_version(wheel: Path) -> None:
    assert wheel.name == f"edge_autorouter-{__version__}-py3-none-any.whl"


def test_wheel_holds_the_data_and_no_tests(wheel: Path) -> None:
    names = set(entries(wheel))
    assert {
        "router/shipped/regions.yaml",
        "router/ops/dashboard/static/app.js",
        "router/ops/dashboard/static/index.html",
        "router/shipped/geodata/cells.csv",
        "router/shipped/geodata/countries.csv",
        "router/shipped/geodata/outlines.json",
        "router/regions.schema.json",
        "router/store/redis.py",
    } <= names
    assert {name.split("/")[0] for name in names} == {
        "router",
        f"edge_autorouter-{__version__}.dist-info",
    }


def test_wheel_holds_every_module(wheel: Path) -> None:
    packed = {name for name in entries(wheel) if name.endswith(".py")}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "router").rglob("*.py")}
    assert packed == there


def test_wheel_holds_every_file_of_the_dashboard(wheel: Path) -> None:
    folder = ROOT / "router" / "ops" / "dashboard" / "static"
    assert {str(path.relative_to(ROOT)) for path in folder.iterdir()} <= set(entries(wheel))


def test_wheel_holds_no_large_file(wheel: Path) -> None:
    large = {name for name, size in entries(wheel).items() if size > 200_000}
    assert large == {"router/shipped/geodata/cities.csv"}


def test_wheel_has_its_licences(wheel: Path) -> None:
    carried = {name.rpartition("licenses/")[2] for name in entries(wheel) if "/licenses/" in name}
    assert carried == {"LICENSE", "geodata/README.md"}


def test_data_in_the_wheel_equals_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        for name in SHIPPED:
            assert packed.read(f"router/shipped/{name}") == (ROOT / name).read_bytes()


def test_installed_command_accepts_its_own_data(installed: Path) -> None:
    regions = str(ROOT / "regions.yaml")
    found = json.loads(run_installed(installed, "check", "--json", "--regions", regions).stdout)
    assert found["ok"]
    assert f"catalog: 10 regions, 10 routable, in CA, US ({regions})" in found["facts"]


@pytest.mark.parametrize("command", ["serve", "poll", "check"])
def test_installed_command_has_no_catalog(installed: Path, command: str) -> None:
    redis = {"AUTOROUTER_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = run_installed(installed, command, check=False, **redis)
    assert done.returncode == 1
    assert "AUTOROUTER_REGIONS: not set; set it to your regions.yaml" in done.stdout + done.stderr


def test_installed_command_runs_its_own_code(installed: Path) -> None:
    output = run(
        [sys.executable, "-S", "-c", "import router; print(router.__file__)"],
        PYTHONPATH=os.pathsep.join([str(installed), SITE_PACKAGES]),
    ).stdout
    assert Path(output.strip()) == installed / "router" / "__init__.py"


def test_installed_command_explains_a_viewer(installed: Path) -> None:
    regions, words = str(ROOT / "regions.yaml"), ("explain", "24.48.0.1", "--json")
    document = json.loads(run_installed(installed, *words, AUTOROUTER_REGIONS=regions).stdout)
    assert document["location"]["country"] == "CA"


def texts_for_people() -> Iterator[Path]:
    """All texts that people read: pages, messages in code, units and manifests."""
    for folder in ("docs", "router", "infra", "clients", "geodata"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in {".pyc", ".png", ".mmdb", ".woff2"}:
                yield path
    yield from (*ROOT.glob("*.md"), ROOT / "Dockerfile", ROOT / "Makefile")


def test_no_text_installs_another_project() -> None:
    """`autorouter` on the public package index is another project."""
    name = r"[\s'\"](?:edge-)?autorouter(?:\[|['\"`\s]|$)"
    wrong = re.compile(rf"(?:pip|pipx|uv) (?:install|add)[^\n`]*{name}")
    assert wrong.search("pip install 'autorouter[cloudfront]'")
    assert wrong.search("run `pip install autorouter`")
    found = [path for path in texts_for_people() if wrong.search(path.read_text(errors="replace"))]
    assert found == []
