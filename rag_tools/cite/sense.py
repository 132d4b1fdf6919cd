"""A text as words with signs: what is negated, what bounds a number, what is a name.

By rule: nothing here knows grammar. `rag_tools.cite.contradiction` compares two such texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from rag_tools.cite.quantities import stem
from rag_tools.folding import fold
from rag_tools.types import Span

REACH = 4
"""Words on either side of a word within which the order of two others is compared."""

# Bounds of a number: from below, and from above.
_AMOUNT = r"""(?=\s(?:[$€£]?\d|half|one|two|three|four|five|six|seven|eight|nine|ten|eleven
    |twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred|thousand
    |an?\s(?:dozen|few|couple|third|quarter|second|minute|hour|day|night|week|fortnight|month|year
    |decade|century|hundred|thousand|million|metre|meter|mile|kilometre|kilometer|gram|kilo
    |kilogram|litre|liter|byte|kilobyte|megabyte|gigabyte|percent|cent|degree)\b))"""
_LOWER = rf"""at\sleast|(?:no|not)\s(?:less|fewer|lower|earlier|sooner)\sthan
    |or\s(?:more|above|higher|later|greater|longer)|(?:more|greater|higher|longer|later)\sthan{_AMOUNT}
    |(?:over|above|exceed(?:s|ing|ed)?)(?=\s[$€£]?\d)|min(?:imum)?"""
_UPPER = rf"""at\smost|(?:no|not)\s(?:more|greater|later|higher|longer)\sthan
    |or\s(?:less|below|lower|earlier|fewer)|(?:less|fewer|lower|shorter|earlier)\sthan{_AMOUNT}
    |(?:under|below|within|up\sto)(?=\s[$€£]?\d)|max(?:imum)?"""
_TOKEN = re.compile(
    rf"""
      (?P<lower>\b(?:{_LOWER})\b|>=?)
    | (?P<upper>\b(?:{_UPPER})\b|<=?)
    | (?P<plain>\bnot\sonly\b|\bwhether\sor\snot\b|\bno\sdoubt\b|\bno\.(?=\s?\d)
        |\b(?:year|month|week|day)s?[\s-]old\b)
    | (?P<negator>\b(?:not|never|no|neither|nor|without|cannot|nobody|nothing|none|nowhere|hardly
        |rarely|seldom|nicht|kein|keine|keinen|nie|niemals|ohne|pas|jamais)\b(?:\s(?:longer|any\smore)\b)?
        |(?<=[^\W\d_])n't\b)
    | (?P<number>\d+(?:[.,:]\d+)+)
    | (?P<word>[^\W_]+?(?=n't\b)|[^\W_]+(?:[_-][^\W_]+)*)
    | (?P<stop>[,;:.!?()|])
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Words between a negator and what it negates.
_LIGHT = frozenset(
    """
    a an the any be been being is are was were am do does did has have had will would shall should
    can could may might must to of in on at for it he she they we you i this that these those there
    his her its their our your my as by with from and or but if so such than then very much more
    also always ever even just only really yet still all every each who whom which what when where
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
# Words that deny without a negator: a claim with a negator may say the same.
_DENYING = re.compile(
    r"""(?:only|ban|bans|free|few|little|until|zero|false|lost|lose|loses|miss|misses)\b|banned
    |lack|fail|refus|den(?:y|i)|forbid|forbad|prohibit|prevent|avoid|except|unless|reject|stop|ceas
    |absen|instead|rather|remov|drop|exclu|disallow|disab|unable|illegal|impossib|deprec|skip|ignor
    |omit|empty|non|un(?!i|der|til|less)\w{4}|in\w{3,}(?:abl|ibl|activ|complet|correct|valid|dependent)
    |im(?:poss|perf|prop)|dis\w{4}|\w{3,}less(?:ly|ness)?\b""",
    re.VERBOSE,
)
_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non-?|de|mis)(?=\w{4})")
_CONTRASTS = frozenset(["but", "whil", "wherea"])
_CLAUSE_WORDS = _CONTRASTS | {"and", "or"}
_LIMITS = frozenset(["until", "unless", "except", "before"])

Place = tuple[int, int]
"""A range of tokens: the first, and the one after the last."""


class Token(NamedTuple):
    """A word: its stem, where it stands, whether it is negated, and of what sign a bound is.

    What is `reached` follows a negated word so closely that the negation may be meant for it: "no
    salt is used" says what "doesn't use salting" says.
    """

    stem: str
    span: Span
    negated: bool = False
    reached: bool = False
    bound: int = 0
    capital: bool = False


class Sense:
    """A text as its words with their signs."""

    def __init__(self, text: str) -> None:
        folded = fold(text, divided="")
        self.negators: list[Span] = []
        self.tokens: list[Token] = []
        self.stops: set[int] = set()  # numbers of tokens that start a new clause
        self.denying = False
        self.is_row = "|" in text
        negating = False
        reaching = 0  # words of content that a negation before them may still be meant for
        for match in _TOKEN.finditer(folded.text):
            span = folded.source(Span(*match.span()))
            if match["plain"]:
                continue
            if match["stop"]:
                self.stops.add(len(self.tokens))
                negating, reaching = False, 0
            elif match["negator"]:
                self.negators.append(span)
                negating = True
            elif bound := match["lower"] or match["upper"]:
                sign = 1 if bound == match["lower"] else -1
                self.tokens.append(Token("", span, negating, bound=sign))
                negating = False
            else:
                word = match[0].lower()
                self.denying = self.denying or bool(_DENYING.match(word))
                light = word in _LIGHT or word.endswith("ly")
                negated = negating and not light
                negating = negating and light
                reached = not negated and not light and reaching > 0
                reaching = REACH if negated else max(0, reaching - (not light))
                if word in _LIMITS:  # "isn't freed until" says when it is
                    for place in range(max(self.stops, default=0), len(self.tokens)):
                        if self.tokens[place].negated:
                            self.tokens[place] = self.tokens[place]._replace(reached=True)
                capital = match[0][0].isupper()
                self.tokens.append(Token(stem(word), span, negated, reached, capital=capital))

    @cached_property
    def stems(self) -> set[str]:
        """Stems of all words."""
        return {token.stem for token in self.tokens if token.stem}

    @cached_property
    def content(self) -> set[str]:
        """Stems of the words that carry what the text says."""
        return self.stems - LIGHT_STEMS

    @cached_property
    def names(self) -> list[tuple[int, int]]:
        """Ranges of tokens in a row with capitals, but for words that carry a sentence."""
        found: list[tuple[int, int]] = []
        for number, token in enumerate(self.tokens):
            if token.capital and token.stem not in LIGHT_STEMS:
                joined = found and found[-1][1] == number and number not in self.stops
                start = found.pop()[0] if joined else number
                found.append((start, number + 1))
        return found

    def find(self, stems: Sequence[str]) -> tuple[int, int] | None:
        """Return where words stand in a row, if at one place only."""
        size = len(stems)
        places = [
            (start, start + size)
            for start in range(len(self.tokens) - size + 1)
            if [token.stem for token in self.tokens[start : start + size]] == stems
        ]
        return places[0] if len(places) == 1 else None

    def around(self, place: tuple[int, int]) -> set[tuple[int, str]]:
        """Return the nearest words of content before and after a place, in its clause."""
        found = set()
        for side, numbers in (
            (-1, range(place[0] - 1, max(-1, place[0] - 1 - REACH), -1)),
            (1, range(place[1], min(len(self.tokens), place[1] + REACH))),
        ):
            for number in numbers:
                if (number if side > 0 else number + 1) in self.stops:
                    break
                root = self.tokens[number].stem
                if root and root not in LIGHT_STEMS:
                    found.add((side, root))
                    break
        return found

    @cached_property
    def clauses(self) -> list[Place]:
        """Ranges of tokens between stops, and words that join clauses."""
        borders = {0, len(self.tokens), *self.stops}
        borders |= {n for n, token in enumerate(self.tokens) if token.stem in _CONTRASTS}
        places = sorted(borders)
        return [(start, end) for start, end in pairwise(places) if start < end]

    def words(self, place: Place) -> set[str]:
        """Return the stems of content in a range."""
        return {token.stem for token in self.tokens[place[0] : place[1]]} & self.content

    def units(self, place: Place) -> Iterator[Place]:
        """Yield the names and the other words of content in a range."""
        named = {number for start, end in self.names for number in range(start, end)}
        yield from (each for each in self.names if place[0] <= each[0] and each[1] <= place[1])
        for number in range(*place):
            if number not in named and self.tokens[number].stem in self.content:
                yield number, number + 1

    def side(self, number: int, step: int) -> set[str]:
        """Return the words of content on one side of a word, in its clause and within reach."""
        found: set[str] = set()
        place = number + step
        while 0 <= place < len(self.tokens) and abs(place - number) <= 2 * REACH:
            if (place if step > 0 else place + 1) in self.stops:
                break
            root = self.tokens[place].stem
            if root in _CLAUSE_WORDS:
                break
            if root in self.content:
                found.add(root)
            place += step
        return found

    def stems_between(self, one: tuple[int, int], other: tuple[int, int]) -> set[str]:
        """Return the words between two places."""
        return {token.stem for token in self.tokens[one[1] : other[0]]}

    def polarities(self, other: Sense) -> Iterator[tuple[str, int, Token]]:
        """Yield each word with its sign; one with a prefix as the word that the other has."""
        for token in self.tokens:
            sign = -1 if token.negated else 1
            if token.bound:
                yield "bound", sign * token.bound, token
                continue
            if token.stem in LIGHT_STEMS:
                continue
            yield token.stem, sign, token
            if token.reached:
                yield token.stem, -sign, token
            plain = _PREFIX.sub("", token.stem, count=1)
            if plain != token.stem and token.stem not in other.stems and plain in other.stems:
                yield plain, -sign, token


LIGHT_STEMS = frozenset(map(stem, _LIGHT))
