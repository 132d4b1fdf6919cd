"""An agent's finished answer → what it quotes, and which sources it gives for that.

By rule, as people and models write answers; nothing is looked up. Whether the words stand in a
source is `rag_tools.cite.verify`'s business, and statements in the writer's own words aren't
quotations.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rag_tools.cite.markers import markers, unmarked
from rag_tools.types import Span
from rag_tools.wire import ids

MIN_WORDS = 3
"""Words between quotation marks that make a quotation; fewer are a name or a term."""

# A quotation runs over line ends, not over a blank line, and holds none of its own marks: so no
# character is looked at more than a few times. A fence that isn't closed ends with the text.
_WORDS = r"(?:[^{marks}\n]|\n(?![ \t]*+\n))++"
_QUOTATION = re.compile(
    rf"""
      ^(?P<fence>`{{3,}}+|~{{3,}}+)(?:[ \t]*+(?:text[ \t]*+)?\n(?P<fenced>.*?)|[^\n]*+\n.*?)
        (?:^(?P=fence)[ \t]*+$|\Z)
    | (?<!`)(?P<ticks>`++)[^`]++(?P=ticks)
    | (?P<block>(?:^[ ]{{0,3}}>[^\n]*+(?:\n|\Z))++)
    | “(?P<curly>{_WORDS.format(marks="“”")})”
    | „(?P<low>{_WORDS.format(marks="„“”")})[“”]
    | «(?P<angle>{_WORDS.format(marks="«»")})»
    | (?<!\w)"(?P<straight>{_WORDS.format(marks='"')})"(?!\w)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_REFERENCE = re.compile(r"^[ ]{0,3}(?:[-*+][ ]+)?\[(\d{1,9})\]:?[ \t]+([^\n]+)$", re.MULTILINE)
_URL = re.compile(r"(?:file|https?)://[^\s<>\"”»]*[^\s<>\"”».,;:)\]]")
_PLACE = re.compile(r"(?P<path>\S.*?)(?::\d+(?:-\d+)?|, page \d+)(?=$|  |, )")  # notes/a.md:3-5
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ELLIPSIS = re.compile(r"\[(?:…|\.{3})\]|\((?:…|\.{3})\)|…|\.{3}")
# A number, or a short id.
_NEXT_MARKER = re.compile(rf"\s*+\[(?:[\d ,;–-]++|{ids.IN_BRACKETS})\]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_LIST_HEADING = re.compile(
    r"\n[ ]{0,3}(?:#{1,6}[ ]+|\*\*)?(?:references|sources|citations):?(?:\*\*)?[ \t]*\Z",
    re.IGNORECASE,
)


class Quotation(NamedTuple):
    """Words that an answer quotes, between two omissions if it leaves some out.

    Attributes
    ----------
    span
        Where the quotation stands in the answer, marks and all.
    text
        The words as they are quoted.
    sources
        URLs, paths of files, and short ids, that the answer gives for them; empty if it gives
        none.
    """

    span: Span
    text: str
    sources: tuple[str, ...]


