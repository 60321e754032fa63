"""A TCP forwarder between a client and a server. It can move to another target, add latency,
limit the bandwidth and drop data on open connections."""

import asyncio
import contextlib
import math
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

from tests.support.servers import HOST, PATIENCE_S


class Forwarder:
    """Forwards `port` to `target`. It runs an event loop in a thread.

    A connection keeps the target that it was opened to, as with a virtual IP address.
    `delay_s` is the latency of each direction, `bytes_per_s` the bandwidth of each connection.
    """

    def __init__(self, target: int, delay_s: float = 0.0, bytes_per_s: float = math.inf) -> None:
        self.target = target
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.opened: list[int] = []
        self.lost = 0
        self._frozen: set[asyncio.StreamWriter] = set()
        self._trigger: bytes | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._forward, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def freeze(self) -> None:
        """Drop all data on the connections that are open now. New connections work."""
        self._frozen |= self._open

    def lose_replies_to(self, word: bytes) -> None:
        """Drop the replies on the first connection that sends this word."""
        self._trigger = word

    def _watch(self, chunk: bytes, back: asyncio.StreamWriter) -> None:
        if self._trigger is not None and self._trigger in chunk:
            self._trigger = None
            self._frozen.add(back)
            self.lost += 1

    async def _forward(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        target = self.target
        # asyncio's connection callback re-raises the exception of a cancelled handler.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far, forth = await asyncio.open_connection(HOST, target)
            self.opened.append(target)
            self._open |= {back, forth}
            await asyncio.gather(self._pipe(near, forth, back), self._pipe(far, back, forth))
            self._open -= {back, forth}
        back.close()

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        """Forward chunks in order, each `delay_s` later. Several can be in transit."""
        sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._deliver(sent, sink))
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                self._watch(chunk, other)
                if sink not in self._frozen:
                    sent.put_nowait((self._loop.time() + self.delay_s, chunk))
        sent.put_nowait((self._loop.time() + self.delay_s, b""))
        await writing

    async def _deliver(
        self, sent: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, chunk = await sent.get()
                await asyncio.sleep(due - self._loop.time())
                if not chunk:
                    break
                sink.write(chunk)
                await sink.drain()
                await asyncio.sleep(len(chunk) / self.bytes_per_s)
        sink.close()

    def close(self) -> None:
        """Stop forwarding and abort every connection."""

        async def end() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@contextlib.contextmanager
def forwarding(
    target: int, delay_s: float = 0.0, bytes_per_s: float = math.inf
) -> Iterator[Forwarder]:
    forwarder = Forwarder(target, delay_s, bytes_per_s)
    try:
        yield forwarder
    finally:
        forwarder.close()
