"""How long documents are kept: holding them, letting them expire, and purging them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag_tools import __version__
from rag_tools.audit.entry import recorded
from rag_tools.audit.log import AuditLog
from rag_tools.catalog.history import SETTING
from rag_tools.disk import described
from rag_tools.errors import IndexAccessError, InvalidQueryError, RagToolsError
from rag_tools.indexer import Indexer
from rag_tools.instants import now
from rag_tools.maintenance.backup_purge import (
    Copies,
    PurgedCopy,
    copies_in,
    purge_backup,
    purge_index,
)
from rag_tools.opened import OpenIndex, patterns
from rag_tools.purge.erase import dead_tokens, erase, shared_words
from rag_tools.purge.report import PurgeReport
from rag_tools.purge.scan import files_in, scan
from rag_tools.purge.traces import Traces
from rag_tools.types import VersionRules
from rag_tools.versioning import rules_of, trim
from rag_tools.writer import Writer

_LEAST_QUERY = 12  # characters of a query that counts as a quotation of the text that it is in


class Retention:
    """Holds, expires and purges documents of an index; available as `Engine.retention`.

    A document that is expired doesn't exist to whoever reads, from that second on. The next sync
    purges it. One that is held is kept and can be read, whether it has expired or not.
    """

    def __init__(self, opened: OpenIndex, indexer: Indexer) -> None:
        self._opened = opened
        self._indexer = indexer

    def hold(self, document_ids: Iterable[str]) -> int:
        """Hold documents: they are neither deleted nor purged until they are released.

        Returns
        -------
        int
            How many of them exist. Unknown ids are ignored.

        Raises
        ------
        IndexLockedError, IndexAccessError, AuditError
            If the index can't be written, or that can't be recorded.
        """
        return self._set("hold", document_ids, {"hold": True})

    def release(self, document_ids: Iterable[str]) -> int:
        """Release documents that were held; see `hold`."""
        return self._set("release", document_ids, {"hold": False})

    def expire(self, document_ids: Iterable[str], when: datetime | int | None) -> int:
        """Set when documents expire: a time, or Unix time in seconds; None: never. See `hold`.

        Raises
        ------
        InvalidQueryError
            If the time has no time zone.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise InvalidQueryError(f"{when} has no time zone: add one, such as UTC")
            when = int(when.timestamp())
        return self._set("expire", document_ids, {"expires": when})

    def keep_versions(
        self,
        keep: bool | Sequence[str] | None = None,
        *,
        most: int | None = None,
        days: float | None = None,
    ) -> VersionRules:
        """Set which earlier versions of documents are kept; return what counts from now on.

        Versions that are there and exceed a limit are deleted, except those of documents that are
        held. What else is there stays.

        Parameters
        ----------
        keep
            Whether versions are kept, or patterns as in a .gitignore of the paths of documents
            whose versions are; None: as before.
        most
            The most earlier versions of a document; 0: no limit; None: as before.
        days
            How long a version is kept after it was replaced; 0: for ever; None: as before.

        Raises
        ------
        InvalidQueryError
            If a limit is negative.
        IndexLockedError, IndexAccessError, AuditError
            As for `hold`.
        """
        update: dict[str, Any] = {} if keep is None else {"keep": patterns(keep)}
        update |= {"most": most or None} if most is not None else {}
        update |= {"days": days or None} if days is not None else {}
        with (
            recorded(self._opened.audit, "versions", change=True) as entry,
            self._indexer.session(None) as writer,
        ):
            writer.commit()
            rules = rules_of(writer.catalog)
            try:
                rules = VersionRules.model_validate({**rules.model_dump(), **update})
            except ValidationError as error:
                raise InvalidQueryError(
                    f"{most} versions for {days} days: give numbers above 0, or 0 for no limit"
                ) from error
            entry.detail = rules.model_dump(mode="json")
            writer.set_setting(SETTING, rules.model_dump(mode="json"))
            writer.commit()
            with writer.catalog.transaction():
                trim(writer.catalog, rules, now())
        if keep is not None:
            self._opened.keep_versions = None  # which was wanted before
        return rules

    def purge(
        self,
        document_ids: Iterable[str] = (),
        *,
        uris: Iterable[str] = (),
        backups: Sequence[str | Path] = (),
        also: Sequence[str | Path] = (),
    ) -> PurgeReport:
        """Erase documents from the files of the index, and prove it.

        They are deleted; the segments in which their tokens stand are written anew, and so is the
        catalog; texts of queries that returned them, or quote them, are erased from the audit log.
        Then all files are searched for their texts, words, titles and tokens. The time is that of
        reading and writing the index a few times.

        Parameters
        ----------
        document_ids
            Their ids.
        uris
            Or where they came from.
        backups
            Directories: backups in them are made anew without the documents, whatever these were
            when a backup was made, and copies of the index are purged in the same way.
        also
            Other files and directories to search, such as logs and exports.

        Returns
        -------
        PurgeReport
            Signed with the key of the audit log. What it found is in ``findings``; without any,
            nothing is left in the files that it names.

        Raises
        ------
        IndexLockedError, IndexAccessError
            If the index can't be written, or a file can't be read.
        AuditError
            If it can't be recorded.
        """
        opened, log = self._opened, self._opened.audit
        traces = Traces()
        with recorded(log, "purge", change=True) as entry:
            with self._indexer.session(None) as writer:
                wanted, unknown = _wanted(writer, document_ids, uris)
                held = tuple(id for id in wanted if writer.catalog.holds(id))
                ids = [id for id in wanted if id not in held]
                purged, remarks = erase(writer, opened.directory, ids, traces)
                left = dead_tokens(writer, opened.directory, traces) if ids else []
                shared = shared_words(writer, opened.directory, traces.words)
                content = traces.beside(writer.catalog, shared) if ids else {}
            entry.documents = ids
            queries = _erase_queries(log, ids, traces) if ids else 0
            logs = [] if log is None else log.files()
            places = [opened.directory, *logs, *map(Path, backups), *map(Path, also)]
            try:
                copies, also_purged, more = _purge_copies(backups, [*ids, *unknown], traces)
                unknown = tuple(
                    name for name in unknown if not any(name in copy.names for copy in copies)
                )
                remarks += more
                done = {Path(file.path) for copy in copies for file in copy.files}
                rest = [path for path in files_in(places) if path not in done]
                files, found = scan(rest, content)
                files += [file for copy in copies for file in copy.files]
                found += [finding for copy in copies for finding in copy.findings]
            except OSError as error:
                raise IndexAccessError(
                    f"the documents were purged, but not everything could be searched: "
                    f"{described(error)}"
                ) from error
            if found:
                remarks.append(
                    "delete files that hold findings, or make them anew, and purge again; if the "
                    "log of commits holds them, a process that reads still needs it: close it"
                )
            report = PurgeReport(
                version=__version__,
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                index=str(opened.directory),
                documents=purged,
                held=held,
                unknown=unknown,
                queries=queries,
                backups=tuple(also_purged),
                traces=len(content) + len(traces.token_runs),
                files=tuple(files),
                findings=(*left, *found),
                remarks=tuple(remarks),
            ).sign(None if log is None else log.key)
            entry.detail = {"findings": len(report.findings), "report": report.signature}
        return report

    def _set(self, event: str, document_ids: Iterable[str], terms: Mapping[str, Any]) -> int:
        ids = list(dict.fromkeys(document_ids))
        with (
            recorded(self._opened.audit, event, change=True) as entry,
            self._indexer.session(None) as writer,
        ):
            entry.documents = known = [id for id in ids if writer.catalog.knows(id)]
            entry.detail = dict(terms)
            writer.set_terms(known, terms)
        return len(known)


