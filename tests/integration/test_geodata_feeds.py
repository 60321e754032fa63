"""`geodata feeds` combines feeds fetched over HTTP into one file, which servers load."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from router.config.inputs import input_paths, read_geo
from router.config.settings import Settings
from router.errors import GeoDataError
from router.geo.feeds import feeds_path, note_path, read_notes
from router.geo.overrides import FeedLine
from router.geodata.feeds import Collected, chosen_sources, collect, read_places
from router.geodata.fetch import Fetcher, open_client
from router.model import Source
from tests.support.origins import Origin, Served, an_origin
from tests.support.servers import run_autorouter

NOW = 1_790_000_000.0
AWS = {
    "createDate": "2026-08-22",
    "prefixes": [
        {"ip_prefix": "24.48.0.0/20", "region": "ca-central-1"},
        {"ip_prefix": "24.48.16.0/20", "region": "xx-nowhere-1"},
    ],
}


@pytest.fixture
def origin() -> Iterator[Origin]:
    with an_origin() as running:
        running.files["/aws"] = Served(json.dumps(AWS, indent=1).encode())
        running.files["/isp"] = Served(b"24.48.0.0/24,CA,CA-NS,Halifax\nnonsense\n")
        yield running


def run(origin: Origin, folder: Path, *names: str, now: float = NOW) -> Collected:
    sources = chosen_sources([f"{name}={origin.url}/{name}" for name in names], folder)
    with open_client() as client:
        fetcher = Fetcher(client=client, sleep=lambda _: None)
        return collect(sources, folder, read_places(), fetcher, now)


def test_feeds_are_combined_with_a_note(origin: Origin, tmp_path: Path) -> None:
    done = run(origin, tmp_path, "aws", "isp")
    assert (done.networks, done.repeated) == (2, 0)
    aws, isp = read_notes(tmp_path)
    assert (aws.networks, aws.unknown_regions, aws.dated) == (1, {"xx-nowhere-1": 1}, "2026-08-22")
    assert (isp.networks, isp.skipped) == (1, 1)
    assert isp.examples[0].startswith("line 2: prefix: 'nonsense'")


def test_server_loads_feeds_with_their_names_and_lines(origin: Origin, tmp_path: Path) -> None:
    run(origin, tmp_path, "aws", "isp")
    settings = Settings(geo_dir=tmp_path)
    geo = read_geo(settings)
    found = geo.locate("24.48.1.1")
    assert (found.country, found.source) == ("CA", Source.FEED)
    assert geo.line_of("24.48.0.1") == FeedLine("isp", 1)
    assert geo.line_of("24.48.1.1") == FeedLine("aws", 5)
    assert geo.line_of("nonsense") is None
    assert [feed.name for feed in geo.feeds] == ["aws", "isp"]
    assert feeds_path(tmp_path) in input_paths(settings, {})


def test_operator_geofeed_overrides_feeds(origin: Origin, tmp_path: Path) -> None:
    run(origin, tmp_path, "isp")
    geofeed = tmp_path / "own.csv"
    geofeed.write_text("24.48.0.0/16,DE,DE-HE,Frankfurt\n", encoding="utf-8")
    geo = read_geo(Settings(geo_dir=tmp_path, geo_overrides=geofeed))
    assert (geo.locate("24.48.0.1").country, geo.locate("24.48.0.1").source) == (
        "DE",
        Source.OVERRIDE,
    )


def test_first_source_of_a_network_is_used(origin: Origin, tmp_path: Path) -> None:
    origin.files["/other"] = Served(b"24.48.0.0/24,US\n24.49.0.0/24,US\n")
    done = run(origin, tmp_path, "isp", "other")
    assert (done.networks, done.repeated) == (2, 1)
    geo = read_geo(Settings(geo_dir=tmp_path))
    assert geo.locate("24.48.0.1").country == "CA"


def test_failed_source_keeps_its_previous_networks(origin: Origin, tmp_path: Path) -> None:
    run(origin, tmp_path, "aws", "isp")
    origin.files["/isp"] = Served(b"<html>moved</html>")
    done = run(origin, tmp_path, "aws", "isp", now=NOW + 86_400)
    isp = done.sources[1]
    assert isp.error is not None
    assert (isp.networks, isp.fetched_at, isp.age_days(NOW + 86_400)) == (1, NOW, 1.0)
    assert read_geo(Settings(geo_dir=tmp_path)).line_of("24.48.0.1") == FeedLine("isp", 1)


def test_nothing_is_written_if_every_source_fails(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(GeoDataError, match="nothing is written"):
        run(origin, tmp_path, "missing")
    assert not feeds_path(tmp_path).exists()
    assert not note_path(tmp_path).exists()


def test_previous_sources_are_the_default(origin: Origin, tmp_path: Path) -> None:
    assert {one.name for one in chosen_sources([], tmp_path)} >= {"aws", "google", "azure"}
    run(origin, tmp_path, "isp")
    (one,) = chosen_sources([], tmp_path)
    assert (one.name, one.source) == ("isp", f"{origin.url}/isp")


def test_hostile_city_name_stays_in_its_field(origin: Origin, tmp_path: Path) -> None:
    origin.files["/isp"] = Served(b'24.48.0.0/24,CA,,"a,b\x1b\t""c"\n')
    run(origin, tmp_path, "isp")
    lines = feeds_path(tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert read_geo(Settings(geo_dir=tmp_path)).line_of("24.48.0.1") == FeedLine("isp", 1)


def test_feeds_command_reports_what_it_wrote(tmp_path: Path) -> None:
    feed = tmp_path / "isp.csv"
    feed.write_text("24.48.0.0/24,CA,CA-NS,Halifax\n", encoding="utf-8")
    done = run_autorouter("geodata", "feeds", str(feed), "--json", GEO_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"] == 1
    again = run_autorouter("geodata", "feeds", GEO_DIR=str(tmp_path))
    assert "1 network\n" in again.stdout
    feed.unlink()
    failed = run_autorouter("geodata", "feeds", GEO_DIR=str(tmp_path))
    assert failed.returncode == 1
    assert "cannot be read" in failed.stdout


def test_sources_are_fetched_concurrently(origin: Origin, tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=30)

    class Together(dict[str, Served]):
        def get(self, path: str, default: Served | None = None) -> Served | None:  # type: ignore[override]
            meeting.wait()
            return super().get(path, default)

    origin.files = Together(origin.files)
    assert run(origin, tmp_path, "aws", "isp").networks == 2


def test_fresh_feeds_are_not_fetched_again(tmp_path: Path) -> None:
    feed = tmp_path / "isp.csv"
    feed.write_text("24.48.0.0/24,CA,CA-NS,Halifax\n", encoding="utf-8")
    command = ("geodata", "feeds", str(feed), "--older-than", "7")
    assert run_autorouter(*command, GEO_DIR=str(tmp_path)).returncode == 0
    before = note_path(tmp_path).stat().st_mtime_ns
    again = run_autorouter(*command, GEO_DIR=str(tmp_path))
    assert (again.returncode, again.stdout) == (0, "")
    assert note_path(tmp_path).stat().st_mtime_ns == before
    other = tmp_path / "other.csv"
    other.write_text("24.49.0.0/24,US\n", encoding="utf-8")
    assert (
        run_autorouter(*command[:2], str(other), *command[3:], GEO_DIR=str(tmp_path)).stdout != ""
    )
    assert run_autorouter(*command, GEO_DIR=str(tmp_path)).stdout != ""
    (note,) = read_notes(tmp_path)
    old = msgspec.structs.replace(note, fetched_at=note.fetched_at - 8 * 86_400)
    note_path(tmp_path).write_bytes(msgspec.json.encode([old]))
    assert run_autorouter(*command, GEO_DIR=str(tmp_path)).stdout != ""
