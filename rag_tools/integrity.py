"""Finding damage in an index: everything that would make a document or a passage unreadable.

Nothing is changed here; `rag_tools.maintenance.repair` does that. What isn't protected by a
checksum, such as the title of a document, can't be told from one that was written so.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.rows import SegmentRow, decode_document
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError, RagToolsError
from rag_tools.index.arrayfile import ArrayFile
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.postings import KIND, Postings
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.types import Damage

_NAMED = 3  # damaged things that a message names

# What reading damaged data can raise: nothing else tells a damaged number from a good one.
_SYMPTOMS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,  # UnicodeDecodeError, JSONDecodeError and the errors of pydantic are of this kind
    RecursionError,
    sqlite3.Error,
    struct.error,
    zlib.error,
)

_SETTINGS: dict[str, tuple[type, ...]] = {
    "checkpoint": (str, type(None)),
    "fingerprint": (str,),
    "dim": (int,),
    "bits": (int,),
    "passage_tokens": (int,),
    "generation": (int,),
}


@contextlib.contextmanager
def explained(directory: Path, sound: set[tuple[int, ...]] | None = None) -> Iterator[None]:
    """Run a block that reads an index; if an error in it is due to damage, say so.

    Only if the block raises an error that damaged data could cause, the index is checked: O(size).
    An error by which SQLite names trouble, such as a full disk, is raised as it is.

    Parameters
    ----------
    sound
        Remembers the last state in which nothing was found, so that it isn't checked again.

    Raises
    ------
    IndexCorruptError
        If the block raised such an error and the index is damaged. If it isn't, the error is
        raised as it is.
    """
    try:
        yield
    except RagToolsError:  # some are a ValueError as well
        raise
    except _SYMPTOMS as error:
        _reraise_trouble(error)
        state = _state(directory)
        if sound is not None and state in sound:
            raise
        found = list(damage(directory, most=_NAMED))
        if not found:
            if sound is not None:
                sound.clear()
                sound.add(state)
            raise
        raise corrupt(directory, found) from error


def _state(directory: Path) -> tuple[int, ...]:
    """Return what changes with every commit: sizes and times of the catalog and its log."""
    facts: list[int] = []
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        with contextlib.suppress(OSError):
            status = (directory / name).stat()
            facts += [status.st_size, status.st_mtime_ns]
    return tuple(facts)


def corrupt(directory: Path, found: Iterable[Damage]) -> IndexCorruptError:
    """Return the exception that names what is damaged, and the way out."""
    named = list(found)
    listed = "; ".join(map(str, named[:_NAMED]))
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return IndexCorruptError(
        f"{directory} is damaged ({listed}{more}): run 'rag-tools repair --index {directory}', "
        f"which keeps what is intact, or delete {directory} and index again"
    )


def damage(directory: Path, *, most: int = 1000) -> Iterator[Damage]:
    """Find at most `most` damaged things in the current commit of an index: O(its size).

    Raises
    ------
    IndexNotFoundError, IndexVersionError, IndexAccessError, IndexLockedError
        If the index can't be read, and not because of what is in it.
    """
    with failures_named(directory):
        found = _damage(directory)
        for _, each in zip(range(most), found, strict=False):
            yield each


def _damage(directory: Path) -> Iterator[Damage]:
    try:
        catalog = Catalog.open(directory)
    except IndexCorruptError as error:
        yield Damage(kind="catalog", name=FILE_NAME, problem=str(error))
        return
    except _SYMPTOMS as error:
        yield _named("catalog", FILE_NAME, error)
        return
    with contextlib.closing(catalog):
        try:
            with catalog.state():
                yield from _catalog(catalog)
                yield from _documents(catalog)
                yield from _versions(catalog)
                yield from _files(directory, catalog)
        except (IndexCorruptError, *_SYMPTOMS) as error:
            _reraise_trouble(error)
            yield _named("catalog", FILE_NAME, error)


def _reraise_trouble(error: Exception) -> None:
    """Raise an error of SQLite again that is no damage, such as a failing disk."""
    if isinstance(error, sqlite3.Error):
        try:
            with failures_named(Path(FILE_NAME)):
                raise error
        except IndexCorruptError:
            return
        except RagToolsError:
            raise error from None
        except sqlite3.Error:  # of no kind: its text can't be read as what it must be
            return


def _named(kind: Any, name: str, error: BaseException) -> Damage:  # noqa: ANN401 - a DamageKind
    if isinstance(error, RagToolsError):
        return Damage(kind=kind, name=name, problem=str(error))
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Damage(kind=kind, name=name, problem=said)


def _catalog(catalog: Catalog) -> Iterator[Damage]:
    """Check the catalog's file, its settings, and what must agree in its tables."""
    for problem in catalog.damage():
        yield Damage(kind="catalog", name=FILE_NAME, problem=problem)
    for name, types in _SETTINGS.items():
        try:
            value = catalog.setting(name)
        except ValueError as error:
            yield _named("setting", name, error)
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            yield Damage(kind="setting", name=name, problem=f"{value!r} can't be its value")
    try:
        catalog.roots()
    except _SYMPTOMS as error:
        yield _named("setting", "roots", error)


