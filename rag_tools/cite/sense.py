"""Whether two texts in nearly the same words say the opposite: negations, opposites, turned order.

By rule, on the words that both have. What is found is a difference to look at, not a proof: nothing
here knows grammar.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from rag_tools.cite.quantities import stem
from rag_tools.folding import fold
from rag_tools.types import Span

REACH = 4
"""Words on either side of a word within which the order of two others is compared."""

_OPPOSITES = Path(__file__).with_name("opposites.txt")
# Bounds of a number: from below, and from above.
_LOWER = r"""at\sleast|(?:no|not)\s(?:less|fewer|lower|earlier|sooner)\sthan
    |or\s(?:more|above|higher|later|greater|longer)|(?:more|greater|higher|longer|later)\sthan
    |(?:over|above|exceed(?:s|ing|ed)?)(?=\s[$€£]?\d)|min(?:imum)?"""
_UPPER = r"""at\smost|(?:no|not)\s(?:more|greater|later|higher|longer)\sthan
    |or\s(?:less|below|lower|earlier|fewer)|(?:less|fewer|lower|shorter|earlier)\sthan
    |(?:under|below|within|up\sto)(?=\s[$€£]?\d)|max(?:imum)?"""
_TOKEN = re.compile(
    rf"""
      (?P<lower>\b(?:{_LOWER})\b|>=?)
    | (?P<upper>\b(?:{_UPPER})\b|<=?)
    | (?P<plain>\bnot\sonly\b|\bwhether\sor\snot\b|\bno\sdoubt\b|\bno\.(?=\s?\d))
    | (?P<negator>\b(?:not|never|no|neither|nor|without|cannot|nobody|nothing|none|nowhere|hardly
        |rarely|seldom|nicht|kein|keine|keinen|nie|niemals|ohne|pas|jamais)\b(?:\s(?:longer|any\smore)\b)?
        |(?<=[^\W\d_])n't\b)
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
    r"""only|lack|fail|refus|den(?:y|i)|forbid|forbad|prohibit|prevent|avoid|except|unless|reject
    |stop|ceas|absen|instead|rather|remov|drop|exclu|ban|disallow|disab|unable|illegal|impossib
    |un\w{4}|in\w{3,}(?:abl|ibl|at|activ|complet|correct|valid|dependent)|im(?:poss|perf|prop)|dis\w{4}
    |free|miss|lost|lose|until|little|few|zero|deprec|false|skip|ignor|omit|empty|non""",
    re.VERBOSE,
)
_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non-?|de|mis)(?=\w{4})")
_SYMMETRIC = frozenset(
    map(
        stem,
        """
        meet met marry married equal equals near match matches agree differ compare compared
        between join joins is are was were together share
        """.split(),  # noqa: SIM905
    )
)
_PIVOTS = frozenset(
    ["before", "after", "than", "to", "from", "over", "under", "above", "below", "into", "beat"]
)

_JOINING = frozenset(["and", "or", "the", "a"])

Polarity = tuple[str, int]
_Place = tuple[int, int]


@cache
def _opposites() -> dict[str, list[Polarity]]:
    table: dict[str, list[Polarity]] = defaultdict(list)
    rows = _OPPOSITES.read_text(encoding="utf-8").splitlines()
    for row in (row for row in rows if not row.startswith("#")):
        for sign, words in zip((1, -1), row.split("|"), strict=True):
            for word in dict.fromkeys(map(stem, words.split())):
                table[word].append((row, sign))
    return dict(table)


class Token(NamedTuple):
    """A word: its stem, where it stands, whether it is negated, and of what sign a bound is."""

    stem: str
    span: Span
    negated: bool = False
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
        for match in _TOKEN.finditer(folded.text):
            span = folded.source(Span(*match.span()))
            if match["plain"]:
                continue
            if match["stop"]:
                self.stops.add(len(self.tokens))
                negating = False
            elif match["negator"]:
                self.negators.append(span)
                negating = True
            elif bound := match["lower"] or match["upper"]:
                sign = 1 if bound == match["lower"] else -1
                self.tokens.append(Token("", span, negating, sign))
                negating = False
            else:
                word = match["word"].lower()
                self.denying = self.denying or bool(_DENYING.match(word))
                light = word in _LIGHT or word.endswith("ly")
                negated = negating and not light
                negating = negating and light
                capital = match["word"][0].isupper()
                self.tokens.append(Token(stem(word), span, negated, capital=capital))

    @cached_property
    def stems(self) -> set[str]:
        """Stems of all words."""
        return {token.stem for token in self.tokens if token.stem}

    @cached_property
    def content(self) -> set[str]:
        """Stems of the words that carry what the text says."""
        return self.stems - _LIGHT_STEMS

    @cached_property
    def names(self) -> list[tuple[int, int]]:
        """Ranges of tokens in a row with capitals, but for words that carry a sentence."""
        found: list[tuple[int, int]] = []
        for number, token in enumerate(self.tokens):
            if token.capital and token.stem not in _LIGHT_STEMS:
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
                if root and root not in _LIGHT_STEMS:
                    found.add((side, root))
                    break
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
            if token.stem in _LIGHT_STEMS:
                continue
            yield token.stem, sign, token
            plain = _PREFIX.sub("", token.stem, count=1)
            if plain != token.stem and token.stem not in other.stems and plain in other.stems:
                yield plain, -sign, token


_LIGHT_STEMS = frozenset(map(stem, _LIGHT))


