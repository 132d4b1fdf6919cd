"""What in a claim the quotes don't say, or say otherwise, by rules that can be read.

A claim is compared with the sentences of its quotes. A number, a date, a time or a name must stand
in one of them, and the sentence that is nearest to the claim may not have another one in its place;
nor may that sentence say the opposite. What a reader sees around a quote, the title, the headings
and the passage, is where a name, a date or a year may stand as well: "Git 2.30" in the title of a
page is what its sentences are about. Probabilities are `rag_tools.cite.support`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import NamedTuple

from rag_tools.cite.conditions import widened
from rag_tools.cite.contradiction import conflicts
from rag_tools.cite.facts import Fact, Text
from rag_tools.cite.named_units import same_dimension
from rag_tools.cite.quantities import same_kind
from rag_tools.cite.sense import Sense
from rag_tools.sentences import sentences
from rag_tools.types import Citation, Conflict, Span

NEAREST = 0.9
"""Share of the nearest sentence's words in common from which a sentence is as near."""

RELATED = 0.34
"""The same share, from which a number or a date of a sentence bears on the claim."""


_ARTICLES = frozenset(("a", "an", "the"))
_MEASURED_IN = re.compile(r"\b(?:in|of|by)\s\Z")


class Around(NamedTuple):
    """What a reader sees around a quote.

    Attributes
    ----------
    title
        Of the document, and the name of its file.
    passage
        The text of the passage that the quote is from.
    """

    title: str = ""
    passage: str = ""


class _Sentence:
    """A sentence of a quote, with its document's title and its heading."""

    def __init__(self, text: str, context: str, following: str = "", quote: str = "") -> None:
        self.facts = Text(text, context)
        self.text = text
        self.following = following
        self.quote = quote

    @cached_property
    def sense(self) -> Sense:
        return Sense(self.text)


class _Near(NamedTuple):
    sentence: _Sentence
    common: int


def compare(
    claim: str, citations: Sequence[Citation], around: Sequence[Around] = ()
) -> list[Conflict]:
    """Return what of a claim isn't in its quotes, or is otherwise there, in order.

    Parameters
    ----------
    around
        What stands around each of the citations, if that is known.

    Examples
    --------
    >>> text = "Logs are kept for two weeks."
    >>> quote = Citation(document_id="d", document_sha256="", start=0, end=28, quote=text)
    >>> compare("Logs are kept for 14 days.", [quote])
    []
    >>> [(each.start, each.kind) for each in compare("Logs are kept for 90 days.", [quote])]
    [(18, 'number')]
    """
    text, sense = Text(claim), Sense(claim)
    around = around or [Around()] * len(citations)
    near = _near(sense, citations, around)
    if not near:
        return []
    most = near[0].common
    related = [each.sentence for each in near if each.common >= RELATED * most]
    everything = [each.sentence for each in near]
    passages = {each.passage for each in around if each.passage}
    everything += [_Sentence(passage, "") for passage in sorted(passages)]
    best: list[Conflict] | None = None
    first = near[0].sentence
    for each in near:
        if each.common < NEAREST * most:
            break
        if each.sentence.quote != first.quote:  # what else is as near by chance excuses nothing
            continue
        found = _conflicts(text, sense, each.sentence, related, everything)
        if best is None or len(found) < len(best):
            best = found
    return best or []


def _near(claim: Sense, citations: Sequence[Citation], around: Sequence[Around]) -> list[_Near]:
    """Return the sentences of the quotes, those with the most words of the claim first."""
    found = []
    for citation, place in zip(citations, around, strict=True):
        context = f"{place.title} ; {citation.heading or ''}"
        spans = sentences(citation.quote)
        for span, following in zip_longest(spans, spans[1:], fillvalue=Span(0, 0)):
            quote = citation.quote
            sentence = _Sentence(span.of(quote), context, following.of(quote), quote)
            found.append(_Near(sentence, len(claim.content & sentence.sense.content)))
    return sorted(found, key=lambda each: -each.common)


