"""Measuring our engine, a second checkpoint, BM25 and dense vectors on a data set.

The results are the measures of every query; `report` summarises them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_tools.creation import DEFAULT_BITS, check_dim
from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.engine import Engine
from rag_tools.errors import ConfigurationError
from rag_tools.evaluate import exhaustive, retrieve
from rag_tools.evaluate.dataset import Dataset
from rag_tools.evaluate.exhaustive import Pooled
from rag_tools.evaluate.measures import Run, measure
from rag_tools.index.search import Quality, Signals
from rag_tools.types import Progress

PerQuery = Mapping[str, NDArray[np.float64]]
"""Measure → ``(n_queries,)`` values."""


@dataclass(frozen=True)
class Plan:
    """What to measure, and how passages are scored.

    Attributes
    ----------
    checkpoint
        Checkpoint of our engine.
    against
        A second checkpoint to compare with.
    base
        Checkpoint whose pooled vectors are the dense baseline; None takes `checkpoint`, if it has
        pooled vectors.
    exact
        Score every passage on unquantised embeddings, without an index; `bits` and `quality` are
        then ignored.
    bits, dim
        Bits and dimensions of a token in the index, see `Engine.open`.
    quality
        Quality of the searches, see `Engine.search`.
    signals
        Weights of the signals that are added to MaxSim.

    Raises
    ------
    ConfigurationError
        If `base` has no pooled vectors.
    InvalidQueryError
        If a checkpoint has fewer dimensions than `dim`.
    """

    checkpoint: Checkpoint
    against: Checkpoint | None = None
    base: Checkpoint | None = None
    exact: bool = False
    bits: int = DEFAULT_BITS
    dim: int | None = None
    quality: Quality = "balanced"
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        if self.base is not None and self.base.pooled_dim is None:
            raise ConfigurationError(
                f"the checkpoint {self.base.name!r} has no pooled vectors to be a dense "
                "baseline: name another"
            )
        for checkpoint in filter(None, [self.checkpoint, self.against]):
            check_dim(self.dim, checkpoint)


@dataclass(frozen=True)
class Measured:
    """Every query's measures on a data set, by system; baselines are ``bm25`` and ``dense``."""

    dataset: Dataset
    ours: PerQuery
    against: PerQuery | None
    baselines: Mapping[str, PerQuery]


def measure_systems(dataset: Dataset, plan: Plan, *, progress: Progress | None = None) -> Measured:
    """Run the systems of a plan over a data set.

    Cost: the corpus is encoded once with each checkpoint.

    Raises
    ------
    ConfigurationError
        If ir-measures isn't installed.
    """
    baselines = {"bm25": measure(dataset.qrels, retrieve.run_bm25(dataset))}
    pooled: dict[str, Pooled | None] = {}  # by fingerprint
    measured = []
    for checkpoint in filter(None, [plan.checkpoint, plan.against]):
        run, vectors = _run(dataset, plan, checkpoint, progress)
        measured.append(measure(dataset.qrels, run))
        pooled[checkpoint.fingerprint] = vectors
    base = plan.base or plan.checkpoint
    if base.pooled_dim is not None:
        encoder = Encoder(base)
        vectors = pooled.get(base.fingerprint) or exhaustive.pool(
            dataset, encoder, progress=progress
        )
        run = exhaustive.run_dense(vectors, encoder, dataset)
        baselines["dense"] = measure(dataset.qrels, run)
    return Measured(dataset, measured[0], measured[1] if plan.against else None, baselines)


def _run(
    dataset: Dataset, plan: Plan, checkpoint: Checkpoint, progress: Progress | None
) -> tuple[Run, Pooled | None]:
    """Return the run of our engine with a checkpoint, and the passages' pooled vectors."""
    if plan.exact:
        encoder = Encoder(checkpoint, dim=plan.dim)
        passages = exhaustive.encode(dataset, encoder, progress=progress)
        run = exhaustive.run_maxsim(
            passages, encoder, dataset, signals=plan.signals, progress=progress
        )
        return run, passages.pooled
    # Windows can't delete mapped files before the last reader is collected.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        directory = Path(folder) / "index"
        with Engine.open(
            directory,
            checkpoint=checkpoint.directory,
            create=True,
            bits=plan.bits,
            dim=plan.dim,
            signals=plan.signals,
        ) as engine:
            retrieve.index_dataset(engine, dataset, progress=progress)
            run = retrieve.run_engine(engine, dataset, quality=plan.quality, progress=progress)
            return run, retrieve.stored_pooled(directory, dataset)
