"""Borders in running text: lines, paragraphs and sentences, as spans that tile it.

By rule, without a model or a dependency, for any script that marks the end of a sentence.
Passages and quotes are built from these spans elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rag_tools.types import Span

# One line end, never half of one: the atomic group can't give "\n" back.
_EOL = r"(?>\r\n|[\r\n])"
_LINE_END = re.compile(_EOL)
_BLANK_LINES = re.compile(rf"{_EOL}(?:[^\S\r\n]*+{_EOL})++")

_CLOSERS = r"[\"'’”»›)\]}*_`」』）】〉》]*+"

# Where a sentence may end. Each alternative takes the white space after it and begins with what
# can't match again inside itself, so that the scan is linear.
_BORDER = re.compile(
    rf"""
      (?P<blank>{_EOL}(?:[^\S\r\n]*+{_EOL})++\s*+)
    | (?P<line>{_EOL}[^\S\r\n]*+)(?=
            [-*+•‣◦▪][^\S\r\n]                    # list items
          | \(?(?:\d{{1,3}}[.)]|[a-z]\))[^\S\r\n]
          | \||\+[-=]                             # table rows
          | \#{{1,6}}[^\S\r\n]                    # headings
          | >>>[^\S\r\n])
    | (?<![.!?…])(?P<stop>[.!?…]++){_CLOSERS}(?:\[\d{{1,4}}\])*+(?P<space>\s++|\Z)
    | [。！？｡।॥؟۔]++{_CLOSERS}\s*+
    """,
    re.VERBOSE,
)
# A table row or a heading ends with its line, and nowhere before.
_OWN_LINE = re.compile(rf"\s*+(?:\||\+[-=]|#{{1,6}}[^\S\r\n])[^\r\n]*+(?:{_EOL}\s*+|\Z)")

_WORD_BEFORE = re.compile(r"[\w.&-]*\Z")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # "U.S", "e.g", "p.m"
_LIST_NUMBER = re.compile(r"(?:^|[\r\n])[^\S\r\n]*\(?\d{1,3}\Z")

# Words whose full stop doesn't end a sentence.
_ABBREVIATIONS = frozenset(
    """
    adm al approx assn ave bldg blvd brig ca capt cf ch chap cmdr col comdr corr cpl dept dr ed eds
    eq eqs esp est ex fig figs fn fr gen gov hon ibid ill jan feb mar apr jun jul aug sep sept oct
    nov dec lt maj messrs mlle mme mr mrs ms mt op pg ph.d pl pp prof pt ref refs rep resp rev sec
    sen sgt st supt trans univ v viz vol vols vs
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
# Words that may end a sentence: they do if a capital follows.
_ABBREVIATIONS_UNLESS_CAPITAL = frozenset({"bros", "co", "corp", "etc", "inc", "jr", "ltd", "sr"})
# Words that are abbreviations before a number only.
_ABBREVIATIONS_IF_DIGIT = frozenset({"art", "c", "no", "nos", "nr", "p", "para"})

_LONGEST_ABBREVIATION = 24


def lines(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    r"""Return the lines of ``text[start:end]``; they tile it, line ends included.

    Lines end at ``\n``, ``\r\n`` and ``\r`` only, as editors count them.

    Examples
    --------
    >>> [line.of("a\r\nb\rc") for line in lines("a\r\nb\rc")]
    ['a\r\n', 'b\r', 'c']
    """
    end = len(text) if end is None else end
    return _tile(start, end, (match.end() for match in _LINE_END.finditer(text, start, end)))


def paragraphs(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    r"""Return the paragraphs of ``text[start:end]``; they tile it.

    Blank lines separate paragraphs and belong to the one before.

    Examples
    --------
    >>> [paragraph.of("a\nb\n\nc") for paragraph in paragraphs("a\nb\n\nc")]
    ['a\nb\n\n', 'c']
    """
    end = len(text) if end is None else end
    return _tile(start, end, (match.end() for match in _BLANK_LINES.finditer(text, start, end)))


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Return the sentences of ``text[start:end]``; they tile it.

    White space after a sentence belongs to it. Blank lines always end a sentence; so does the
    end of a line before a list item and around a table row or a Markdown heading. The end of
    any other line, as in hard-wrapped prose, doesn't.

    Parameters
    ----------
    text
        Any text.
    start, end
        Range of code points to look at; to the end of the text by default.

    Examples
    --------
    >>> text = "Dr. Smith paid $3.50. He left."
    >>> [sentence.of(text) for sentence in sentences(text)]
    ['Dr. Smith paid $3.50. ', 'He left.']
    """
    end = len(text) if end is None else end
    return _tile(start, end, _sentence_ends(text, start, end))


def _tile(start: int, end: int, borders: Iterable[int]) -> list[Span]:
    spans = []
    for border in borders:
        spans.append(Span(start, border))
        start = border
    if start < end:
        spans.append(Span(start, end))
    return spans


def _sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    position = start
    at_line_start = True
    while position < end:
        own_line = _OWN_LINE.match(text, position, end) if at_line_start else None
        match = own_line or _BORDER.search(text, position, end)
        if match is None:
            return
        position = match.end()
        at_line_start = True
        if match.re is _BORDER and match["stop"] is not None:
            at_line_start = match["space"].strip(" \t") != ""
            if not _ends_sentence(text, start, match):
                position = match.end("stop")
                at_line_start = False
                continue
        yield position


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether a run of ``.!?…`` followed by white space ends a sentence."""
    following = text[match.end() : match.end() + 1]
    if following.islower():
        return False
    if match["stop"] != ".":
        return True
    stop = match.start()
    before = text[max(start, stop - _LONGEST_ABBREVIATION) : stop]
    if _LIST_NUMBER.search(before):
        return False
    found = _WORD_BEFORE.search(before)
    word = found.group() if found else ""
    if not word:
        return True
    if len(word) == 1 and word.isupper():
        return False
    if _ACRONYM.fullmatch(word):
        return False
    word = word.lower()
    if word in _ABBREVIATIONS_IF_DIGIT:
        return not following.isdigit()
    if word in _ABBREVIATIONS_UNLESS_CAPITAL:
        return following.isupper()
    return word not in _ABBREVIATIONS
