"""From examples to a batch of tensors: tokens of queries and passages, and what a loss aims at."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator

from rag_tools.index.search import weigh
from rag_tools.sentences import sentences
from rag_tools.train.config import Settings
from rag_tools.train.pairs import Example, by_length, draw_negatives
from rag_tools.train.scores import Teacher
from rag_tools.types import Span

OUTSIDE = -1
"""The sentence of a token that stands in none: a marker, padding, a passage without a target."""


@dataclass(frozen=True)
class Targets:
    """What the loss aims at; a batch has B queries and D distinct passages, sorted by length.

    Attributes
    ----------
    weights
        Shape ``(B, n_query_tokens)``, float32: weight of each token of a query, on any scale.
    positives
        Shape ``(B,)``, int64: the passage that answers each query.
    teacher
        Shape ``(B, D)``, float32: the teacher's scores; NaN where there is none.
    answers
        Shape ``(B, D)``, bool: passages that are the positive of a query with this text, or have
        the query in them word for word, as the neighbours of a sentence that was taken out.
    sentences
        Per chunk of passages, shape ``(n_passages, n_tokens)``, int64: the sentence that each
        token belongs to, or `OUTSIDE`.
    evidence
        Shape ``(E,)``, int64: the queries whose answer has a known place.
    evidence_sentences
        Shape ``(E, n_sentences)``, bool: the sentences of the positive that hold the answer.
    anchor
        The chunk of passages that the anchor terms look at.
    """

    weights: torch.Tensor
    positives: torch.Tensor
    teacher: torch.Tensor
    answers: torch.Tensor
    sentences: tuple[torch.Tensor, ...]
    evidence: torch.Tensor
    evidence_sentences: torch.Tensor
    anchor: int


class Collator(MultiVectorEncoderDataCollator):  # type: ignore[misc] # torch is optional, so untyped here
    """Makes the batch of a planned step.

    Parameters
    ----------
    model
        Model whose tokenizer and prompts are used.
    examples
        All examples of the run.
    settings
        Settings of the run.
    teachers
        Models that score every query of a batch against all its passages.

    Notes
    -----
    A passage that several queries share is encoded once. Passages are sorted by length and cut
    into chunks with padding of their own: at batch 32 with one negative and two layers training, a
    step takes 2.5 s of one core with chunks of 16, 4.1 s with chunks of 64.
    """

    def __init__(
        self,
        model: MultiVectorEncoder,
        examples: Sequence[Example],
        settings: Settings,
        teachers: Sequence[Teacher] = (),
    ) -> None:
        super().__init__(preprocess_fn=model.preprocess)
        self._tokenizer = model.tokenizer
        self._teachers = teachers
        self._frequencies: dict[str, tuple[NDArray[np.int64], int]] = {}
        self._prompts = {
            task: (model.prompts or {}).get(task) or "" for task in ("query", "document")
        }
        self._examples = examples
        self._settings = settings

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of one step: ``{"step": number, "examples": numbers}``."""
        [planned] = features
        return self.collate([self._examples[i] for i in planned["examples"]], planned["step"])

    def collate(self, examples: Sequence[Example], step: int) -> dict[str, Any]:
        """Return features of the queries and of each chunk of passages, and under label `Targets`.

        Keys are those of sentence-transformers: ``query_input_ids``, ``passages0_input_ids`` …
        """
        settings = self._settings
        drawn = [
            draw_negatives(example, settings.negatives, settings.seed + step)
            for example in examples
        ]
        texts = {
            example.passages[i]
            for example, numbers in zip(examples, drawn, strict=True)
            for i in numbers
        }
        passages = by_length(texts)
        place = {text: number for number, text in enumerate(passages)}
        marked = self._sentences(examples) if settings.weights.evidence else {}
        batch = self._tokenise("query", [example.query for example in examples], "query")
        owners = []
        for start in range(0, len(passages), settings.chunk):
            column = f"passages{start // settings.chunk}"
            chunk = passages[start : start + settings.chunk]
            batch |= self._tokenise(column, chunk, "document", offsets=bool(marked))
            offsets = batch.pop(f"{column}_offset_mapping", None)
            owners.append(self._owners(chunk, marked, offsets, batch[f"{column}_input_ids"]))
        evidence = [
            row
            for row, example in enumerate(examples)
            if example.span is not None and example.passages[0] in marked
        ]
        batch["label"] = vars(
            Targets(
                weights=self._weights(examples[0].source, batch["query_input_ids"]),
                positives=torch.tensor([place[example.passages[0]] for example in examples]),
                teacher=self._taught(examples, drawn, place),
                answers=_answers(examples, place),
                sentences=tuple(owners),
                evidence=torch.tensor(evidence, dtype=torch.int64),
                evidence_sentences=_filled(
                    [
                        _holding(marked[examples[row].passages[0]], examples[row].span)
                        for row in evidence
                    ],
                    False,
                    torch.bool,
                ),
                anchor=step % len(owners),
            )
        )
        return batch

    def _weights(self, source: str, token_ids: torch.Tensor) -> torch.Tensor:
        """Return what the tokens of queries count among the positives of a source."""
        if source not in self._frequencies:
            texts = {each.passages[0] for each in self._examples if each.source == source}
            counted = np.zeros(len(self._tokenizer), np.int64)
            for ids in self._tokenizer(sorted(texts), verbose=False)["input_ids"]:
                counted[np.unique(ids)] += 1
            self._frequencies[source] = counted, len(texts)
        frequencies, n_texts = self._frequencies[source]
        exponent = self._settings.idf
        rows = [weigh(frequencies[ids], n_texts, exponent=exponent) for ids in token_ids.numpy()]
        return torch.from_numpy(np.stack(rows))

    def _taught(
        self, examples: Sequence[Example], drawn: list[list[int]], place: Mapping[str, int]
    ) -> torch.Tensor:
        """Return the teachers' mean scores; without teachers, those that the tuples bring."""
        scores = torch.full((len(examples), len(place)), math.nan)
        if self._teachers:
            asked, passages = [example.query for example in examples], [list(place)] * len(examples)
            taught = [np.stack(teacher(asked, passages)) for teacher in self._teachers]
            return torch.from_numpy(np.mean(taught, axis=0))
        for row, (example, numbers) in enumerate(zip(examples, drawn, strict=True)):
            if example.scores:
                for i in numbers:
                    scores[row, place[example.passages[i]]] = example.scores[i]
        return scores

    def _tokenise(
        self, column: str, texts: list[str], task: str, *, offsets: bool = False
    ) -> dict[str, Any]:
        settings = self._settings
        features = self.preprocess_fn(
            texts,
            prompt=self._prompts[task] or None,
            task=task,
            max_length=settings.query_tokens if task == "query" else settings.passage_tokens,
            processing_kwargs={"text": {"return_offsets_mapping": True}} if offsets else None,
        )
        return {f"{column}_{key}": value for key, value in features.items()} | {
            f"{column}_task": task
        }

    @staticmethod
    def _sentences(examples: Sequence[Example]) -> dict[str, list[Span]]:
        """Split the positives whose answer's place is known and that have several sentences."""
        positives = {example.passages[0] for example in examples if example.span is not None}
        split = {passage: sentences(passage) for passage in sorted(positives)}
        return {passage: spans for passage, spans in split.items() if len(spans) > 1}

    def _owners(
        self,
        chunk: list[str],
        marked: Mapping[str, list[Span]],
        offsets: torch.Tensor | None,
        token_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Return the sentence of each token, shape ``(n_passages, n_tokens)``."""
        owners = torch.full_like(token_ids, OUTSIDE)
        if offsets is None:
            return owners
        prompt = len(self._prompts["document"])
        for row, text in enumerate(chunk):
            starts = [span.start for span in marked.get(text, ())]
            for token, (start, end) in enumerate(offsets[row].tolist() if starts else ()):
                if prompt <= start < end:  # not a marker, padding, or the prompt
                    owners[row, token] = bisect_right(starts, start - prompt) - 1
        return owners


def _holding(spans: Sequence[Span], answer: Span | None) -> list[bool]:
    """Tell which spans the answer overlaps."""
    assert answer is not None
    return [span.start < answer.end and answer.start < span.end for span in spans]


def _answers(examples: Sequence[Example], place: Mapping[str, int]) -> torch.Tensor:
    positives: dict[str, set[int]] = {}
    for example in examples:
        positives.setdefault(example.query, set()).add(place[example.passages[0]])
    texts = [" ".join(text.split()) for text in place]  # in the order of their places
    asked = [" ".join(example.query.split()) for example in examples]
    answers = torch.tensor([[query in text for text in texts] for query in asked])
    for row, example in enumerate(examples):
        answers[row, sorted(positives[example.query])] = True
    return answers


def _filled(rows: list[list[Any]], filling: float, dtype: torch.dtype) -> torch.Tensor:
    """Return rows of unequal length as one tensor of shape ``(n_rows, longest)``."""
    width = max(map(len, rows), default=0)
    return torch.tensor(
        [row + [filling] * (width - len(row)) for row in rows], dtype=dtype
    ).reshape(len(rows), width)
