"""How long documents are kept: holding them, letting them expire, and purging them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_tools import __version__
from rag_tools.audit.entry import recorded
from rag_tools.audit.log import AuditLog
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.disk import described
from rag_tools.errors import IndexAccessError, InvalidQueryError
from rag_tools.indexer import Indexer
from rag_tools.opened import OpenIndex
from rag_tools.purge.erase import dead_tokens, erase, shared_words
from rag_tools.purge.report import PurgeReport
from rag_tools.purge.scan import files_in, scan
from rag_tools.purge.traces import Traces
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
            Directories: indexes in them are purged in the same way.
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
                held = tuple(id for id in wanted if writer.catalog.held(id))
                ids = [id for id in wanted if id not in held]
                purged, remarks = erase(writer, opened.directory, ids, traces)
                left = dead_tokens(writer, opened.directory, traces) if ids else []
                shared = shared_words(writer, opened.directory, traces.words)
                content = traces.beside(writer.catalog, shared) if ids else {}
            entry.documents = ids
            queries = _erase_queries(log, ids, traces) if ids else 0
            also_purged = [str(path) for path in _indexes(backups) if self._purge_backup(path, ids)]
            logs = [] if log is None else log.files()
            places = [opened.directory, *logs, *map(Path, backups), *map(Path, also)]
            try:
                files, found = scan(files_in(places), content)
            except OSError as error:
                raise IndexAccessError(
                    f"the documents were purged, but not everything could be searched: "
                    f"{described(error)}"
                ) from error
            if found:
                remarks.append(
                    "make backups that hold findings anew or delete them, and purge again; if the "
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

    def _purge_backup(self, directory: Path, ids: Sequence[str]) -> bool:
        """Purge an index in a backup; tell whether it held any of the documents."""
        with Writer(
            directory,
            self._opened.encoder,
            passage_tokens=self._opened.settings.passage_tokens,
            bits=self._opened.settings.bits,
        ) as writer:
            known = [id for id in ids if writer.catalog.document_key(id) is not None]
            erase(writer, directory, known, Traces())
        return bool(known)

    def _set(self, event: str, document_ids: Iterable[str], terms: Mapping[str, Any]) -> int:
        ids = list(dict.fromkeys(document_ids))
        with (
            recorded(self._opened.audit, event, change=True) as entry,
            self._indexer.session(None) as writer,
        ):
            entry.documents = known = [
                id for id in ids if writer.catalog.document_key(id) is not None
            ]
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
        (unknown if writer.catalog.document_key(id) is None else known).append(id)
    for uri in dict.fromkeys(uris):
        found = writer.catalog.ids_of(uri)
        known += found
        unknown += [] if found else [uri]
    return list(dict.fromkeys(known)), tuple(unknown)


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


def _indexes(folders: Iterable[str | Path]) -> list[Path]:
    """Return the directories of indexes in some folders."""
    return sorted({path.parent for folder in folders for path in Path(folder).rglob(FILE_NAME)})
