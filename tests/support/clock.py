"""A clock that tests set."""

from tests.support.builders import NOW


class Clock:
    """Returns `now`, which changes only when the test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now
