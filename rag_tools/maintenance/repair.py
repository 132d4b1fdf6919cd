"""Repairing a damaged index from what is intact in it.

A new catalog is made of the rows that can be read. Documents keep their embeddings if the segments
that hold them are intact; the others are encoded again from their texts. All that happens beside
the index, which the result replaces in one step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.copying import put_in_place, sweep_unlisted
from rag_tools.catalog.salvage import SalvagedCatalog, copy_rows
from rag_tools.creation import DEFAULT_PASSAGE_TOKENS, IndexSettings
from rag_tools.disk import failures_named
from rag_tools.encode.checkpoint import Checkpoint, load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import IndexCorruptError, IndexMismatchError
from rag_tools.index.arrayfile import ArrayFile
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.postings import runs, write_postings
from rag_tools.index.segment import SEGMENTS
from rag_tools.integrity import (
    array_file_damage,
    covers,
    damage,
    lexical_damage,
    segment_damage,
)
from rag_tools.locking import acquire
from rag_tools.quota import SETTING as QUOTA
from rag_tools.types import Damage, Progress, Quota, RepairReport
from rag_tools.writer import Writer

_WORK = "repair-"  # prefix of the folder in which the new state is made


def repair(
    directory: Path, *, checkpoint: str | Path | None = None, progress: Progress | None = None
) -> RepairReport:
    """Repair an index; keep every document whose text is intact.

    If nothing is damaged, nothing is changed. An interrupted repair leaves the index as it was.

    Parameters
    ----------
    directory
        Directory of the index.
    checkpoint
        Directory or hub id of the checkpoint that the index was made with. Default: the one that it
        names.
    progress
        Called with the stage ``encode`` and the number of passages encoded.

    Raises
    ------
    IndexNotFoundError, IndexVersionError, IndexLockedError
        If there is no index, a newer release made it, or another process is writing to it.
    IndexCorruptError
        If its catalog can't be read as a database at all.
    IndexMismatchError
        If passages must be encoded, and the checkpoint isn't the one of the index.
    IndexAccessError
        If the index can't be read, or there is no room for the new state beside it.
    """
    found = tuple(damage(directory))
    with acquire(directory), failures_named(directory):
        for path in directory.glob(f"{_WORK}*"):
            shutil.rmtree(path, ignore_errors=True)
        if not found:
            with contextlib.closing(Catalog.open(directory)) as catalog:
                sweep_unlisted(directory, catalog)
                return RepairReport(kept=catalog.counts().documents)
        work = directory / f"{_WORK}{uuid.uuid4().hex}"
        try:
            return _repaired(directory, work, found, checkpoint, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _repaired(
    directory: Path,
    work: Path,
    found: tuple[Damage, ...],
    checkpoint: str | Path | None,
    progress: Progress | None,
) -> RepairReport:
    for folder in (SEGMENTS, CODEBOOKS):
        (work / folder).mkdir(parents=True)
        (directory / folder).mkdir(exist_ok=True)
    lost = [f"#{key}" for key in copy_rows(directory, work)]
    catalog = SalvagedCatalog.open_new(work)
    try:
        ids = {}
        for key in catalog.all_keys():
            row = catalog.stored_document(key)
            ids[key] = row.id
        _keep_files(directory, work, catalog)
        catalog.drop_unreadable_roots()
        catalog.settle()
        kept, again, restructured = 0, [], []
        for key, id in ids.items():
            salvaged = catalog.salvage(key)
            if salvaged is None:
                lost.append(id)
                continue
            if not salvaged.whole:
                restructured.append(id)
            if _complete(catalog, key, salvaged.document.text):
                kept += salvaged.whole
            else:
                catalog.drop_passages(key)
                again.append(id)
        lost_versions = catalog.drop_unreadable_versions()
        settings = _settings(work, catalog, checkpoint)
        quota = catalog.readable_setting(QUOTA)
        if again:
            catalog.set_setting(QUOTA, {})  # what was in the index must be in it again
        _keep_words(directory, work, catalog)
        catalog.finish()
    except BaseException:
        catalog.close()
        raise
    if again:
        _encode(work, settings, again, checkpoint, progress, Quota.model_validate(quota or {}))
    _move(work, directory)
    return RepairReport(
        damage=found,
        kept=kept,
        encoded=tuple(sorted(again)),
        restructured=tuple(sorted(restructured)),
        lost=tuple(sorted(lost)),
        lost_versions=lost_versions,
    )


def _complete(catalog: Catalog, key: int, text: str) -> bool:
    """Return whether the passages of a document are there, and cover it."""
    try:
        passages = [row.passage for row in catalog.passages_of(key)]
        for each in passages:
            "".join(each.path)
        return all(0 <= each.start <= each.end <= len(text) for each in passages) and covers(
            ((each.start, each.end) for each in passages), text
        )
    except (ValueError, TypeError):
        return False


def _keep_files(directory: Path, work: Path, catalog: SalvagedCatalog) -> None:
    """Put the intact codebook and segments into the new state; drop the others from its catalog."""
    parts = [directory / CODEBOOKS / file for file in catalog.codebook_files()]
    codebook = None
    if parts and all(array_file_damage(path, "codebook") is None for path in parts):
        with contextlib.suppress(IndexCorruptError, ValueError, LookupError, TypeError):
            codebook = Codebook.read(parts)
    if codebook is None:
        catalog.drop_codebook()
    else:
        for path in parts:
            _link(path, work / CODEBOOKS / path.name)
    for row in catalog.segments():
        path = directory / SEGMENTS / row.file
        if codebook is None or segment_damage(path, row, codebook):
            catalog.drop_segment(row.id)
        else:
            _link(path, work / SEGMENTS / row.file)


def _keep_words(directory: Path, work: Path, catalog: SalvagedCatalog) -> None:
    """Put the intact lexical postings into the new state; make the others anew of the texts."""
    for row in catalog.segments():
        assert row.lexical is not None, "the new catalog has the current format"
        path = directory / SEGMENTS / row.lexical
        if lexical_damage(path, row, catalog) is None:
            _link(path, work / SEGMENTS / row.lexical)
            continue
        file = f"{uuid.uuid4().hex}.lex"
        write_postings(work / SEGMENTS / file, runs(catalog.wording(row)))
        catalog.set_lexical(row.id, file)


def _link(source: Path, target: Path) -> None:
    """Make a file appear at another place; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _settings(work: Path, catalog: SalvagedCatalog, checkpoint: str | Path | None) -> IndexSettings:
    """Return the settings of the index; what can't be read of them is what it must have been."""
    stored: dict[str, Any] = {
        name: catalog.readable_setting(name)
        for name in ("checkpoint", "fingerprint", "dim", "bits", "passage_tokens")
    }
    missing = {name for name in stored if name != "checkpoint" and stored[name] is None}
    if missing:
        stored |= _guessed(work, catalog, _known(checkpoint, stored["checkpoint"]))
        if checkpoint is not None:
            stored["checkpoint"] = str(checkpoint)
        for name, value in stored.items():
            catalog.set_setting(name, value)
    if not isinstance(catalog.readable_setting("generation"), int):
        catalog.set_setting("generation", 0)
    return IndexSettings(**stored)


