"""The command line as a process: its words, exit codes and colours, with servers and without."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from router import __version__
from router.cli.main import main
from router.config.settings import describe_settings
from router.geo.database import packaged_database
from tests.support.builders import CITIES
from tests.support.commands import ESCAPE, in_json, on_terminal
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    ROOT,
    Dev,
    RedisServer,
    Start,
    a_regions_file,
    clean_env,
    free_port,
    run_autorouter,
    running_dev,
    wait_until,
)

COMMANDS = [
    "dev",
    "serve",
    "poll",
    "check",
    "edges",
    "explain",
    "simulate",
    "drain",
    "disable",
    "dial",
    "enable",
    "events",
    "version",
    "cdn",
    "geodata",
]
VIEWER = "24.48.0.1"
OLD_DATABASE = "the geo database is "  # as old as the package that tests use


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev"), POLL_INTERVAL_S="0.5") as one:
        wait_until(one.is_ready)
        yield one


@pytest.fixture
def alone() -> dict[str, str]:
    """Settings with which no server is found."""
    return {"OPS_LISTEN": f"{HOST}:{free_port()}"}


def test_check_of_what_ships_is_fine() -> None:
    done = run_autorouter("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()][:3] == ["ok", "ok", "ok"]
    assert all(OLD_DATABASE in line for line in done.stdout.splitlines()[3:])


def test_check_tells_the_same_as_json() -> None:
    found = in_json(run_autorouter("check", "--json"))
    assert (found["ok"], found["faults"]) == (True, [])
    assert all(OLD_DATABASE in warning for warning in found["warnings"])
    assert len(found["facts"]) == 3


def test_check_lists_every_fault_and_fails(tmp_path: Path) -> None:
    regions = tmp_path / "regions.yaml"
    regions.write_text("regions:\n  - {id: YTO, latitude: 99}\n")
    settings = {"REGIONS": str(regions), "GEO_DB": str(tmp_path), "TTL_S": "0", "LISTEN": "x"}
    done = run_autorouter("check", **settings)
    told = json.loads(run_autorouter("check", "--json", **settings).stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert all(f"fault   {fault}" in done.stdout for fault in told["faults"])
    for about in ("AUTOROUTER_TTL_S: ", "AUTOROUTER_LISTEN: "):
        assert any(fault.startswith(about) for fault in told["faults"])


def test_check_of_another_catalog_names_its_lines(tmp_path: Path) -> None:
    regions = tmp_path / "regions.yaml"
    regions.write_text("regions:\n  - {id: YTO, latitude: 99}\n")
    done = run_autorouter("check", "--regions", str(regions))
    assert done.returncode == 1
    assert f"{regions}:2: regions[0].latitude: " in done.stdout


def test_check_warns_of_a_misspelt_setting() -> None:
    done = run_autorouter("check", TLL_S="300")
    assert done.returncode == 0
    assert "AUTOROUTER_TLL_S" in done.stdout
    assert "did you mean AUTOROUTER_TTL_S?" in done.stdout


def test_check_shows_no_secret() -> None:
    done = run_autorouter("check", CDN_SECRET="hunter2-hunter2-hunter2", OPS_TOKEN="hunter2")
    assert "hunter2" not in done.stdout + done.stderr


def test_long_paths_are_not_broken_over_lines(tmp_path: Path) -> None:
    missing = tmp_path / ("x" * 200) / "regions.yaml"
    done = run_autorouter("check", "--regions", str(missing))
    assert any(str(missing) in line for line in done.stdout.splitlines())


def test_explain_without_a_server_decides_from_the_catalog(alone: dict[str, str]) -> None:
    done = run_autorouter("explain", VIEWER, **alone)
    assert done.returncode == 0
    assert re.match(rf"{VIEWER} gets y\w\w-0\d: nearest_in_country\n", done.stdout)
    assert "from the catalog alone" in done.stdout


def test_explain_as_json_has_everything(alone: dict[str, str]) -> None:
    told = in_json(run_autorouter("explain", VIEWER, "--json", **alone))
    assert told["location"]["country"] == "CA"
    assert len(told["candidates"]) + len(told["rejected"]) == len(CITIES)
    assert told["candidates"][0]["region"] == told["region"]


def test_explain_knows_scope_model_and_strict(alone: dict[str, str]) -> None:
    words = ["--scope", "global", "--model", "Kokoro", "--strict", "--json"]
    told = in_json(run_autorouter("explain", VIEWER, *words, **alone))
    assert (told["query"]["scope"], told["query"]["strict"]) == ("global", True)
    assert told["model"] == "kokoro-82m"


def test_explain_of_a_viewer_without_an_edge_says_why(alone: dict[str, str]) -> None:
    done = run_autorouter("explain", "85.214.132.117", "--strict", **alone)
    assert done.returncode == 0
    assert "85.214.132.117 gets no edge: no_edge_in_country" in done.stdout


def test_country_is_explained_with_the_shares_of_its_viewers(alone: dict[str, str]) -> None:
    done = run_autorouter("explain", "CA", **alone)
    assert done.returncode == 0
    assert done.stdout.startswith("a viewer in CA gets ")
    assert re.search(r"^  all     (\S+ \d+%,? ?){5}$", done.stdout, re.MULTILINE)


def test_country_is_explained_alike_with_and_without_a_server(
    dev: Dev, alone: dict[str, str]
) -> None:
    there, here = (
        in_json(run_autorouter("explain", "de", "--json", **settings))
        for settings in (dev.settings, alone)
    )
    assert (there["key"], there["spread"]) == (here["key"], here["spread"])


@pytest.mark.parametrize("name", ["Germany", "united states", "DE", "us"])
def test_country_is_explained_by_name_or_code(alone: dict[str, str], name: str) -> None:
    told = in_json(run_autorouter("explain", name, "--json", **alone))
    assert told["location"]["country"] == ("DE" if name in ("Germany", "DE") else "US")


def test_name_of_no_country_is_an_error_that_names_it(alone: dict[str, str]) -> None:
    done = run_autorouter("explain", "Atlantis", **alone)
    assert (done.returncode, "'Atlantis' is not" in done.stderr) == (2, True)


def test_caching_of_the_answer_is_explained(alone: dict[str, str]) -> None:
    done = run_autorouter("explain", VIEWER, **alone)
    assert "  caches  cache-control: private, max-age=30\n" in done.stdout


def test_explain_asks_a_running_server(dev: Dev) -> None:
    told = in_json(run_autorouter("explain", VIEWER, "--json", **dev.settings))
    assert told["from"] == f"http://{HOST}:{dev.ops_port}"
    assert told["region"] == dev.ops(f"/v1/explain?ip={VIEWER}").json()["region"]


def test_explain_agrees_with_and_without_a_server(dev: Dev, alone: dict[str, str]) -> None:
    there, here = (
        in_json(run_autorouter("explain", "128.100.1.1", "--json", **settings))
        for settings in (dev.settings, alone)
    )
    assert there["key"] == here["key"]
    assert there["location"] == here["location"]


def test_key_and_headers_of_a_cdn_are_explained(dev: Dev, alone: dict[str, str]) -> None:
    for settings in (dev.settings, alone):
        by_key = run_autorouter("explain", "--key", "CA~yul-01.yto-01", **settings)
        assert by_key.stdout.startswith("a viewer with the key CA~yul-01.yto-01 gets yul-01: ")
        headers = ["--header", "CloudFront-Viewer-Country: DE"]
        headers += ["--header", "CloudFront-Viewer-Latitude: 52.5"]
        headers += ["--header", "CloudFront-Viewer-Longitude: 13.4"]
        told = in_json(run_autorouter("explain", *headers, "--json", **settings))
        assert told["location"]["source"] == "cdn_headers"
        assert re.fullmatch("[0-9a-f]{8}", told["fleet"])


def test_past_that_is_not_kept_is_an_error(dev: Dev, alone: dict[str, str]) -> None:
    done = run_autorouter("explain", VIEWER, "--at", "3h", **dev.settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"no sample of|the history is empty", done.stderr)
    assert run_autorouter("explain", VIEWER, "--at", "3h", **alone).returncode == 1


def test_edges_without_a_server_are_the_catalog(alone: dict[str, str]) -> None:
    done = run_autorouter("edges", **alone)
    assert done.returncode == 0
    assert done.stdout.startswith("fleet static, from the catalog alone\n")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(CITIES)


def test_edges_of_a_running_server_have_states(dev: Dev) -> None:
    told = in_json(run_autorouter("edges", "--json", **dev.settings))
    assert told["status"] == "ok"
    assert {edge["state"] for edge in told["edges"]} == {"up"}


def test_edges_are_one_line_each_however_long(dev: Dev) -> None:
    lines = run_autorouter("edges", **dev.settings).stdout.splitlines()
    assert len(lines) == 2 + len(CITIES)
    assert all(" ms" in line for line in lines[2:])


def test_server_on_all_addresses_is_found_on_loopback(dev: Dev) -> None:
    done = run_autorouter("edges", OPS_LISTEN=f"0.0.0.0:{dev.ops_port}")
    assert f"from http://{HOST}:{dev.ops_port}" in done.stdout


def test_listener_that_is_not_ours_is_named(dev: Dev) -> None:
    done = run_autorouter("edges", OPS_LISTEN=f"{HOST}:{dev.port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: http://{HOST}:{dev.port}/v1/edges: 404 ")


def test_listener_that_hangs_is_given_up() -> None:
    with socket.create_server((HOST, 0)) as hung:
        started = time.monotonic()
        done = run_autorouter("edges", OPS_LISTEN=f"{HOST}:{hung.getsockname()[1]}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Timeout" in done.stderr or "timed out" in done.stderr
    assert time.monotonic() - started < 10


def test_drained_edge_comes_back_when_enabled(dev: Dev) -> None:
    words = ["drain", "sfo-01", "--for", "2h", "--reason", "new disks", "--actor", "ann"]
    done = run_autorouter(*words, **dev.settings)
    assert (done.returncode, "draining" in done.stdout, "ann" in done.stdout) == (0, True, True)
    wait_until(lambda: intent_of(dev, "sfo-01") == "draining")
    assert run_autorouter("enable", "sfo-01", **dev.settings).returncode == 0
    wait_until(lambda: intent_of(dev, "sfo-01") == "enabled")


def test_drained_edge_is_counted_down_to(dev: Dev) -> None:
    words = ["drain", "dal-01", "--for", "2h", "--reason", "new disks"]
    assert run_autorouter(*words, **dev.settings).returncode == 0
    wait_until(lambda: intent_of(dev, "dal-01") == "draining")
    (line,) = [
        line
        for line in run_autorouter("edges", **dev.settings).stdout.splitlines()
        if line.startswith("dal-01 ")
    ]
    assert re.search(r"draining, [45] m left", line)
    why = run_autorouter("explain", "12.34.56.78", **dev.settings).stdout
    assert re.search(r"dal-01 .*out: draining for \d+ s: new disks", why)
    run_autorouter("enable", "dal-01", **dev.settings)


def intent_of(dev: Dev, id: str) -> str:
    edges = dev.ops("/v1/edges").json()["edges"]
    return str(next(edge["intent"] for edge in edges if edge["id"] == id))


def test_changes_are_in_the_events(dev: Dev) -> None:
    run_autorouter("disable", "dal-02", "--for", "10m", "--reason", "why not", **dev.settings)
    run_autorouter("enable", "dal-02", "--actor", "bob", **dev.settings)
    done = run_autorouter("events", "--json", **dev.settings)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [(one["before"], one["after"]) for one in events if one["edge"] == "dal-02"]
    assert ("disabled", "enabled") in told or ("enabled", "disabled") in told
    assert "why not" in run_autorouter("events", **dev.settings).stdout


def test_country_is_not_emptied_without_force(dev: Dev) -> None:
    canadian = [id for id, (_, country, _) in CITIES.items() if country == "CA"]
    words = ["drain", *canadian, "--for", "1m", "--reason", "by mistake"]
    done = run_autorouter(*words, **dev.settings)
    assert done.returncode == 1
    assert "would leave CA without an edge" in done.stderr
    assert intent_of(dev, canadian[0]) == "enabled"


@pytest.mark.parametrize("command", [["drain", "--for", "1h", "--reason", "x"], ["enable"]])
def test_unknown_edge_is_an_error_with_the_choices(dev: Dev, command: list[str]) -> None:
    done = run_autorouter(command[0], "nowhere-01", *command[1:], **dev.settings)
    assert done.returncode == 1
    assert "no such edge: nowhere-01; there are dal-01" in done.stderr


@pytest.mark.parametrize(
    "words", [["drain", "yto-01", "--for", "1h", "--reason", "x"], ["enable", "yto-01"], ["events"]]
)
def test_change_without_a_server_says_what_is_missing(
    alone: dict[str, str], words: list[str]
) -> None:
    done = run_autorouter(*words, **alone)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUTOROUTER_OPS_LISTEN" in done.stderr
    assert "AUTOROUTER_REDIS_URL" in done.stderr


def test_events_followed_end_with_ctrl_c(dev: Dev, start: Start) -> None:
    run_autorouter("drain", "nyc-02", "--for", "1m", "--reason", "to be seen", **dev.settings)
    following = start("events", "--follow", **dev.settings)
    following.wait_for(lambda: "to be seen" in following.output)
    following.send(signal.SIGINT)
    assert following.exit_code() == 130
    assert "Traceback" not in following.output
    assert "Aborted" not in following.output


def test_one_edge_is_shown_in_full(dev: Dev) -> None:
    done = run_autorouter("edges", "yto-01", **dev.settings)
    assert done.returncode == 0
    assert "endpoint  http://127.0.0.1" in done.stdout
    assert "votes     dev=up" in done.stdout or "votes     local=up" in done.stdout


def test_unknown_edge_is_named_with_those_there_are(dev: Dev) -> None:
    done = run_autorouter("edges", "nope", **dev.settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no such edge: nope; there are dal-01, ")


def test_watched_edges_end_silently_with_ctrl_c(dev: Dev, start: Start) -> None:
    watching = start("edges", "--watch", **dev.settings)
    watching.wait_for(lambda: watching.output.count("fleet ok") > 1)
    watching.send(signal.SIGINT)
    assert watching.exit_code() == 130
    assert "Traceback" not in watching.output


def test_edge_ids_are_completed(dev: Dev) -> None:
    env = clean_env(**dev.settings) | {
        "_AUTOROUTER_COMPLETE": "bash_complete",
        "COMP_WORDS": "autorouter drain yt",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [str(AUTOROUTER)], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == ["yto-01", "yto-02"]


def test_faulty_regions_do_not_stop_an_operator(dev: Dev, tmp_path: Path) -> None:
    broken = tmp_path / "regions.yaml"
    broken.write_text("regions: [")
    settings = dev.settings | {"REGIONS": str(broken)}
    drain = ("drain", "sfo-01", "--for", "1m", "--reason", "disk")
    for words in [drain, ("enable", "sfo-01"), ("events",), ("edges",)]:
        assert run_autorouter(*words, **settings).returncode == 0, words


FAULTY = {
    "CDN_SECRET_FILE": "/nowhere/secret",
    "TTL_S": "soon",
    "FASTLY_TOKEN_FILE": "/nowhere/token",
}


@pytest.mark.parametrize(
    "words",
    [
        ("events",),
        ("edges",),
        ("drain", "sfo-01", "--for", "1m", "--reason", "disk"),
        ("enable", "sfo-01"),
    ],
    ids=" ".join,
)
def test_faulty_settings_of_others_do_not_stop_an_operator(
    dev: Dev, words: tuple[str, ...]
) -> None:
    done = run_autorouter(*words, **dev.settings, **FAULTY)
    assert (done.returncode, done.stderr) == (0, "")


def test_fault_of_a_setting_that_is_needed_is_named(dev: Dev) -> None:
    drain = ["drain", "sfo-01", "--for", "1m", "--reason", "disk"]
    done = run_autorouter(*drain, **dev.settings, OPS_TOKEN_FILE="/nowhere/token")
    assert done.returncode == 1
    assert done.stderr.startswith("error: AUTOROUTER_OPS_TOKEN: ")


def test_catalog_alone_is_shown_with_no_faulty_setting(alone: dict[str, str]) -> None:
    done = run_autorouter("edges", **alone, TTL_S="soon")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: AUTOROUTER_TTL_S: ")


def test_events_are_of_a_time_and_an_edge(dev: Dev) -> None:
    run_autorouter("drain", "nyc-01", "--for", "1m", "--reason", "a moment", **dev.settings)
    run_autorouter("drain", "nyc-02", "--for", "1m", "--reason", "a moment", **dev.settings)
    done = run_autorouter("events", "--since", "2h", "--edge", "nyc-01", **dev.settings)
    assert done.stdout.count("a moment") == done.stdout.count("nyc-01") == 1
    later = run_autorouter("events", "--since", f"{time.time() + 30:.0f}", **dev.settings)
    assert (later.returncode, later.stdout) == (0, "")
    run_autorouter("enable", "nyc-01", "nyc-02", **dev.settings)


def test_dev_names_its_own_options_when_a_port_is_taken(dev: Dev) -> None:
    done = run_autorouter("dev", "--port", str(dev.port), "--ops-port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --port: cannot listen on 127.0.0.1")


def test_version_is_a_command() -> None:
    done = run_autorouter("version")
    assert done.stdout.startswith(f"autorouter {__version__}, Python 3")


def test_operators_work_through_redis_alone(redis: RedisServer, alone: dict[str, str]) -> None:
    settings = alone | {"REDIS_URL": redis.url}
    words = ["drain", "yto-01", "--for", "2h", "--reason", "new disks"]
    assert run_autorouter(*words, **settings).returncode == 0
    told = in_json(run_autorouter("edges", "--json", **settings))
    assert (told["from"], told["edges"][0]["intent"]) == ("Redis", "draining")
    why = in_json(run_autorouter("explain", "128.100.1.1", "--json", **settings))["rejected"]
    assert {one["region"]: one["why"] for one in why} == {"yto-01": "draining"}
    assert "new disks" in run_autorouter("events", **settings).stdout


def test_polled_states_are_read_from_redis(
    redis: RedisServer, alone: dict[str, str], start: Start, tmp_path: Path
) -> None:
    endpoints = {id: f"http://127.0.0.{n}:{free_port()}" for n, id in enumerate(CITIES, 2)}
    regions = a_regions_file(tmp_path / "regions.yaml", endpoints)
    settings = alone | {"REDIS_URL": redis.url, "REGIONS": str(regions)}
    start("poll", POLL_INTERVAL_S="0.2", **settings)

    def reasons() -> set[str | None]:
        told = in_json(run_autorouter("edges", "--json", **settings))
        return {edge["reason"] for edge in told["edges"]}

    wait_until(lambda: reasons() == {"refused"})


def test_redis_that_is_away_is_an_error(alone: dict[str, str]) -> None:
    done = run_autorouter("edges", REDIS_URL=f"redis://:hunter2@{HOST}:{free_port()}/0", **alone)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Redis")
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"], prog_name="autorouter")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: autorouter {command} ")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_every_command_and_setting(word: str) -> None:
    done = run_autorouter(word)
    part = done.stdout.partition("Commands:")[2].partition("Settings")[0]
    listed = re.findall(r"(?m)^  ([a-z]+)  ", part)
    assert listed == COMMANDS
    assert all(setting.variable in done.stdout for setting in describe_settings())


def test_version_is_told_by_command_and_module() -> None:
    told = [
        run_autorouter("--version").stdout,
        subprocess.run(
            [sys.executable, "-m", "router", "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout,
    ]
    assert told == [f"autorouter, version {__version__}\n"] * 2


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["explain"],
        ["explain", "nonsense"],
        ["explain", "1.2.3.4", "5.6.7.8"],
        ["explain", "1.2.3.4", "--key", "CA~yto-01"],
        ["explain", "--key", "nonsense"],
        ["explain", "--header", "Cookie: x"],
        ["explain", VIEWER, "--at", "soon"],
        ["explain", VIEWER, "--scope", "world"],
        ["explain", VIEWER, "--model", "x" * 129],
        ["dev", "--port", "65536"],
        ["dev", "--port", "http"],
        ["serve", "extra"],
        ["check", "--regions"],
        ["check", "--regions", "/"],
        ["drain", "yto-01"],
        ["drain", "--for", "2h", "--reason", "x"],
        ["drain", "yto-01", "--for", "73h", "--reason", "x"],
        ["drain", "yto-01", "--for", "soon", "--reason", "x"],
        ["enable"],
        ["events", "--since", "soon"],
        ["simulate"],
        ["simulate", "--drain", ","],
        ["simulate", "--drain", "yto-01", "--scope", "world"],
        ["simulate", "--drain", "yto-01", "--model", "x" * 129],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    done = CliRunner().invoke(main, words, prog_name="autorouter")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_wrong_usage_of_the_process_exits_with_2() -> None:
    done = run_autorouter("explain", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: autorouter explain ")


PIPED = [["check"], ["edges"], ["explain", VIEWER], ["--help"], ["events"], ["edges", "--json"]]


@pytest.mark.parametrize("words", PIPED, ids=" ".join)
def test_piped_output_has_no_escape_codes(dev: Dev, words: list[str]) -> None:
    done = run_autorouter(*words, **dev.settings)
    assert done.returncode == 0
    assert ESCAPE not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["check"], ["edges"], ["explain", VIEWER]], ids=" ".join)
def test_terminal_has_colour_unless_it_is_unwanted(dev: Dev, words: list[str]) -> None:
    there = {"AUTOROUTER_OPS_LISTEN": f"{HOST}:{dev.ops_port}"}
    colour = re.compile(r"\x1b\[(?:\d+;)*3\d")
    assert colour.search(on_terminal(*words, **there))
    assert not colour.search(on_terminal(*words, NO_COLOR="1", **there))


def test_reader_that_leaves_early_is_no_traceback(alone: dict[str, str]) -> None:
    for words in ("edges", "edges --json", "check", "--help"):
        done = subprocess.run(
            ["sh", "-c", f"{AUTOROUTER} {words} | head -c 1"],
            env=clean_env(**alone),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_cdn_function_is_printed_or_written(tmp_path: Path) -> None:
    printed = run_autorouter("cdn", "render").stdout
    target = tmp_path / "function.js"
    assert run_autorouter("cdn", "render", "--output", str(target)).returncode == 0
    assert target.read_text() == printed
    assert "function handler(event)" in printed


def examples() -> Iterator[tuple[str, click.Command]]:
    """The example of each command's --help, and the command."""
    commands: list[click.Command] = [*main.commands.values()]
    for command in commands:
        if isinstance(command, click.Group):
            commands += command.commands.values()
        else:
            yield command.epilog or "", command


