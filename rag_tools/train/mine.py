"""Mining: hard negatives from our own engine and BM25, and a teacher's scores for them."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rag_tools.closing import Closing
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.engine import Engine
from rag_tools.evaluate.dataset import Dataset
from rag_tools.evaluate.exhaustive import encode, run_maxsim
from rag_tools.evaluate.measures import Run, measure
from rag_tools.evaluate.retrieve import index_dataset, run_engine
from rag_tools.index import lexical
from rag_tools.index.search import Signals
from rag_tools.train.leakage import near_duplicates
from rag_tools.train.pairs import Example, read_examples, write_example
from rag_tools.train.scores import Scores, Teacher, normalised
from rag_tools.types import Progress

_TOGETHER = 64  # queries mined, scored and written at a time


@dataclass(frozen=True)
class Mining:
    """How tuples are made.

    Attributes
    ----------
    negatives
        Maximum number of negatives for a pair.
    depth
        Number of the best passages of the engine, and of BM25, from which negatives are drawn.
    share
        A candidate is dropped as a false negative if the teacher puts it above this share of the
        way from its lowest score for the query to the positive's (as NV-Retriever's TopK-PercPos,
        de Souza P. Moreira et al. 2024, for scores of any scale).
    seed
        Seed of the random choice.
    """

    negatives: int = 16
    depth: int = 50
    share: float = 0.95
    seed: int = 0


def mine(
    examples: Iterable[Example],
    out: Path,
    work: Path,
    settings: Mining,
    *,
    teacher: Teacher | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a tuple for every pair that `out` doesn't have yet.

    Parameters
    ----------
    examples
        Pairs, or tuples whose negatives are mined anew. All positives of a source are its corpus.
    out
        File of JSON lines. What it contains is kept, so an interrupted run can be continued.
    work
        Directory for an index of each source. Indexes that exist are used again.
    teacher
        Scores the passages; None: the engine's own score.
    checkpoint
        Checkpoint of the engine; None: the bundled one.

    Returns
    -------
    Number of tuples that were written.

    Notes
    -----
    A teacher of vectors keeps every passage in memory: about 300 tokens × dim × 2 bytes each.
    """
    by_source: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_source[example.source].append(example)
    done = {_key(example) for example in _complete(out)}
    total = sum(map(len, by_source.values()))
    written = 0
    for _, members in sorted(by_source.items()):
        waiting = [example for example in members if _key(example) not in done]
        total -= len(members) - len(waiting)
        if not waiting:
            continue
        with _Corpus(members, work, checkpoint, progress) as corpus:
            for start in range(0, len(waiting), _TOGETHER):
                tuples = corpus.tuples(waiting[start : start + _TOGETHER], settings, teacher)
                with out.open("a", encoding="utf-8", newline="\n") as lines:
                    lines.writelines(write_example(each) + "\n" for each in tuples)
                written += len(tuples)
                if progress:
                    progress("mine", written, total)
    return written


def run_student(encoder: Encoder, dataset: Dataset) -> Run:
    """Return the run of a checkpoint with the engine's signals, on unquantised embeddings."""
    return run_maxsim(encode(dataset, encoder), encoder, dataset, signals=Signals())


def rerank(run: Run, dataset: Dataset, teacher: Teacher, *, depth: int) -> dict[str, float]:
    """Measure a teacher against a student on the student's best documents.

    Parameters
    ----------
    run
        Run of the student.
    depth
        Number of documents for a query that the teacher ranks.

    Returns
    -------
    nDCG@10 of ``student``, of ``teacher``, and of ``both``: of the mean of their normalised scores.
    """
    queries = [id for id in dataset.queries if run.get(id)]
    best = {id: sorted(run[id], key=run[id].__getitem__, reverse=True)[:depth] for id in queries}
    scores = teacher(
        [dataset.queries[id] for id in queries],
        [[dataset.corpus[document] for document in best[id]] for id in queries],
    )
    taught = {
        id: dict(zip(best[id], map(float, values), strict=True))
        for id, values in zip(queries, scores, strict=True)
    }
    kept = {id: {document: run[id][document] for document in best[id]} for id in queries}
    both = {id: _mean(kept[id], taught[id]) for id in queries}
    name = "nDCG@10"
    return {
        who: float(measure(dataset.qrels, their, [name])[name].mean())
        for who, their in (("student", kept), ("teacher", taught), ("both", both))
    }


