"""Work as a generator that yields often, so that its caller can pause in between. Pure."""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")


def run_to_end(work: Generator[None, None, Result]) -> Result:
    """The result of the work, done without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
