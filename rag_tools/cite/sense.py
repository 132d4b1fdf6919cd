"""Whether two texts in nearly the same words say the opposite: negations, opposites, turned order.

By rule, on the words that both have. What is found is a difference to look at, not a proof: nothing
here knows grammar.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rag_tools.cite.quantities import stem
from rag_tools.folding import fold
from rag_tools.types import Span

REACH = 4
"""Words on either side of a word within which the order of two others is compared."""

_OPPOSITES = Path(__file__).with_name("opposites.txt")
# Bounds of a number: from below, and from above.
_AMOUNT = r"""(?=\s(?:[$€£]?\d|an?\b|half|one|two|three|four|five|six|seven|eight|nine|ten|eleven
    |twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred|thousand))"""
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
_SYMMETRIC = frozenset(
    map(
        stem,
        """
        meet met marry married equal equals near match matches agree differ compare compared
        between join joins is are was were together share
        """.split(),  # noqa: SIM905 - a list literal would be a page long
    )
)
_PIVOTS = frozenset("before after than to from over under above below into beat".split())  # noqa: SIM905
_CONTRASTS = frozenset(["but", "whil", "wherea"])
_CLAUSE_WORDS = _CONTRASTS | {"and", "or"}
# Words after a word that say on which of its sides another one is.
_LINKING = frozenset(
    map(stem, "for of in on at to from with by as that which who whose into about".split())  # noqa: SIM905
)
_BEING = frozenset(["is", "ar", "are", "was", "wer", "were", "be", "been", "being", "get", "got"])
_JOINING = frozenset(["and", "or", "the", "a"])
_LIMITS = frozenset(["until", "unless", "except", "before"])

MIN_WORDS = 3
"""Words of content of a clause that is compared with a clause."""

SAME_CLAUSE = 0.5  # share of a claim's words of content that a clause on the same has
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

    @cached_property
    def clauses(self) -> list[_Place]:
        """Ranges of tokens between stops, and words that join clauses."""
        borders = {0, len(self.tokens), *self.stops}
        borders |= {n for n, token in enumerate(self.tokens) if token.stem in _CONTRASTS}
        places = sorted(borders)
        return [(start, end) for start, end in pairwise(places) if start < end]

    def words(self, place: _Place) -> set[str]:
        """Return the stems of content in a range."""
        return {token.stem for token in self.tokens[place[0] : place[1]]} & self.content

    def units(self, place: _Place) -> Iterator[_Place]:
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
            if token.stem in _LIGHT_STEMS:
                continue
            yield token.stem, sign, token
            if token.reached:
                yield token.stem, -sign, token
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
        *_mixed(claim, quote),
    }
    return sorted(found)


def _negations(claim: Sense, quote: Sense) -> Iterator[Span]:
    said: dict[str, set[int]] = defaultdict(set)
    for concept, sign, _ in quote.polarities(claim):
        said[concept].add(sign)
    answered, rows = False, _rows(quote)
    for concept, sign, token in claim.polarities(quote):
        if token.negated:
            opposite = any(-side in rows[row] for row, side in _opposites().get(token.stem, ()))
            answered = answered or concept in said or opposite
        if concept in said and sign not in said[concept] and not token.reached:
            yield _negator(claim, token)
    if claim.negators and not quote.negators and not quote.denying and not answered:
        yield claim.negators[0]
    if not claim.negators and not claim.denying:
        yield from _denied(claim, quote)


def _denied(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield a word that a quote denies, in a clause on the same, if the claim denies nothing."""
    for clause in quote.clauses:
        inside = quote.tokens[clause[0] : clause[1]]
        denied = {token.stem for token in inside if token.reached or token.negated}
        limited = any(token.negated and token.reached for token in inside)  # until, unless
        if not limited and len(claim.content & quote.words(clause)) >= SAME_CLAUSE * len(
            claim.content
        ):
            found = [token for token in claim.tokens if token.stem in denied & claim.content]
            yield from (token.span for token in found[:1])


def _negator(claim: Sense, token: Token) -> Span:
    before = [span for span in claim.negators if span.end <= token.span.start]
    return before[-1] if token.negated and before else token.span


