"""How far quotes support a claim, and how likely hits answer a query: scores that mean something.

Pure functions over alignments and text; nothing is encoded or searched. What is measured is
textual support: whether the words of a claim, or words close to them, stand in the quotes. It
isn't truth, and nothing is inferred. The weights, and what they were measured to give, are in
`calibration.json`; `rag_tools.evaluate.calibration` fits them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from rag_tools.cite.compare import Around, compare
from rag_tools.cite.facts import Text
from rag_tools.types import Citation, Conflict, Hit, Span, Support, Verdict

CALIBRATION = Path(__file__).with_name("calibration.json")

# A number that isn't in the quotes says little if half of the words aren't either, and all if
# everything else is. AUROC on held-out folds, all claims / SQuAD's / WiCE's: without 0.850 / 0.897
# / 0.922, power 4: 0.946 / 0.979 / 0.917, 8: 0.959 / 0.982 / 0.939, 12: 0.965 / 0.985 / 0.942,
# 24: 0.959 / 0.983 / 0.943. Similarity to the nearest words, their worst quarter and the number of
# quotes added nothing to these (0.963 to 0.967), nor did similarity above chance to the best score.
VERBATIM = 12

# Mean similarity of a word's tokens from which the word counts as covered.
COVERED = 0.6

# Largest logarithm of odds: probabilities are told to three decimals.
MOST_ODDS = 6.0

_WORD = re.compile(r"\w+(?:[.,'’]\w+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_AT_START = re.compile(r"(?:\A|[.!?:]\s)[\W_]*\Z")
_ENDING = re.compile(r"['’]s?\Z|(?<=\w{3})(?:ing|ed|es|ly|s)\Z")
_LOOK_BACK = 8  # characters in which the end of the sentence before a word is looked for
# English words that carry a sentence rather than its content.
_FUNCTION_WORDS = frozenset(
    """
    a about after also an and are as at be been before being between both but by can could did do
    does during for from had has have he her hers him his how i if in into is it its may might more
    most no nor not of on or other our over she should so some such than that the their them then
    there these they this those through to under until up was we were what when where which while
    who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list literal would be a page long
)


class Evidence(NamedTuple):
    """What the score of a claim is made of.

    Attributes
    ----------
    best
        Score of the best quote: weighted similarity of all tokens, with a share of its passage's.
    words
        Share of the content words that stand in the quotes, up to their endings.
    numbers
        Share of the numbers that stand in no quote; 0 if the claim has none.
    names
        Share of the capitalised words inside sentences that stand in no quote.
    length
        Logarithm of the number of content words.
    other_number, other_name
        How much it looks as if just a number, or a name, were another one: if one stands in no
        quote, `words` to the power of `VERBATIM`, else 0.
    other_fact, other_sense
        1 if a fact, or the sense, is in conflict with the quotes, see `compare`, else 0.
    """

    best: float
    words: float
    numbers: float
    names: float
    length: float
    other_number: float
    other_name: float
    other_fact: float
    other_sense: float


class Relevance(NamedTuple):
    """What the confidence in a list of hits is made of, all of the first hit.

    It doesn't depend on how many hits are asked for.

    Attributes
    ----------
    best
        Highest score of its quotes, of which the score of the hit is a part.
    words, numbers, names
        Share of the query's content words that stand in the passage, and of its numbers and its
        capitalised words that don't.
    """

    best: float
    words: float
    numbers: float
    names: float


class ReadRelevance(NamedTuple):
    """What the confidence is made of if the evidence model has read the first hit.

    Attributes
    ----------
    best, words, numbers, names
        As in `Relevance`.
    answers
        Logarithm of the odds that the passage holds an answer, `MOST_ODDS` at most either way.
    """

    best: float
    words: float
    numbers: float
    names: float
    answers: float


