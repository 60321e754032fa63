"""What the process remembers of readings of its store."""

from router.errors import StoreError
from router.telemetry.metrics import Telemetry

LEFT_OUT = ("autorouter:{v1}:view:ams: not JSON",)


def test_stored_values_left_out_are_remembered_until_they_are_read() -> None:
    one = Telemetry()
    one.store_read(None, LEFT_OUT)
    known = one.troubles.get("store_values")
    assert known is not None
    assert known.text == LEFT_OUT[0]
    one.store_read(None, ())
    assert one.troubles.get("store_values") is None


def test_failed_reading_says_nothing_of_single_values() -> None:
    one = Telemetry()
    one.store_read(None, LEFT_OUT)
    one.store_read(StoreError("gone"), ())
    assert one.troubles.get("store_values") is not None
