"""How well citations point at the evidence, beside baselines on the same passages found.

Each set is indexed as a user's documents would be and asked through `Engine.cite`. What a measure
means is `rag_tools.evaluate.citation_measures`; what it is compared with is
`rag_tools.evaluate.baselines`.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.engine import Engine
from rag_tools.evaluate.baselines import Baselines
from rag_tools.evaluate.citation_measures import Range, holds_answer, overlap, sentence_overlap
from rag_tools.evaluate.citation_report import CitationReport, Judged, summarise
from rag_tools.evaluate.evidence import ARTICLE, EvidenceSet, Layout, Question
from rag_tools.types import Citation, Progress, SearchResults, Support

BUDGET = 200
"""Maximum characters of a first citation that counts as short."""

_PASSAGES = 10  # that baselines choose from; `Engine.cite` chooses from 16 by default
_OURS = "citations"


def evaluate_citations(
    evidence: EvidenceSet,
    *,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> CitationReport:
    """Index a set, ask its questions and measure the citations.

    Parameters
    ----------
    evidence
        If each question is asked of its own document alone, no other documents are indexed.
    checkpoint
        Name or directory of the checkpoint. Default: the bundled one.
    progress
        Called as work advances.

    Raises
    ------
    CheckpointError
        If the checkpoint can't be read.
    """
    tasks = _TASKS[evidence.layout]
    if all(task.given for task in tasks):
        evidence = _asked_of(evidence)
    baselines = Baselines(evidence, Encoder(load_checkpoint(checkpoint)))
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    judged: list[Judged] = []
    exact: list[bool] = []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Engine.open(directory, checkpoint=checkpoint, create=True) as engine,
    ):
        engine.add(evidence.documents.values(), progress=progress)
        pairs = list(itertools.product(tasks, evidence.questions))
        for done, (task, question) in enumerate(pairs, 1):
            asked = _ask(engine, evidence, question, given=task.given)
            for system, quoted in _quoted(asked, baselines).items():
                for name, value in task.measure(asked, quoted).items():
                    values[system][task.prefix + name].append(value)
            judged += task.judge(asked)
            exact += (_is_exact(asked, citation) for citation in _citations(asked))
            if progress:
                progress("questions", done, len(pairs))
    ours = values.pop(_OURS, {})
    return summarise(evidence.name, ours, values, judged, exact)


def _asked_of(evidence: EvidenceSet) -> EvidenceSet:
    """Return the set with only the documents that contain its questions' evidence."""
    ids = {question.document_id for question in evidence.questions}
    kept = {id: document for id, document in evidence.documents.items() if id in ids}
    return replace(evidence, documents=kept)


class _Asked(NamedTuple):
    """A question and what the engine returned for it."""

    engine: Engine
    evidence: EvidenceSet
    question: Question
    support: Support
    found: SearchResults


def _ask(engine: Engine, evidence: EvidenceSet, question: Question, *, given: bool) -> _Asked:
    filter = {"document_id": question.document_id} if given else None
    return _Asked(
        engine,
        evidence,
        question,
        support=engine.cite(question.text, filter=filter),
        found=engine.search(question.text, limit=_PASSAGES, filter=filter),
    )


def _quoted(asked: _Asked, baselines: Baselines) -> dict[str, list[Range]]:
    """Return what each system quotes, best first; nothing for a claim without evidence."""
    if not asked.question.gold and not asked.question.answers:
        return {}
    ours = [Range(each.document_id, each.start, each.end) for each in asked.support.citations]
    return {_OURS: ours, **baselines.quote(asked.question.text, asked.found.results)}


def _citations(asked: _Asked) -> Iterator[Citation]:
    yield from asked.support.citations
    for hit in asked.found.results:
        yield from hit.citations


def _is_exact(asked: _Asked, citation: Citation) -> bool:
    """Tell whether a quote is at its offsets, both in the text as read and as stored."""
    read = asked.evidence.documents[citation.document_id]
    stored = asked.engine.document(citation.document_id)
    span = slice(citation.start, citation.end)
    return (
        citation.quote == read.text[span] == stored.text[span] != ""
        and citation.document_sha256 == stored.sha256
    )


