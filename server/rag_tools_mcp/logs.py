"""Log lines as JSON on standard error.

They tell who called what and how it ended. They hold no document text, and what was searched for
only if that is asked for: of an exception they keep the type and the place, not its message.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentelemetry import trace

logger = logging.getLogger("rag_tools_mcp")

request_id: ContextVar[str | None] = ContextVar("rag_tools_request_id", default=None)
"""Names the HTTP request that is being answered."""


def event(name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Log that something happened. Fields that are None are left out."""
    logger.info(name, extra={"fields": fields})


def configure() -> None:
    """Send the log of this process to standard error, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("rag_tools_mcp", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": record.process,
            "request": request_id.get(),
        }
        if record.name != logger.name:
            line["logger"] = record.name
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace"] = trace.format_trace_id(span.trace_id)
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error"] = type(error).__qualname__
            line["at"] = [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)
            ]
        return json.dumps(
            {key: value for key, value in line.items() if value is not None}, ensure_ascii=False
        )
