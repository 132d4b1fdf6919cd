"""Document → passages: ranges of its text that are encoded and retrieved as one.

Sentences and lines are packed in order, up to a budget of tokens, along the document's structure.
The passages cover the whole text, which isn't changed. Encoding is in another package.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import InvalidDocumentError
from rag_tools.ingest.anchors import REACH, anchored
from rag_tools.ingest.splitting import MAX_UNIT_LENGTH, split, word_start
from rag_tools.types import Block, Document, Passage, Span
from rag_tools.units import LEADING, UnitKind, pieces

MIN_PASSAGE_TOKENS = 16
"""Smallest budget, so that any single character fits beside the context."""

MAX_PASSAGE_LENGTH = 8_192
"""Longest passage in code points, however few tokens a run of white space or base64 has. Such a
passage and a quote of all of it still fit into the result of one call of an agent's tool."""

_CONTEXT_SEPARATOR = " > "
_CONTEXT_SHARE = 1 / 3
"""Largest share of the budget that the context may take."""

_TINY_SHARE = 0.25
"""Share of the budget below which a section may be joined with its sibling or child."""

_WINDOW = 65_536
"""Code points that are split and tokenised at a time, so that the memory is bounded."""

_ENCODED_FILE = re.compile(
    r"data:[\w.+-]{1,64}+/[\w.+-]{1,64}+(?:;(?!base64,)[\w.=+-]{1,64}+)*+;base64,"
    r"(?:[A-Za-z0-9+/%]{60,}+\s*+)++(?:[A-Za-z0-9+/%]*+=++)?+"
    r"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{1000,}+=*+"
)
"""A file that is embedded in a text: a data URI, or a run of base64 that can't be words."""


class TokenCounter(Protocol):
    """The part of a tokenizer that chunking needs."""

    def token_spans(self, text: str) -> NDArray[np.int32]:
        """Return the positions of the tokens of `text`, in order, without special tokens.

        Returns
        -------
        numpy.ndarray
            Shape (n_tokens, 2), int32: start and end in code points.
        """
        ...


def context(path: Sequence[str]) -> str:
    """Return the text that is encoded with a passage to tell which section it is from.

    Examples
    --------
    >>> context(("Guide", "Install"))
    'Guide > Install'
    """
    return _CONTEXT_SEPARATOR.join(path)


def chunk(
    document: Document,
    tokens: TokenCounter,
    *,
    passage_tokens: int = 180,
    overlap: float = 0.15,
) -> list[Passage]:
    """Split a document into passages.

    A heading starts a passage, unless the text before it is tiny and belongs to a section beside
    or around its own. A function or class starts one too, unless it fits into a tiny passage that
    its neighbour began. Sections are split between units, see `rag_tools.units`, and units that are
    too long are split between words. A unit that leads to another, such as a heading, stays with
    it. Successive passages of one section overlap. Navigation is in no passage, unless the document
    holds nothing else, and neither are files that are embedded in the text as base64.

    The cost is linear in the length of the text, which is tokenised about twice.

    Parameters
    ----------
    document
        A document whose blocks tile its text, if it has any blocks.
    tokens
        Counts tokens as the encoder will.
    passage_tokens
        Budget: most tokens of a passage's text and its `context` together, without special tokens.
    overlap
        Share of the budget, 0 to 0.5, that a passage should repeat of the one before it.

    Returns
    -------
    list of Passage
        Passages in order. None is empty, longer than `MAX_PASSAGE_LENGTH`, or inside another, and
        every code point that isn't left out as above is in at least one. The path is that of the
        section in which the passage starts, without outer entries that would take more than a
        third of the budget.

    Raises
    ------
    ValueError
        A parameter is out of range.
    InvalidDocumentError
        The blocks don't tile the text.
    """
    if passage_tokens < MIN_PASSAGE_TOKENS:
        raise ValueError(
            f"passage_tokens is {passage_tokens}, must be at least {MIN_PASSAGE_TOKENS}"
        )
    if not 0 <= overlap <= 0.5:
        raise ValueError(f"overlap is {overlap}, must be from 0 to 0.5")
    budget = _Budget(tokens, passage_tokens, overlap)
    packer = _Packer(document.text, budget)
    for item in anchored(document.text, _units(document, budget), round(REACH * passage_tokens)):
        if item is None:
            packer.flush()
        else:
            packer.add(*item)
    packer.flush()
    return packer.passages


