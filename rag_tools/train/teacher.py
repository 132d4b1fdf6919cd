"""Teachers: models that score passages for a query better than the student, hopefully.

Whether they do is measured by `rag_tools.train.mine.rerank`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

from rag_tools.errors import CheckpointError
from rag_tools.train.kind import kind
from rag_tools.train.pairs import by_length
from rag_tools.train.precision import in_bf16
from rag_tools.train.scores import Scores, Teacher, normalised

_BATCH = 16


class Ensemble:
    """The mean of several teachers, each brought to mean 0 and deviation 1 on a query's candidates.

    Parameters
    ----------
    teachers
        At least one.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self._teachers = teachers

    def __call__(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Scores]:
        """Return for each query the scores of its candidates, ``(n_candidates,)`` each."""
        scored = [teacher(queries, candidates) for teacher in self._teachers]
        return [
            np.mean([normalised(scores) for scores in query], axis=0)
            for query in zip(*scored, strict=True)
        ]


def load_teacher(name: str, *, bf16: bool | None = None) -> Teacher:
    """Load a teacher: a cross-encoder, a late-interaction or a dense model.

    Parameters
    ----------
    name
        Directory or Hub id of a model that sentence-transformers loads; its files say which kind.
    bf16
        Whether a dense model computes in bfloat16, see `rag_tools.train.precision`. With 384 dims
        a passage takes a third of the time, and cosines are off by less than 0.001.

    Raises
    ------
    CheckpointError
        If it can't be loaded.
    """
    try:
        match kind(name):
            case "cross-encoder":
                return CrossEncoders(name)
            case "late-interaction":
                return LateInteraction(name)
            case "dense":
                return Dense(name, bf16)
    except Exception as error:  # half a dozen libraries take part, each with errors of its own
        raise CheckpointError(f"The teacher {name!r} can't be loaded: {error}") from error


class CrossEncoders:
    """A model that reads query and passage together."""

    def __init__(self, name: str) -> None:
        self._model = CrossEncoder(name)

    def __call__(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Scores]:
        """Return for each query the scores of its candidates, ``(n_candidates,)`` each."""
        pairs = [
            (query, text)
            for query, texts in zip(queries, candidates, strict=True)
            for text in texts
        ]
        scores = self._model.predict(pairs, batch_size=_BATCH, show_progress_bar=False)
        borders = np.cumsum([len(texts) for texts in candidates])[:-1]
        return np.split(np.asarray(scores, np.float32), borders)


class Dense:
    """A model with one vector for a text."""

    def __init__(self, name: str, bf16: bool | None) -> None:
        self._model, self._bf16 = SentenceTransformer(name), bf16
        self._passages: dict[str, NDArray[np.float16]] = {}

    def __call__(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Scores]:
        """Return for each query the scores of its candidates, ``(n_candidates,)`` each."""
        with in_bf16(self._model.device, self._bf16):
            _encode(self._model.encode_document, candidates, self._passages)
            vectors = self._model.encode_query(list(queries), batch_size=_BATCH)
        return [
            np.array([self._passages[text] @ vector for text in texts], np.float32)
            for vector, texts in zip(vectors, candidates, strict=True)
        ]


class LateInteraction:
    """A model with a vector for each token; MaxSim."""

    def __init__(self, name: str) -> None:
        self._model = MultiVectorEncoder(name)
        self._passages: dict[str, NDArray[np.float16]] = {}

    def __call__(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Scores]:
        """Return for each query the scores of its candidates, ``(n_candidates,)`` each."""
        _encode(self._model.encode_document, candidates, self._passages)
        asked = self._model.encode_query(list(queries), batch_size=_BATCH, convert_to_numpy=True)
        return [
            _maxsim(query, [self._passages[t] for t in texts])
            for query, texts in zip(asked, candidates, strict=True)
        ]


def _maxsim(query: NDArray[np.float32], passages: Sequence[NDArray[np.float16]]) -> Scores:
    # A passage that is all punctuation has no vectors; it scores 0.
    passages = [
        each if len(each) else np.zeros((1, query.shape[1]), np.float16) for each in passages
    ]
    starts = np.cumsum([0, *map(len, passages)])[:-1]
    cosines = query @ np.concatenate(passages).astype(np.float32).T
    scores: Scores = np.maximum.reduceat(cosines, starts, axis=1).sum(axis=0)
    return scores


def _encode(
    encode: Callable[..., Sequence[NDArray[np.float32]]],
    candidates: Sequence[Sequence[str]],
    known: dict[str, NDArray[np.float16]],
) -> None:
    """Encode the passages that aren't known yet; they stay in memory, in two bytes a number."""
    distinct = {text for texts in candidates for text in texts} - known.keys()
    new = by_length(distinct)
    if new:
        vectors = encode(new, batch_size=_BATCH, convert_to_numpy=True)
        known.update(
            (text, vector.astype(np.float16)) for text, vector in zip(new, vectors, strict=True)
        )
