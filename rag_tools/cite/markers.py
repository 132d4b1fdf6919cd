r"""Numbers in square brackets with which an answer refers to its sources: ``[1]``, ``[2, 4-6]``.

What the numbers stand for is the caller's: the nth of the sources that the writer was shown.
Whether a source supports what is said there is not judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from rag_tools.types import Span

_Source = TypeVar("_Source")

MAX_RANGE = 100
"""Numbers that one range stands for, at most: ``[1990-2020]`` may be a marker, but not any two."""

# What a bracketed number may stand in without being a marker comes first, so that it is passed
# over whole. Quantifiers are possessive: no text takes more than a few looks at each character.
_TOKEN = re.compile(
    r"""
      ^[ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*+(?:\n(?![ ]{0,3}(?P=fence))[^\n]*+)*+  # fenced code
        (?:\n[ ]{0,3}(?P=fence)[^\n]*+)?
    | (?P<ticks>`++)(?:(?!\n[ \t]*+\n)[^`]|(?!(?P=ticks)(?!`))`++)*+(?P=ticks)      # code span
    | `++                                                                         # no code span
    | \\[!-/:-@\[-`{-~]                                                           # escaped
    | ^[ ]{0,3}\[[^\[\]\n]++\]:                                                   # link definition
    | \[(?:[^\[\]\\]|\\.|\[[^\[\]]*+\])*+\]                                       # link
        \([ ]*+(?:<[^<>\n]*+>|(?:[^\s()\\]|\\.|\([^\s()]*+\))*+)
        (?:\s++(?:"[^"]*+"|'[^']*+'|\([^()]*+\)))?\s*+\)
    | \[(?P<numbers>[ ]*\d{1,9}[ ]*(?:[-–][ ]*\d{1,9}[ ]*)?
        (?:[,;][ ]*\d{1,9}[ ]*(?:[-–][ ]*\d{1,9}[ ]*)?)*)\]
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL | re.ASCII,
)


class Marker(NamedTuple):
    """A reference to sources: where it stands in the text, brackets included, and their numbers."""

    span: Span
    numbers: tuple[int, ...]


def markers(text: str) -> list[Marker]:
    """Return the markers of `text`, in order.

    Not markers: what stands in code, the text or target of a Markdown link, a link definition,
    escaped brackets, and ranges that run backwards, start at 0 or are longer than `MAX_RANGE`.

    Examples
    --------
    >>> markers("Tides come twice a day [1, 3-4].")
    [Marker(span=Span(start=23, end=31), numbers=(1, 3, 4))]
    >>> markers("`a[1]`, [2](https://example.com), [sic]")
    []
    """
    found = []
    for match in _TOKEN.finditer(text):
        if (listed := match["numbers"]) is not None and (numbers := _numbers(listed)):
            found.append(Marker(Span(*match.span()), numbers))
    return found


def unmarked(text: str) -> str:
    """Return `text` without its markers and the spaces before them.

    Examples
    --------
    >>> unmarked("It floats [1, 2]. It sinks. [3]")
    'It floats. It sinks.'
    """
    kept, end = "", 0
    for marker in markers(text):
        kept += text[end : marker.span.start].rstrip(" ")
        end = marker.span.end
    return kept + text[end:]


def unmarkable(text: str) -> list[Span]:
    """Return the ranges of `text` inside which a number in brackets is no marker, in order.

    Code, links, link definitions and escaped characters. A fence also covers the place right
    after it, since one that isn't closed ends with the text.
    """
    return [
        Span(match.start(), match.end() + (match["fence"] is not None))
        for match in _TOKEN.finditer(text)
    ]


def resolve(text: str, sources: Sequence[_Source]) -> tuple[dict[int, _Source], tuple[int, ...]]:
    """Return the sources that `text` refers to, by number, and the numbers that no source has.

    Parameters
    ----------
    sources
        The first has the number 1.

    Examples
    --------
    >>> resolve("Once [2]. Twice [2][7].", ["a", "b"])
    ({2: 'b'}, (7,))
    """
    numbers = list(_distinct(number for marker in markers(text) for number in marker.numbers))
    known = {number: sources[number - 1] for number in numbers if 0 < number <= len(sources)}
    return known, tuple(number for number in numbers if number not in known)


def _numbers(listed: str) -> tuple[int, ...]:
    """Return what a list of numbers and ranges stands for; nothing if a range of it can't be."""
    numbers: list[int] = []
    for item in re.split("[,;]", listed):
        first, *rest = (int(number) for number in re.split("[-–]", item))
        last = rest[0] if rest else first
        if rest and not 0 < first <= last < first + MAX_RANGE:
            return ()
        numbers.extend(range(first, last + 1))
    return tuple(_distinct(numbers))


def _distinct(numbers: Iterable[int]) -> Iterable[int]:
    return dict.fromkeys(numbers)
