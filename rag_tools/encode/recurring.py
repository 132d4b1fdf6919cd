"""Leaving out the lines that recur in a long query, such as the frames of a stack trace.

Such lines are many and alike, and would outweigh the one line that says what is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

RECURRING = 4
"""Lines of which there are at least this many of a kind are noise."""

_DIGITS = re.compile(r"\d+")
_NOT_SPACE = re.compile(r"\S")

_FRAME = "a frame of a stack trace"
_FRAMES = re.compile(
    r"\s{0,40}(?:"
    r"Traceback \(most recent call last\):\s*\Z"
    r'|File "[^"]{1,500}", line \d'  # Python
    r"|at [^\s(]{1,500}(?: \[as [^\]]{1,100}\])? ?\("  # Java, JavaScript, .NET
    r"|at \S{1,500}:\d+(?::\d+)?\s*\Z"  # JavaScript
    r"|#\d{1,4} +\S"  # gdb, PHP
    r"|(?:from )?\S{1,500}:\d+:in "  # Ruby
    r"|\S{1,500}\.go:\d+(?: \+0x[0-9a-f]+)?\s*\Z"
    r")"
)
_SOURCE_FOLLOWS = re.compile(r'\s{0,40}File "')


def without_recurring_lines(query: str) -> str:
    r"""Return a query with recurring lines replaced by blanks, so that offsets stay valid.

    Lines are of the same kind if they differ only in numbers and white space, or if they are frames
    of a stack trace. If every line recurs, the first of each kind is kept.

    Examples
    --------
    >>> without_recurring_lines("try 1\ntry 2\ntry 3\ntry 4\nno route to host").split()
    ['no', 'route', 'to', 'host']
    """
    lines = query.splitlines(keepends=True)
    if len(lines) < RECURRING:
        return query
    kinds = _kinds(lines)
    recurring = {kind for kind, count in Counter(kinds).items() if kind and count >= RECURRING}
    dropped = set(recurring) if any(kind and kind not in recurring for kind in kinds) else set()
    kept = []
    for line, kind in zip(lines, kinds, strict=True):
        kept.append(_NOT_SPACE.sub(" ", line) if kind in dropped else line)
        if kind in recurring:
            dropped.add(kind)
    return "".join(kept)


def _kinds(lines: Sequence[str]) -> list[str]:
    """Return the kind of each line; an empty string for blank lines."""
    kinds = []
    source = False  # whether the line before is a frame that a line of source follows
    for line in lines:
        if _FRAMES.match(line) or (source and line[:1].isspace()):
            kinds.append(_FRAME)
        else:
            kinds.append(" ".join(_DIGITS.sub("0", line).split()))
        source = _SOURCE_FOLLOWS.match(line) is not None
    return kinds
