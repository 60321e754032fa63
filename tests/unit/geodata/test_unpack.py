"""An archive cannot choose where its files are written and cannot exceed the size limit."""

import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from router.errors import GeoDataError
from router.geodata.unpack import unpack
from tests.support.databases import nested, write_mmdb

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def mmdb(tmp_path: Path) -> bytes:
    return write_mmdb(tmp_path / "one.mmdb", {"192.0.2.0/24": nested("Toronto")}).read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    return out


def member(
    name: str, content: bytes = b"", type: bytes = tarfile.REGTYPE, link: str = ""
) -> Member:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = type, len(content), link
    return entry, content


def a_tar(path: Path, members: Iterable[Member], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_database_and_licence_are_unpacked(
    tmp_path: Path, folder: Path, mmdb: bytes, mode: str
) -> None:
    members = [
        member("GeoLite2-City_20260101", type=tarfile.DIRTYPE),
        member("GeoLite2-City_20260101/COPYRIGHT.txt", b"Copyright"),
        member("GeoLite2-City_20260101/LICENSE.txt", b"the terms"),
        member("GeoLite2-City_20260101/README.txt", b"read me"),
        member("GeoLite2-City_20260101/GeoLite2-City.mmdb", mmdb),
    ]
    databases, licence = unpack(a_tar(tmp_path / "db", members, mode), folder)
    assert [each.path.read_bytes() for each in databases] == [mmdb]
    assert "LICENSE.txt\n\nthe terms" in licence
    assert "Copyright" in licence
    assert "read me" not in licence


@pytest.mark.parametrize("compressed", [True, False])
def test_plain_and_gzipped_files_are_accepted(
    tmp_path: Path, folder: Path, mmdb: bytes, compressed: bool
) -> None:
    path = tmp_path / "db"
    path.write_bytes(gzip.compress(mmdb) if compressed else mmdb)
    databases, licence = unpack(path, folder)
    assert [each.path.read_bytes() for each in databases] == [mmdb]
    assert licence == ""


@pytest.mark.parametrize(
    "name", ["../../escaped.mmdb", "/tmp/escaped.mmdb", "a/../../escaped.mmdb", ".mmdb", "..mmdb"]
)
def test_file_names_in_an_archive_are_ignored(
    tmp_path: Path, folder: Path, mmdb: bytes, name: str
) -> None:
    databases, _ = unpack(a_tar(tmp_path / "db", [member(name, mmdb)]), folder)
    assert [each.path.parent for each in databases] == [folder]
    assert names(folder) == ["fetched-0.mmdb"]
    assert names(tmp_path) == ["db", "one.mmdb", "out"]


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_skipped(
    tmp_path: Path, folder: Path, mmdb: bytes, type: bytes
) -> None:
    members = [member("evil.mmdb", type=type, link="/etc/passwd"), member("good.mmdb", mmdb)]
    databases, _ = unpack(a_tar(tmp_path / "db", members), folder)
    assert [each.path.read_bytes() for each in databases] == [mmdb]


def test_gzip_bomb_stops_at_the_limit(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(20_000_000)))
    with pytest.raises(GeoDataError, match="grows beyond 1,000,000 bytes"):
        unpack(path, folder, max_bytes=1_000_000)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 1_048_576


def test_large_file_beside_the_database_stops_at_the_limit(
    tmp_path: Path, folder: Path, mmdb: bytes
) -> None:
    members = [member("README", bytes(20_000_000)), member("a.mmdb", mmdb)]
    with pytest.raises(GeoDataError, match="grows beyond"):
        unpack(a_tar(tmp_path / "bomb", members), folder, max_bytes=1_000_000)


def test_archive_of_too_many_files_is_rejected(tmp_path: Path, folder: Path) -> None:
    members = [member(f"{number}.txt") for number in range(1_001)]
    with pytest.raises(GeoDataError, match="more than 1,000 files"):
        unpack(a_tar(tmp_path / "many", members), folder)


def test_archive_without_a_database_is_rejected(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(GeoDataError, match=r"holds no \.mmdb file"):
        unpack(a_tar(tmp_path / "db", [member("README", b"hello")]), folder)


@pytest.mark.parametrize("cut", [40, 400, 600])
def test_damaged_archive_is_rejected(tmp_path: Path, folder: Path, mmdb: bytes, cut: int) -> None:
    path = a_tar(tmp_path / "db", [member("a.mmdb", mmdb)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(GeoDataError, match="cannot be unpacked"):
        unpack(path, folder)


def test_gzip_with_a_wrong_checksum_is_rejected(tmp_path: Path, folder: Path, mmdb: bytes) -> None:
    compressed = bytearray(gzip.compress(mmdb))
    compressed[-8] ^= 1
    (tmp_path / "db").write_bytes(compressed)
    with pytest.raises(GeoDataError, match="cannot be unpacked"):
        unpack(tmp_path / "db", folder)


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_holes_in_a_sparse_file_are_not_written_out(
    tmp_path: Path, folder: Path, format: str
) -> None:
    with (tmp_path / "huge.mmdb").open("wb") as file:
        file.truncate(64 * 2**20)
    path = tmp_path / "db.tar"
    options = ["--sparse", f"--format={format}", "--directory", str(tmp_path)]
    subprocess.run(["tar", "--create", *options, "--file", str(path), "huge.mmdb"], check=True)
    with pytest.raises(GeoDataError, match=r"holds no \.mmdb file"):
        unpack(path, folder, max_bytes=2**20)
    assert names(folder) == []