def _conflicts(
    text: Text,
    sense: Sense,
    nearest: _Sentence,
    related: Sequence[_Sentence],
    everything: Sequence[_Sentence],
) -> list[Conflict]:
    found = [
        Conflict(start=fact.span.start, end=fact.span.end, kind=fact.kind)
        for fact in text.facts
        if not _stands(fact, text, sense, nearest, related, everything)
    ]
    found += [
        Conflict(start=span.start, end=span.end, kind="number")
        for span in _other_units(text, nearest, related)
    ]
    found += [
        Conflict(start=span.start, end=span.end, kind="sense")
        for span in {
            *conflicts(sense, nearest.sense),
            *widened(text.text, _nearest_part(sense, nearest), nearest.quote),
        }
    ]
    return sorted(found, key=lambda each: (each.start, each.end))


def _nearest_part(claim: Sense, sentence: _Sentence) -> str:
    """Return the part between semicolons with the most words of a claim, and what follows it."""
    parts = sentence.text.split(";")
    best = max(parts, key=lambda part: len(Sense(part).content & claim.content))
    return f"{best} {sentence.following}"


def _stands(
    fact: Fact,
    claim: Text,
    sense: Sense,
    nearest: _Sentence,
    related: Sequence[_Sentence],
    everything: Sequence[_Sentence],
) -> bool:
    if nearest.facts.has(fact):
        return True
    if fact.quantity and claim.text[fact.span.start : fact.span.end].lower() == "one":
        return _free(fact, claim, sense, nearest)  # little more than an article
    # Names, dates and years often stand apart from what they belong to: in a heading, a date line.
    where = everything if fact.kind in ("name", "date") or fact.is_year else related
    if not any(sentence.facts.has(fact) for sentence in where):
        return False
    return _free(fact, claim, sense, nearest)


def _free(fact: Fact, claim: Text, sense: Sense, nearest: _Sentence) -> bool:
    """Tell whether nothing else stands in a fact's place in the nearest sentence."""
    return not any(
        not claim.has(other) and _in_place_of(other, fact, nearest.sense, sense)
        for other in nearest.facts.facts
        if other.kind == fact.kind
    )


def _other_units(claim: Text, nearest: _Sentence, related: Sequence[_Sentence]) -> Iterator[Span]:
    """Yield units without a number that the quotes lack, or have only others of their kind for."""
    known = [nearest, *related]
    numbers = [number for one in known for number in one.facts.quantities]
    measures = {each for number in numbers for each in number.measures}
    for unit in claim.units:
        if not unit.alone or unit.measures & measures:  # "every day" is every 24 hours
            continue
        said = nearest.facts.units or [each for one in related for each in one.facts.units]
        alike = [each for each in said if same_dimension(unit, each)]
        if alike:
            lacking = not any(unit.measures & each.measures for each in alike)
        else:
            everywhere = (each for one in known for each in one.facts.units)
            lacking = _MEASURED_IN.search(claim.text[: unit.span.start]) is not None and not any(
                unit.measures & each.measures for each in everywhere
            )
        if lacking:
            yield unit.span


def _in_place_of(other: Fact, fact: Fact, quote: Sense, claim: Sense) -> bool:
    """Tell whether a sentence has another fact where a claim has one."""
    if fact.quantity and other.quantity:
        return same_kind(fact.quantity, other.quantity)
    if fact.kind != "name":
        return True
    return bool(_around(fact.span, claim) & _around(other.span, quote))


def _around(span: Span, sense: Sense) -> set[tuple[int, str]]:
    """Return the words before and after a place, but for those that carry a sentence.

    What begins a text has no word before it: that is what the text is about.
    """
    before = [token.stem for token in sense.tokens if token.span.end <= span.start]
    after = [token.stem for token in sense.tokens if token.span.start >= span.end]
    found = set()
    for side, words in ((-1, before[::-1]), (1, after)):
        content = [word for word in words[:3] if word in sense.content]
        found |= {(side, word) for word in content[:1]}
    if set(before) <= _ARTICLES:
        found.add((-1, ""))
    return found
