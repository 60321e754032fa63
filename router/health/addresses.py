"""Finds addresses of an edge that fail while another one works. Pure."""

from collections.abc import Mapping

from router.model import Outcome, Probe

BAD_AFTER = 3  # failures in a row
MAX_COUNTED = 16

_PASSES = frozenset({Outcome.OK, Outcome.DEGRADED})


def count_failures(failures: Mapping[str, int], probe: Probe) -> dict[str, int]:
    """Failures in a row of each address after one more probe. Addresses that have not been seen
    for the longest time are removed first.
    """
    counts = dict(failures)
    for address in probe.lost:
        counts[address] = counts.pop(address, 0) + 1
    if probe.address is not None:
        failed = counts.pop(probe.address, 0) + 1
        counts[probe.address] = 0 if probe.outcome in _PASSES else failed
    return dict(list(counts.items())[-MAX_COUNTED:])


def bad_addresses(failures: Mapping[str, int]) -> tuple[str, ...]:
    """The addresses that fail repeatedly; empty if no other address works."""
    if 0 not in failures.values():
        return ()
    return tuple(sorted(one for one, count in failures.items() if count >= BAD_AFTER))
