"""Store problems that the process remembers."""

from router.errors import StoreError
from router.telemetry.metrics import Telemetry

UNREADABLE = ("autorouter:{v1}:view:ams: not JSON",)


def test_unreadable_values_are_remembered_until_they_are_gone() -> None:
    telemetry = Telemetry()
    telemetry.store_read(None, UNREADABLE)
    known = telemetry.troubles.get("store_values")
    assert known is not None
    assert known.text == UNREADABLE[0]
    telemetry.store_read(None, ())
    assert telemetry.troubles.get("store_values") is None


def test_failed_read_keeps_the_unreadable_values() -> None:
    telemetry = Telemetry()
    telemetry.store_read(None, UNREADABLE)
    telemetry.store_read(StoreError("gone"), ())
    assert telemetry.troubles.get("store_values") is not None
