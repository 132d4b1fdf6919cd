"""The loss of late-interaction training: a sum of named terms.

A score is that of the engine but for BM25: a weighted mean over the query's tokens of the largest
cosine with a passage's token, and the cosine of the pooled vectors. Which batches are made is
`rag_tools.train.collate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from sentence_transformers import MultiVectorEncoder
from torch.nn import functional

from rag_tools.train.collate import Targets
from rag_tools.train.config import Settings
from rag_tools.train.precision import in_bf16

_NONE = -1e4
"""A similarity below every other, finite so that what is masked can't spread as NaN."""


class Texts(NamedTuple):
    """Encoded texts: ``(n, n_tokens, dim)`` vectors, ``(n, n_tokens)`` mask, pooled or None."""

    vectors: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor | None


class Loss(torch.nn.Module):  # type: ignore[misc] # torch is optional, so untyped here
    """The sum of the terms that have a weight.

    distill
        KL divergence of the student's distribution over passages from the teacher's (ColBERTv2,
        Santhanam et al. 2022, section 3.3): over a query's tuple if the tuple brings scores, over
        all passages of the batch if there are teachers. To their score the base adds its own, so
        that the student doesn't lose what the base knows better.
    contrastive
        Cross-entropy of the positive against every passage of the batch but other answers to the
        same query.
    evidence
        Cross-entropy of the sentences that hold the answer against the other sentences of the
        positive; a sentence scores as if it were the passage. It is what citations are made from.
    anchor, pooled_anchor
        1 − cosine between a token's vector, or the pooled one, and that of the checkpoint the run
        started from, on the queries and one chunk of passages; on all if there are teachers.

    All but the anchors are computed at each of ``settings.dims`` (Matryoshka, Kusupati et al.
    2022): leading dimensions, scaled to unit length.

    Parameters
    ----------
    model
        The student.
    base
        The frozen checkpoint it started from.
    settings
        Weights, temperatures, dims, and whether to encode in bfloat16. Scores are computed in
        float32: a bfloat16 near 0.8 has steps of 0.004, a tenth of a usual temperature.
    """

    def __init__(
        self, model: MultiVectorEncoder, base: MultiVectorEncoder, settings: Settings
    ) -> None:
        super().__init__()
        self.model = model
        self._base = (base,)  # not registered: nothing of it is trained or saved
        self._settings = settings

    def forward(
        self, features: Iterable[dict[str, Any]], labels: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Return each term times its weight, by name."""
        settings = self._settings
        targets = Targets(**labels)
        inputs = [dict(column) for column in features]
        students = self._encode(self.model, inputs)
        anchored = list(range(len(inputs))) if settings.teachers else [0, 1 + targets.anchor]
        bases = []
        if settings.teachers or settings.weights.anchor or settings.weights.pooled_anchor:
            with torch.no_grad():
                bases = self._encode(self._base[0], [inputs[i] for i in anchored])
        teacher = targets.teacher
        if settings.teachers:
            own = score(bases[0], bases[1:], targets.weights, settings.pooled)
            teacher = own + settings.teacher_weight * teacher
        terms = self._terms(students[0], students[1:], targets, teacher)
        if bases:
            terms |= self._anchors([students[i] for i in anchored], bases)
        weights = settings.weights.model_dump()
        return {name: weights[name] * value for name, value in terms.items()}

    def _encode(
        self, model: MultiVectorEncoder, inputs: Iterable[Mapping[str, Any]]
    ) -> list[Texts]:
        encoded = []
        with in_bf16(model.device, self._settings.bf16):
            for column in inputs:
                output = model(dict(column), task=column["task"])
                pooled = output.get("sentence_embedding")
                encoded.append(
                    Texts(
                        output["token_embeddings"].float(),
                        output["attention_mask"].bool(),
                        None if pooled is None else pooled.float(),
                    )
                )
        return encoded

    def _terms(
        self, queries: Texts, passages: list[Texts], targets: Targets, teacher: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        settings = self._settings
        weights = settings.weights
        terms: dict[str, torch.Tensor] = {}
        for dim, weight in zip(settings.dims, settings.dim_weights, strict=True):
            asked = _cut(queries, dim)
            found = [_cut(chunk, dim) for chunk in passages]
            at_dim: dict[str, torch.Tensor] = {}
            if weights.distill or weights.contrastive:
                scores = score(asked, found, targets.weights, settings.pooled)
                if weights.distill:
                    at_dim["distill"] = distill(
                        scores,
                        teacher,
                        settings.teacher_temperature,
                        settings.student_temperature,
                    )
                if weights.contrastive:
                    at_dim["contrastive"] = contrastive(scores, targets, settings.temperature)
            if weights.evidence:
                at_dim["evidence"] = evidence(asked, found, targets, settings.evidence_temperature)
            for name, value in at_dim.items():
                terms[name] = terms.get(name, 0.0) + weight * value
        return terms

    def _anchors(self, students: list[Texts], bases: list[Texts]) -> dict[str, torch.Tensor]:
        weights = self._settings.weights
        pairs = list(zip(students, bases, strict=True))
        terms = {}
        if weights.anchor:
            away = [_away(new.vectors[new.mask], old.vectors[new.mask]) for new, old in pairs]
            terms["anchor"] = torch.stack(away).mean()
        if weights.pooled_anchor:
            away = [_away(new.pooled, old.pooled) for new, old in pairs if new.pooled is not None]
            if away:
                terms["pooled_anchor"] = torch.stack(away).mean()
        return terms


def score(
    queries: Texts, passages: list[Texts], weights: torch.Tensor, pooled: float
) -> torch.Tensor:
    """Score every query against every passage.

    One product per chunk of passages, of the queries' tokens without padding.

    Parameters
    ----------
    weights
        Shape ``(n_queries, n_query_tokens)``: weight of each token. The weights of the tokens that
        score are divided by their sum.
    pooled
        Weight of the cosine of the pooled vectors.

    Returns
    -------
    Shape ``(n_queries, n_passages)``.
    """
    tokens = queries.vectors[queries.mask]  # (n_query_tokens, dim), of all queries
    owners = queries.mask.nonzero()[:, 0]
    best = torch.cat([_best(tokens, chunk) for chunk in passages], dim=1)
    weighted = best * _shares(queries, weights)[queries.mask][:, None]
    scores: torch.Tensor = best.new_zeros(len(queries.mask), best.shape[1])
    scores = scores.index_add(0, owners, weighted)
    if pooled and queries.pooled is not None:
        vectors = torch.cat([chunk.pooled for chunk in passages if chunk.pooled is not None])
        scores = scores + pooled * (queries.pooled @ vectors.T)
    return scores


def _shares(queries: Texts, weights: torch.Tensor) -> torch.Tensor:
    """Return the weights of the tokens that score, with a sum of 1 for each query."""
    shares = weights * queries.mask
    result: torch.Tensor = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return result


def _best(tokens: torch.Tensor, chunk: Texts) -> torch.Tensor:
    """Return each token's largest cosine in each passage, ``(n_tokens, n_passages)``."""
    n, length, dim = chunk.vectors.shape
    cosines = (tokens @ chunk.vectors.reshape(-1, dim).T).view(len(tokens), n, length)
    best: torch.Tensor = cosines.masked_fill(~chunk.mask, _NONE).amax(dim=2)
    return best


def distill(
    scores: torch.Tensor,
    teacher: torch.Tensor,
    teacher_temperature: float,
    student_temperature: float,
) -> torch.Tensor:
    """KL divergence over the passages that a teacher scored, of queries that have two of them.

    Parameters
    ----------
    scores, teacher
        Shape ``(n_queries, n_passages)``; the teacher's are NaN where it gave none.
    """
    known = ~teacher.isnan()
    rows = known.sum(dim=1) > 1
    if not rows.any():
        return scores.new_zeros(())
    known = known[rows]
    student = scores[rows] / student_temperature
    target = teacher[rows].nan_to_num() / teacher_temperature
    log_student = student.masked_fill(~known, _NONE).log_softmax(dim=1)
    log_target = target.masked_fill(~known, _NONE).log_softmax(dim=1)
    loss: torch.Tensor = (
        functional.kl_div(log_student, log_target, reduction="none", log_target=True)
        .masked_fill(~known, 0.0)
        .sum(dim=1)
        .mean()
    )
    return loss


def contrastive(scores: torch.Tensor, targets: Targets, temperature: float) -> torch.Tensor:
    """Cross-entropy of each positive among the batch's passages, other answers left out."""
    others = targets.answers.scatter(1, targets.positives[:, None], False)
    logits = (scores / temperature).masked_fill(others, _NONE)
    loss: torch.Tensor = functional.cross_entropy(logits, targets.positives)
    return loss


def evidence(
    queries: Texts, passages: list[Texts], targets: Targets, temperature: float
) -> torch.Tensor:
    """Cross-entropy of the sentences that hold the answer among the sentences of the positive.

    Sentences that were cut off, or have no token that scores, are left out; so is a query all of
    whose sentences with the answer are.
    """
    n_sentences = targets.evidence_sentences.shape[1]
    positives = targets.positives[targets.evidence]
    shares = _shares(queries, targets.weights)
    losses = []
    start = 0
    for chunk, owners in zip(passages, targets.sentences, strict=True):
        here = (positives >= start) & (positives < start + len(owners))
        rows, places = targets.evidence[here], positives[here] - start
        start += len(owners)
        if not len(rows):
            continue
        cosines = queries.vectors[rows] @ chunk.vectors[places].transpose(1, 2)
        owner = owners[places].masked_fill(~chunk.mask[places], -1)
        # A last column takes the tokens of no sentence.
        column = owner.where(owner >= 0, n_sentences)[:, None, :].expand_as(cosines)
        best = cosines.new_full((*cosines.shape[:2], n_sentences + 1), _NONE)
        best = best.scatter_reduce(2, column, cosines, "amax")[..., :n_sentences]
        scores = (best * shares[rows][..., None]).sum(dim=1)
        present = (owner[..., None] == torch.arange(n_sentences, device=owner.device)).any(dim=1)
        logs = (scores / temperature).masked_fill(~present, _NONE).log_softmax(dim=1)
        wanted = targets.evidence_sentences[here] & present
        answered = wanted.any(dim=1) & (present & ~wanted).any(dim=1)
        losses.append(-logs.masked_fill(~wanted, _NONE).logsumexp(dim=1)[answered])
    values = torch.cat(losses) if losses else queries.vectors.new_zeros(0)
    loss: torch.Tensor = values.sum() / max(len(values), 1)
    return loss


def _cut(texts: Texts, dim: int) -> Texts:
    if dim >= texts.vectors.shape[-1]:
        return texts
    return texts._replace(vectors=functional.normalize(texts.vectors[..., :dim], dim=-1))


def _away(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = (1 - functional.cosine_similarity(new, old, dim=-1)).mean()
    return loss
