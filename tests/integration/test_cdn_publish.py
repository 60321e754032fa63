"""`autorouter cdn publish` writes a table to a KeyValueStore."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.cdn.key_value_table import MAX_PAIR_BYTES
from tests.support.key_value_store import ARN, FakeStore, key_value_store
from tests.support.servers import AUTOROUTER, ROOT, clean_env


@pytest.fixture
def store() -> Iterator[FakeStore]:
    with key_value_store() as store:
        yield store


def publish(
    store: FakeStore, *options: str, arn: str = ARN, regions: Path | None = None
) -> subprocess.CompletedProcess[str]:
    catalog = regions or ROOT / "regions.yaml"
    return subprocess.run(
        [AUTOROUTER, "cdn", "publish", arn, "--regions", catalog, *options],
        check=False,
        capture_output=True,
        text=True,
        env={**clean_env(), "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **store.env},
        timeout=120,
    )


def fleet(folder: Path, count: int, first: int = 0) -> Path:
    """A catalog of many edges, spread over the world."""
    path = folder / f"fleet-{first}-{count}.yaml"
    lines = ["defaults: {endpoint: 'https://{id}.example.com'}", "regions:"]
    for number in range(first, first + count):
        city = number % 100
        latitude, longitude = city * 37 % 120 - 60, city * 61 % 340 - 170
        country = ("US", "CA", "DE", "JP")[number % 4]
        lines.append(
            f"  - {{id: edge-{number:03}, name: Edge {number}, country: {country}, "
            f"latitude: {latitude}.5, longitude: {longitude}.5}}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def versions(store: FakeStore) -> list[str]:
    document: list[str] = json.loads(store.values["versions"])
    return document


def test_dry_run_lists_changes_and_writes_nothing(store: FakeStore) -> None:
    done = publish(store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "+ dal-01" in done.stdout
    assert "add --yes" in done.stdout
    assert (store.writes, store.values) == (0, {})


def test_publishes_500_edges(store: FakeStore, tmp_path: Path) -> None:
    done = publish(store, "--yes", "--json", regions=fleet(tmp_path, 500))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["published"], len(document["edges_added"])) == (True, 500)
    assert store.writes == document["calls"]
    assert versions(store) == [document["version"]]
    assert max(len(key) + len(text) for key, text in store.values.items()) <= MAX_PAIR_BYTES


def test_publishing_the_same_table_again_writes_nothing(store: FakeStore) -> None:
    publish(store, "--yes")
    writes = store.writes
    done = publish(store, "--yes")
    assert "nothing to do" in done.stdout
    assert store.writes == writes > 0


def test_every_listed_version_is_always_complete(store: FakeStore, tmp_path: Path) -> None:
    fleets = [fleet(tmp_path, 30, first) for first in (0, 10, 20)]
    tables: dict[str, set[str]] = {}
    for regions in fleets:
        publish(store, "--yes", regions=regions)
        current = versions(store)[0]
        tables[current] = {name for name in store.values if name.startswith(f"{current}.")}
    for values in store.history:
        for version in json.loads(values.get("versions", "[]")):
            assert tables[version] <= values.keys()
    kept = {name.split(".")[0] for name in store.values} - {"versions"}
    assert kept == set(versions(store)) == set(list(tables)[1:])


def test_other_keys_in_the_store_are_kept(store: FakeStore, tmp_path: Path) -> None:
    store.values["theirs"] = "text"
    for first in (0, 5, 10):
        publish(store, "--yes", regions=fleet(tmp_path, 5, first))
    assert store.values["theirs"] == "text"


def test_previous_version_is_restored_with_one_write(store: FakeStore, tmp_path: Path) -> None:
    old, new = fleet(tmp_path, 20), fleet(tmp_path, 20, 10)
    for regions in (old, new):
        publish(store, "--yes", regions=regions)
    writes, (now, before) = store.writes, versions(store)
    done = publish(store, "--yes", regions=old)
    assert "- edge-020" in done.stdout
    assert versions(store) == [before, now]
    assert store.writes == writes + 1


def test_concurrent_writer_is_detected_and_publishing_resumes(
    store: FakeStore, tmp_path: Path
) -> None:
    publish(store, "--yes", regions=fleet(tmp_path, 20))
    before = versions(store)
    store.other_writer_at = store.writes + 3
    done = publish(store, "--yes", regions=fleet(tmp_path, 40))
    assert done.returncode == 1
    assert "another writer" in done.stderr
    assert versions(store) == before
    written = store.writes
    again = publish(store, "--yes", regions=fleet(tmp_path, 40))
    assert again.returncode == 0
    assert len(versions(store)) == 2
    assert store.writes - written < written


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("AccessDeniedException", "cloudfront-keyvaluestore:DescribeKeyValueStore"),
        ("ResourceNotFoundException", "aws cloudfront list-key-value-stores"),
        ("ServiceQuotaExceededException", "the store is full"),
    ],
)
def test_aws_error_says_what_to_do(store: FakeStore, code: str, advice: str) -> None:
    store.refuse = code
    done = publish(store, "--yes")
    assert done.returncode == 1
    assert advice in done.stderr


def test_invalid_arn_is_rejected(store: FakeStore) -> None:
    done = publish(store, arn="a1b2")
    assert done.returncode == 1
    assert "is not the ARN" in done.stderr


def test_missing_credentials_are_reported(store: FakeStore) -> None:
    store.env |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = publish(store)
    assert done.returncode == 1
    assert "AWS_PROFILE" in done.stderr