def quotations(answer: str) -> list[Quotation]:
    """Return what an answer quotes, in order.

    Quotations stand between quotation marks and have at least `MIN_WORDS` words, or are Markdown's
    block quotes and fenced blocks of text. Their sources are those that the next ``[n]`` in their
    paragraph refers to, or the one right after it, in the answer's list of references; else the
    next short id in brackets, as tools for models give them out; else the next URL in the
    paragraph. One in that list has the source of its item.

    Examples
    --------
    >>> answer = '''Tides: "the Moon pulls on the sea" [1].
    ...
    ... [1] file:///tides.txt#L1
    ... '''
    >>> [(quotation.text, quotation.sources) for quotation in quotations(answer)]
    [('the Moon pulls on the sea', ('file:///tides.txt#L1',))]
    """
    references = list(_references(answer))
    sources = {reference.number: reference.source for reference in references}
    cited = [each for each in markers(answer) if not _holding(each.span, references)]
    matches = [match for match in _QUOTATION.finditer(answer) if _words(match)]
    found: list[Quotation] = []
    for match, following in zip_longest(matches, matches[1:]):
        if reference := _holding(Span(*match.span()), references):
            # What `rag_tools.cite.formats.references` writes: as Markdown shows it.
            words = _ESCAPED.sub(r"\1", _words(match))
            found.append(Quotation(Span(*match.span()), words, (reference.source,)))
            continue
        end = _reach(answer, match.end(), following.start() if following else len(answer))
        next_one = bisect_left(cited, match.start(), key=lambda marker: marker.span.start)
        numbers = [
            number
            for marker in cited[next_one : next_one + 1]
            if marker.span.start < end
            for number in marker.numbers
        ]
        given = tuple(sources[number] for number in numbers if number in sources)
        if not given:
            given = tuple(mark.id for mark in ids.markers(answer[match.end() : end])[:1])
        if not given:  # a block quote ends with it
            given = tuple(mark.id for mark in ids.markers(match[0])[-1:])
        if not given and (url := _URL.search(answer, match.end(), end)):
            given = (url[0],)
        parts = (part.strip() for part in _ELLIPSIS.split(_words(match)))
        found += [Quotation(Span(*match.span()), part, given) for part in parts if part]
    return found


def without_references(answer: str) -> str:
    r"""Return an answer without the lines of its list of references, and the heading over them.

    Examples
    --------
    >>> without_references("It floats [1].\n\n## References\n\n- [1] notes/boats.md:3")
    'It floats [1].\n'
    """
    kept, end = "", 0
    for reference in _references(answer):
        before = answer[end : reference.span.start]
        heading = _LIST_HEADING.search(before.rstrip())
        kept += before[: heading.start()] if heading else before
        end = min(reference.span.end + 1, len(answer))  # its line end too
    if end and not answer[end:].strip():  # the list was the end
        return kept.rstrip() + "\n"
    return kept + answer[end:]


class _Reference(NamedTuple):
    """A line of a list of references."""

    span: Span
    number: int
    source: str


def _references(answer: str) -> Iterator[_Reference]:
    for match in _REFERENCE.finditer(answer):
        url, place = _URL.search(match[2]), _PLACE.match(match[2])
        if url or place:
            source = url[0] if url else place["path"] if place else ""
            yield _Reference(Span(*match.span()), int(match[1]), source)


def _holding(span: Span, references: Sequence[_Reference]) -> _Reference | None:
    """Return the reference that a span overlaps, if there is one."""
    before = bisect_right(references, span.start, key=lambda reference: reference.span.start)
    found = references[before - 1] if before else None
    return found if found and span.overlaps(found.span) else None


def _words(match: re.Match[str]) -> str:
    """Return the words of a quotation; none if it is code, or too short."""
    if match["fenced"]:
        return match["fenced"].strip()
    if match["block"]:
        block = re.sub(r"^[ ]{0,3}>[ ]?", "", match["block"], flags=re.MULTILINE)
        words = unmarked(ids.cited(block)[0]).strip()
        within = re.fullmatch(r"[“„«\"](.*)[”“»\"]", words, re.DOTALL)
        return within[1] if within else words
    words = match["curly"] or match["low"] or match["angle"] or match["straight"] or ""
    return unmarked(words).strip() if len(words.split()) >= MIN_WORDS else ""


def _reach(answer: str, start: int, end: int) -> int:
    """Return how far the sources of a quotation that ends at `start` may stand, at most to `end`.

    To the end of its paragraph, or to a marker right after it, be it in the next paragraph.
    """
    if marker := _NEXT_MARKER.match(answer, start, end):
        return marker.end()
    # A block quote has taken the first of two line ends.
    blank = _BLANK_LINE.search(answer, start - answer.endswith("\n", 0, start), end)
    return blank.start() if blank else end
