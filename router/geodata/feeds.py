"""`autorouter geodata feeds`: fetches published network locations into one overrides file. If two
sources name a network, the first source is used. If a source cannot be fetched, its previous
networks are kept. The file is replaced as a whole, or not at all.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import msgspec

from router.config.inputs import city_finder, packaged_path
from router.errors import GeoDataError
from router.geo.countries import load_countries
from router.geo.feeds import FeedNote, feeds_path, note_path, read_notes
from router.geo.geofeed import MAX_LINES, Entry, Network, read_geofeed
from router.geodata.cloud_regions import load_cloud_regions
from router.geodata.feed_formats import Places, Published, read_feed
from router.geodata.fetch import Fetcher, Remote
from router.geodata.files import replacing
from router.text_files import printable

MAX_FEED_BYTES = 64 * 2**20
MAX_SOURCES = 64
MAX_EXAMPLES = 20
AT_ONCE = 8

WELL_KNOWN = {
    "aws": "https://ip-ranges.amazonaws.com/ip-ranges.json",
    "google": "https://www.gstatic.com/ipranges/cloud.json",
    "azure": "https://www.microsoft.com/en-us/download/details.aspx?id=56519",
    "oracle": "https://docs.oracle.com/en-us/iaas/tools/public_ip_ranges.json",
    "starlink": "https://geoip.starlinkisp.net/feed.csv",
    "digitalocean": "https://digitalocean.com/geo/google.csv",
    "linode": "https://geoip.linode.com/",
    "vultr": "https://geofeed.constant.com/",
}

_NAME = re.compile("[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_AZURE_FILE = re.compile(
    rb'https://download\.microsoft\.com/[^"\s<>]{1,200}/ServiceTags_Public_\d{8}\.json'
)
_HEADER = ("prefix", "country", "region", "city", "postal", "latitude", "longitude", "feed", "line")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSource:
    """A source: its name, and a URL or the path of a file."""

    name: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was written. `repeated`: the number of networks that an earlier source names too."""

    output: Path
    networks: int
    repeated: int
    sources: tuple[FeedNote, ...]


def read_places() -> Places:
    """The countries, cities and cloud regions that ship with autorouter. Raises ConfigError."""
    return Places(
        countries=load_countries(packaged_path("geodata/countries.csv")),
        find_city=city_finder(),
        cloud_regions=load_cloud_regions(packaged_path("geodata/cloud_regions.csv")),
    )


def chosen_sources(texts: Sequence[str], folder: Path) -> tuple[FeedSource, ...]:
    """The sources asked for: a well-known name, NAME=URL, NAME=FILE, a URL or a file. Without any,
    the sources of the last run, or else all well-known ones. Raises GeoDataError.
    """
    if not texts:
        notes = read_notes(folder)
        if notes:
            return tuple(FeedSource(name=note.name, source=note.source) for note in notes)
        return tuple(FeedSource(name=name, source=url) for name, url in WELL_KNOWN.items())
    sources = tuple(map(_parse_source, texts))
    names = [each.name for each in sources]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise GeoDataError(f"two feeds are called {repeated[0]}: name them, like a={texts[0]}")
    if len(sources) > MAX_SOURCES:
        raise GeoDataError(f"at most {MAX_SOURCES} feeds")
    return sources


def are_fresh(sources: Sequence[FeedSource], folder: Path, days: int, now: float) -> bool:
    """Whether each of the sources was fetched successfully at most `days` ago, and its last fetch
    did not fail.
    """
    since = now - days * 86_400
    fresh = {
        (note.name, note.source)
        for note in read_notes(folder)
        if note.fetched_at >= since and not note.error
    }
    return all((one.name, one.source) in fresh for one in sources)


def collect(
    sources: Sequence[FeedSource], folder: Path, places: Places, fetcher: Fetcher, now: float
) -> Collected:
    """Fetch all sources at once and write the file. A source that fails is in the result with
    its error. Raises GeoDataError when nothing can be written."""
    before = {note.name: note for note in read_notes(folder)}
    old = _entries_before(folder, places)
    merged: dict[Network, Entry] = {}
    notes = []
    repeated = 0
    for source, fetched in _fetch_all(sources, places, fetcher):
        try:
            published = fetched.result()
        except GeoDataError as error:
            entries = old.get(source.name, [])
            note = _failed_note(before.get(source.name), source, str(error), now)
        else:
            entries = [each._replace(feed=source.name) for each in published.entries]
            note = _new_note(source, published, now)
        fresh = {each.network: each for each in reversed(entries)}
        notes.append(msgspec.structs.replace(note, networks=len(fresh)))
        repeated += len(fresh.keys() & merged.keys())
        merged = fresh | merged
    if len(merged) >= MAX_LINES:
        raise GeoDataError(f"the feeds have {len(merged):,} networks; at most {MAX_LINES:,}")
    if not merged:
        reasons = "; ".join(f"{note.name}: {note.error or 'no networks'}" for note in notes)
        raise GeoDataError(f"no feed gave any network, nothing is written. {reasons}")
    _write(folder, sorted(merged.values(), key=lambda entry: entry.network), notes)
    return Collected(
        output=feeds_path(folder), networks=len(merged), repeated=repeated, sources=tuple(notes)
    )


