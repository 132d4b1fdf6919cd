"""Reading a question or a claim together with passages, with ONNX Runtime.

What comes back are logits and probabilities; what follows from them is decided elsewhere. Training
and export are `rag_tools.train.evidence`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rag_tools.cores import available_cores
from rag_tools.encode.session import open_session, read_tokenizer
from rag_tools.errors import CheckpointError
from rag_tools.evidence.layout import Composer, Layout, Pieces, Spans, owners
from rag_tools.types import Span

MODEL_FILE = "evidence_int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
METADATA_FILE = "evidence.json"
INPUTS = ("attention_mask", "input_ids", "segments")
OUTPUTS = {"evidence": 2, "verdicts": 2}
"""Names of the outputs and their numbers of axes."""

RELEVANCE, NO_ANSWER, CLAIM = 0, 1, 2
"""Places in the verdicts of a row: relevance, no answer, then entailed, contradicted, neither."""

_Floats = NDArray[np.float32]


class Pair(NamedTuple):
    """What is read together.

    Attributes
    ----------
    query
        A question or a claim.
    passage
        The text of the passage.
    context
        Title and heading path, as `rag_tools.ingest.chunk.context` writes them.
    """

    query: str
    passage: str
    context: str = ""


@dataclass(frozen=True)
class Reading:
    """What the model says of a pair.

    Attributes
    ----------
    spans
        Shape ``(n_tokens, 2)``, int32: code points of the passage that its tokens stand for.
    evidence
        Shape ``(n_tokens,)``, float32: logits; only differences between tokens, and sums with
        `relevance`, mean something.
    relevance
        Logit by which passages for one question are ordered.
    no_answer
        Probability that the passage holds no answer.
    entailed, contradicted, neither
        Probabilities, for a claim; they sum to 1.
    """

    spans: Spans
    evidence: _Floats
    relevance: float
    no_answer: float
    entailed: float
    contradicted: float
    neither: float

    def strengths(self, units: Sequence[Span]) -> _Floats:
        """Return how strong the evidence in each range of the passage is.

        The mean logit of its tokens plus the relevance of the passage, as trained; so ranges of
        several passages compare. Minus infinity where a range has no token of its own.

        Parameters
        ----------
        units
            Code points of the passage, in order, not overlapping.

        Returns
        -------
        Shape ``(n_units,)``.
        """
        ranges = np.array(units, np.int32).reshape(-1, 2)
        own = owners(self.spans, ranges)
        inside = own >= 0
        sums = np.bincount(own[inside], self.evidence[inside], len(ranges))
        counts = np.bincount(own[inside], minlength=len(ranges))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, sums / counts, -np.inf)
        return (means + self.relevance).astype(np.float32)


class EvidenceModel:
    """A model in a folder that `rag_tools.train.evidence.export` wrote.

    Each row is read by itself, on one thread: what a pair gives doesn't depend on what is read
    beside it. Rows are spread over threads.

    Parameters
    ----------
    directory
        The folder.
    threads
        Rows read at the same time; default: as many as there are cores.

    Raises
    ------
    CheckpointError
        If the folder has no model, or one that doesn't fit its metadata.
    """

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        metadata = _metadata(directory)
        self._composer = Composer(load_tokenizer(directory), int(metadata["max_tokens"]))
        self._session = _session(directory / MODEL_FILE)
        self._threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self._threads, "evidence")

    def read(self, pairs: Sequence[Pair], *, deadline: float | None = None) -> list[Reading | None]:
        """Read pairs, in order.

        Parameters
        ----------
        pairs
            Of one question or of many.
        deadline
            On the clock of `time.monotonic`: no pair is begun after it. The first is read anyway.

        Returns
        -------
        A reading for each pair, None for those that weren't begun in time.
        """

        def job(number: int) -> Reading | None:
            if number and deadline is not None and time.monotonic() > deadline:
                return None
            return self._read(pairs[number])

        if len(pairs) == 1 or self._threads == 1:
            return [job(number) for number in range(len(pairs))]
        return list(self._pool.map(job, range(len(pairs))))

    @property
    def composer(self) -> Composer:
        """What lays out its rows."""
        return self._composer

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def inputs(self, pair: Pair) -> list[dict[str, NDArray[np.int64]]]:
        """Return what the model is shown of a pair: the inputs of a run for each row."""
        return [_inputs(layout) for layout in self._lay_out(pair)]

    def _lay_out(self, pair: Pair) -> list[Layout]:
        parts: list[Pieces] = [
            self._composer.pieces(text) for text in (pair.query, pair.context, pair.passage)
        ]
        return list(self._composer.lay_out(*parts))

    def _read(self, pair: Pair) -> Reading:
        layouts = self._lay_out(pair)
        rows = [self._run(layout) for layout in layouts]
        verdicts = np.stack([row for _, row in rows])  # (n_rows, 5)
        # Of a passage that is read in parts the part that is most relevant speaks for it.
        said = verdicts[int(verdicts[:, RELEVANCE].argmax())]
        evidence = [tokens + (row[RELEVANCE] - said[RELEVANCE]) for tokens, row in rows]
        claim = _softmax(said[CLAIM:])
        return Reading(
            spans=np.concatenate([layout.spans for layout in layouts]),
            evidence=np.concatenate(evidence).astype(np.float32),
            relevance=float(said[RELEVANCE]),
            no_answer=float(1 / (1 + np.exp(-said[NO_ANSWER]))),
            entailed=float(claim[0]),
            contradicted=float(claim[1]),
            neither=float(claim[2]),
        )

    def _run(self, layout: Layout) -> tuple[_Floats, _Floats]:
        """Return the evidence of the passage's tokens in a row, and the row's verdicts."""
        evidence, verdicts = self._session.run(list(OUTPUTS), _inputs(layout))
        end = layout.first + len(layout.spans)
        return evidence[0, layout.first : end], verdicts[0]


def _inputs(layout: Layout) -> dict[str, NDArray[np.int64]]:
    return {
        "input_ids": layout.ids[None],
        "attention_mask": np.ones_like(layout.ids)[None],
        "segments": layout.segments[None],
    }


def _softmax(logits: _Floats) -> _Floats:
    powers = np.exp(logits - logits.max())
    shares: _Floats = powers / powers.sum()
    return shares


def _metadata(directory: Path) -> dict[str, Any]:
    path = directory / METADATA_FILE
    try:
        metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        int(metadata["max_tokens"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{str(path)!r} isn't the metadata of an evidence model: {error!r}. Make the folder "
            "with `rag-tools train-evidence`."
        ) from error
    return metadata


def load_tokenizer(directory: Path) -> Tokenizer:
    """Load a folder's tokenizer, which neither cuts texts off nor pads them.

    Raises
    ------
    CheckpointError
        If it can't be loaded.
    """
    return read_tokenizer(directory / TOKENIZER_FILE)


def _session(path: Path) -> ort.InferenceSession:
    session = open_session(path)  # rows run beside each other
    inputs = tuple(sorted(value.name for value in session.get_inputs()))
    outputs = {value.name: len(value.shape) for value in session.get_outputs()}
    if inputs != INPUTS or outputs != OUTPUTS:
        raise CheckpointError(
            f"{str(path)!r} maps {inputs} to {outputs}; an evidence model maps {INPUTS} to "
            f"{OUTPUTS}."
        )
    return session
