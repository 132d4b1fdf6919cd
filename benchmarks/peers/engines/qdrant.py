"""Qdrant's core (``qdrant-edge-py``): float multivectors, exact or through HNSW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from engines import Index

ENVIRONMENT = "qdrant"
SMALL = True
INDEXES = {
    "exact": Index({"hnsw": False}, [{}]),
    "HNSW": Index({"hnsw": True}, [{"ef": 32}, {"ef": 128}, {"ef": 512}]),
}

_BATCH = 64  # passages of an update


def build(passages: Passages, folder: Path, *, hnsw: bool) -> None:
    """Store every passage; with `hnsw` make the graph, else none."""
    import qdrant_edge as qdrant

    shard = qdrant.EdgeShard.create(str(folder), _config(hnsw=hnsw))
    vectors = np.split(passages.vectors.astype(np.float32), passages.offsets[1:-1])
    for first in range(0, len(vectors), _BATCH):
        points = [
            qdrant.Point(first + row, rows.tolist(), {})
            for row, rows in enumerate(vectors[first : first + _BATCH])
        ]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    if hnsw:
        shard.optimize()
    shard.flush()
    shard.close()


class Searcher:
    """A loaded shard."""

    def __init__(self, folder: Path, threads: int) -> None:
        import qdrant_edge as qdrant

        self._qdrant = qdrant
        self._shard = qdrant.EdgeShard.load(str(folder))

    def search(self, query: NDArray[np.float32], k: int, *, ef: int | None = None) -> list[int]:
        """Search; without a graph every passage is scored."""
        found = self._shard.search(
            self._qdrant.SearchRequest(
                query=self._qdrant.Query.Nearest(query.tolist()),
                limit=k,
                params=self._qdrant.SearchParams(hnsw_ef=ef),
            )
        )
        return [point.id for point in found]


open_index = Searcher


def _config(*, hnsw: bool) -> Any:  # noqa: ANN401 - of a package that isn't here
    import qdrant_edge as qdrant

    return qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(
            size=128,
            distance=qdrant.Distance.Dot,
            multivector_config=qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim),
        ),
        hnsw_config=qdrant.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10),
        wal_enabled=False,
        optimizers=qdrant.EdgeOptimizersConfig(indexing_threshold=1 if hnsw else 1 << 30),
    )
