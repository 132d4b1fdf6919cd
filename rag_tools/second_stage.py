"""The second stage of a search: the best passages are read together with the query.

The first stage compares token embeddings that know nothing of the query. The evidence model (see
`rag_tools.evidence`) reads the query and a passage as one text, so it can tell which unit answers,
which passage does, and that none does. It costs a forward pass per passage and is therefore used
for a few passages within a time budget; its scores are added to those of the first stage.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rag_tools.evidence.model import EvidenceModel, Pair, Reading

PASSAGES = 5
SECONDS = 0.15

# First quote right of 120 everyday questions, with a model of 24,019 pairs: without it 0.408; with
# `RELEVANT` and `READ` 0, 0.1: 0.442 · 0.05, 0.05: 0.458 · 0.1, 0.1: 0.458 · 0.2, 0.1: 0.450.
RELEVANT = 0.05
"""The most that a passage gains for answering the query, on the scale of a first-stage score."""


def gain(reading: Reading | None) -> float:
    """Return what a passage gains by what the model says of it, from 0 to `RELEVANT`.

    It never loses, so passages that aren't read don't overtake passages that are.
    """
    return 0.0 if reading is None else round(RELEVANT * (1 - reading.no_answer), 6)


@dataclass(frozen=True, slots=True)
class SecondStage:
    """Reads the best passages of a search.

    Attributes
    ----------
    model
        Reads a query and a passage.
    passages
        Number of passages that are read.
    seconds
        Time budget: no passage is begun after it, except the first. What isn't read keeps the score
        of the first stage.
    """

    model: EvidenceModel
    passages: int = PASSAGES
    seconds: float = SECONDS

    def read(self, query: str, best: Sequence[tuple[str, str]]) -> list[Reading | None]:
        """Return what the model says of each passage; None for those that aren't read.

        Parameters
        ----------
        best
            Text and context (title and headings) of the passages, best first.
        """
        deadline = time.monotonic() + self.seconds
        pairs = [Pair(query, text, context) for text, context in best[: self.passages]]
        found = self.model.read(pairs, deadline=deadline) if pairs else []
        return [*found, *[None] * (len(best) - len(pairs))]
