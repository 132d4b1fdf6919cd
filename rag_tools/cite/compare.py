"""What in a claim the quotes don't say, or say otherwise, by rules that can be read.

A claim is compared with the sentences of its quotes. A number, a date, a time or a name must stand
in one of them, and the sentence that is nearest to the claim may not have another one in its place;
nor may that sentence say the opposite. Probabilities are `rag_tools.cite.support`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from rag_tools.cite.facts import Fact, Text
from rag_tools.cite.quantities import same_kind
from rag_tools.cite.sense import Sense, conflicts
from rag_tools.sentences import sentences
from rag_tools.types import Citation, Conflict, Span

NEAREST = 0.9
"""Share of the nearest sentence's words in common from which a sentence is as near."""

RELATED = 0.34
"""The same share, from which a number or a date of a sentence bears on the claim."""


class _Sentence:
    """A sentence of a quote, with its heading."""

    def __init__(self, text: str, heading: str) -> None:
        self.facts = Text(text, heading)
        self._text = text

    @cached_property
    def sense(self) -> Sense:
        return Sense(self._text)


class _Near(NamedTuple):
    sentence: _Sentence
    common: int


def compare(claim: str, citations: Sequence[Citation]) -> list[Conflict]:
    """Return what of a claim isn't in its quotes, or is otherwise there, in order.

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
    near = _near(sense, citations)
    if not near:
        return []
    most = near[0].common
    related = [each.sentence for each in near if each.common >= RELATED * most]
    everything = [each.sentence for each in near]
    best: list[Conflict] | None = None
    for each in near:
        if each.common < NEAREST * most:
            break
        found = _conflicts(text, sense, each.sentence, related, everything)
        if best is None or len(found) < len(best):
            best = found
    return best or []


def _near(claim: Sense, citations: Sequence[Citation]) -> list[_Near]:
    """Return the sentences of the quotes, those with the most words of the claim first."""
    words = {word for word in claim.content if not word[0].isdigit()}
    found = []
    for citation in citations:
        for span in sentences(citation.quote):
            sentence = _Sentence(span.of(citation.quote), citation.heading or "")
            found.append(_Near(sentence, len(words & sentence.sense.content)))
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
        Conflict(start=span.start, end=span.end, kind="sense")
        for span in conflicts(sense, nearest.sense)
    ]
    return sorted(found, key=lambda each: (each.start, each.end))


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
    # Names, dates and years often stand apart from what they belong to: in a heading, a date line.
    where = everything if fact.kind in ("name", "date") or fact.is_year else related
    if not any(sentence.facts.has(fact) for sentence in where):
        return False
    return not any(
        not claim.has(other) and _in_place_of(other, fact, nearest.sense, sense)
        for other in nearest.facts.facts
        if other.kind == fact.kind
    )


def _in_place_of(other: Fact, fact: Fact, quote: Sense, claim: Sense) -> bool:
    """Tell whether a sentence has another fact where a claim has one."""
    if fact.quantity and other.quantity:
        return same_kind(fact.quantity, other.quantity)
    if fact.kind != "name":
        return True
    return bool(_around(fact.span, claim) & _around(other.span, quote))


def _around(span: Span, sense: Sense) -> set[tuple[int, str]]:
    """Return the words before and after a place, but for those that carry a sentence."""
    before = [token.stem for token in sense.tokens if token.span.end <= span.start]
    after = [token.stem for token in sense.tokens if token.span.start >= span.end]
    found = set()
    for side, words in ((-1, before[::-1]), (1, after)):
        content = [word for word in words[:3] if word in sense.content]
        found |= {(side, word) for word in content[:1]}
    return found
