"""The exception tree: what an operator can be told about and act on.

RouterError
├── ConfigError    settings or regions.yaml; carries every fault found
├── GeoDataError   the geo database is missing, damaged or of the wrong kind
├── PublishError   a CDN's key value store could not be read or written
├── PurgeError     a CDN did not take a purge
└── StoreError     the store could not be read or written in time
"""

from collections.abc import Iterable


class RouterError(Exception):
    """Anything that autorouter raises on purpose; its text is fit to show."""


class ConfigError(RouterError):
    """Configuration that cannot be used. `faults`: one line each, all of them."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class GeoDataError(RouterError):
    """A geo database that cannot be used; the text names the file and the fix."""


class StoreError(RouterError):
    """The store refused, timed out or held something unreadable."""


class PublishError(RouterError):
    """A key value store could not be read or written; the text says what to do."""


class PurgeError(RouterError):
    """A CDN refused a purge, or did not answer in time."""
