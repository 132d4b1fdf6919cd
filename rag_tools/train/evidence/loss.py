"""What the evidence model is trained for, term by term."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rag_tools.train.evidence.batches import NO_LABEL, Batch
from rag_tools.train.evidence.config import LossWeights
from rag_tools.train.evidence.model import Reading

RELEVANCE, NO_ANSWER, CLAIM = 0, 1, 2
"""Places in a row of verdicts; the three of a claim begin at the last."""


class Losses(NamedTuple):
    """Means of the terms over the batch; zero where no example has what a term needs."""

    units: Tensor
    relevance: Tensor
    answers: Tensor
    claims: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Return the weighted sum."""
        return sum(
            (getattr(weights, name) * value for name, value in self._asdict().items()),
            torch.zeros(()),
        )


def losses(reading: Reading, batch: Batch) -> Losses:
    """Return the terms.

    - ``units``: the gold units against all units of all passages of the question, by the mean
      logit of a unit's tokens and the relevance of its passage;
    - ``relevance``: the passages that answer against the others of the question;
    - ``answers``: whether each passage holds no answer;
    - ``claims``: what the passage says about the claim.
    """
    verdicts = reading.verdicts
    n_groups = int(batch.groups.max()) + 1
    scores = unit_scores(reading.evidence, batch) + verdicts[batch.unit_rows, RELEVANCE]
    return Losses(
        _choice(scores, batch.unit_gold, batch.groups[batch.unit_rows], n_groups),
        _choice(verdicts[:, RELEVANCE], batch.answers > 0.5, batch.groups, n_groups),
        functional.binary_cross_entropy_with_logits(verdicts[:, NO_ANSWER], 1 - batch.answers),
        functional.cross_entropy(verdicts[:, CLAIM:], batch.labels, ignore_index=NO_LABEL)
        if bool((batch.labels != NO_LABEL).any())
        else verdicts.sum() * 0,
    )


def unit_scores(evidence: Tensor, batch: Batch) -> Tensor:
    """Return the mean logit of each unit's tokens, shape ``(n_units,)``."""
    n_units = len(batch.unit_rows)
    inside = batch.units >= 0
    owners = batch.units[inside]
    sums = torch.zeros(n_units).index_add(0, owners, evidence[inside])
    counts = torch.zeros(n_units).index_add(0, owners, torch.ones(len(owners)))
    return sums / counts.clamp(min=1)


def _choice(scores: Tensor, right: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Return the mean of -log of the share that softmax in a group gives to what is right.

    Groups in which nothing is right, or everything, don't count.
    """
    if not bool(right.any()):
        return scores.sum() * 0
    everything = _logsumexp(scores, groups, n_groups)
    chosen = _logsumexp(scores[right], groups[right], n_groups)
    n_right = torch.zeros(n_groups).index_add(0, groups, right.float())
    n_all = torch.zeros(n_groups).index_add(0, groups, torch.ones(len(groups)))
    counted = (n_right > 0) & (n_right < n_all)
    if not bool(counted.any()):
        return scores.sum() * 0
    return (everything - chosen)[counted].mean()


def _logsumexp(scores: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    floor = scores.detach().new_full((n_groups,), -1e4)
    highest = floor.scatter_reduce(0, groups, scores.detach(), "amax")
    sums = torch.zeros(n_groups).index_add(0, groups, torch.exp(scores - highest[groups]))
    return torch.log(sums.clamp(min=1e-30)) + highest