@pytest.mark.parametrize(("example", "command"), list(examples()), ids=lambda one: str(one)[:40])
def test_example_is_accepted_by_its_command(example: str, command: click.Command) -> None:
    words = shlex.split(example)
    words = words[words.index("autorouter") + 1 :]
    found: click.Command = main
    while isinstance(found, click.Group):
        found = found.commands[words.pop(0)]
    assert found is command
    context = command.make_context(command.name, words)
    assert context.args == []


SERVERS = {"dev", "serve", "poll"}  # they do not end by themselves
# They ask servers that cannot be reached from here. test_simulate.py runs `simulate`, which
# reads the whole geo database.
ELSEWHERE = {"update", "feeds", "publish", "simulate"}
FAILS = {"check"}  # the edges that ship cannot be reached from here
TO_RUN = [one for one, command in examples() if command.name not in SERVERS | ELSEWHERE]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that examples name."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "my-regions.yaml").write_text((ROOT / "regions.yaml").read_text())
    for name in ("city.geo", "old.mmdb", "new.mmdb"):
        (folder / name).symlink_to(packaged_database())
    return folder


@pytest.mark.parametrize("example", TO_RUN, ids=lambda one: str(one)[:40])
def test_example_works_when_it_is_run(example: str, dev: Dev, workplace: Path) -> None:
    done = subprocess.run(
        [str(AUTOROUTER), *shlex.split(example)[1:]],
        env=clean_env(**dev.settings),
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    fails = shlex.split(example)[1] in FAILS
    assert done.returncode == (1 if fails else 0), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("example", [one for one, command in examples() if command.name in SERVERS])
def test_example_of_a_server_serves(
    example: str, start: Start, workplace: Path, redis: RedisServer
) -> None:
    words = shlex.split(example)
    words = words[words.index("autorouter") + 1 :]
    words = [
        str(free_port())
        if word.isdigit() and words[at - 1].endswith("port")
        else str(workplace / word)
        if word.endswith(".yaml")
        else word
        for at, word in enumerate(words)
    ]
    settings = {"LISTEN": f"{HOST}:{free_port()}", "OPS_LISTEN": f"{HOST}:{free_port()}"}
    if words[0] == "poll":
        settings["REDIS_URL"] = redis.url
    server = start(*words, **settings)
    server.wait_for(lambda: bool(server.output))
    assert "error:" not in server.output
    server.send(signal.SIGTERM)
    assert server.exit_code() == 0
