"""The time until a transition reaches every server, with real processes and a real Redis."""

import pytest

from tests.support.site.propagation import measure

TARGET_S = 1.5


@pytest.mark.parametrize(("kind", "transitions"), [("hinted", 50), ("polled", 3)])
def test_transition_reaches_all_servers_in_time(kind: str, transitions: int) -> None:
    figures = measure(transitions, kinds=(kind,))
    assert figures[kind]["all readers"]["p99"] <= TARGET_S