def _mean(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of two scores of the same documents, each normalised."""
    scores = (normalised(np.array([each[id] for id in one], np.float32)) for each in (one, other))
    return dict(zip(one, map(float, np.mean(list(scores), axis=0)), strict=True))


class _Corpus(Closing):
    """The distinct positives of a source, indexed; a context manager."""

    def __init__(
        self,
        examples: Sequence[Example],
        work: Path,
        checkpoint: str | Path | None,
        progress: Progress | None,
    ) -> None:
        self._texts = sorted({example.passages[0] for example in examples})
        self._numbers = {text: number for number, text in enumerate(self._texts)}
        self._answers: defaultdict[str, set[str]] = defaultdict(set)
        for example in examples:
            self._answers[example.query].add(example.passages[0])
        self._lexical = lexical.in_memory(self._texts)
        self._engine = _indexed(self._texts, work, checkpoint, progress)

    def close(self) -> None:
        """Close the index of the passages."""
        self._engine.close()

    def tuples(
        self, pairs: Sequence[Example], settings: Mining, teacher: Teacher | None
    ) -> list[Example]:
        """Return the pairs with negatives and scores."""
        asked = {str(i): pair.query for i, pair in enumerate(pairs)}
        run = run_engine(self._engine, Dataset("", None, {}, asked, {}), quality="exact")
        candidates = [
            self._candidates(pair, run.get(str(i), {}), settings) for i, pair in enumerate(pairs)
        ]
        if teacher is None:
            scored = [self._fused(texts, run.get(str(i), {})) for i, texts in enumerate(candidates)]
        else:
            scored = teacher([pair.query for pair in pairs], candidates)
        return [
            _tuple(pair, texts, scores, settings)
            for pair, texts, scores in zip(pairs, candidates, scored, strict=True)
        ]

    def _candidates(
        self, pair: Example, scores: Mapping[str, float], settings: Mining
    ) -> list[str]:
        """Return the positive, and passages that may be negatives in a random order."""
        words = (word.of(pair.query) for word in lexical.words(pair.query))
        found = lexical.listed(self._lexical, words, limit=settings.depth)
        best = [int(id) for id in sorted(scores, key=lambda id: (-scores[id], id))]
        keys = dict.fromkeys([*best[: settings.depth], *(key for key, _ in found)])
        answers = self._answers[pair.query]
        texts = [
            text
            for text in (self._texts[key] for key in keys)
            if not any(near_duplicates(text, answer) for answer in answers)
        ]
        # Twice as many as are wanted: the teacher will find some to be answers.
        n = min(2 * settings.negatives, len(texts))
        chosen = random.Random(f"{settings.seed} {pair.query}").sample(texts, n)
        return [pair.passages[0], *chosen]

    def _fused(self, texts: Sequence[str], scores: Mapping[str, float]) -> Scores:
        """Return the engine's scores; what it didn't list scores as the last that it did."""
        lowest = min(scores.values(), default=0.0)
        ids = (str(self._numbers[text]) for text in texts)
        return np.array([scores.get(id, lowest) for id in ids], np.float32)


def _tuple(pair: Example, texts: Sequence[str], scores: Scores, settings: Mining) -> Example:
    kept = [0, *true_negatives(scores, settings.share)[: settings.negatives]]
    passages = tuple(texts[i] for i in kept)
    return replace(pair, passages=passages, scores=tuple(float(scores[i]) for i in kept))


def true_negatives(scores: Scores, share: float) -> list[int]:
    """Return which candidates a teacher holds for wrong; the first one is the positive.

    Examples
    --------
    >>> true_negatives(np.array([2.0, 1.99, 1.0, 0.0, 3.0]), 0.95)
    [2, 3]
    """
    lowest = scores.min()
    limit = lowest + share * (scores[0] - lowest)
    if scores[0] <= lowest:  # the worst of all: this teacher can't tell
        return []
    return [i for i in range(1, len(scores)) if scores[i] <= limit]


def _indexed(
    texts: Sequence[str], work: Path, checkpoint: str | Path | None, progress: Progress | None
) -> Engine:
    """Open the index of these texts, after making it if it isn't whole."""
    identity = "\0".join([load_checkpoint(checkpoint).fingerprint, *texts])
    name = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16]
    whole = work / f"{name}.whole"
    engine = Engine.open(work / name, checkpoint=checkpoint, create=True)
    if not whole.exists():
        numbered = {str(number): text for number, text in enumerate(texts)}
        index_dataset(engine, Dataset("", None, numbered, {}, {}), progress=progress)
        whole.touch()
    return engine


def _complete(out: Path) -> Iterator[Example]:
    """Read the tuples in `out`; a last line that was cut off is cut away."""
    if not out.exists():
        return
    data = out.read_bytes()
    if not data.endswith(b"\n"):
        out.write_bytes(data[: data.rfind(b"\n") + 1])
    yield from read_examples(out)


def _key(example: Example) -> tuple[str, str, str]:
    return example.source, example.query, example.passages[0]