def _fetch_all(
    sources: Sequence[FeedSource], places: Places, fetcher: Fetcher
) -> list[tuple[FeedSource, Future[Published]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [(one, pool.submit(_read_source, one, places, fetcher)) for one in sources]


def _parse_source(texts: str) -> FeedSource:
    name, equals, source = texts.partition("=")
    if equals and _NAME.fullmatch(name):
        return FeedSource(name=name, source=_absolute(source))
    if texts in WELL_KNOWN:
        return FeedSource(name=texts, source=WELL_KNOWN[texts])
    host = urlsplit(texts).hostname if "://" in texts else Path(texts).stem
    name = re.sub("[^a-z0-9.-]+", "-", (host or "").lower()).strip("-.")[:63]
    if not name:
        raise GeoDataError(f"{printable(texts)}: is no feed; give NAME=URL or NAME=FILE")
    return FeedSource(name=name, source=_absolute(texts))


def _absolute(source: str) -> str:
    """The source with an absolute path, so that the next run finds it from any folder."""
    return source if "://" in source else str(Path(source).absolute())


def _read_source(source: FeedSource, places: Places, fetcher: Fetcher) -> Published:
    try:
        return read_feed(_read_content(source, fetcher), places)
    except GeoDataError as error:
        text = str(error)
        raise GeoDataError(text if source.source in text else f"{source.source}: {text}") from error


def _read_content(source: FeedSource, fetcher: Fetcher) -> bytes:
    if "://" not in source.source:
        return _read_file(Path(source.source))
    content = _fetch(source.source, fetcher)
    if source.source == WELL_KNOWN["azure"]:
        found = _AZURE_FILE.search(content)
        if found is None:
            raise GeoDataError("the page names no ServiceTags_Public file; give azure=URL of one")
        content = _fetch(found[0].decode(), fetcher)
    return content


def _fetch(url: str, fetcher: Fetcher) -> bytes:
    with TemporaryDirectory(prefix="autorouter-feed-") as folder:
        target = Path(folder) / "feed"
        fetcher.file(Remote(url=url), target)
        return _read_file(target)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FEED_BYTES + 1)
    except OSError as error:
        raise GeoDataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FEED_BYTES:
        raise GeoDataError(f"{path}: is larger than {MAX_FEED_BYTES >> 20} MiB")
    return content


def _new_note(source: FeedSource, published: Published, now: float) -> FeedNote:
    faults = sorted(published.faults)
    return FeedNote(
        name=source.name,
        source=source.source,
        fetched_at=now,
        dated=printable(published.dated),
        skipped=len(faults),
        examples=tuple(f"line {number}: {text}" for number, text in faults[:MAX_EXAMPLES]),
        unknown_regions=dict(published.unknown_regions.most_common(MAX_EXAMPLES * 10)),
    )


def _failed_note(before: FeedNote | None, source: FeedSource, error: str, now: float) -> FeedNote:
    """The note of a source that failed; it keeps the age of its networks."""
    if before is None:
        return FeedNote(name=source.name, source=source.source, fetched_at=now, error=error)
    return msgspec.structs.replace(before, source=source.source, error=error)


def _entries_before(folder: Path, places: Places) -> Mapping[str, list[Entry]]:
    """The entries in the present file, by feed; empty if it cannot be read."""
    found: dict[str, list[Entry]] = {}
    try:
        text = feeds_path(folder).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return found
    for entry in read_geofeed(text, places.countries):
        if isinstance(entry, Entry):
            found.setdefault(entry.feed, []).append(entry)
    return found


def _write(folder: Path, entries: Sequence[Entry], notes: Sequence[FeedNote]) -> None:
    """Write the note first, so that a server that sees the new file also finds its note."""
    with replacing(note_path(folder)) as (_, file):
        file.write(msgspec.json.format(msgspec.json.encode(notes)) + b"\n")
    with replacing(feeds_path(folder)) as (_, file):
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        csv.writer(text, lineterminator="\n").writerows([_HEADER, *_rows(entries)])
        text.detach()


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[object, ...]]:
    for entry in entries:
        latitude, longitude = ("", "") if entry.position is None else entry.position
        yield (
            _cidr(entry.network),
            entry.country or "",
            _word(entry.region),
            _word(entry.city),
            "",
            latitude,
            longitude,
            entry.feed,
            entry.number,
        )


def _word(text: str) -> str:
    """Text that cannot be mistaken for a comment or another line."""
    return printable(text).replace("#", "").replace('"', "")


def _cidr(network: Network) -> str:
    bits = 32 if network.version == 4 else 128
    packed = network.start.to_bytes(bits // 8)
    return f"{ip_address(packed)}/{network.length}"
