"""Creating an index, and the settings that are fixed when it is made.

`rag_tools.writer` makes all later changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.disk import failures_named
from rag_tools.encode.checkpoint import Checkpoint, load_checkpoint
from rag_tools.errors import IndexCorruptError, IndexMismatchError, InvalidQueryError
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.residual import BITS
from rag_tools.index.segment import SEGMENTS
from rag_tools.ingest.chunk import MIN_PASSAGE_TOKENS
from rag_tools.locking import LOCK, acquire
from rag_tools.reader import View
from rag_tools.watching import STATE, WATCH_LOCK

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
    """The settings that are fixed when an index is made.

    Attributes
    ----------
    checkpoint
        Directory or hub id of the checkpoint; None is the bundled one.
    fingerprint
        Fingerprint of the checkpoint's files: a checkpoint with another one gives other embeddings.
    dim
        Dimensions of a token's embedding.
    bits
        Bits per dimension of a residual code: 4, 2 or 1.
    passage_tokens
        Maximum tokens per passage.
    """

    checkpoint: str | None
    fingerprint: str
    dim: int
    bits: int
    passage_tokens: int

    @classmethod
    def read(cls, view: View) -> Self:
        """Return the settings of an open index."""
        return cls.of(view.catalog)

    @classmethod
    def of(cls, catalog: Catalog) -> Self:
        """Return the settings that a catalog holds."""
        names = (field.name for field in fields(cls))
        return cls(**{name: catalog.setting(name) for name in names})

    def as_json(self) -> dict[str, Any]:
        """Return the settings as the catalog stores them."""
        return asdict(self)

    def require(self, directory: Path, asked: Mapping[str, int | None]) -> None:
        """Raise `IndexMismatchError` if a value in `asked`, other than None, isn't the setting."""
        stored = self.as_json()
        for name, value in asked.items():
            if value not in (None, stored[name]):
                raise IndexMismatchError(
                    f"{directory} was made with {name} {stored[name]}, not {value}: to use another "
                    "value, index into another directory"
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
        Directory or hub id of a checkpoint; None is the bundled one.
    passage_tokens, bits, dim
        As in `rag_tools.engine.Engine.open`.

    Raises
    ------
    InvalidQueryError
        If an index can't be made with these values.
    CheckpointError
        If the checkpoint can't be read.
    IndexCorruptError
        If the directory contains something else, which isn't changed.
    IndexAccessError
        If the index can't be made there.
    """
    passage_tokens = DEFAULT_PASSAGE_TOKENS if passage_tokens is None else passage_tokens
    bits = DEFAULT_BITS if bits is None else bits
    checkpoint = load_checkpoint(source)
    if bits not in BITS:
        raise InvalidQueryError(
            f"{bits} bits per dimension: choose one of {', '.join(map(str, BITS))}"
        )
    check_dim(dim, checkpoint)
    if not MIN_PASSAGE_TOKENS <= passage_tokens <= MAX_PASSAGE_TOKENS:
        raise InvalidQueryError(
            f"{passage_tokens} tokens per passage: choose a number from {MIN_PASSAGE_TOKENS} to "
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
    """Raise `InvalidQueryError` if tokens can't have `dim` dimensions with this checkpoint."""
    if dim is not None and not MIN_DIM <= dim <= checkpoint.dim:
        raise InvalidQueryError(
            f"{dim} dimensions per token: choose a number from {MIN_DIM} to {checkpoint.dim}"
        )


def _make(directory: Path, settings: Mapping[str, Any]) -> None:
    """Make the files of an empty index, unless another process has just made them."""
    prepare_directory(directory)
    with acquire(directory):
        if not (directory / schema.FILE_NAME).exists():
            schema.create(directory / schema.FILE_NAME, settings)


def prepare_directory(directory: Path) -> None:
    """Make the directory of an index and the folders in it, unless they are there.

    Raises
    ------
    IndexCorruptError
        If the directory contains something else, which isn't changed.
    """
    ours = {LOCK, SEGMENTS, CODEBOOKS, schema.FILE_NAME, WATCH_LOCK, STATE}
    if directory.exists():
        if not directory.is_dir():
            raise IndexCorruptError(f"{directory} is a file: name a directory for the index")
        names = {entry.name for entry in directory.iterdir()} - ours
        # What an interruption left of a catalog that wasn't finished doesn't count.
        foreign = sorted(name for name in names if not name.startswith(schema.NEW_FILE_NAME))
        if foreign and not (directory / schema.FILE_NAME).exists():
            raise IndexCorruptError(
                f"{directory} isn't an index and isn't empty (it holds {foreign[0]!r}): "
                "name an empty or new directory"
            )
    for folder in (SEGMENTS, CODEBOOKS):
        (directory / folder).mkdir(parents=True, exist_ok=True)
