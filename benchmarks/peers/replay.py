"""Indexes of saved embeddings, made by the real `Writer`: with an encoder that looks them up.

So the build that is timed is the product's: segments, codebook, compaction and catalog, but for
the encoding. Every passage is a document whose text is its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from rag_tools.catalog.schema import FILE_NAME, connect, create
from rag_tools.encode.embeddings import Embeddings
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.segment import SEGMENTS
from rag_tools.types import Document
from rag_tools.writer import Writer

PART = 4096  # passages that are looked up at a time
_URI = "replay:"


@dataclass
class ReplayEncoder:
    """Stands in for `Encoder`.

    Attributes
    ----------
    part
        Number → the passages from number times `PART` on.
    """

    part: Callable[[int], Passages]

    def __post_init__(self) -> None:
        self._part = lru_cache(maxsize=2)(lambda number: _Part(self.part(number)))

    def token_spans(self, text: str) -> NDArray[np.int32]:
        """Return the whole text as one token."""
        return np.array([[0, len(text)]], dtype=np.int32)

    def encode_passages(self, passages: Iterable[tuple[str, str]]) -> Iterator[Embeddings]:
        """Return what is saved for the passages of these numbers."""
        for text, _ in passages:
            number, row = divmod(int(text), PART)
            yield self._part(number).embeddings(row)


class _Part:
    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._offsets = passages.offsets

    def embeddings(self, row: int) -> Embeddings:
        passages = self._passages
        first, last = self._offsets[row : row + 2]
        return Embeddings(
            passages.vectors[first:last],  # the writer halves them anyway
            passages.token_ids[first:last],
            passages.spans[first:last],
            passages.pooled[row],
        )


def write_index(
    folder: Path, part: Callable[[int], Passages], n_passages: int, *, bits: int = 4
) -> None:
    """Index passages, as a session of `Engine.add` would."""
    (folder / SEGMENTS).mkdir(parents=True)
    (folder / CODEBOOKS).mkdir()
    settings = {"checkpoint": None, "fingerprint": "", "dim": 128, "bits": bits}
    create(folder / FILE_NAME, {**settings, "passage_tokens": 180, "generation": 0})
    encoder = ReplayEncoder(part)
    with Writer(folder, encoder, passage_tokens=180, bits=bits) as writer:  # type: ignore[arg-type]
        for number in range(n_passages):
            document = Document(text=str(number), uri=f"{_URI}{number}", title="-")
            writer.put(writer.prepare(document))


def passage_numbers(folder: Path) -> dict[int, NDArray[np.int64]]:
    """Return segment id → the numbers of its passages, by position."""
    with closing(connect(folder)) as connection:
        rows = connection.execute(
            "SELECT passage.segment, passage.position, document.uri "
            "FROM passage JOIN document ON document.key = passage.document"
        ).fetchall()
    table = np.array(
        [(segment, position, int(uri.removeprefix(_URI))) for segment, position, uri in rows]
    )
    ordered = table[np.lexsort((table[:, 1], table[:, 0]))]
    return {int(id): ordered[ordered[:, 0] == id, 2] for id in np.unique(ordered[:, 0])}


def index_bytes(folder: Path) -> int:
    """Return the bytes of an index without its catalog, which holds the texts."""
    return sum(
        path.stat().st_size for name in (SEGMENTS, CODEBOOKS) for path in (folder / name).iterdir()
    )
