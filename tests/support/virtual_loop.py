"""An event loop with virtual time: it jumps to the next timer instead of waiting."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines that only sleep and compute. Sleeping takes no real time."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        selector: Any = getattr(self, "_selector")  # noqa: B009
        poll = selector.select

        def jump(timeout: float | None = None) -> Any:
            self._virtual_s += timeout or 0.0
            return poll(0)

        selector.select = jump

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._virtual_s


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
