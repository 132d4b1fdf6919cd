"""Units that are too long for a passage: split between lines, or else between words.

What a unit is and which are too long is decided in `rag_tools.ingest.chunk`.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from rag_tools.types import Span

MAX_UNIT_LENGTH = 2048
"""Longest unit in code points, so that passages near the longest still overlap."""

_LAST_SPACE = re.compile(r"(?s:.)*\s")


def split(
    text: str, span: Span, token_starts: NDArray[np.int32], size: int
) -> list[tuple[int, int, int]]:
    """Split a span before lines or words into pieces of at most `size` tokens, of bounded length.

    Returns
    -------
    list of (start, end, tokens)
    """
    pieces = []
    first = 0
    start = span.start
    while start < span.end:
        end = span.end
        if first + size < len(token_starts):
            begun, limit = token_starts[first].item(), token_starts[first + size].item()
            end = text.rfind("\n", begun, limit) + 1  # a border that an edit doesn't move
            if not end:
                last = word_start(text, token_starts, first, first + size)
                end = max(int(token_starts[last]), start + 1)
        if end > start + MAX_UNIT_LENGTH:
            space = _LAST_SPACE.match(text, start, start + MAX_UNIT_LENGTH)
            end = space.end() if space else start + MAX_UNIT_LENGTH
        last = int(np.searchsorted(token_starts, end))
        pieces.append((start, end, last - first))
        first, start = last, end
    return pieces


def word_start(text: str, token_starts: NDArray[np.int32], first: int, last: int) -> int:
    """Return the last token in ``(first, last]`` that begins a word; `last` if none does."""
    for index in range(last, first, -1):
        start = int(token_starts[index])
        if start > token_starts[first] and text[start - 1].isspace():
            return index
    return last