def _overlap(asked: _Asked, quoted: Sequence[Range]) -> dict[str, float]:
    """Compare the quoted characters with those of the gold evidence."""
    (gold,) = _gold(asked.question)
    return {**overlap(quoted, gold)._asdict(), **_size(quoted)}


def _answer(asked: _Asked, quoted: Sequence[Range]) -> dict[str, float]:
    """Look for an answer in the first quote."""
    answers = asked.question.answers
    first = quoted[0].of(asked.evidence.documents[quoted[0].document_id]) if quoted else ""
    return {
        f"answer@{BUDGET}": float(holds_answer(first, answers, budget=BUDGET)),
        "answer": float(holds_answer(first, answers)),
        **_size(quoted[:1]),
    }


def _inside(asked: _Asked, quoted: Sequence[Range]) -> dict[str, float]:
    """Check whether the first quote lies in the gold sentence."""
    ((gold,),) = _gold(asked.question)
    inside = bool(quoted) and quoted[0].within(gold)
    return {"in_gold_sentence": float(inside), **_size(quoted[:1])}


def _sentences(asked: _Asked, quoted: Sequence[Range]) -> dict[str, float]:
    """Compare the sentences that quotes touch with the sets of supporting ones."""
    id = asked.question.document_id
    sentences = [Range(id, *span) for span in asked.evidence.sentences[id]]
    touched = {each for each in sentences if any(each.overlaps(quote) for quote in quoted)}
    found = sentence_overlap(touched, _gold(asked.question))
    return {
        "sentence_precision": found.precision,
        "sentence_recall": found.recall,
        "sentence_f1": found.f1,
        **_size(quoted),
    }


def _gold(question: Question) -> list[list[Range]]:
    return [[Range(question.document_id, *span) for span in spans] for spans in question.gold]


def _size(quoted: Sequence[Range]) -> dict[str, float]:
    return {"characters": float(sum(each.end - each.start for each in quoted))}


def _claim(asked: _Asked) -> Iterator[Judged]:
    support = asked.support
    yield Judged(asked.question.label, support.score, support.verdict, support.calibrated)


def _with_and_without_answer(asked: _Asked) -> Iterator[Judged]:
    """Judge a question as it is, and once more with its article left out of the search."""
    documents = asked.evidence.documents
    articles = {document.metadata[ARTICLE] for document in documents.values()}
    others = articles - {documents[asked.question.document_id].metadata[ARTICLE]}
    if others:
        filter = {ARTICLE: sorted(others)}
        without = asked.engine.search(asked.question.text, limit=_PASSAGES, filter=filter)
        for label, found in (("answerable", asked.found), ("unanswerable", without)):
            if found.confidence is not None:
                verdict = "low confidence" if found.low_confidence else "confident"
                yield Judged(label, found.confidence, verdict, calibrated=True)


class _Task(NamedTuple):
    """A way to ask the questions of a set, and its measures.

    Attributes
    ----------
    given
        Whether only the document with the evidence is searched.
    measure
        Function from the quotes for a question, best first, to values by the measures' names.
    judge
        Function that returns how the engine judges support or confidence, if that is measured.
    prefix
        Prefix of the measures' names, for sets that are asked in two ways.
    """

    given: bool
    measure: Callable[[_Asked, Sequence[Range]], Mapping[str, float]]
    judge: Callable[[_Asked], Iterable[Judged]] = lambda asked: ()
    prefix: str = ""


_TASKS: Mapping[Layout, Sequence[_Task]] = {
    "chunking_evaluation": [_Task(given=False, measure=_overlap)],
    "squad": [
        _Task(given=False, measure=_answer, judge=_with_and_without_answer),
        _Task(given=True, measure=_answer, prefix="given:"),
    ],
    "qed": [_Task(given=True, measure=_inside)],
    "wice": [_Task(given=True, measure=_sentences, judge=_claim)],
}
