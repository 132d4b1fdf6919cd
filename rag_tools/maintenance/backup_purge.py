"""Erasing documents from copies of an index: from backups, and from copies of its directory.

A backup isn't changed in place. Its files make an index beside it, from which the documents are
erased; what results becomes the backup in one step, and what nothing names any more is deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from rag_tools import __version__
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.copying import copy_out
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.disk import failures_named
from rag_tools.errors import BackupError
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.segment import SEGMENTS
from rag_tools.locking import acquire
from rag_tools.maintenance.backup import LOCK, measured, sweep_backup
from rag_tools.maintenance.manifest import (
    COMMITS,
    MANIFEST,
    BackupFile,
    Manifest,
    copied,
    damaged,
)
from rag_tools.purge.erase import dead_tokens, erase, shared_words
from rag_tools.purge.report import Finding, Purged, Scanned
from rag_tools.purge.scan import files_in, scan
from rag_tools.purge.traces import Traces
from rag_tools.writer import Writer

_WORK = "purge-"  # prefix of the folder in which a backup is made anew


class Copies(NamedTuple):
    """What there is in some folders: backups, and copies of the directory of an index."""

    backups: list[Path]
    indexes: list[Path]


class PurgedCopy(NamedTuple):
    """A copy from which documents were erased.

    Attributes
    ----------
    documents
        Those that it held.
    names
        By which of the names that were given.
    files, findings
        Its files, which were searched, and what is left in them.
    remarks
        What a person should know.
    """

    documents: tuple[Purged, ...]
    names: frozenset[str]
    files: list[Scanned]
    findings: list[Finding]
    remarks: list[str]


def copies_in(folders: Iterable[str | Path]) -> Copies:
    """Return the backups and the indexes in some folders."""
    backups: set[Path] = set()
    indexes: set[Path] = set()
    for folder in folders:
        backups |= {
            path.parent for path in Path(folder).rglob(MANIFEST) if (path.parent / COMMITS).is_dir()
        }
        indexes |= {path.parent for path in Path(folder).rglob(FILE_NAME)}
    inside = {path for path in indexes if any(each in backups for each in path.parents)}
    return Copies(sorted(backups), sorted(indexes - inside))


def purge_index(directory: Path, names: Sequence[str], traces: Traces) -> PurgedCopy:
    """Erase documents from a copy of an index, and look for traces in its files.

    Parameters
    ----------
    names
        Their ids, or where they came from.
    traces
        Of the documents as they are in the index itself; what they are in the copy is added.

    Raises
    ------
    IndexLockedError, IndexAccessError, IndexCorruptError, IndexVersionError
        If the copy can't be read or written.
    OSError
        If a file can't be read to search it.
    """
    erased = _erase(directory, names, traces)
    files, found = scan(files_in([directory]), erased.content)
    return PurgedCopy(erased.documents, erased.names, files, [*erased.left, *found], erased.remarks)


def purge_backup(target: Path, names: Sequence[str], traces: Traces) -> PurgedCopy:
    """Make a backup anew without some documents, and look for traces in its files: O(its size).

    Until the last step, the old backup can be restored; then its files are deleted. Parameters are
    those of `purge_index`.

    Raises
    ------
    BackupError
        If it is damaged, so that it can't be made anew.
    IndexLockedError, IndexAccessError, IndexCorruptError, IndexVersionError
        If it is being written, or can't be read or written.
    OSError
        If a file can't be read to search it.
    """
    with acquire(target, name=f"{LOCK}.lock"), failures_named(target):
        for left in target.glob(f"{_WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        manifest = Manifest.read(target)
        if manifest is None:
            raise BackupError(f"there is no backup in {target}")
        if problems := list(damaged(target, manifest)):
            raise BackupError(
                f"the backup in {target} is damaged ({problems[0][0]}: {problems[0][1]}), so it "
                "can't be made anew: delete it"
            )
        work = target / f"{_WORK}{uuid.uuid4().hex}"
        try:
            _unfold(target, manifest, work)
            erased = _erase(work, names, traces)
            if erased.documents:
                new = _folded(target, manifest, work)
                new.write(target)
                sweep_backup(target, new)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        files, found = scan(files_in([target]), erased.content)
    return PurgedCopy(erased.documents, erased.names, files, [*erased.left, *found], erased.remarks)


class _Erased(NamedTuple):
    documents: tuple[Purged, ...]
    names: frozenset[str]
    content: dict[bytes, str]
    left: list[Finding]
    remarks: list[str]


def _erase(directory: Path, names: Sequence[str], traces: Traces) -> _Erased:
    own = deepcopy(traces)
    with Writer(directory, None) as writer:
        found = {name: _named(writer, name) for name in names}
        known = list(dict.fromkeys(id for ids in found.values() for id in ids))
        documents, remarks = erase(writer, directory, known, own)
        shared = shared_words(writer, directory, own.words)
        content = own.beside(writer.catalog, shared)
        left = dead_tokens(writer, directory, own) if writer.catalog.codebook_files() else []
    given = frozenset(name for name, ids in found.items() if ids)
    return _Erased(documents, given, content, left, remarks)


def _named(writer: Writer, name: str) -> list[str]:
    """Return the ids of the documents that an id or an address stands for."""
    catalog = writer.catalog
    return [name] if catalog.knows(name) else [*catalog.ids_of(name), *catalog.version_ids_of(name)]


def _unfold(target: Path, manifest: Manifest, work: Path) -> None:
    """Make an index of the files of a backup, of which only the catalog is copied."""
    for folder in (SEGMENTS, CODEBOOKS):
        (work / folder).mkdir(parents=True)
    for file in manifest.files:
        if file.path == manifest.catalog:
            copied(target / file.path, work / FILE_NAME)
            continue
        try:
            os.link(target / file.path, work / file.path)
        except OSError:  # a file system without links
            copied(target / file.path, work / file.path)


def _folded(target: Path, old: Manifest, work: Path) -> Manifest:
    """Put the files of an index into a backup, and return the manifest that names them."""
    name = f"{COMMITS}/{uuid.uuid4().hex}/{FILE_NAME}"
    (target / name).parent.mkdir()
    copy_out(work, target / name)
    with contextlib.closing(Catalog.open((target / name).parent)) as catalog:
        documents = catalog.counts().documents
        generation = catalog.setting("generation")
        listed = [f"{CODEBOOKS}/{file}" for file in catalog.codebook_files()]
        listed += [f"{SEGMENTS}/{file}" for row in catalog.segments() for file in row.files]
    size, sha256 = measured(target / name)
    files = [BackupFile(path=name, bytes=size, sha256=sha256)]
    for path in listed:
        there = old.by_path.get(path)
        if there is None:
            size, sha256 = copied(work / path, target / path)
            there = BackupFile(path=path, bytes=size, sha256=sha256)
        files.append(there)
    return old.model_copy(
        update={
            "release": __version__,
            "generation": generation,
            "documents": documents,
            "catalog": name,
            "files": tuple(files),
        }
    )
