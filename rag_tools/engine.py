"""The engine: one object through which everything reads and writes an index.

The command line, the MCP server and the framework adapters call its methods and contain no
retrieval logic of their own. Neither does this module: it opens and closes an index, and each
method delegates to the module that does the work and describes parameters and errors in full.
"""

from __future__ import annotations

import rag_tools.processor  # noqa: F401 - refuses old processors before NumPy is loaded

# isort: split
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_tools.aio import AsyncEngine
from rag_tools.audit.log import AuditLog
from rag_tools.checking import Checker
from rag_tools.closing import Closing
from rag_tools.creation import default_directory
from rag_tools.documents import Documents
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.fields import Fields
from rag_tools.history import History
from rag_tools.index.search import Quality, Signals
from rag_tools.indexer import Indexer
from rag_tools.opened import OpenIndex, open_index
from rag_tools.retention import Retention
from rag_tools.searcher import Searcher
from rag_tools.status import status
from rag_tools.types import (
    AccessRules,
    Citation,
    CitedAnswer,
    Document,
    DocumentEntry,
    Fetched,
    Filter,
    Moment,
    Principal,
    Progress,
    SearchResults,
    Status,
    Support,
    SyncReport,
    Verification,
    Verifications,
    Versions,
    WebOptions,
)


class Engine(Closing):
    """An open index. Make one with `open`; it is safe to share between threads.

    Reads see the last commit, whichever process made it. One write runs at a time: other threads
    of this process wait for their turn, and other processes are refused while it holds the lock.

    Attributes
    ----------
    directory
        Directory of the index.
    aio, retention, history, fields
        `search` and `cite` for an event loop; holding and purging; versions; metadata.
    """

    def __init__(self, opened: OpenIndex) -> None:
        self.directory = opened.directory
        self._opened = opened
        self._searcher = Searcher(opened)
        self._indexer = Indexer(opened)
        self._documents = Documents(opened.reader, opened.audit)
        self._checker = Checker(opened, self._searcher, self._documents)
        self.aio = AsyncEngine(opened, self._searcher)
        self.retention = Retention(opened, self._indexer)
        self.history = History(opened.reader, opened.audit)
        self.fields = Fields(opened, self._indexer)

    @classmethod
    def open(
        cls,
        directory: str | Path | None = None,
        *,
        checkpoint: str | Path | None = None,
        create: bool = False,
        passage_tokens: int | None = None,
        bits: int | None = None,
        dim: int | None = None,
        signals: Signals | None = None,
        evidence: str | Path | None = None,
        principal: Principal | None = None,
        audit: AuditLog | None = None,
        keep_versions: bool | Sequence[str] | None = None,
    ) -> Engine:
        """Open the index in `directory`, by default ``$RAG_TOOLS_INDEX`` or ``.rag-tools``.

        `create` makes it if there is none, and `principal` reads it as a caller, see `as_`. For the
        other parameters, and errors, see `rag_tools.opened.open_index`.
        """
        return cls(
            open_index(
                default_directory() if directory is None else Path(directory),
                checkpoint=checkpoint,
                create=create,
                asked={"passage_tokens": passage_tokens, "bits": bits, "dim": dim},
                signals=signals,
                evidence=evidence,
                principal=principal,
                audit=audit,
                keep_versions=keep_versions,
            )
        )

    def as_(self, principal: Principal) -> Engine:
        """Return the index as a caller sees it: what they may not read doesn't exist in it.

        It only reads, shares what this engine has open, and needn't be closed.
        """
        return Engine(self._opened.as_(principal))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to open the same index again."""
        return functools.partial(Engine.open, self.directory, **self._opened.options), ()

    # -- writing: rag_tools.indexer ----------------------------------------------------------------

    def sync(
        self,
        paths: Sequence[str | Path] = (),
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        hidden: bool = False,
        gitignore: bool = True,
        max_bytes: int | None = None,
        document_timeout: float | None = None,
        url_template: str | None = None,
        access: AccessRules | None = None,
        within: Sequence[str | Path] = (),
        web: WebOptions | None = None,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Bring the index up to date with its sources. See `Indexer.sync`."""
        return self._indexer.sync(
            paths,
            include=include,
            exclude=exclude,
            hidden=hidden,
            gitignore=gitignore,
            max_bytes=max_bytes,
            document_timeout=document_timeout,
            url_template=url_template,
            access=access,
            within=within,
            web=web,
            progress=progress,
        )

    def add(
        self, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> tuple[str, ...]:
        """Add documents, or replace those with the same ids. See `Indexer.add`."""
        return self._indexer.add(documents, progress=progress)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Delete documents; return the number that existed. See `Indexer.delete`."""
        return self._indexer.delete(document_ids)

    # -- searching: rag_tools.searcher, rag_tools.aio ----------------------------------------------

    def search(
        self,
        query: str | EncodedQuery,
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        cite: bool = True,
        facets: Sequence[str] = (),
    ) -> SearchResults:
        """Return the passages that answer `query` best, with citations. See `Searcher.search`."""
        shown = functools.partial(
            self._searcher.search, query, explain=explain, cite=cite, facets=facets
        )
        return shown(limit=limit, filter=filter, quality=quality)

    async def asearch(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
    ) -> SearchResults:
        """Return what `search` does, without blocking the event loop."""
        return await self.aio.search(
            query, limit=limit, filter=filter, explain=explain, quality=quality, then=lambda it: it
        )

    def search_batch(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        cite: bool = True,
    ) -> list[SearchResults]:
        """Run several searches in less time than one by one. See `Searcher.search_batch`."""
        return self._searcher.search_batch(
            queries, limit=limit, filter=filter, explain=explain, quality=quality, cite=cite
        )

    def cite(
        self,
        claim: str | EncodedQuery,
        *,
        limit: int = 8,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
    ) -> Support:
        """Return how far the documents support a claim, and quotes. See `Searcher.cite`."""
        return self._searcher.cite(
            claim, limit=limit, filter=filter, explain=explain, quality=quality
        )

    def cite_answer(
        self, answer: str, *, filter: Filter | None = None, quality: Quality = "balanced"
    ) -> CitedAnswer:
        """Return a draft answer with citations added. See `Searcher.cite_answer`."""
        return self._searcher.cite_answer(answer, filter=filter, quality=quality)

    # -- documents: rag_tools.documents ------------------------------------------------------------

    def document(self, id: str, *, as_of: Moment | None = None) -> Document:
        """Return a whole document, as it was added. See `Documents.document`."""
        return self._documents.document(id, as_of=as_of)

    def documents(
        self, *, filter: Filter | None = None, after: str = ""
    ) -> Iterator[DocumentEntry]:
        """Iterate over the documents in order of their ids. See `Documents.documents`."""
        return self._documents.documents(filter=filter, after=after)

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return the ids that complete `text`. See `Documents.document_ids`."""
        return self._documents.document_ids(text, limit=limit, titles=titles)

    def versions(self, known: Versions | None = None) -> Versions:
        """Return which version of each document the index holds. See `Documents.versions`."""
        return self._documents.versions(known)

    def fetch(
        self, id: str, *, start: int = 0, end: int | None = None, as_of: Moment | None = None
    ) -> Fetched:
        """Return the text of a document or of a passage. See `Documents.fetch`."""
        return self._documents.fetch(id, start=start, end=end, as_of=as_of)

    # -- checking: rag_tools.checking --------------------------------------------------------------

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote is still where its citation says. See `Checker.verify`."""
        return self._checker.verify(citation)

    def verify_answer(self, answer: str) -> Verifications:
        """Check the quotations of a finished answer. See `Checker.verify_answer`."""
        return self._checker.verify_answer(answer)

    def status(self) -> Status:
        """Return what the index contains and how it was built."""
        return status(self._opened)

    @property
    def replaced(self) -> bool:
        """Whether the index was deleted, or replaced by another, since it was opened."""
        return self._opened.reader.replaced

    def check(self) -> None:
        """Check the checksums of everything that is stored. See `Reader.check`."""
        self._opened.reader.check()

    def warm(self) -> None:
        """Load the encoder and map the segments now rather than at the first search."""
        self._opened.warm()

    def close(self) -> None:
        """Close the connections to the catalog, release the mapped files, end helper processes."""
        self._opened.close()
