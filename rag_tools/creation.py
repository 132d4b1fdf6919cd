"""Creating an index, and what is fixed when it is made.

What is written later is the business of `rag_tools.writer`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from rag_tools.catalog import schema
from rag_tools.disk import failures_named
from rag_tools.encode.checkpoint import Checkpoint, load_checkpoint
from rag_tools.errors import IndexCorruptError, IndexMismatchError, InvalidQueryError
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.residual import BITS
from rag_tools.index.segment import SEGMENTS
from rag_tools.ingest.chunk import MIN_PASSAGE_TOKENS
from rag_tools.reader import View
from rag_tools.writer import LOCK, acquire

DEFAULT_DIRECTORY = ".rag-tools"
DEFAULT_PASSAGE_TOKENS = 180
MAX_PASSAGE_TOKENS = 1024
DEFAULT_BITS = 4
MIN_DIM = 16


def default_directory() -> Path:
    """Return ``$RAG_TOOLS_INDEX``, or ``.rag-tools`` in the working directory."""
    return Path(os.environ.get("RAG_TOOLS_INDEX") or DEFAULT_DIRECTORY)


@dataclass(frozen=True)
class IndexSettings:
    """What is fixed when an index is made.

    Attributes
    ----------
    checkpoint
        Directory or hub id of the checkpoint; None: the bundled one.
    fingerprint
        Of the checkpoint's files: another one gives other embeddings.
    dim
        Dimensions of a token's embedding.
    bits
        Bits per dimension of a residual code.
    passage_tokens
        Token budget of a passage.
    """

    checkpoint: str | None
    fingerprint: str
    dim: int
    bits: int
    passage_tokens: int

    @classmethod
    def read(cls, view: View) -> Self:
        """Return the settings of an index that is open."""
        names = (field.name for field in fields(cls))
        return cls(**{name: view.catalog.setting(name) for name in names})

    def as_json(self) -> dict[str, Any]:
        """Return the form stored in the catalog."""
        return asdict(self)

    def require(self, directory: Path, asked: Mapping[str, int | None]) -> None:
        """Raise `IndexMismatchError` if something else was asked for; None asks for nothing."""
        stored = self.as_json()
        for name, value in asked.items():
            if value not in (None, stored[name]):
                raise IndexMismatchError(
                    f"{directory} was made with {name} {stored[name]}, not {value}: name "
                    "another directory to index otherwise"
                )


def create(
    directory: Path,
    source: str | Path | None,
    *,
    passage_tokens: int | None = None,
    bits: int | None = None,
    dim: int | None = None,
) -> None:
    """Make an empty index, unless another process has just made one.

    Parameters
    ----------
    source
        Directory or hub id of a checkpoint; None: the bundled one.
    passage_tokens, bits, dim
        As in `rag_tools.engine.Engine.open`.

    Raises
    ------
    InvalidQueryError
        If an index can't be made with them.
    CheckpointError
        If the checkpoint can't be read.
    IndexCorruptError
        If the directory holds something else; nothing of it is touched.
    IndexAccessError
        If it can't be made there.
    """
    passage_tokens = DEFAULT_PASSAGE_TOKENS if passage_tokens is None else passage_tokens
    bits = DEFAULT_BITS if bits is None else bits
    checkpoint = load_checkpoint(source)
    if bits not in BITS:
        raise InvalidQueryError(f"{bits} bits: choose one of {', '.join(map(str, BITS))}")
    check_dim(dim, checkpoint)
    if not MIN_PASSAGE_TOKENS <= passage_tokens <= MAX_PASSAGE_TOKENS:
        raise InvalidQueryError(
            f"passages of {passage_tokens} tokens: choose {MIN_PASSAGE_TOKENS} to "
            f"{MAX_PASSAGE_TOKENS}"
        )
    settings = IndexSettings(
        checkpoint=None if source is None else str(source),
        fingerprint=checkpoint.fingerprint,
        dim=dim or checkpoint.dim,
        bits=bits,
        passage_tokens=passage_tokens,
    )
    with failures_named(directory):
        _make(directory, {**settings.as_json(), "generation": 0})


def check_dim(dim: int | None, checkpoint: Checkpoint) -> None:
    """Raise `InvalidQueryError` unless tokens can have `dim` of the checkpoint's dimensions."""
    if dim is not None and not MIN_DIM <= dim <= checkpoint.dim:
        raise InvalidQueryError(f"{dim} dimensions: choose {MIN_DIM} to {checkpoint.dim}")


def _make(directory: Path, settings: Mapping[str, Any]) -> None:
    """Make the files of an empty index, unless another process has just made them."""
    ours = {LOCK, SEGMENTS, CODEBOOKS, schema.FILE_NAME, schema.NEW_FILE_NAME}
    if directory.exists():
        if not directory.is_dir():
            raise IndexCorruptError(f"{directory} is a file: name a directory for the index")
        foreign = sorted({entry.name for entry in directory.iterdir()} - ours)
        if foreign:
            raise IndexCorruptError(
                f"{directory} isn't an index and isn't empty (it holds {foreign[0]!r}): "
                "name an empty or new directory"
            )
    directory.mkdir(parents=True, exist_ok=True)
    with acquire(directory):
        if not (directory / schema.FILE_NAME).exists():
            (directory / SEGMENTS).mkdir(exist_ok=True)
            (directory / CODEBOOKS).mkdir(exist_ok=True)
            schema.create(directory / schema.FILE_NAME, settings)