class Logistic(BaseModel):
    """A logistic regression, and what it gave on folds that it wasn't fitted to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intercept: float
    weights: Mapping[str, float]
    measured: Mapping[str, Any]

    def __call__(self, features: Evidence | Relevance | ReadRelevance) -> float:
        """Return the probability, to three decimals."""
        total = self.intercept + sum(
            self.weights[name] * value for name, value in features._asdict().items()
        )
        return round(0.5 * (1 + math.tanh(total / 2)), 3)


class Calibration(BaseModel):
    """What the scores were fitted with.

    Attributes
    ----------
    fingerprint, dim, bits
        Of the checkpoint, and of the tokens in the indexes that were measured.
    support, confidence, read_confidence
        Evidence → whether a claim is supported; relevance → whether a query is answered, where the
        evidence model has read the first hit and where it hasn't.
    supported, partial
        Least scores of these verdicts.
    low
        Confidence below which it is low.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    dim: int
    bits: int
    support: Logistic
    confidence: Logistic
    read_confidence: Logistic | None = None
    supported: float
    partial: float
    low: float

    def fits(self, settings: Mapping[str, Any]) -> bool:
        """Tell whether an index with these settings is like those that were measured."""
        return all(settings[name] == getattr(self, name) for name in ("fingerprint", "dim", "bits"))

    def verdict(self, score: float) -> Verdict:
        """Return the word for a score."""
        if score >= self.supported:
            return "supported"
        return "partial" if score >= self.partial else "unsupported"


@cache
def calibration() -> Calibration:
    """Return the calibration of the bundled checkpoint."""
    return Calibration.model_validate_json(CALIBRATION.read_text(encoding="utf-8"))


def assess(
    claim: str,
    citations: Sequence[Citation],
    around: Sequence[Around] = (),
    *,
    calibrated: bool,
) -> Support:
    """Return how far quotes support a claim.

    What a quote says word for word has a score of 1: fitted to whole collections, the regression
    doubts it in a small one, where no word is rare.

    Parameters
    ----------
    citations
        With their alignments to the claim, best first.
    around
        What stands around each of them, if that is known.
    calibrated
        Whether they come from an index that `calibration` was fitted to.
    """
    verbatim = any(_says(citation.quote, claim) for citation in citations)
    found = compare(claim, citations, around)
    if verbatim:
        found = [each for each in found if each.kind == "sense"]
    words = _words(claim, citations, found)
    score = calibration().support(_evidence(words, citations, found)) if citations else 0.0
    if verbatim and not found:
        score = 1.0
    verdict = calibration().verdict(score)
    return Support(
        claim=claim,
        citations=tuple(citations),
        score=score,
        verdict="partial" if found and verdict == "supported" else verdict,
        covered=tuple(_runs(words, covered=True)),
        uncovered=tuple(_runs(words, covered=False)),
        conflicts=tuple(found),
        calibrated=calibrated,
    )


def confidence(query: str, first: Hit) -> float:
    """Return how likely the documents answer a query, judged by the first hit."""
    features = relevance(query, first)
    fitted = calibration().read_confidence
    if isinstance(features, ReadRelevance) and fitted is not None:
        return fitted(features)
    return calibration().confidence(Relevance(*features[: len(Relevance._fields)]))


def evidence(claim: str, citations: Sequence[Citation], around: Sequence[Around] = ()) -> Evidence:
    """Return what the score of a claim is made of, see `assess`."""
    found = compare(claim, citations, around)
    return _evidence(_words(claim, citations, found), citations, found)


def relevance(query: str, first: Hit) -> Relevance | ReadRelevance:
    """Return what the confidence in hits is made of."""
    known = _Known(f"{first.title} {first.heading or ''} {first.text}")
    words = list(_parsed(query))
    content = [word for word in words if word.content]
    found = Relevance(
        best=max((each.score for each in first.citations), default=0.0),
        words=_mean([known.has(word) for word in content]),
        numbers=_mean([not known.has(word) for word in words if word.digits]),
        names=_mean([not known.has(word) for word in words if word.name and not word.digits]),
    )
    if first.reading is None:
        return found
    return ReadRelevance(*found, answers=_log_odds(1 - first.reading.no_answer))


def _log_odds(probability: float) -> float:
    if not 0 < probability < 1:
        return math.copysign(MOST_ODDS, probability - 0.5)
    return max(-MOST_ODDS, min(MOST_ODDS, math.log(probability / (1 - probability))))


class _Word(NamedTuple):
    """A word of a claim or a query; `digits` are the numbers in it, without commas."""

    span: Span
    stem: str
    digits: tuple[str, ...]
    content: bool
    name: bool


