"""Runs of the engine on an index as users have it, and of BM25.

Runs that score every passage on unquantised embeddings are in `exhaustive`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rag_tools.engine import Engine
from rag_tools.evaluate.dataset import Dataset
from rag_tools.evaluate.exhaustive import Pooled, documents
from rag_tools.evaluate.measures import DEPTH, Run
from rag_tools.index import lexical
from rag_tools.index.search import Quality
from rag_tools.reader import Reader
from rag_tools.types import Progress

_TOGETHER = 32  # queries whose hits are in memory at a time


def index_dataset(engine: Engine, dataset: Dataset, *, progress: Progress | None = None) -> None:
    """Add a data set's corpus to an index, one document each."""
    engine.add(documents(dataset), progress=progress)


def run_engine(
    engine: Engine,
    dataset: Dataset,
    *,
    quality: Quality = "balanced",
    progress: Progress | None = None,
) -> Run:
    """Return the engine's run; a document scores as its best passage."""
    run: dict[str, Mapping[str, float]] = {}
    queries = list(dataset.queries.items())
    for first in range(0, len(queries), _TOGETHER):
        run |= _search(engine, dict(queries[first : first + _TOGETHER]), quality)
        if progress:
            progress("search", len(run), len(queries))
    return run


def run_bm25(dataset: Dataset) -> Run:
    """Return the run of BM25 over whole documents."""
    ids = list(dataset.corpus)
    words = lexical.in_memory(dataset.corpus[id] for id in ids)
    return {
        id: {
            ids[key]: score
            for key, score in lexical.listed(
                words, (word.of(query) for word in lexical.words(query)), limit=DEPTH
            )
        }
        for id, query in dataset.queries.items()
    }


def stored_pooled(directory: Path, dataset: Dataset) -> Pooled | None:
    """Return the pooled vectors of an index of `dataset`, or None if its checkpoint has none."""
    reader = Reader(directory)
    numbers = {id: number for number, id in enumerate(dataset.corpus)}
    vectors, owners = [], []
    with reader.view() as view:
        for id, segment in view.snapshot.segments.items():
            if segment.pooled is None:
                break
            rows, scales = segment.pooled
            vectors.append(rows * scales[:, None])
            for position in range(len(segment)):
                passage = view.catalog.passage_id(id, position)
                owners.append(numbers[passage.rpartition(":")[0]])
    reader.close()
    if not vectors:
        return None
    order = np.argsort(owners, kind="stable")
    return Pooled(np.concatenate(vectors)[order], np.array(owners)[order])


def _search(
    engine: Engine, queries: Mapping[str, str], quality: Quality
) -> dict[str, dict[str, float]]:
    """Return the best documents of each query, asking for more passages until they are enough."""
    found: dict[str, dict[str, float]] = {}
    limit = DEPTH
    while queries:
        results = engine.search_batch(
            list(queries.values()), limit=limit, quality=quality, cite=False
        )
        short = {}
        for (id, query), result in zip(queries.items(), results, strict=True):
            best: dict[str, float] = {}
            for hit in result.results:
                # Judgements are about documents, so duplicates count as well.
                best.setdefault(hit.document_id, hit.score)
                for copy in hit.also_in:
                    best.setdefault(copy.id.rpartition(":")[0], copy.score)
            ranked = sorted(best.items(), key=lambda item: -item[1])
            found[id] = dict(ranked[:DEPTH])
            if len(best) < DEPTH and len(result.results) == limit:
                short[id] = query
        queries, limit = short, 2 * limit
    return found
