"""Log lines as JSON on standard error.

They say who called what, and with what outcome. They contain no document text, and queries only if
the settings ask for them; of an exception they have the type and the place, but not the message.
Whatever a caller can choose is cut and escaped when a line is made, so that no line is long and
none can control the terminal that displays it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from opentelemetry import trace

MAX_FIELD = 500
"""The longest text in a log line. Of a longer one, the beginning and the length are logged."""

_MAX_FRAMES = 50  # the last ones of a traceback
_MAX_ITEMS = 100

# Characters that JSON doesn't escape: DEL and C1 controls (U+009B starts an escape sequence), line
# and paragraph separators (some programs end a line there), bidirectional marks (they reorder what
# a person reads) and lone surrogates (they can't be encoded).
_UNSAFE = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)

logger = logging.getLogger("rag_tools_mcp")

request_id: ContextVar[str | None] = ContextVar("rag_tools_request_id", default=None)
"""The id of the HTTP request that is being answered."""


def event(name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Log an event. Fields that are None are left out."""
    logger.info(name, extra={"fields": fields})


def configure() -> None:
    """Write the log of this process to standard error, as lines of JSON."""
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
                for frame in traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
            ]
        kept = {key: _cut(value) for key, value in line.items() if value is not None}
        return _UNSAFE.sub(
            lambda match: f"\\u{ord(match[0]):04x}", json.dumps(kept, ensure_ascii=False)
        )


def _cut(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the value of a field with every text in it cut to `MAX_FIELD` characters."""
    if isinstance(value, str):
        if len(value) <= MAX_FIELD:
            return value
        return f"{value[:MAX_FIELD]}… ({len(value):,} characters)"
    if isinstance(value, dict):
        return {_cut(str(key)): _cut(each) for key, each in islice(value.items(), _MAX_ITEMS)}
    if isinstance(value, list | tuple):
        return [_cut(each) for each in value[:_MAX_ITEMS]]
    if value is None or isinstance(value, int | float):
        return value
    return _cut(str(value))
