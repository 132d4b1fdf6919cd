"""Runs: what a retriever returns for every query of a data set."""

from __future__ import annotations

import sqlite3

from rag_tools.catalog import lexical
from rag_tools.engine import Engine
from rag_tools.evaluate.dataset import Dataset
from rag_tools.types import Document, Progress

_SCHEME = "dataset:"


def index_dataset(engine: Engine, dataset: Dataset, *, progress: Progress | None = None) -> None:
    """Add a data set's corpus to an index, one document each."""
    engine.add(
        (
            # An empty title: the id must not leak into what is encoded.
            Document(uri=f"{_SCHEME}{id}", id=id, text=text, title="")
            for id, text in dataset.corpus.items()
        ),
        progress=progress,
    )


def run_engine(
    engine: Engine, dataset: Dataset, *, limit: int = 100
) -> dict[str, dict[str, float]]:
    """Return the engine's run; a document scores as its best passage."""
    run: dict[str, dict[str, float]] = {}
    for id, query in dataset.queries.items():
        scores = run.setdefault(id, {})
        for hit in engine.search(query, limit=limit).results:
            scores.setdefault(hit.document_id, hit.score)
    return run


def run_bm25(dataset: Dataset, *, limit: int = 100) -> dict[str, dict[str, float]]:
    """Return the run of SQLite's BM25 over whole documents."""
    connection = sqlite3.connect(":memory:")
    connection.execute(lexical.TABLE)
    ids = list(dataset.corpus)
    lexical.add(connection, ((key, dataset.corpus[id], "") for key, id in enumerate(ids)))
    return {
        id: {
            ids[key]: score
            for key, score in lexical.bm25(
                connection, (word[0] for word in lexical.words(query)), limit=limit
            )
        }
        for id, query in dataset.queries.items()
    }