def _known(given: str | Path | None, named: str | None) -> Checkpoint:
    """Return the checkpoint that the user named, or else that which the index names."""
    if given is None:
        return load_checkpoint(named, network=False)
    return load_checkpoint(given)


def _guessed(work: Path, catalog: SalvagedCatalog, known: Checkpoint) -> Mapping[str, Any]:
    """Return what the settings must be by the checkpoint and the codebook."""
    facts = {"fingerprint": known.fingerprint, "dim": known.dim, "bits": 4}
    for file in catalog.codebook_files()[:1]:
        codebook = ArrayFile(work / CODEBOOKS / file, "codebook")
        facts |= {"bits": codebook.meta["bits"], "dim": codebook["centroids"].shape[1]}
    tokens = catalog.readable_setting("passage_tokens")
    return {**facts, "passage_tokens": tokens or DEFAULT_PASSAGE_TOKENS}


def _encode(
    work: Path,
    settings: IndexSettings,
    ids: list[str],
    checkpoint: str | Path | None,
    progress: Progress | None,
    quota: Quota,
) -> None:
    """Put documents anew: what isn't among the embeddings of the intact segments is encoded."""
    known = _known(checkpoint, settings.checkpoint)
    if known.fingerprint != settings.fingerprint:
        raise IndexMismatchError(
            f"{len(ids)} documents must be encoded again, and the checkpoint {known.name!r} gives "
            "other embeddings than the one of the index: name that one with --checkpoint"
        )
    encoder = Encoder(known, dim=settings.dim)
    with Writer(
        work,
        encoder,
        passage_tokens=settings.passage_tokens,
        bits=settings.bits,
        progress=progress,
    ) as writer:
        for id in ids:
            key = writer.catalog.document_key(id)
            assert key is not None, "the document was salvaged"
            path, state = writer.catalog.source(key)
            source = None if path is None else (path, state)
            writer.put(writer.prepare(writer.catalog.document(key), source))
        writer.set_setting(QUOTA, quota.model_dump())


def _move(work: Path, directory: Path) -> None:
    """Make the new state that of the index: its files first, which no commit lists yet."""
    for folder in (SEGMENTS, CODEBOOKS):
        for path in (work / folder).iterdir():
            target = directory / folder / path.name
            if not target.exists() or not target.samefile(path):
                path.replace(target)
    put_in_place(work / schema.FILE_NAME, directory)
