"""A second, independent reader of a geo database, to compare countries and to name places.

It is slow and never used for a request. geoip2, on the pure Python reader of maxminddb, shares no
code with the reader that answers requests (docs/adr/0002-geo-reader.md), so an error in one of
them shows as a difference.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import geoip2.database
import geoip2.errors
import maxminddb

from router.geo.country_codes import country_code
from router.geo.database import GeoDatabase
from router.model import Source

# Its exceptions for a damaged file, or for an unknown type of record.
UNREADABLE = (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, OSError)


class SecondReader:
    """The files of a database, opened with this reader."""

    def __init__(self, geo: GeoDatabase) -> None:
        self._files = [_Second(file.path, file.ip_version) for file in geo.files]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def country(self, address: str) -> str | None:
        """The country's code; None for an address that is not in the database."""
        code = _text(self._file(address).country(address))
        return None if code is None else country_code(code)

    def place_name(self, address: str) -> str | None:
        """`Toronto, Ontario, Canada` as far as the database names it; None without a name."""
        return ", ".join(self._file(address).names(address)) or None

    def _file(self, address: str) -> "_Second":
        return self._files[-1] if ":" in address else self._files[0]


class _Second:
    """geoip2 reads City and Country databases. maxminddb reads flat ones too."""

    def __init__(self, path: Path, ip_version: int) -> None:
        self._ip_version = ip_version
        self._models = geoip2.database.Reader(path, mode=maxminddb.MODE_MMAP)
        self._records = maxminddb.open_database(path, maxminddb.MODE_MMAP)
        kind = self._models.metadata().database_type
        self._is_city = "City" in kind
        self._is_country = "Country" in kind

    def close(self) -> None:
        self._models.close()
        self._records.close()

    def country(self, address: str) -> Any:
        model, record = self._read(address)
        if model is not None:
            return model.country.iso_code
        found = record.get("country_code", record.get("country"))
        return found.get("iso_code") if isinstance(found, dict) else found

    def names(self, address: str) -> list[str]:
        model, record = self._read(address)
        if model is None:
            parts = [record.get(name) for name in ("city", "state1", "region", "country_name")]
        else:
            city, areas = getattr(model, "city", None), getattr(model, "subdivisions", None)
            parts = [
                None if city is None else city.name,
                areas.most_specific.name if areas else None,
                model.country.name,
            ]
        return list(dict.fromkeys(filter(None, map(_text, parts))))

    def _read(self, address: str) -> tuple[Any, dict[str, Any]]:
        """The model if geoip2 has one, else the plain record."""
        if ":" in address and self._ip_version == 4:
            return None, {}
        record = self._records.get(address)
        if not isinstance(record, dict):
            return None, {}
        if isinstance(record.get("country"), dict) and (self._is_city or self._is_country):
            read = self._models.city if self._is_city else self._models.country
            with suppress(geoip2.errors.AddressNotFoundError):
                return read(address), record
        return None, record


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def place_name(geo: GeoDatabase, address: str, source: Source) -> str | None:
    """The name of the place where the database locates an address; None if an override located it.
    Reads the files as they are now.
    """
    if source is not Source.DATABASE:
        return None
    with suppress(*UNREADABLE), SecondReader(geo) as second:
        return second.place_name(address)
    return None
