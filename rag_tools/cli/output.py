"""Output of all commands: text made harmless for a terminal, JSON, consoles, error lines.

`show` lays results out for a person.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

# Each character is replaced by one character, so that spans stay valid: C0 controls by their
# pictures; a carriage return, which is common as a part of CRLF, by a space; C1 controls (U+009B
# starts an escape sequence), bidirectional overrides (they reorder what a person reads) and tag
# characters (nobody sees them, and they spell words to programs) by the replacement character.
_VISIBLE = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {ord("\r"): ord(" "), 0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
    | dict.fromkeys([*range(0xD800, 0xE000), *range(0xE0000, 0xE0080)], 0xFFFD)
)


_BARE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def visible(text: str) -> str:
    r"""Return `text` with each character that could control a terminal replaced by another.

    Examples
    --------
    >>> visible("red: \x1b[31m")
    'red: ␛[31m'
    """
    return text.translate(_VISIBLE)


def one_line(text: str) -> str:
    """Return `text` made `visible`, with its line ends replaced as well."""
    return visible(text).replace("\n", "␊")


def as_json(value: BaseModel) -> str:
    r"""Return `value` as one JSON document on one line, harmless in a terminal.

    Examples
    --------
    >>> from rag_tools.types import Skipped
    >>> as_json(Skipped(path="naïve\x9b31m", reason="empty"))
    '{"path": "naïve\\u009b31m", "reason": "empty"}'
    """
    document = json.dumps(value.model_dump(mode="json"), ensure_ascii=False)
    # JSON escapes C0 itself. DEL and C1 may be in it bare, and a terminal would obey them; it would
    # reorder what stands beside bidirectional overrides, and tag characters can't be seen.
    return _BARE.sub(lambda match: json.dumps(match[0])[1:-1], document)


def replace_unprintable() -> None:
    """Replace characters that standard output and error can't encode by question marks.

    On Windows, a pipe has the encoding of a code page: an arrow in a title must not end in a
    traceback there.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def write(text: str) -> None:
    """Write `text` to standard output as UTF-8, whatever encoding the terminal is set to."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.buffer.flush()


def write_json(value: BaseModel) -> None:
    """Write `value` to standard output as one line of JSON."""
    write(as_json(value) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return a console that interprets nothing in the text it is given."""
    from rich.console import Console

    options: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    return Console(stderr=stderr, **options)


def complain(message: str) -> None:
    """Write one line to standard error."""
    print(f"rag-tools: {one_line(message)}", file=sys.stderr)