def _wanted(
    writer: Writer, ids: Iterable[str], uris: Iterable[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the ids of the documents that exist, and what names none."""
    known: list[str] = []
    unknown: list[str] = []
    for id in dict.fromkeys(ids):
        (known if writer.catalog.knows(id) else unknown).append(id)
    for uri in dict.fromkeys(uris):
        found = [*writer.catalog.ids_of(uri), *writer.catalog.version_ids_of(uri)]
        known += found
        unknown += [] if found else [uri]
    return list(dict.fromkeys(known)), tuple(unknown)


def _purge_copies(
    folders: Sequence[str | Path], names: Sequence[str], traces: Traces
) -> tuple[list[PurgedCopy], list[str], list[str]]:
    """Purge the backups and the indexes in some folders.

    Returns
    -------
    tuple
        What became of them, the paths of those that held any of the documents, and remarks.
    """
    done: list[PurgedCopy] = []
    held: list[str] = []
    remarks: list[str] = []
    found = copies_in(folders) if names else Copies([], [])
    for purge, paths in ((purge_backup, found.backups), (purge_index, found.indexes)):
        for path in paths:
            try:
                copy = purge(path, names, traces)
            except RagToolsError as error:  # its files are searched as they are
                remarks.append(f"{path} couldn't be purged: {error}")
                continue
            done.append(copy)
            remarks += copy.remarks
            held += [str(path)] if copy.documents else []
    return done, held, remarks


def _erase_queries(log: AuditLog | None, ids: Sequence[str], traces: Traces) -> int:
    if log is None:
        return 0
    purged, runs = frozenset(ids), [run.decode() for run in traces.runs()]
    words = {word for word in traces.words if any(map(str.isdigit, word))}

    def concerned(record: Mapping[str, Any], text: str) -> bool:
        lower = text.lower()
        return (
            not purged.isdisjoint(record.get("documents", ()))
            or any(run in text for run in runs)
            or (len(text) >= _LEAST_QUERY and any(text in run for run in runs))
            or any(word in lower for word in words)
        )

    return log.erase_queries(concerned, f"purge of {len(ids)} documents")