class _Unit(NamedTuple):
    """A stretch of text that isn't split without need.

    Attributes
    ----------
    start, end
        Range of code points.
    tokens
        Number of tokens within its block; those of a passage are counted again.
    path
        Path of its block, cut to what the context may hold.
    section
        Number shared by the units that may overlap.
    opens
        Tokens of the block if the unit is the first of a section, else 0.
    heading
        Whether it is (part of) a heading.
    leads
        Whether it belongs to the unit after it, as headings and questions do.
    """

    start: int
    end: int
    tokens: int
    path: tuple[str, ...]
    section: int
    opens: int = 0
    heading: bool = False
    leads: bool = False


class _Budget:
    """How many tokens the parts of a passage may have."""

    def __init__(self, tokens: TokenCounter, passage_tokens: int, overlap: float) -> None:
        self._tokens = tokens
        self._total = passage_tokens
        self._contexts: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}
        self.tiny = passage_tokens * _TINY_SHARE
        self.overlap = round(passage_tokens * overlap)
        # Units that are too long are cut into pieces of the overlap, so that passages can overlap.
        self.piece = max(self.overlap, passage_tokens // 8)

    def spans(self, text: str) -> NDArray[np.int32]:
        """Return the token spans of `text`, shape (n_tokens, 2)."""
        return self._tokens.token_spans(text)

    def cut(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the innermost entries of `path` that the context has room for."""
        return self._context(path)[0]

    def room(self, path: tuple[str, ...]) -> int:
        """Return the tokens left for text beside the context of a path that was cut."""
        return self._total - self._context(path)[1]

    def _context(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        if path not in self._contexts:
            kept: tuple[str, ...] = ()
            count = 0
            for first in reversed(range(len(path))):
                longer = len(self.spans(context(path[first:])))
                if longer > self._total * _CONTEXT_SHARE:
                    break
                kept, count = path[first:], longer
            self._contexts[path] = self._contexts[kept] = (kept, count)
        return self._contexts[path]


def _units(document: Document, budget: _Budget) -> Iterator[_Unit | None]:
    """Yield the units of a document in order, and None for each part that is left out."""
    for stretch in _stretches(document):
        if stretch is None:
            yield None
            continue
        units = _window_units(document.text, stretch, budget)
        if stretch.opens:
            total = sum(unit.tokens for unit in units)
            units[0] = units[0]._replace(opens=max(total, 1))
        yield from units


class _Stretch(NamedTuple):
    """Units of one section that follow one another, bounded in length.

    Attributes
    ----------
    path
        Path of their blocks.
    section
        See `_Unit.section`.
    opens
        Whether the section begins here; then all of the units are in its first block.
    pieces
        Ranges and kinds of the units.
    """

    path: tuple[str, ...]
    section: int
    opens: bool
    pieces: list[tuple[Span, UnitKind]]


def _stretches(document: Document) -> Iterator[_Stretch | None]:
    """Yield a document in stretches, each long enough to be worth a call of the tokenizer."""
    blocks = _checked_blocks(document)
    only_navigation = all(block.kind == "navigation" for block in blocks)  # then it is the content
    section = 0
    before: Block | None = None
    stretch = _Stretch((), 0, opens=False, pieces=[])
    for block in blocks:
        opens = before is not None and (
            block.path != before.path or block.kind in ("heading", "function", "class")
        )
        section += opens
        skipped = block.kind == "navigation" and not only_navigation
        for part in [None] if skipped else _without_files(document.text, block):
            windows = [] if part is None else _windows(document.text, part)
            for window in windows:
                full = not stretch.pieces or (
                    window[-1][0].end - stretch.pieces[0][0].start > _WINDOW
                )
                if full or opens or stretch.opens or stretch.section != section:
                    if stretch.pieces:
                        yield stretch
                    stretch = _Stretch(block.path, section, opens, [])
                    opens = False
                stretch.pieces.extend(window)
            if part is None:
                if stretch.pieces:
                    yield stretch
                yield None
                stretch = _Stretch(block.path, section, opens=False, pieces=[])
        before = block
    if stretch.pieces:
        yield stretch


def _without_files(text: str, block: Block) -> Iterator[Block | None]:
    """Yield the parts of a block around embedded files, and None for each file."""
    start = block.start
    for match in _ENCODED_FILE.finditer(text, block.start, block.end):
        if not all(re.search(letters, match[0]) for letters in ("[a-z]", "[A-Z]", "[0-9]")):
            continue
        if match.start() > start:
            yield block._replace(start=start, end=match.start())
        yield None
        start = match.end()
    if start < block.end:
        yield block._replace(start=start)


def _checked_blocks(document: Document) -> Sequence[Block]:
    length = len(document.text)
    if not document.blocks:
        return [Block("paragraph", 0, length)]
    position = 0
    for block in document.blocks:
        if block.start != position or block.end < position:
            raise InvalidDocumentError(
                f"{document.uri}: block {block.start}–{block.end} doesn't follow on {position}; "
                "the blocks of a document must tile its text"
            )
        position = block.end
    if position != length:
        raise InvalidDocumentError(
            f"{document.uri}: the blocks end at {position}, the text at {length}"
        )
    return document.blocks


def _windows(text: str, block: Block) -> Iterator[list[tuple[Span, UnitKind]]]:
    """Yield the natural pieces of a block, a bounded stretch of text at a time."""
    start = block.start
    while start < block.end:
        stop = min(start + _WINDOW, block.end)
        found = pieces(text, block.kind, start, stop)
        if stop < block.end and len(found) > 1:
            found.pop()  # the window cut it off; the next one has it whole
        yield found
        start = found[-1][0].end


def _window_units(text: str, stretch: _Stretch, budget: _Budget) -> list[_Unit]:
    """Count the tokens of natural pieces; split those that are too long."""
    window = stretch.pieces
    start = window[0][0].start
    token_starts = budget.spans(text[start : window[-1][0].end])[:, 0] + start
    path = budget.cut(stretch.path)
    room = budget.room(path)
    bounds = np.searchsorted(token_starts, [start, *(span.end for span, _ in window)])
    units = []
    for index, (span, kind) in enumerate(window):
        inside = token_starts[bounds[index] : bounds[index + 1]]
        if len(inside) <= room and span.end - span.start <= MAX_UNIT_LENGTH:
            parts = [(span.start, span.end, len(inside))]
        else:
            parts = split(text, span, inside, budget.piece)
        units += [
            _Unit(*part, path, stretch.section, heading=kind == "heading", leads=kind in LEADING)
            for part in parts
        ]
    return units


class _Packer:
    """Packs units into passages, greedily."""

    def __init__(self, text: str, budget: _Budget) -> None:
        self.passages: list[Passage] = []
        self._text = text
        self._budget = budget
        self._pending: deque[_Unit] = deque()
        self._tokens = 0  # of the pending units
        self._repeated = 0  # of the pending units, how many are in the last passage already

    def add(self, unit: _Unit, anchor: bool) -> None:
        """Take the next unit; write passages that are full, and what is ahead of an anchor."""
        if unit.opens and self._pending and not self._continues(unit):
            self.flush()
        while anchor and self._fresh:
            self._write(unit.section)
        while self._fresh and not self._fits(unit):
            self._write(unit.section)
        while self._pending and not self._fits(unit):
            self._forget_first()
        self._pending.append(unit)
        self._tokens += unit.tokens

    def flush(self) -> None:
        """Write all that is pending, without repeating any of it."""
        while self._fresh:
            self._write(None)
        while self._pending:
            self._forget_first()

    @property
    def _fresh(self) -> int:
        return len(self._pending) - self._repeated

    def _room(self) -> int:
        return self._budget.room(self._pending[0].path)

    def _fits(self, unit: _Unit) -> bool:
        return (
            self._tokens + unit.tokens <= self._room()
            and unit.end - self._pending[0].start <= MAX_PASSAGE_LENGTH
        )

    def _continues(self, unit: _Unit) -> bool:
        """Tell whether a unit that opens a section may join what is pending."""
        outer = self._pending[0].path[:-1]
        if not self._fresh or self._tokens >= self._budget.tiny or unit.path[: len(outer)] != outer:
            return False
        # The section of a heading may be split later; a function shouldn't be, for this.
        return unit.heading or self._tokens + unit.opens <= self._room()

    def _write(self, section: int | None) -> None:
        """Write one passage; keep its end for the next one if `section` continues."""
        count = self._without_last_leads() if section is not None else len(self._pending)
        count = self._shrink(count)
        written = [self._pending.popleft() for _ in range(count)]
        self.passages.append(Passage(written[0].start, written[-1].end, written[0].path))
        if self._pending:
            section = self._pending[0].section
        repeated = self._tail(written, section)
        self._pending.extendleft(reversed(repeated))
        self._repeated = len(repeated)
        self._tokens = sum(unit.tokens for unit in self._pending)

    def _without_last_leads(self) -> int:
        """Return how many units to write so that headings, say, stay with what they head."""
        count = len(self._pending)
        while count > self._repeated and self._pending[count - 1].leads:
            count -= 1
        return count if count > self._repeated else len(self._pending)

    def _shrink(self, count: int) -> int:
        """Return how many pending units, `count` at most, really fit into a passage.

        Tokens next to a border differ from those counted in the whole block. So they are counted
        again, and repeated units are given up first, then the last units, then the end of the only
        unit.
        """
        while True:
            start, room = self._pending[0].start, self._room()
            spans = self._budget.spans(self._text[start : self._pending[count - 1].end])
            if len(spans) <= room or self._pending[count - 1].end - start == 1:
                return count
            if self._repeated:
                self._forget_first()
                count -= 1
                continue
            token_starts = spans[:, 0] + start
            while count > 1 and self._pending[count - 1].end > token_starts[room]:
                count -= 1
            if count == 1 and self._pending[0].end > token_starts[room]:
                self._split_first(token_starts, room)

    def _split_first(self, token_starts: NDArray[np.int32], room: int) -> None:
        unit = self._pending.popleft()
        end = int(token_starts[word_start(self._text, token_starts, 0, room)])
        if end == unit.start:  # more tokens at one character than there is room for
            end += (unit.end - unit.start) // 2
        first, last = np.searchsorted(token_starts, [end, unit.end])
        self._pending.appendleft(unit._replace(start=end, tokens=int(last - first), opens=0))
        self._pending.appendleft(unit._replace(end=end, tokens=int(first)))

    def _tail(self, written: list[_Unit], section: int | None) -> list[_Unit]:
        """Return the last units of a passage to repeat, as near to the overlap as possible."""
        target = self._budget.overlap
        tail: list[_Unit] = []
        total = 0
        for unit in reversed(written[1:]):
            longer = total + unit.tokens
            if unit.section != section or abs(longer - target) > abs(total - target):
                break
            tail.append(unit)
            total = longer
        while tail and not tail[-1].tokens:
            tail.pop()  # blank lines at the start would repeat nothing
        return tail[::-1]

    def _forget_first(self) -> None:
        self._tokens -= self._pending.popleft().tokens
        self._repeated -= 1
