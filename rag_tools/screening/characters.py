"""Characters that a reader doesn't see, and a text as a reader, or a model, would read it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rag_tools.types import Span

# Letters that look like Latin ones. They count as such in words that hold Latin letters too.
_LOOK_ALIKES = str.maketrans(
    "асеоріхуѕһԁӏјԛԝкмтвнАВЕКМНОРСТХУІЈЅαοριν",
    "aceopixyshdljqwkmtbhABEKMHOPCTXYIJSaopiv",
)
_MIXED_WORD = re.compile(r"\b(?=\w{0,40}[a-zA-Z])(?=\w{0,40}[\u0370-\u03ff\u0400-\u052f])\w+\b")

_TAGS = "\U000e0020-\U000e007f"
# The flag of a region is a black flag, the region in tag characters, and the last tag character.
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")
_TAG_RUN = re.compile(f"[{_TAGS}]+")
_INVISIBLE = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
_INVISIBLE += "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef"
_INVISIBLE_RUN = re.compile(f"[{_INVISIBLE}]{{4,}}")
_OVERRIDE = re.compile("[\u202d\u202e]")
_ANY_INVISIBLE = re.compile(f"[{_INVISIBLE}]")

# Between each two letters of a word. Scripts that join their letters use such characters once or
# twice in a word.
_SEPARATED = re.compile(f"(?:[A-Za-z][{_INVISIBLE}]{{1,3}}){{6,}}[A-Za-z]")
_SPACED = re.compile(r"(?<!\w)(?:\w[ \t]{1,3}){9,}\w(?!\w)")

LEAST_SPACED = 10
"""The fewest letters with a space after each that `spaced_words` finds."""


class Readable(NamedTuple):
    """A text in lower case as somebody reads it, and where its characters stand in the source.

    Attributes
    ----------
    text
        The text.
    places
        The place of each of its characters in the source; None: at the same place.
    """

    text: str
    places: Sequence[int] | None

    def source(self, start: int, end: int) -> Span:
        """Return the range of the source that a range, not empty, stands for."""
        if self.places is None:
            return Span(start, end)
        return Span(self.places[start], self.places[end - 1] + 1)


def readable(text: str) -> Readable:
    """Return a text in lower case without its disguise: O(its length).

    Compatibility characters become plain ones, invisible ones are left out, tag characters become
    the letters that they stand for, and look-alikes of Latin letters become these.
    """
    if text.isascii():
        return Readable(text.lower(), None)
    text = _MIXED_WORD.sub(lambda word: word[0].translate(_LOOK_ALIKES), text)
    lower = text.lower()
    plain = unicodedata.is_normalized("NFKC", text) and not _ANY_INVISIBLE.search(text)
    if plain and len(lower) == len(text):
        return Readable(lower, None)
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        code = ord(character)
        if 0xE0020 <= code < 0xE007F:
            shown = chr(code - 0xE0000).lower()
        elif _ANY_INVISIBLE.match(character):
            continue
        else:
            shown = unicodedata.normalize("NFKC", character).lower()
        characters.append(shown)
        places += [place] * len(shown)
    return Readable("".join(characters), places)


def spaced_words(found: Readable) -> Iterator[Readable]:
    """Yield the stretches of a text that are written with a space after each letter, joined.

    More than one space stands between words.
    """
    for match in _SPACED.finditer(found.text):
        characters: list[str] = []
        places: list[int] = []
        gap = False
        for place in range(*match.span()):
            character = found.text[place]
            if character.isalnum():
                characters.append(character)
            elif gap and characters[-1] != " ":
                characters.append(" ")
            else:
                gap = True
                continue
            gap = False
            places.append(place if found.places is None else found.places[place])
        yield Readable("".join(characters), places)


def invisible_runs(text: str) -> Iterator[tuple[Span, str]]:
    r"""Yield stretches with invisible characters that no script and no emoji needs, and what kind.

    Examples
    --------
    >>> list(invisible_runs("a" + "\u200b" * 5))
    [(Span(start=1, end=6), 'a run of invisible characters')]
    >>> list(invisible_runs("soft\u00adhyphen and na\u00efve"))
    []
    """
    if text.isascii():
        return
    flags = [match.span() for match in _FLAG.finditer(text)]
    for match in _TAG_RUN.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in flags):
            yield Span(*match.span()), "Unicode tag characters"
    for pattern, what in (
        (_INVISIBLE_RUN, "a run of invisible characters"),
        (_SEPARATED, "invisible characters between letters"),
        (_OVERRIDE, "characters that reverse the order of what is read"),
    ):
        for match in pattern.finditer(text):
            inside = any(start < match.end() and match.start() < end for start, end in flags)
            if not inside and not _TAG_RUN.search(match[0]):
                yield Span(*match.span()), what
