"""Downloads resume after an interruption, stay within limits and are verified."""

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from router.errors import GeoDataError
from router.geodata.fetch import TRIES, Fetcher, Remote, open_client
from tests.support.origins import Origin, Served, an_origin

CONTENT = random.Random(4).randbytes(300_000)
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def origin() -> Iterator[Origin]:
    with an_origin() as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def waits() -> list[float]:
    """The delay before each retry, in seconds."""
    return []


@pytest.fixture
def fetcher(client: httpx.Client, waits: list[float]) -> Fetcher:
    return Fetcher(client=client, sleep=waits.append)


def served(origin: Origin, **options: object) -> Remote:
    origin.files["/file"] = Served(CONTENT, **options)  # type: ignore[arg-type]
    return Remote(url=f"{origin.url}/file")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_downloaded(origin: Origin, fetcher: Fetcher, tmp_path: Path) -> None:
    fetcher.file(replace(served(origin), digest=SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]


def test_progress_is_reported(origin: Origin, client: httpx.Client, tmp_path: Path) -> None:
    progress: list[tuple[str, int, int | None]] = []
    fetcher = Fetcher(client=client, progress=lambda *words: progress.append(words))
    fetcher.file(served(origin), tmp_path / "file")
    assert progress[-1] == ("downloading", len(CONTENT), len(CONTENT))


def test_interrupted_download_resumes(
    origin: Origin, fetcher: Fetcher, waits: list[float], tmp_path: Path
) -> None:
    fetcher.file(served(origin, breaks=[100_000, 50_000]), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert origin.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert waits == [1.0, 2.0]


def test_download_resumes_in_another_run(
    origin: Origin, fetcher: Fetcher, client: httpx.Client, tmp_path: Path
) -> None:
    remote = served(origin, breaks=[10_000] * TRIES)
    with pytest.raises(GeoDataError, match="Run it again"):
        fetcher.file(remote, tmp_path / "file")
    assert names(tmp_path) == ["file.part", "file.part.json"]
    Fetcher(client=client).file(remote, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert origin.ranges()[-1] == "bytes=50000-"


@pytest.mark.parametrize("changed", [Served(CONTENT[::-1], etag='"two"'), Served(b"short")])
def test_changed_file_is_downloaded_from_the_start(
    origin: Origin, fetcher: Fetcher, tmp_path: Path, changed: Served
) -> None:
    remote = served(origin, breaks=[10_000] * TRIES)
    with pytest.raises(GeoDataError):
        fetcher.file(remote, tmp_path / "file")
    origin.files["/file"] = changed
    fetcher.file(remote, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == changed.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_download_without_a_strong_etag_starts_again(
    origin: Origin, fetcher: Fetcher, tmp_path: Path, etag: str | None
) -> None:
    fetcher.file(served(origin, etag=etag, breaks=[100_000]), tmp_path / "file")
    assert origin.ranges() == [None, None]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_download_with_a_digest_resumes_without_an_etag(
    origin: Origin, fetcher: Fetcher, tmp_path: Path
) -> None:
    remote = replace(served(origin, etag=None, breaks=[100_000]), digest=SHA256)
    fetcher.file(remote, tmp_path / "file")
    assert origin.ranges() == [None, "bytes=100000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_download_with_a_wrong_checksum_is_removed(
    origin: Origin, fetcher: Fetcher, tmp_path: Path
) -> None:
    remote = replace(served(origin), digest=("sha256", "0" * 64))
    with pytest.raises(GeoDataError, match="another checksum"):
        fetcher.file(remote, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "file.part").exists()


def test_retry_after_is_respected(
    origin: Origin, fetcher: Fetcher, waits: list[float], tmp_path: Path
) -> None:
    refusals = [(503, {"Retry-After": "7"}), (429, {"Retry-After": "9999"}), (500, {})]
    fetcher.file(served(origin, refusals=refusals), tmp_path / "file")
    assert waits == [7.0, 60.0, 4.0]


def test_retries_are_limited(
    origin: Origin, fetcher: Fetcher, waits: list[float], tmp_path: Path
) -> None:
    with pytest.raises(GeoDataError, match=f"503.*tried {TRIES} times"):
        fetcher.file(served(origin, refusals=[(503, {})] * 99), tmp_path / "file")
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_404_is_not_retried(origin: Origin, fetcher: Fetcher, tmp_path: Path) -> None:
    remote = Remote(url=f"{origin.url}/none")
    with pytest.raises(GeoDataError, match="404 Not Found; check the source"):
        fetcher.file(remote, tmp_path / "file")
    assert len(origin.asked) == 1


def test_wrong_key_is_reported_without_the_key(
    origin: Origin, fetcher: Fetcher, tmp_path: Path
) -> None:
    remote = replace(served(origin, auth="Basic other"), auth=("42", "hunter2"))
    with pytest.raises(GeoDataError, match="the account or its key is not accepted") as caught:
        fetcher.file(remote, tmp_path / "file")
    assert "hunter2" not in str(caught.value) + repr(remote)


def test_unreachable_server_is_reported(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(GeoDataError, match=f"tried {TRIES} times"):
        fetcher.file(Remote(url="http://127.0.0.1:1/file"), tmp_path / "file")


@pytest.mark.parametrize("with_length", [True, False])
def test_too_large_file_is_rejected(
    origin: Origin, client: httpx.Client, tmp_path: Path, with_length: bool
) -> None:
    fetcher = Fetcher(client=client, max_bytes=200_000)
    with pytest.raises(GeoDataError, match="larger than 200,000 bytes"):
        fetcher.file(served(origin, with_length=with_length), tmp_path / "file")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("false_headers", "error"),
    [
        ({"Content-Range": "bytes 5-299999/300000"}, "another part of the file"),
        ({"Content-Range": "bytes 0-99/100"}, "sends more than the 100 bytes"),
        ({"Content-Range": "bytes five-ten/twelve"}, "without a valid Content-Range"),
        ({"Content-Range": f"bytes 0-1/{2**45}"}, "larger than"),
        ({"Content-Range": "bytes 0-399999/400000"}, "ends after 300,000 bytes each time"),
        ({"Content-Length": "400000"}, "ends after 300,000 bytes each time"),
        ({"Content-Length": str(2**45)}, "larger than"),
    ],
)
@pytest.mark.parametrize("etag", ['"one"', None])
def test_false_response_headers_are_rejected(
    origin: Origin,
    fetcher: Fetcher,
    tmp_path: Path,
    false_headers: dict[str, str],
    error: str,
    etag: str | None,
) -> None:
    with pytest.raises(GeoDataError, match=f"{error}.*; use another source"):
        fetcher.file(served(origin, etag=etag, false_headers=false_headers), tmp_path / "file")
    assert names(tmp_path) == []


def test_wrong_part_of_the_file_is_rejected(
    origin: Origin, fetcher: Fetcher, tmp_path: Path
) -> None:
    remote = served(origin, breaks=[10_000] * TRIES)
    with pytest.raises(GeoDataError, match="Run it again"):
        fetcher.file(remote, tmp_path / "file")
    served(origin, false_headers={"Content-Range": "bytes 90000-299999/300000"})
    with pytest.raises(GeoDataError, match="another part of the file"):
        fetcher.file(remote, tmp_path / "file")
    assert names(tmp_path) == []


def test_too_slow_download_ends_and_can_resume(
    origin: Origin, client: httpx.Client, tmp_path: Path
) -> None:
    remote = served(origin)
    hours = itertools.count(step=1_000.0)
    slow = Fetcher(client=client, clock=lambda: next(hours))
    with pytest.raises(GeoDataError, match="too slow"):
        slow.file(remote, tmp_path / "file")
    received = (tmp_path / "file.part").stat().st_size
    assert 0 < received < len(CONTENT)
    Fetcher(client=client).file(remote, tmp_path / "file")
    assert origin.ranges()[-1] == f"bytes={received}-"
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://db.example/file", "ftp://db.example/file", "file:///etc"])
def test_other_schemes_are_rejected(fetcher: Fetcher, tmp_path: Path, url: str) -> None:
    with pytest.raises(GeoDataError, match="https"):
        fetcher.file(Remote(url=url), tmp_path / "file")


def test_redirect_to_http_is_rejected(origin: Origin, fetcher: Fetcher, tmp_path: Path) -> None:
    remote = served(origin, refusals=[(302, {"Location": "http://db.example/file"})])
    with pytest.raises(GeoDataError, match="use https"):
        fetcher.file(remote, tmp_path / "file")


def test_redirect_to_another_server_drops_the_key(
    origin: Origin, fetcher: Fetcher, tmp_path: Path
) -> None:
    with an_origin() as store:
        store.files["/signed"] = Served(CONTENT)
        remote = served(origin, refusals=[(302, {"Location": f"{store.url}/signed"})])
        fetcher.file(replace(remote, auth=("42", "hunter2")), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == CONTENT
        assert "authorization" not in store.asked[0][2]
    assert "authorization" in origin.asked[0][2]


def test_redirects_are_limited(origin: Origin, fetcher: Fetcher, tmp_path: Path) -> None:
    redirects = [(302, {"Location": f"{origin.url}/file"})] * 99
    with pytest.raises(GeoDataError, match="redirects"):
        fetcher.file(served(origin, refusals=redirects), tmp_path / "file")


def test_version_is_the_etag_or_the_size(origin: Origin, fetcher: Fetcher) -> None:
    assert fetcher.version(served(origin)) == '"one"'
    assert fetcher.version(served(origin, etag=None)) == str(len(CONTENT))
    assert fetcher.version(Remote(url=f"{origin.url}/none")) is None
    assert fetcher.version(served(origin, refusals=[(405, {})])) == ""


def test_long_text_is_rejected_as_a_checksum(origin: Origin, fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="no short text"):
        fetcher.text(served(origin))
