"""Backing up an index while it is read and written, and restoring it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rag_tools import __version__
from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.copying import copy_out, put_in_place
from rag_tools.creation import IndexSettings, prepare_directory
from rag_tools.disk import failures_named
from rag_tools.errors import BackupError, IndexCorruptError, IndexMismatchError
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.segment import SEGMENTS
from rag_tools.integrity import array_file_damage, explained
from rag_tools.locking import acquire
from rag_tools.maintenance.manifest import (
    COMMITS,
    MANIFEST,
    BackupFile,
    Manifest,
    checked,
    copied,
    damaged,
)
from rag_tools.types import BackupReport, Progress, RestoreReport

_ATTEMPTS = 10  # a writer may delete a file of a commit before it is copied
_KINDS = {".seg": "segment", ".lex": "lexical", ".cb": "codebook"}
LOCK = "backup"
"""Name of the lock of a backup."""


def backup(
    directory: Path, target: Path, *, verify: bool = False, progress: Progress | None = None
) -> BackupReport:
    """Copy the last commit of an index into the directory of a backup.

    Writers and readers of the index aren't disturbed. A backup that is there already is brought up
    to date: segments and codebooks never change, so those that it has aren't copied again. Until
    the new backup is complete, the old one can be restored.

    Parameters
    ----------
    directory
        Directory of the index.
    target
        Directory of the backup, made if there is none.
    verify
        Whether to compare the files that are there already with their checksums as well, and copy
        those anew that differ: O(size of the backup) instead of O(what changed).
    progress
        Called with the stage ``copy`` and the number of files.

    Raises
    ------
    BackupError
        If `target` contains something else, or lies in the index.
    IndexCorruptError
        If what would be copied is damaged; the backup stays as it was.
    IndexNotFoundError, IndexVersionError, IndexLockedError
        If the index can't be read.
    IndexAccessError
        If the index can't be read, or the backup can't be written.
    """
    source, place = directory.resolve(), target.resolve()
    if place == source or place.is_relative_to(source):
        raise BackupError(f"{target} lies in the index {directory}: name another directory")
    old = _prepared(target)
    with acquire(target, name=f"{LOCK}.lock"):
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return _back_up(directory, target, old, verify=verify, progress=progress)
    raise BackupError(f"{directory} changes faster than it can be copied: try again later")


def _prepared(target: Path) -> Manifest | None:
    """Make the directory of a backup; return the manifest of the one that it contains."""
    ours = {COMMITS, SEGMENTS, CODEBOOKS, f"{LOCK}.lock"}
    with failures_named(target):
        if target.exists() and not target.is_dir():
            raise BackupError(f"{target} is a file: name a directory for the backup")
        manifest = Manifest.read(target)
        if manifest is None and target.exists():
            foreign = sorted({entry.name for entry in target.iterdir()} - ours)
            foreign = [name for name in foreign if not name.endswith(".tmp")]
            if foreign or (target / schema.FILE_NAME).exists():
                raise BackupError(
                    f"{target} isn't a backup and isn't empty (it holds {foreign[0]!r}): name an "
                    "empty or new directory"
                )
        for folder in (COMMITS, SEGMENTS, CODEBOOKS):
            (target / folder).mkdir(parents=True, exist_ok=True)
    return manifest


def _back_up(
    directory: Path,
    target: Path,
    old: Manifest | None,
    *,
    verify: bool,
    progress: Progress | None,
) -> BackupReport:
    name = f"{COMMITS}/{uuid.uuid4().hex}/{schema.FILE_NAME}"
    with failures_named(target):
        (target / name).parent.mkdir()
    copy_out(directory, target / name)
    known = {} if old is None else old.by_path
    files: list[BackupFile] = []
    new: list[BackupFile] = []
    with explained(directory), contextlib.closing(Catalog.open((target / name).parent)) as catalog:
        if problems := catalog.damage():
            raise IndexCorruptError(
                f"the catalog of {directory} is damaged ({problems[0]}), so the backup in {target} "
                f"stays as it was: run 'rag-tools repair --index {directory}'"
            )
        generation, documents = catalog.setting("generation"), catalog.counts().documents
        listed = [f"{CODEBOOKS}/{file}" for file in catalog.codebook_files()]
        listed += [f"{SEGMENTS}/{file}" for row in catalog.segments() for file in row.files]
    for number, path in enumerate(listed):
        if progress:
            progress("copy", number, len(listed))
        there = known.get(path)
        if there is None or not _is_there(target / path, there, verify=verify):
            there = _copy(directory / path, target, path)
            new.append(there)
        files.append(there)
    size, sha256 = measured(target / name)
    catalog_file = BackupFile(path=name, bytes=size, sha256=sha256)
    manifest = Manifest(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        release=__version__,
        generation=generation,
        documents=documents,
        catalog=name,
        files=(catalog_file, *files),
    )
    manifest.write(target)
    sweep_backup(target, manifest)
    return BackupReport(
        backup=str(target),
        generation=generation,
        documents=documents,
        files=len(manifest.files),
        bytes=sum(file.bytes for file in manifest.files),
        copied_files=1 + len(new),
        copied_bytes=size + sum(file.bytes for file in new),
    )


def _is_there(path: Path, wanted: BackupFile, *, verify: bool) -> bool:
    if verify:
        return checked(path, wanted) is None
    with failures_named(path):
        return path.is_file() and path.stat().st_size == wanted.bytes


def _copy(source: Path, target: Path, path: str) -> BackupFile:
    size, sha256 = copied(source, target / path)
    # The copy, so that what was read from the disk of the index is checked, and what was written.
    if problem := array_file_damage(target / path, _KINDS[Path(path).suffix]):
        with failures_named(target):
            (target / path).unlink()
        raise IndexCorruptError(
            f"{source} is damaged ({problem}), so the backup in {target} stays as it was: run "
            "'rag-tools repair', then back up again"
        )
    return BackupFile(path=path, bytes=size, sha256=sha256)


def measured(path: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file: O(its size)."""
    with failures_named(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def sweep_backup(target: Path, manifest: Manifest) -> None:
    """Delete what the manifest doesn't name; what can't be deleted now is deleted the next time."""
    named = manifest.by_path
    for path in target.glob(f"{MANIFEST}.*.tmp"):  # of a backup that was killed
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (SEGMENTS, CODEBOOKS):
        for path in _entries(target / folder):
            if f"{folder}/{path.name}" not in named:
                with contextlib.suppress(OSError):
                    path.unlink()
    for path in _entries(target / COMMITS):
        if f"{COMMITS}/{path.name}/{schema.FILE_NAME}" not in named:
            shutil.rmtree(path, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    with failures_named(folder):
        yield from list(folder.iterdir())


def restore(
    source: Path, directory: Path, *, replace: bool = False, progress: Progress | None = None
) -> RestoreReport:
    """Make the index of a backup, in a new directory or in place of an older state.

    Every file of the backup is compared with its checksum first. Until the last step, which is one
    transaction, the index in `directory` is as it was; programs that read it see the restored state
    afterwards, without being restarted.

    Parameters
    ----------
    source
        Directory of the backup.
    directory
        Directory of the index.
    replace
        Whether an index in `directory` may be replaced; what it holds that isn't in the backup is
        lost.
    progress
        Called with the stage ``copy`` and the number of files.

    Raises
    ------
    BackupError
        If there is no backup or it is damaged, or there is an index that may not be replaced.
    IndexMismatchError
        If the index in `directory` was made with another checkpoint or other settings.
    IndexLockedError
        If another process is writing to it.
    IndexCorruptError
        If `directory` contains something else.
    IndexAccessError
        If the backup can't be read, or the index can't be written.
    """
    manifest = Manifest.read(source)
    if manifest is None:
        raise BackupError(f"there is no backup in {source}: make one with 'rag-tools backup'")
    if problems := list(damaged(source, manifest)):
        path, problem = problems[0]
        raise BackupError(
            f"the backup in {source} is damaged, {len(problems)} of {len(manifest.files)} files, "
            f"the first of which is {path} ({problem}): use another backup"
        )
    with failures_named(directory):
        there = (directory / schema.FILE_NAME).exists()
    if there and not replace:
        raise BackupError(
            f"there is an index in {directory}: name another directory, or allow that it is "
            "replaced (--replace)"
        )
    with failures_named(directory):
        prepare_directory(directory)
        with acquire(directory):
            if there:
                _require_same_settings(source / manifest.catalog, directory)
            _restore_files(source, directory, manifest, progress)
            copy = directory / schema.NEW_FILE_NAME
            copied(source / manifest.catalog, copy)
            put_in_place(copy, directory)
    return RestoreReport(
        index=str(directory),
        generation=manifest.generation,
        made=manifest.made,
        documents=manifest.documents,
    )


def _restore_files(
    source: Path, directory: Path, manifest: Manifest, progress: Progress | None
) -> None:
    """Copy the segments and codebooks that aren't there; no commit lists them yet."""
    files = [file for file in manifest.files if file.path != manifest.catalog]
    for number, file in enumerate(files):
        if progress:
            progress("copy", number, len(files))
        if checked(directory / file.path, file) is None:
            continue
        if copied(source / file.path, directory / file.path) != (file.bytes, file.sha256):
            raise BackupError(f"{source / file.path} changed while it was read: use another backup")


def _require_same_settings(catalog: Path, directory: Path) -> None:
    """Refuse to replace an index by one of another checkpoint, whose readers would go on."""
    try:
        live = _settings(directory)
    except (IndexCorruptError, TypeError):  # nothing reads it
        return
    restored = _settings(catalog.parent)
    if live != restored:
        raise IndexMismatchError(
            f"{directory} was made with another checkpoint, or with other settings, than the "
            "index in the backup: restore it into another directory"
        )


def _settings(directory: Path) -> IndexSettings:
    with contextlib.closing(Catalog.open(directory)) as catalog:
        return IndexSettings.of(catalog)
