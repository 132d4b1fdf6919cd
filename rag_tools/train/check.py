"""How well a checkpoint in training retrieves: nDCG@10 on samples of development sets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.evaluation import BaseEvaluator

from rag_tools.evaluate.dataset import Dataset, find, read
from rag_tools.evaluate.measures import measure

MEAN = "mean_nDCG@10"
_MEASURE = "nDCG@10"
_DEPTH = 10


def sample(dataset: Dataset, *, queries: int, documents: int, seed: int = 0) -> Dataset:
    """Draw queries, their relevant documents, and others up to a number of documents."""
    drawn = dataset.draw(queries, seed=seed)
    relevant = {id for grades in drawn.qrels.values() for id in grades if id in dataset.corpus}
    others = sorted(set(dataset.corpus) - relevant)
    n_others = min(max(documents - len(relevant), 0), len(others))
    chosen = relevant.union(random.Random(seed).sample(others, n_others))
    corpus = {id: text for id, text in dataset.corpus.items() if id in chosen}
    return replace(drawn, corpus=corpus)


class Check(BaseEvaluator):  # type: ignore[misc] # torch is optional, so untyped here
    """Measures a model on samples of data sets by exhaustive MaxSim on float embeddings.

    Parameters
    ----------
    folders
        Folders in BEIR or SQuAD layout, see `rag_tools.evaluate.dataset.find`.
    queries, documents
        See `sample`.
    """

    def __init__(self, folders: Sequence[str], *, queries: int, documents: int) -> None:
        super().__init__()
        self._datasets = [
            sample(read(source), queries=queries, documents=documents)
            for folder in folders
            for source in find(Path(folder))[0]
        ]
        self.primary_metric = MEAN

    def __call__(
        self,
        model: MultiVectorEncoder,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        """Return each data set's nDCG@10 by name, and their mean."""
        found = {dataset.name: ndcg(model, dataset) for dataset in self._datasets}
        return {**found, MEAN: float(np.mean(list(found.values())))}


def ndcg(model: MultiVectorEncoder, dataset: Dataset) -> float:
    """Return a model's nDCG@10 on a whole data set."""
    settings: dict[str, Any] = {"batch_size": 16, "convert_to_numpy": True}
    ids = list(dataset.corpus)
    passages = model.encode_document([dataset.corpus[id] for id in ids], **settings)
    asked = list(dataset.queries)
    queries = model.encode_query([dataset.queries[id] for id in asked], **settings)
    # A document that is all punctuation has no vectors; it scores 0.
    passages = [
        found if len(found) else np.zeros((1, found.shape[1]), np.float32) for found in passages
    ]
    tokens = np.concatenate(passages)  # (n_tokens, dim), of all documents
    starts = np.cumsum([0, *map(len, passages)])[:-1]
    run: dict[str, dict[str, float]] = {}
    for id, query in zip(asked, queries, strict=True):
        scores: NDArray[np.float32] = np.maximum.reduceat(query @ tokens.T, starts, axis=1).sum(0)
        best = np.argsort(-scores, kind="stable")[:_DEPTH]
        run[id] = {ids[i]: float(scores[i]) for i in best}
    return float(measure(dataset.qrels, run, [_MEASURE])[_MEASURE].mean())