def _opposed(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim of which the quote has only the opposite.

    A claim that has both opposites, such as "before" and "after", compares them, and is left out.
    """
    said, own = _rows(quote), _rows(claim)
    for token in claim.tokens:
        if token.stem in quote.stems:
            continue
        rows = [
            (row, side)
            for row, side in _opposites().get(token.stem, ())
            if said[row] and len(own[row]) == 1
        ]
        signs = [(-side if token.negated else side) in said[row] for row, side in rows]
        if signs and not any(signs):
            yield token.span


def _are_opposites(one: str, other: str) -> bool:
    rows = dict(_opposites().get(one, ()))
    return any(rows.get(row) == -side for row, side in _opposites().get(other, ()))


def _rows(text: Sense) -> dict[str, set[int]]:
    """Return on which sides of the rows of opposites a text is."""
    found: dict[str, set[int]] = defaultdict(set)
    for token in text.tokens:
        for row, side in _opposites().get(token.stem, ()):
            found[row].add(-side if token.negated else side)
    return found


def _turned(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim whose two sides the quote has the other way round.

    The voice counts: "A replaced B" is turned round by "A was replaced by B".
    """
    if quote.is_row:
        return
    places, own = _places(quote), _places(claim)
    for number, token in enumerate(claim.tokens):
        root = token.stem
        if root not in own or root not in places or token.capital or root in _SYMMETRIC:
            continue
        if root in _LIGHT_STEMS and root not in _PIVOTS:
            continue
        there = places[root]
        before, after = claim.side(number, -1), claim.side(number, 1)
        before_there, after_there = quote.side(there, -1), quote.side(there, 1)
        kept = {each for each in before & before_there | after & after_there if each.isalpha()}
        crossings = [(before & after_there) - kept, (after & before_there) - kept]
        crossed = not before & before_there and len(kept) <= min(map(len, crossings))
        straight = before & before_there and after & after_there
        same_voice = _voice(claim, number) == _voice(quote, there)
        if (all(crossings) and crossed and same_voice) or (
            straight and not crossed and _passive(claim, quote, number, there)
        ):
            yield token.span


def _passive(claim: Sense, quote: Sense, number: int, there: int) -> bool:
    """Tell whether one of two texts, and only one, has "by" and an agent after a word."""
    agents = [
        len(text.tokens) > place + 2
        and text.tokens[place + 1].stem == "by"
        and not text.tokens[place + 2].stem.isdigit()
        and place > 0
        and text.tokens[place - 1].stem in _BEING
        for text, place in ((claim, number), (quote, there))
    ]
    other = (quote, there) if agents[0] else (claim, number)
    following = other[0].tokens[other[1] + 1 : other[1] + 2]
    return agents[0] != agents[1] and bool(following) and following[0].stem != "by"


def _mixed(claim: Sense, quote: Sense) -> Iterator[Span]:
    """Yield words of a claim that the quote has in another clause than those beside them.

    "Ann leads sales" isn't said by "Ann leads support, Bob leads sales".
    """
    if quote.is_row or len(quote.clauses) < 2:
        return
    for clause in claim.clauses:
        words = claim.words(clause)
        shared = {each: len(words & quote.words(each)) for each in quote.clauses}
        most = max(shared.values())
        if len(words) < MIN_WORDS or most < 2:
            continue
        found = [
            list(_misplaced(claim, clause, quote, each))
            for each, count in shared.items()
            if count == most
        ]
        yield from min(found, key=len)


def _misplaced(claim: Sense, clause: _Place, quote: Sense, nearest: _Place) -> Iterator[Span]:
    known = claim.words(clause)
    there = quote.words(nearest)
    for unit in claim.units(clause):
        roots = claim.words(unit)
        if roots & there or not roots <= quote.content:
            continue
        around, name = claim.around(unit), unit in claim.names
        if any(
            around & quote.around(other)
            for other in quote.units(nearest)
            if not quote.words(other) & known
            and (
                quote.words(other) <= claim.content
                or (name and other in quote.names)
                or any(_are_opposites(one, two) for one in roots for two in quote.words(other))
            )
        ):
            yield Span(claim.tokens[unit[0]].span.start, claim.tokens[unit[1] - 1].span.end)


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


def _voice(text: Sense, number: int) -> tuple[bool, str]:
    """Return whether an agent follows a word with "by", and what links it to the next word."""
    following = [token.stem for token in text.tokens[number + 1 : number + 4]]
    link = next((root for root in following if root not in ("the", "a", "an")), "")
    return "by" in following, link if link in _LINKING else ""