def conflicts(claim: Sense, quote: Sense) -> list[Span]:
    """Return where a claim says otherwise than a quote in nearly its words.

    Examples
    --------
    >>> text = "The cache is never enabled."
    >>> [span.of(text) for span in conflicts(Sense(text), Sense("The cache is enabled."))]
    ['never']
    """
    found = {
        *_negations(claim, quote),
        *_opposed(claim, quote),
        *_turned(claim, quote),
        *_exchanged(claim, quote),
    }
    return sorted(found)


def _negations(claim: Sense, quote: Sense) -> Iterator[Span]:
    said: dict[str, set[int]] = defaultdict(set)
    for concept, sign, _ in quote.polarities(claim):
        said[concept].add(sign)
    answered = False
    rows = _rows(quote)
    for concept, sign, token in claim.polarities(quote):
        if token.negated:
            opposite = any(-side in rows[row] for row, side in _opposites().get(token.stem, ()))
            answered = answered or concept in said or opposite
        if concept in said and sign not in said[concept]:
            yield _negator(claim, token)
    if claim.negators and not quote.negators and not quote.denying and not answered:
        yield claim.negators[0]


def _negator(claim: Sense, token: Token) -> Span:
    before = [span for span in claim.negators if span.end <= token.span.start]
    return before[-1] if token.negated and before else token.span


def _opposed(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim of which the quote has only the opposite."""
    said = _rows(quote)
    for token in claim.tokens:
        if token.stem in quote.stems:
            continue
        rows = [(row, side) for row, side in _opposites().get(token.stem, ()) if said[row]]
        signs = [(-side if token.negated else side) in said[row] for row, side in rows]
        if signs and not any(signs):
            yield token.span


def _rows(text: Sense) -> dict[str, set[int]]:
    """Return on which sides of the rows of opposites a text is."""
    found: dict[str, set[int]] = defaultdict(set)
    for token in text.tokens:
        for row, side in _opposites().get(token.stem, ()):
            found[row].add(-side if token.negated else side)
    return found


def _turned(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim on whose sides the same two words stand the other way round."""
    if quote.is_row:
        return
    places = _places(quote)
    own = _places(claim)
    shared = {root for root in own if root in places and root not in _LIGHT_STEMS}
    for number, token in enumerate(claim.tokens):
        root = token.stem
        pivot = root in shared or (root in _PIVOTS and root in places and root in own)
        if not pivot or token.capital or root in _SYMMETRIC:
            continue
        before = _nearest(claim, number, -1, shared)
        after = _nearest(claim, number, 1, shared)
        if before is None or after is None:
            continue
        there = places[root]
        turned = (_nearest(quote, there, -1, shared), _nearest(quote, there, 1, shared))
        if turned == (after, before) and _voice(claim, number) == _voice(quote, there):
            yield token.span


def _exchanged(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim that stand in each other's place, names above all.

    Of two names that changed their order one must have the other's neighbour, of other words both.
    """
    if quote.is_row:
        return
    named = {number for start, end in claim.names for number in range(start, end)}
    others = [
        (number, number + 1)
        for number, token in enumerate(claim.tokens)
        if number not in named and token.stem in claim.content
    ]
    for places, least in ((claim.names, 1), (others, 2)):
        found = [
            (here, there)
            for here in places
            if (there := quote.find([token.stem for token in claim.tokens[here[0] : here[1]]]))
        ]
        for number, one in enumerate(found):
            following = found[number + 1 : number + 1 + 2 * REACH]
            if any(_changed_places(claim, quote, one, other) >= least for other in following):
                start, end = one[0]
                yield Span(claim.tokens[start].span.start, claim.tokens[end - 1].span.end)


def _changed_places(
    claim: Sense, quote: Sense, one: tuple[_Place, _Place], other: tuple[_Place, _Place]
) -> int:
    """Return how many of two words, or rows of words, have the neighbours of the other one."""
    (first, first_there), (second, second_there) = one, other
    if first_there < second_there:
        return 0
    between = claim.stems_between(first, second)
    between_there = quote.stems_between(second_there, first_there)
    if ("by" in between) != ("by" in between_there) or between <= _JOINING:
        return 0
    own = {claim.tokens[number].stem for place in (first, second) for number in range(*place)}
    around, around_there = (
        [{each for each in text.around(place) if each[1] not in own} for place in places]
        for text, places in ((claim, (first, second)), (quote, (first_there, second_there)))
    )
    if around[0] & around_there[0] or around[1] & around_there[1]:
        return 0
    return bool(around[0] & around_there[1]) + bool(around[1] & around_there[0])


def _places(text: Sense) -> dict[str, int]:
    """Return where the words stand that a text has once."""
    counts = Counter(token.stem for token in text.tokens)
    roots = enumerate(token.stem for token in text.tokens)
    return {root: number for number, root in roots if root and counts[root] == 1}


def _nearest(text: Sense, number: int, step: int, shared: set[str]) -> str | None:
    """Return the nearest shared word before or after another, in its clause."""
    for distance in range(1, REACH + 1):
        place = number + step * distance
        border = place + 1 if step < 0 else place
        if not 0 <= place < len(text.tokens) or border in text.stops:
            return None
        root = text.tokens[place].stem
        if root in ("and", "or"):
            return None
        if root in shared:
            return root
    return None


def _voice(text: Sense, number: int) -> Sequence[bool]:
    following = [token.stem for token in text.tokens[number + 1 : number + 4]]
    return "by" in following, "of" in following[:2]
