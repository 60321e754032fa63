"""Log configuration: one JSON object per line, or text on a terminal, to standard error.

Logging never blocks: lines go through `lines`, a bounded queue with a thread that writes.
"""

import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from router.safe_text import escaped_lines, escaped_values
from router.telemetry.line_writer import LineWriter

DRAIN_S = 1.0


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Whoever imports the package meanwhile finds that it is not installed."""
    found = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
        if found is not None:
            sys.modules[package] = found


with _hidden("rich"):  # for coloured tracebacks, which we do not write: a quarter of a start
    import structlog

log = structlog.stdlib.get_logger("autorouter")
lines = LineWriter()


def start_logging(level: str, form: str) -> None:
    """Send all log lines, also those of libraries, to standard error: text on a terminal,
    otherwise JSON.
    """
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    stamp = structlog.processors.TimeStamper("%H:%M:%S" if as_text else "iso", utc=not as_text)
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        stamp,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    final = (
        structlog.dev.ConsoleRenderer(colors=colours)
        if as_text
        else structlog.processors.JSONRenderer()
    )
    handler = _QueueHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                escape_event,
                final,
            ],
        )
    )
    lines.format_dropped = lambda count: _dropped_line(handler, count)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("autorouter").setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns about clients' errors
    logging.captureWarnings(True)  # otherwise they are written to standard error, blocking
    threading.excepthook = _log_thread_error
    atexit.register(lines.drain, DRAIN_S)


def escape_event(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A structlog processor: no value can forge a line or reach the terminal raw."""
    exception = event.pop("exception", None)
    safe: structlog.typing.EventDict = escaped_values(dict(event))
    if exception is not None:
        safe["exception"] = escaped_lines(str(exception))
    return safe


class _QueueHandler(logging.Handler):
    """Formats a record and queues the line."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines.put(self._line(record))
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must not stop the caller
            lines.put(b'{"event": "a log record could not be formatted", "level": "error"}\n')

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"


def _dropped_line(handler: logging.Handler, count: int) -> bytes:
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    fields_ = {"count": count, "event": "log lines dropped", "level": "warning", "timestamp": stamp}
    record = logging.LogRecord("autorouter", logging.WARNING, "", 0, "", (), None)
    record.msg, record.__dict__["_logger"] = fields_, None
    record.__dict__["_name"] = "warning"
    return handler.format(record).encode() + b"\n"


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    trace: TracebackType | None = args.exc_traceback
    if error is not None:
        log.error("a thread failed", exc_info=(type(error), error, trace))
