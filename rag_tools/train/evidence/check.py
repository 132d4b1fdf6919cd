"""Measuring the evidence model while it is trained."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from rag_tools.evaluate.evidence import EvidenceSet, read_evidence
from rag_tools.train.evidence.batches import Collator
from rag_tools.train.evidence.config import EvidenceSettings
from rag_tools.train.evidence.examples import LABELS, Example, Read, parsed
from rag_tools.train.evidence.loss import CLAIM, NO_ANSWER, RELEVANCE, unit_scores
from rag_tools.train.evidence.model import EvidenceNet
from rag_tools.types import Span

MEAN = "mean"
_AT_ONCE = 8  # examples
# What the model's scores count beside those by token vectors; the best is told, as the engine's
# own weights will be chosen on the same questions.
_MIXES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)


@dataclass(frozen=True)
class _Scored:
    """What the model says of one example: unit scores, verdicts, by passage."""

    units: list[list[float]]
    verdicts: list[list[float]]


_Results = dict[int, _Scored]
Gather = Callable[[_Results], Iterable[_Results]]
"""Returns what every process found, to every process."""


class Check:
    """The development sets, read once.

    Parameters
    ----------
    settings
        Which ones.
    claims
        Labelled claims that aren't trained on.
    rank, size, gather
        Which of how many processes this is, that measure together.

    Raises
    ------
    DatasetError, InvalidQueryError
        If a set can't be read.
    """

    def __init__(
        self,
        settings: EvidenceSettings,
        claims: Sequence[Example],
        *,
        rank: int = 0,
        size: int = 1,
        gather: Gather = lambda found: (found,),
    ) -> None:
        self._rank, self._size, self._gather = rank, size, gather
        self._sets: dict[str, list[Example]] = {}
        for name, path in (("squad", settings.squad), ("qed", settings.qed)):
            if path:
                found = read_evidence(Path(path))[0].draw(4 * settings.dev_questions)
                self._sets[name] = _examples(found)[: settings.dev_questions]
        self._claims = list(claims)
        self._candidates: list[tuple[Example, list[list[float]]]] = []
        if settings.candidates:
            with gzip.open(settings.candidates, "rt", encoding="utf-8") as lines:
                for line in lines:
                    record = json.loads(line)
                    scores = [each["scores"] for each in record["passages"]]
                    self._candidates.append((parsed(record), scores))

    def __call__(self, net: EvidenceNet, collate: Collator) -> dict[str, float]:
        """Return every measure and `MEAN`, the mean of those that states are chosen by."""
        net.eval()
        found: dict[str, float] = {}
        chosen: list[float] = []
        with torch.inference_mode():
            for name, examples in self._sets.items():
                right = [
                    _best(scored.units[0]) in example.passages[0].gold
                    for example, scored in zip(
                        examples, self._scored(net, collate, examples), strict=True
                    )
                ]
                found[name] = fmean(right)
                chosen.append(found[name])
            if self._claims:
                found["claims"] = _claim_accuracy(
                    self._claims, self._scored(net, collate, self._claims)
                )
                chosen.append(found["claims"])
            if self._candidates:
                found |= self._first_quotes(net, collate)
                chosen.append(found["everyday"])
        net.train()
        return found | {MEAN: fmean(chosen) if chosen else 0.0}

    def _first_quotes(self, net: EvidenceNet, collate: Collator) -> dict[str, float]:
        every = self._scored(net, collate, [example for example, _ in self._candidates])
        asked = [
            (example, scores, scored)
            for (example, scores), scored in zip(self._candidates, every, strict=True)
        ]
        questions = [each for each in asked if each[0].source == "question"]
        found: dict[str, float] = {}
        for mix in _MIXES:
            right, first = [], []
            for example, scores, scored in questions:
                places = [
                    (score + mix * (own + verdicts[RELEVANCE]), passage, unit)
                    for passage, (row, owns, verdicts) in enumerate(
                        zip(scores, scored.units, scored.verdicts, strict=True)
                    )
                    for unit, (score, own) in enumerate(zip(row, owns, strict=False))
                ]
                if not places:
                    continue
                _, passage, unit = max(places, key=lambda each: (each[0], -each[1], -each[2]))
                right.append(unit in example.passages[passage].gold)
                first.append(example.passages[passage].answers)
            found[f"everyday@{mix}"] = fmean(right)
            found[f"everyday_passage@{mix}"] = fmean(first)
        model = [
            max(range(len(scored.verdicts)), key=lambda i: scored.verdicts[i][RELEVANCE])
            for _, _, scored in questions
        ]
        found["everyday_relevant"] = fmean(
            example.passages[best].answers
            for best, (example, _, _) in zip(model, questions, strict=True)
        )
        found["everyday"] = max(found[f"everyday@{mix}"] for mix in _MIXES)
        without = [
            -min(v[NO_ANSWER] for v in s.verdicts)
            for e, _, s in asked
            if e.source == "unanswerable"
        ]
        answered = [-min(v[NO_ANSWER] for v in s.verdicts) for _, _, s in questions]
        found["everyday_unanswerable"] = _auroc(answered, without)
        claimed = [
            (e.label, s.verdicts[0][CLAIM] - max(s.verdicts[0][CLAIM + 1 :]))
            for e, _, s in asked
            if e.label
        ]
        found["everyday_claims"] = _auroc(
            [score for label, score in claimed if label == "entailed"],
            [score for label, score in claimed if label != "entailed"],
        )
        return found

    def _scored(
        self, net: EvidenceNet, collate: Collator, examples: Sequence[Example]
    ) -> list[_Scored]:
        """Return what the model says of each example; each process reads its share."""
        results: _Results = {}
        order = sorted(
            range(len(examples)),
            key=lambda i: max((len(read.text) for read in examples[i].passages), default=0),
        )
        for start in range(self._rank * _AT_ONCE, len(order), self._size * _AT_ONCE):
            numbers = [i for i in order[start : start + _AT_ONCE] if examples[i].passages]
            if not numbers:
                continue
            batch = collate([examples[i] for i in numbers])
            reading = net(*batch.rows)
            scores = unit_scores(reading.evidence, batch).tolist()
            by_row: dict[int, list[float]] = {}
            for row, score in zip(batch.unit_rows.tolist(), scores, strict=True):
                by_row.setdefault(row, []).append(score)
            row = 0
            for i in numbers:
                rows = range(row, row + len(examples[i].passages))
                row += len(examples[i].passages)
                results[i] = _Scored(
                    [by_row.get(each, []) for each in rows],
                    [reading.verdicts[each].tolist() for each in rows],
                )
        for found in self._gather(results):
            results |= found
        return [results.get(i, _Scored([], [])) for i in range(len(examples))]


def _examples(found: EvidenceSet) -> list[Example]:
    """Return the questions whose passage has several sentences, with those that answer as gold."""
    made = []
    for question in found.questions:
        document = found.documents[question.document_id]
        spans = found.sentences[document.id]
        if question.answers:
            gold = [
                i
                for i, span in enumerate(spans)
                if any(answer in span.of(document.text) for answer in question.answers)
            ]
        else:
            gold = [
                i
                for i, span in enumerate(spans)
                if any(span.overlaps(each) for each in question.gold[0])
            ]
        if len(spans) > 1 and 0 < len(gold) < len(spans):
            units = tuple(Span(*span) for span in spans)
            read = Read(document.text, "", units, tuple(gold), answers=True)
            made.append(Example(found.name, question.text, (read,)))
    return made


def _claim_accuracy(claims: Sequence[Example], scored: Sequence[_Scored]) -> float:
    """Return the mean recall of the labels, so that none counts more for being frequent."""
    right: dict[str, list[bool]] = {}
    for example, found in zip(claims, scored, strict=True):
        assert example.label is not None
        said = LABELS[_best(found.verdicts[0][CLAIM:])]
        right.setdefault(example.label, []).append(said == example.label)
    return fmean(fmean(each) for each in right.values())


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: (scores[i], -i), default=-1)


def _auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    if not higher or not lower:
        return 0.5
    won = sum((a > b) + (a == b) / 2 for a in higher for b in lower)
    return won / (len(higher) * len(lower))


def rounded(measures: Mapping[str, float]) -> dict[str, float]:
    """Return measures as they are logged."""
    return {name: round(value, 4) for name, value in measures.items()}
