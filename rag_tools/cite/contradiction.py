"""Where two texts in nearly the same words say the opposite: negations, opposites, turned order.

By rule, on the words that both have. What is found is a difference to look at, not a proof: nothing
here knows grammar.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rag_tools.cite.quantities import stem
from rag_tools.cite.sense import LIGHT_STEMS, REACH, Place, Sense, Token
from rag_tools.types import Span

_OPPOSITES = Path(__file__).with_name("opposites.txt")
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
_BEING = frozenset(["is", "ar", "are", "was", "wer", "were", "be", "been", "being", "get", "got"])
_JOINING = frozenset(["and", "or", "the", "a"])
# Words after a word that say on which of its sides another one is.
_LINKING = frozenset(
    map(stem, "for of in on at to from with by as that which who whose into about".split())  # noqa: SIM905
)

SAME_CLAUSE = 0.5  # share of a claim's words of content that a clause on the same has
MIN_WORDS = 3
"""Words of content of a clause that is compared with a clause."""
Polarity = tuple[str, int]


@cache
def _opposites() -> dict[str, list[Polarity]]:
    table: dict[str, list[Polarity]] = defaultdict(list)
    rows = _OPPOSITES.read_text(encoding="utf-8").splitlines()
    for row in (row for row in rows if not row.startswith("#")):
        for sign, words in zip((1, -1), row.split("|"), strict=True):
            for word in dict.fromkeys(map(stem, words.split())):
                table[word].append((row, sign))
    return dict(table)


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
    What stands before "than" is compared with its two sides, see `_turned`.
    """
    said, own = _rows(quote), _rows(claim)
    compared = _compared(claim, quote)
    for token in claim.tokens:
        if token.stem in quote.stems or token.stem in compared:
            continue
        rows = [
            (row, side)
            for row, side in _opposites().get(token.stem, ())
            if said[row] and len(own[row]) == 1
        ]
        signs = [(-side if token.negated else side) in said[row] for row, side in rows]
        if signs and not any(signs):
            yield token.span


def _compared(claim: Sense, quote: Sense) -> set[str]:
    """Return what stands before "than" in a claim if it's the opposite of what does in a quote."""
    places, there = _places(claim).get("than", 0), _places(quote).get("than", 0)
    if not (places and there):
        return set()
    one, other = claim.tokens[places - 1].stem, quote.tokens[there - 1].stem
    return {one} if _are_opposites(one, other) else set()


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
    opposite = bool(_compared(claim, quote))
    for number, token in enumerate(claim.tokens):
        root = token.stem
        if root not in own or root not in places or token.capital or root in _SYMMETRIC:
            continue
        if root in LIGHT_STEMS and root not in _PIVOTS:
            continue
        there = places[root]
        before, after = claim.side(number, -1), claim.side(number, 1)
        before_there, after_there = quote.side(there, -1), quote.side(there, 1)
        if root == "than":  # "less", and words on both sides, say nothing of the order
            neutral = {claim.tokens[number - 1].stem} | before & after | before_there & after_there
            before, after = before - neutral, after - neutral
            before_there, after_there = before_there - neutral, after_there - neutral
        kept = {each for each in before & before_there | after & after_there if each.isalpha()}
        crossings = [(before & after_there) - kept, (after & before_there) - kept]
        crossed = not before & before_there and len(kept) <= min(map(len, crossings))
        straight = before & before_there and after & after_there
        same_voice = _voice(claim, number) == _voice(quote, there)
        if root == "than" and opposite:  # A is less than B if B is more than A
            if straight and not crossed:
                yield token.span
        elif (all(crossings) and crossed and same_voice) or (
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


def _misplaced(claim: Sense, clause: Place, quote: Sense, nearest: Place) -> Iterator[Span]:
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
    claim: Sense, quote: Sense, one: tuple[Place, Place], other: tuple[Place, Place]
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
