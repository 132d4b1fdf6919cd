"""Claims: how far documents support a statement, or each statement of a whole answer."""

from __future__ import annotations

from typing import Literal, Self

from rag_tools.types.documents import Span
from rag_tools.types.results import Citation
from rag_tools.types.values import Value

Verdict = Literal["supported", "partial", "unsupported"]

ConflictKind = Literal["number", "date", "time", "name", "sense"]


class Conflict(Value):
    """A part of a claim that keeps it from being supported, whatever its other words are.

    Attributes
    ----------
    start, end
        Range of code points of the claim.
    kind
        ``number``, ``date``, ``time`` or ``name``: no quote has it, or the nearest sentence has
        another one in its place. ``sense``: the nearest sentence says otherwise in nearly the same
        words, by a negation, an opposite or the other way round.
    """

    start: int
    end: int
    kind: ConflictKind


class Support(Value):
    """How far documents support a claim in their words, and the quotes that bear on it.

    It compares words, and says nothing about truth, nor about what follows from what.

    Attributes
    ----------
    citations
        The quotes, best first.
    score
        How likely the documents say what the claim says, from 0 to 1.
    verdict
        ``supported``: they say it, and nothing of it is in conflict. ``partial``: part of it, or
        something close. ``unsupported``: the quotes are only the nearest there are.
    covered, uncovered
        Ranges of code points of `claim`: words that the quotes have, or close ones, and words
        that they haven't. Function words between words of a kind go with them. A number, date,
        time or name that is in conflict is uncovered.
    conflicts
        What keeps the verdict from being ``supported``, in order of the claim.
    calibrated
        Whether `score` was fitted to the checkpoint and the settings of this index. If not, it
        still orders claims, but isn't a likelihood.
    """

    claim: str
    citations: tuple[Citation, ...] = ()
    score: float = 0.0
    verdict: Verdict = "unsupported"
    covered: tuple[Span, ...] = ()
    uncovered: tuple[Span, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    calibrated: bool = False

    def unaligned(self) -> Self:
        """Return the same without the alignments of its citations."""
        plain = (each.model_copy(update={"alignment": None}) for each in self.citations)
        return self.model_copy(update={"citations": tuple(plain)})


class Claim(Value):
    """A statement of an answer.

    Attributes
    ----------
    start, end
        Range of code points of the answer's `draft`.
    numbers
        Of its citations, from 1; none if it is unsupported.
    support
        What supports ``draft[start:end]``, read with blanks in place of mark-up; its spans count
        from `start`.
    """

    start: int
    end: int
    numbers: tuple[int, ...] = ()
    support: Support


class CitedAnswer(Value):
    """An answer with citations.

    Attributes
    ----------
    text
        The answer in Markdown, with ``[n]`` after each supported statement.
    references
        What the numbers stand for: a list in Markdown, each item a link and the quote.
    draft
        The answer as it was given, without markers and references of its own.
    claims
        Statements of the draft that need a citation, in order.
    citations
        The nth has the number n; each quote has one number.
    """

    text: str
    references: str
    draft: str
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()