class _Seen(NamedTuple):
    """A word as quotes have it.

    Attributes
    ----------
    present
        It stands in a quote, up to its ending; of a number, all digits do.
    similarity
        Mean over its tokens of the best similarity to a token of a quote; None without tokens.
    conflict
        It is part of a number, date, time or name that is in conflict with the quotes.
    """

    word: _Word
    present: bool
    similarity: float | None
    conflict: bool

    @property
    def covered(self) -> bool:
        """Whether the quotes have this word, or, if it is no number, one close to it."""
        close = self.similarity is not None and self.similarity >= COVERED
        return not self.conflict and (self.present or (close and not self.word.digits))


class _Known:
    """The words and the numbers of a text."""

    def __init__(self, text: str) -> None:
        self._stems = {_stem(match[0]) for match in _WORD.finditer(text)}
        self._digits = set(_digits(text))

    def has(self, word: _Word) -> bool:
        """Tell whether the word stands in the text."""
        if word.digits:
            return self._digits.issuperset(word.digits)
        return word.stem in self._stems


def _says(quote: str, claim: str) -> bool:
    """Tell whether all words of a claim stand in a quote one after the other."""
    said, asked = (f" {' '.join(_WORD.findall(text.lower()))} " for text in (quote, claim))
    return bool(asked.strip()) and asked in said


def _evidence(
    words: Sequence[_Seen], citations: Sequence[Citation], found: Sequence[Conflict]
) -> Evidence:
    content = [seen.present for seen in words if seen.word.content]
    numbers = [not seen.present for seen in words if seen.word.digits]
    names = [not seen.present for seen in words if seen.word.name and not seen.word.digits]
    share = _mean(content)
    return Evidence(
        best=citations[0].score if citations else 0.0,
        words=share,
        numbers=_mean(numbers),
        names=_mean(names),
        length=math.log(max(1, len(content))),
        other_number=any(numbers) * share**VERBATIM,
        other_name=any(names) * share**VERBATIM,
        other_fact=float(any(each.kind != "sense" for each in found)),
        other_sense=float(any(each.kind == "sense" for each in found)),
    )


def _words(claim: str, citations: Sequence[Citation], found: Sequence[Conflict]) -> list[_Seen]:
    quoted = _Known(" ".join(f"{each.heading or ''} {each.quote}" for each in citations))
    best: dict[int, float] = {}
    for citation in citations:
        for edge in citation.alignment or ():
            best[edge.query_start] = max(edge.similarity, best.get(edge.query_start, -1.0))
    starts = np.array(sorted(best), np.int64)
    similarities = np.array([best[start] for start in starts.tolist()])
    wrong = [Span(each.start, each.end) for each in found if each.kind != "sense"]
    # "14 days" stands in a quote that has "two weeks".
    right = [fact.span for fact in Text(claim).facts if fact.span not in wrong and citations]
    seen = []
    for word in _parsed(claim):
        first, end = np.searchsorted(starts, word.span)
        similarity = float(similarities[first:end].mean()) if first < end else None
        conflict = any(word.span.overlaps(each) for each in wrong)
        stands = bool(word.digits) and any(word.span.overlaps(each) for each in right)
        present = stands or quoted.has(word)
        seen.append(_Seen(word, present, similarity, conflict))
    return seen


def _runs(words: Sequence[_Seen], *, covered: bool) -> Iterator[Span]:
    """Yield the ranges of words in a row that are all covered, or all not.

    A function word goes with the word before it, unless it is the first.
    """
    content = [seen for seen in words if seen.word.content] or list(words)
    for kind, run in groupby(content, key=lambda seen: seen.covered):
        together = list(run)
        if kind == covered:
            yield Span(together[0].word.span.start, together[-1].word.span.end)


def _parsed(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        content = match[0].lower() not in _FUNCTION_WORDS
        name = content and match[0][0].isupper()
        if name:
            name = not _AT_START.search(text[max(0, match.start() - _LOOK_BACK) : match.start()])
        digits = tuple(_digits(match[0]))
        yield _Word(Span(*match.span()), _stem(match[0]), digits, content, name)


def _stem(word: str) -> str:
    return _ENDING.sub("", word.lower())


def _digits(text: str) -> Iterable[str]:
    return (match[0].replace(",", "") for match in _NUMBER.finditer(text))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
