"""Which addresses of an edge are reported as bad."""

from router.health.addresses import BAD_AFTER, MAX_COUNTED, bad_addresses, count_failures
from router.model import Outcome, Probe


def bad_after(*probes: Probe) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for probe in probes:
        counts = count_failures(counts, probe)
    return bad_addresses(counts)


def passed(address: str, *lost: str) -> Probe:
    return Probe(outcome=Outcome.OK, address=address, lost=lost)


def test_address_that_always_connects_too_late_is_bad() -> None:
    assert bad_after(*[passed("a", "b")] * (BAD_AFTER - 1)) == ()
    assert bad_after(*[passed("a", "b")] * BAD_AFTER) == ("b",)


def test_address_that_answers_with_errors_is_bad() -> None:
    fails = Probe(outcome=Outcome.STATUS, address="b")
    assert bad_after(*[passed("a"), fails] * BAD_AFTER) == ("b",)


def test_address_that_works_again_is_not_bad() -> None:
    assert bad_after(*[passed("a", "b")] * BAD_AFTER, passed("b")) == ()


def test_edge_without_a_working_address_has_no_bad_address() -> None:
    assert bad_after(*[Probe(outcome=Outcome.REFUSED, lost=("a", "b"))] * 9) == ()


def test_memory_is_bounded() -> None:
    counts: dict[str, int] = {}
    for number in range(99):
        counts = count_failures(counts, passed(str(number)))
    assert len(counts) == MAX_COUNTED
