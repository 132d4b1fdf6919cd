"""From examples to arrays: the rows of a batch, and whose tokens are which unit's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rag_tools.evidence.layout import Composer, Layout, owners
from rag_tools.train.evidence.examples import LABELS, Example

_POOL = 40  # batches that are sorted by length together
NO_LABEL = -1


class Rows(NamedTuple):
    """Rows of equal length, shape ``(n_rows, n_tokens)`` each, int64."""

    ids: Tensor
    attention: Tensor
    segments: Tensor


class Batch(NamedTuple):
    """Examples as arrays. A row is a passage with its question.

    Attributes
    ----------
    rows
        What the model reads.
    units
        Shape ``(n_rows, n_tokens)``: number of the unit, in the batch, of each token; -1: none.
    unit_rows, unit_gold
        Shape ``(n_units,)``: the row of each unit, whether it is gold.
    groups
        Shape ``(n_rows,)``: the example of each row.
    answers
        Shape ``(n_rows,)``: 1.0 where the passage holds an answer.
    labels
        Shape ``(n_rows,)``: place in `LABELS`, `NO_LABEL` where there is none.
    """

    rows: Rows
    units: Tensor
    unit_rows: Tensor
    unit_gold: Tensor
    groups: Tensor
    answers: Tensor
    labels: Tensor


class Collator:
    """Makes batches of examples."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Return a batch; a passage that is too long for a row is cut."""
        laid: list[Layout] = []
        places: list[np.ndarray] = []
        unit_rows: list[int] = []
        unit_gold: list[bool] = []
        groups: list[int] = []
        answers: list[float] = []
        labels: list[int] = []
        for group, example in enumerate(examples):
            query = self._composer.pieces(example.query)
            for number, read in enumerate(example.passages):
                layout = next(
                    self._composer.lay_out(
                        query, self._composer.pieces(read.context), self._composer.pieces(read.text)
                    )
                )
                spans = np.array(read.units, np.int32).reshape(-1, 2)
                own = owners(layout.spans, spans)
                # Units without a token in the row, at the end of a passage that was cut, are none.
                present = np.unique(own[own >= 0])
                renumbered = np.full(len(spans) + 1, -1, np.int64)
                renumbered[present] = np.arange(len(present)) + len(unit_rows)
                places.append(renumbered[own])
                unit_rows += [len(laid)] * len(present)
                unit_gold += [int(unit) in read.gold for unit in present]
                laid.append(layout)
                groups.append(group)
                answers.append(float(read.answers))
                label = example.label if number == 0 else None
                labels.append(LABELS.index(label) if label else NO_LABEL)
        rows = padded(laid)
        units = torch.full_like(rows.ids, -1)
        for row, (layout, own) in enumerate(zip(laid, places, strict=True)):
            units[row, layout.first : layout.first + len(own)] = torch.from_numpy(own)
        return Batch(
            rows,
            units,
            torch.tensor(unit_rows, dtype=torch.int64),
            torch.tensor(unit_gold, dtype=torch.bool),
            torch.tensor(groups),
            torch.tensor(answers),
            torch.tensor(labels),
        )


def padded(laid: Sequence[Layout]) -> Rows:
    """Return layouts as rows of the length of the longest."""
    width = max(len(layout.ids) for layout in laid)
    ids, attention, segments = (np.zeros((len(laid), width), np.int64) for _ in range(3))
    for row, layout in enumerate(laid):
        ids[row, : len(layout.ids)] = layout.ids
        attention[row, : len(layout.ids)] = 1
        segments[row, : len(layout.ids)] = layout.segments
    return Rows(*map(torch.from_numpy, (ids, attention, segments)))


def plan(examples: Sequence[Example], *, batch_pairs: int, seed: int) -> Iterator[list[int]]:
    """Yield the examples of batch after batch, for ever, each once before any comes again.

    Examples of similar length come together; batches come in a random order. Depends on nothing
    but the arguments, so a run that is resumed skips what it has seen.
    """
    chance = random.Random(seed)
    lengths = [
        len(each.query) + max(len(read.text) + len(read.context) for read in each.passages)
        for each in examples
    ]
    while True:
        order = chance.sample(range(len(examples)), len(examples))
        pool: list[int] = []
        n_pairs = 0
        for number in [*order, -1]:
            if number >= 0:
                pool.append(number)
                n_pairs += len(examples[number].passages)
            if pool and (number < 0 or n_pairs >= _POOL * batch_pairs):
                batches = _packed(
                    sorted(pool, key=lambda n: (lengths[n], n)), examples, batch_pairs
                )
                yield from chance.sample(batches, len(batches))
                pool, n_pairs = [], 0


def _packed(
    numbers: Sequence[int], examples: Sequence[Example], batch_pairs: int
) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    n_pairs = 0
    for number in numbers:
        size = len(examples[number].passages)
        if batches[-1] and n_pairs + size > batch_pairs:
            batches.append([])
            n_pairs = 0
        batches[-1].append(number)
        n_pairs += size
    return batches
