"""The manifest of a backup: which files it consists of, and their checksums.

A backup is a directory::

    manifest.json                     names everything below; written last, replaced in one step
    commits/NAME/catalog.sqlite       the catalog of the commit
    segments/*.seg, segments/*.lex, codebooks/*.cb
                                      as in an index; files that several backups name exist once

What the manifest doesn't name is left over from an interrupted backup.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from rag_tools.disk import failures_named
from rag_tools.errors import BackupError
from rag_tools.index.arrayfile import open_atomically
from rag_tools.types import Value

MANIFEST = "manifest.json"
COMMITS = "commits"

_MOST_BYTES = 64 * 1024 * 1024  # of a manifest: about 400,000 files
_PIECE = 1 << 20
# Only names that a backup gives: one from elsewhere must not lead out of its directory.
_PATH = re.compile(r"(segments/\w+\.(seg|lex)|codebooks/\w+\.cb|commits/[\w-]+/catalog\.sqlite)")


class BackupFile(Value):
    """A file of a backup, by its path in it."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _ours(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError(f"{value!r} can't be a file of a backup")
        return value


class Manifest(Value):
    """What a backup consists of.

    Attributes
    ----------
    kind, version
        Tell a manifest of ours from other files.
    made
        When, in ISO 8601.
    release
        The release of rag-tools that made it.
    generation, documents
        Number of the commit, and of its documents.
    catalog
        The path of the catalog, one of `files`.
    files
        All files.
    """

    kind: Literal["rag-tools backup"] = "rag-tools backup"
    version: Literal[1] = 1
    made: str
    release: str
    generation: int
    documents: int
    catalog: str
    files: tuple[BackupFile, ...]

    @property
    def by_path(self) -> dict[str, BackupFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    @classmethod
    def read(cls, backup: Path) -> Manifest | None:
        """Return the manifest of a backup; None if there is none.

        Raises
        ------
        BackupError
            If it is damaged or something else.
        IndexAccessError
            If it can't be read.
        """
        path = backup / MANIFEST
        with failures_named(path):
            try:
                with path.open("rb") as file:
                    data = file.read(_MOST_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(data) > _MOST_BYTES:
            raise BackupError(f"{path} is too large for the manifest of a backup")
        try:
            found = cls.model_validate_json(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise BackupError(
                f"{path} isn't the manifest of a backup that this release reads ({problem}): name "
                "another directory, or upgrade rag-tools"
            ) from error
        if found.catalog not in found.by_path:
            raise BackupError(f"{path} doesn't list its catalog: the backup isn't complete")
        return found

    def write(self, backup: Path) -> None:
        """Replace the manifest of a backup, in one step."""
        path = backup / MANIFEST
        with failures_named(path), open_atomically(path) as file:
            file.write(self.model_dump_json(indent=1).encode())


def copied(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file durably, whole or not at all; return its size and SHA-256: O(its size).

    Raises
    ------
    FileNotFoundError
        If there is no source.
    IndexAccessError
        If it can't be read, or the target can't be written.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with failures_named(target), source.open("rb") as file:  # noqa: SIM117 - one at a time
            with open_atomically(target) as copy:
                for piece in iter(lambda: file.read(_PIECE), b""):
                    digest.update(piece)
                    copy.write(piece)
                    size += len(piece)
    except Exception as error:
        if isinstance(error.__cause__, FileNotFoundError) and not source.exists():
            raise error.__cause__ from None
        raise
    return size, digest.hexdigest()


def checked(path: Path, wanted: BackupFile) -> str | None:
    """Return what is wrong with a file that should be `wanted`, or None: O(its size).

    Raises
    ------
    IndexAccessError
        If it can't be read.
    """
    digest = hashlib.sha256()
    with failures_named(path):
        try:
            with path.open("rb") as file:
                size = 0
                for piece in iter(lambda: file.read(_PIECE), b""):
                    digest.update(piece)
                    size += len(piece)
        except (FileNotFoundError, IsADirectoryError):
            return "it is missing"
    if size != wanted.bytes:
        return f"it has {size} bytes instead of {wanted.bytes}"
    return None if digest.hexdigest() == wanted.sha256 else "its checksum differs"


def damaged(backup: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the path and the problem of each damaged file of a backup: O(its size)."""
    for file in manifest.files:
        if problem := checked(backup / file.path, file):
            yield file.path, problem