def _documents(catalog: Catalog) -> Iterator[Damage]:
    """Read every document whole, and compare it with its checksum and its passages."""
    for key in catalog.all_keys():
        row = catalog.stored_document(key)
        name = row.id if isinstance(row.id, str) else f"#{key}"
        try:
            document = decode_document(row)
            sha256, size = document.sha256, len(document.text)
            if sha256 != row.sha256:
                problem = "its text isn't the one that its checksum was made of"
                yield Damage(kind="document", name=name, problem=problem)
            elif catalog.document_key(row.id) != key:
                problem = "it isn't found by its id"
                yield Damage(kind="document", name=name, problem=problem)
        except (RagToolsError, *_SYMPTOMS) as error:
            _reraise_trouble(error)
            yield _named("document", name, error)
            continue
        try:
            ranges = [row.passage for row in catalog.passages_of(key)]
            if not all(0 <= each.start <= each.end <= size for each in ranges):
                raise ValueError("a passage isn't within the text")
            if not covers(((each.start, each.end) for each in ranges), document.text):
                raise ValueError("no passage covers a part of the text")
            for each in ranges:
                "".join(each.path)
        except _SYMPTOMS as error:
            _reraise_trouble(error)
            yield _named("passage", name, error)


def _versions(catalog: Catalog) -> Iterator[Damage]:
    """Read every earlier version whole, and where the documents are from."""
    for key in catalog.version_keys():
        row = catalog.stored_version(key)
        name = f"{row.id}, version {key}"
        try:
            if decode_document(row).sha256 != row.sha256:
                problem = "its text isn't the one that its checksum was made of"
                yield Damage(kind="version", name=name, problem=problem)
        except (RagToolsError, *_SYMPTOMS) as error:
            _reraise_trouble(error)
            yield _named("version", name, error)
    for key in catalog.all_keys():
        try:
            _, told = catalog.provenance(key)
            if told is not None:
                json.loads(told)
        except _SYMPTOMS as error:
            _reraise_trouble(error)
            yield _named("version", f"where document #{key} is from", error)


def covers(ranges: Iterable[tuple[int, int]], text: str) -> bool:
    """Return whether ranges, in order of their starts, leave out nothing but white space.

    Examples
    --------
    >>> covers([(0, 3), (2, 6)], "as far")
    True
    >>> covers([(0, 3), (4, 6)], "as far")
    False
    """
    end = 0
    for start, stop in ranges:
        if start > end and text[end:start].strip():
            return False
        end = max(end, stop)
    return not text[end:].strip()


def _files(directory: Path, catalog: Catalog) -> Iterator[Damage]:
    """Check the codebook and the segments, and that every passage stands in one."""
    codebook = None
    parts = [directory / CODEBOOKS / file for file in catalog.codebook_files()]
    intact = True
    for path in parts:
        problem = array_file_damage(path, "codebook")
        if problem:
            intact = False
            yield Damage(kind="codebook", name=path.name, problem=problem)
    if parts and intact:
        try:
            codebook = Codebook.read(parts)
        except (IndexCorruptError, *_SYMPTOMS) as error:
            yield _named("codebook", parts[0].name, error)
    for row in catalog.segments():
        problem = segment_damage(directory / SEGMENTS / row.file, row, codebook)
        problem = problem or _places(catalog, row)
        if problem:
            yield Damage(kind="segment", name=row.file, problem=problem)
        if row.lexical is None:  # in an earlier format, words are looked up in the texts
            continue
        if problem := lexical_damage(directory / SEGMENTS / row.lexical, row, catalog):
            yield Damage(kind="lexical", name=row.lexical, problem=problem)
    if lost := catalog.count_homeless():
        problem = f"{lost} passages stand in a segment that isn't listed"
        yield Damage(kind="passage", name="", problem=problem)


def array_file_damage(path: Path, kind: str) -> str | None:
    """Return what is wrong with a file of arrays, or None: O(its size).

    Raises
    ------
    IndexAccessError
        If it can't be read for another reason.
    """
    try:
        ArrayFile(path, kind).check()
    except IndexCorruptError as error:
        return str(error)
    except _SYMPTOMS as error:
        return _named("segment", path.name, error).problem
    return None


def segment_damage(path: Path, row: SegmentRow, codebook: Codebook | None) -> str | None:
    """Return what is wrong with the file of a segment, or None: O(its size)."""
    problem = array_file_damage(path, "segment")
    if problem or codebook is None:
        return problem
    try:
        segment = Segment(path, codebook)
        if (len(segment), segment.n_tokens) != (row.passages, row.tokens):
            return (
                f"it holds {len(segment)} passages of {segment.n_tokens} tokens, and the catalog "
                f"lists {row.passages} of {row.tokens}"
            )
        if segment.n_tokens and int(segment.centroids.max()) >= len(codebook):
            return "it refers to a centroid that the codebook doesn't have"
    except (IndexCorruptError, *_SYMPTOMS) as error:
        return _named("segment", path.name, error).problem
    return None


def lexical_damage(path: Path, row: SegmentRow, catalog: Catalog) -> str | None:
    """Return what is wrong with a segment's lexical postings, or None: O(size of its texts)."""
    if problem := array_file_damage(path, KIND):
        return problem
    try:
        digests = Postings.open(path).digests.tolist()
        if len(digests) != row.passages:
            return f"it holds {len(digests)} passages, and the catalog lists {row.passages}"
        pairs = zip(digests, catalog.wording(row), strict=True)
        missing = sum(words is not None and digest != words.digest for digest, words in pairs)
    except (IndexCorruptError, *_SYMPTOMS) as error:
        _reraise_trouble(error)
        return _named("lexical", path.name, error).problem
    return f"the words of {missing} passages are missing" if missing else None


def _places(catalog: Catalog, row: SegmentRow) -> str | None:
    """Return what is wrong with the catalog's list of a segment's passages, or None."""
    live, dead = catalog.positions(row.id), catalog.tombstones(row.id)
    both = np.sort(np.concatenate([live, dead]))
    if not np.array_equal(both, np.arange(row.passages)):
        return (
            f"of its {row.passages} passages, the catalog lists {len(live)} as live and "
            f"{len(dead)} as deleted"
        )
    return None
