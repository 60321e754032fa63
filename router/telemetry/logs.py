"""Log configuration: one JSON object a line, or text on a terminal, to standard error."""

import logging
import sys

import structlog

log = structlog.stdlib.get_logger("autorouter")


def start_logging(level: str, form: str) -> None:
    """Every line, ours and our libraries', to standard error: text for people on a
    terminal, else JSON."""
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
    final = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("autorouter").setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of clients' faults
