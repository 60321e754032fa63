"""The poller of a server without Redis, in a process of its own, so that nothing that an edge
sends reaches the loop that answers. Composition only. It publishes to the main process's store,
and reports to observers there, by calls over the channel between them.
"""

import asyncio
import signal
import socket
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvloop

from router.api.channel import (
    Call,
    ChannelStore,
    Message,
    NewCalls,
    NewInputs,
    StoreContents,
    beat,
    frame,
    messages,
    pickle_value,
    send,
    unpickle_value,
)
from router.api.child_process import ChildProcess
from router.model import Event, View
from router.store import Store, Stored
from router.supervised import LoopObserver, keep_running
from router.telemetry.logs import log, start_logging

if TYPE_CHECKING:  # heavy imports, each needed on one side only
    from router.config.inputs import Inputs
    from router.processes.polling import Polling
    from router.telemetry.metrics import Telemetry

RESTART_S = 1.0
FLUSH_S = 0.05
EXIT_S = 3.0


class ProberProcess:
    """The main process's side. `run` keeps the child running; cancel it to stop both."""

    def __init__(self, inputs: "Inputs", store: Store, telemetry: "Telemetry") -> None:
        self._objects: dict[str, Any] = {"store": store, "observer": telemetry}
        self._telemetry = telemetry
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._fed = frame(StoreContents((), ()))
        self._inputs = b""
        logging = (inputs.settings.log_level, inputs.settings.log_format)
        self._child = ChildProcess(
            target=run_prober,
            arguments=lambda: logging,
            first_frames=self._first_frames,
            on_message=self._on_message,
        )
        self.replace_inputs(inputs)

    def replace_inputs(self, inputs: "Inputs") -> None:
        """Replace the inputs, and so the edges to poll."""
        self._inputs = frame(NewInputs(pickle_value((inputs.settings, inputs.catalog))))
        self._child.send(self._inputs, must_arrive=True)

    def send_stored(self, stored: Stored) -> None:
        """Send it the contents of the store."""
        self._fed = frame(StoreContents(stored.views, stored.intents))
        self._child.send(self._fed)

    async def run(self) -> None:
        """Run until cancelled; then return when the child has ended."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_child_running())
                tasks.create_task(self._make_calls())
        finally:
            self._child.terminate()
            await asyncio.to_thread(self._child.end, EXIT_S)

    def _first_frames(self) -> Iterable[bytes]:
        return self._inputs, self._fed

    def _on_message(self, message: Message) -> None:
        if isinstance(message, NewCalls):
            for call in unpickle_value(message.pickled):
                self._calls.put_nowait(call)

    async def _keep_child_running(self) -> None:
        while True:
            try:
                how = str(await self._child.live())
            except OSError as error:
                log.error("the prober cannot start; trying again", error=str(error))
                how = "not_started"
            self._telemetry.child_ended("prober", how, 0)
            await asyncio.sleep(RESTART_S)

    async def _make_calls(self) -> None:
        """Make the child's calls, in the order in which it sent them."""
        while True:
            name, method, arguments = await self._calls.get()
            outcome = getattr(self._objects[name], method)(*arguments)
            if asyncio.iscoroutine(outcome):
                await outcome


def run_prober(log_level: str, log_format: str, channel: socket.socket) -> None:
    """Poll until SIGTERM, or until the main process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process
    start_logging(log_level, log_format)
    try:
        uvloop.run(_run(channel))
    except Exception as error:
        log.error("the prober cannot go on", exc_info=error)
        raise SystemExit(1) from error


async def _run(channel: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    main = _MainProcess(reader, writer)
    tasks = [asyncio.create_task(beat(writer)), asyncio.create_task(main.listen())]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    tasks.append(asyncio.create_task(main.poll()))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    main.calls.flush()
    writer.close()


class _Calls:
    """Calls to the main process, collected for a moment and sent in order."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: list[Call] = []

    def add(self, name: str, method: str, *arguments: Any) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._waiting.append((name, method, arguments))

    def flush(self) -> None:
        if self._waiting:
            send(self._writer, NewCalls(pickle_value(self._waiting)))
            self._waiting = []


class _Observer:
    """Forwards every call to the observer in the main process."""

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def __getattr__(self, method: str) -> Any:
        return partial(self._calls.add, "observer", method)


class _MainStore(ChannelStore):
    """The store of the main process: the methods of router.store.Store that a poller needs. There
    is one poller, so it always has the lease.
    """

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self._calls = calls

    async def publish(self, view: View) -> int:
        """See Store."""
        stored = await self.read(())
        newer = [one.seq for one in stored.views if one.vantage == view.vantage]
        seq = max(view.seq, *newer) if newer else view.seq
        if seq == view.seq:
            self._calls.add("store", "publish", view)
            self._calls.flush()
        return seq

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        """See Store."""
        return True

    async def drop_lease(self, vantage: str, holder: str) -> None:
        """See Store."""

    async def log_events(self, events: Sequence[Event]) -> None:
        """See Store."""
        self._calls.add("store", "log_events", list(events))


class _MainProcess:
    """Receives messages from the main process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.calls = _Calls(writer)
        self.store = _MainStore(self.calls)
        self.observer = cast(LoopObserver, _Observer(self.calls))
        self.polling: Polling | None = None
        self._has_inputs = asyncio.Event()

    async def listen(self) -> None:
        """Handle every message until the main process has ended."""
        async for message in messages(self._reader):
            if isinstance(message, StoreContents):
                self.store.replace(message)
            elif isinstance(message, NewInputs):
                self._replace(*unpickle_value(message.pickled))
            if self.polling is not None:
                self._has_inputs.set()

    async def poll(self) -> None:
        """Poll for ever, once the inputs have arrived."""
        await self._has_inputs.wait()
        if self.polling is not None:
            await keep_running("polling", self.polling.run, self.observer)

    def _replace(self, settings: Any, catalog: Any) -> None:
        if self.polling is None:
            from router.processes.polling import Polling  # of no use in the main process

            telemetry = cast("Telemetry", self.observer)
            store = cast(Store, self.store)
            self.polling = Polling(settings, catalog, store, telemetry)
        else:
            self.polling.replace_inputs(settings, catalog)
