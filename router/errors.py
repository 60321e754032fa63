"""The exception tree: errors that are reported to an operator.

RouterError
├── ConfigError    settings or regions.yaml; carries every fault found
├── GeoDataError   the geo database is missing, damaged or of the wrong kind
├── PublishError   a CDN's key value store could not be read or written
├── PurgeError     a CDN did not accept a purge └── StoreError     the store could not be read or
written in time
"""

from collections.abc import Iterable


class RouterError(Exception):
    """The base of all errors that autorouter raises; the text can be shown to people."""


class ConfigError(RouterError):
    """Configuration cannot be used. `faults`: all of them, one line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class GeoDataError(RouterError):
    """A geo database cannot be used; the text names the file and the fix."""


class StoreError(RouterError):
    """The store refused, timed out or held something unreadable."""


class PublishError(RouterError):
    """A key value store could not be read or written; the text says what to do."""


class PurgeError(RouterError):
    """A CDN refused a purge, or did not answer in time."""
