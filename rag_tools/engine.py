"""The engine: one object through which everything reads and writes an index.

The command line, the MCP server and the framework adapters call these methods and hold no
retrieval logic of their own. Neither does this module: it opens and closes an index, and each
method hands over to the module that does the work, which describes parameters and errors in full.
"""

from __future__ import annotations

import rag_tools.processor  # noqa: F401 - refuses one that is too old before NumPy is loaded

# isort: split
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rag_tools import creation
from rag_tools.aio import AsyncEngine
from rag_tools.catalog import schema
from rag_tools.checking import Checker
from rag_tools.creation import IndexSettings
from rag_tools.disk import failures_named
from rag_tools.documents import Documents
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.index.search import Quality, Signals
from rag_tools.indexer import Indexer
from rag_tools.opened import OpenIndex
from rag_tools.reader import Reader
from rag_tools.searcher import Searcher
from rag_tools.status import status
from rag_tools.types import (
    Citation,
    CitedAnswer,
    Document,
    DocumentEntry,
    Fetched,
    Filter,
    Progress,
    SearchResults,
    Status,
    Support,
    SyncReport,
    Verification,
    Verifications,
    Versions,
)


class Engine:
    """An open index. Made by `open`; safe to share between threads; a context manager.

    Reads see the last commit, whoever made it. Writes take turns: those of other threads wait,
    while one process at a time can hold the index's lock, and others are refused.

    Attributes
    ----------
    directory
        The index.
    aio
        `search` and `cite` for an event loop.
    """

    def __init__(self, opened: OpenIndex) -> None:
        self.directory = opened.directory
        self._opened = opened
        self._searcher = Searcher(opened)
        self._indexer = Indexer(opened)
        self._documents = Documents(opened.reader)
        self._checker = Checker(opened.reader, self._searcher, self._documents)
        self.aio = AsyncEngine(opened, self._searcher)

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
    ) -> Engine:
        """Open the index in `directory`.

        Parameters
        ----------
        directory
            Default: ``$RAG_TOOLS_INDEX``, else ``.rag-tools`` in the working directory.
        checkpoint
            Directory or hub id of a ColBERT checkpoint; default: what the index was made with,
            for a new index the bundled one.
        create
            Make the index if there is none.
        passage_tokens
            Token budget of a passage, fixed when the index is made; default 180.
        bits
            Bits per dimension of a token's residual: 4, 2 or 1; fixed when the index is made,
            default 4.
        dim
            Dimensions of a token's embedding, fixed when the index is made; default: all that the
            checkpoint gives. Fewer are its first ones, which in the bundled checkpoint hold the
            most.
        signals
            Weights of the signals added to MaxSim in `search`.

        Raises
        ------
        IndexNotFoundError
            If there is no index and `create` is false.
        IndexCorruptError, IndexVersionError
            If the directory holds something else, or a newer format. Nothing is changed.
        IndexAccessError
            If the index can't be read or made, and not because of what is in it.
        IndexMismatchError
            If `checkpoint`, `passage_tokens`, `bits` or `dim` differ from those the index was
            made with.
        InvalidQueryError
            If a new index can't be made with them.
        CheckpointError
            If the checkpoint can't be read.
        """
        directory = Path(directory) if directory is not None else creation.default_directory()
        asked = {"passage_tokens": passage_tokens, "bits": bits, "dim": dim}
        with failures_named(directory):
            missing = not (directory / schema.FILE_NAME).exists()
        if create and missing:
            creation.create(directory, checkpoint, **asked)
        reader = Reader(directory)
        try:
            with reader.view() as view:
                settings = IndexSettings.read(view)
            settings.require(directory, asked)
        except BaseException:
            reader.close()
            raise
        return cls(
            OpenIndex(
                directory,
                reader,
                settings,
                checkpoint=checkpoint or settings.checkpoint,
                signals=signals or Signals(),
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens the same index again: an engine is copied and pickled by that."""
        opened = self._opened
        again = functools.partial(
            Engine.open, self.directory, checkpoint=opened.checkpoint, signals=opened.signals
        )
        return again, ()

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
        within: Sequence[str | Path] = (),
        progress: Progress | None = None,
    ) -> SyncReport:
        """Bring the index in step with files and folders; see `Indexer.sync`."""
        return self._indexer.sync(
            paths,
            include=include,
            exclude=exclude,
            hidden=hidden,
            gitignore=gitignore,
            max_bytes=max_bytes,
            document_timeout=document_timeout,
            url_template=url_template,
            within=within,
            progress=progress,
        )

    def add(
        self, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> tuple[str, ...]:
        """Add documents, replacing those with the same id; return their ids. See `Indexer.add`."""
        return self._indexer.add(documents, progress=progress)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Delete documents; return how many there were. See `Indexer.delete`."""
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
    ) -> SearchResults:
        """Return the passages that answer `query` best, with citations. See `Searcher.search`."""
        return self._searcher.search(
            query, limit=limit, filter=filter, explain=explain, quality=quality, cite=cite
        )

    async def asearch(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
    ) -> SearchResults:
        """Return what `search` does, from a worker thread: the event loop stays free."""
        return await self.aio.search(
            query,
            limit=limit,
            filter=filter,
            explain=explain,
            quality=quality,
            then=lambda found: found,
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
        """Search for each of some queries, in less time. See `Searcher.search_batch`."""
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
        """Return how far the documents support a claim, and where. See `Searcher.cite`."""
        return self._searcher.cite(
            claim, limit=limit, filter=filter, explain=explain, quality=quality
        )

    def cite_answer(
        self, answer: str, *, filter: Filter | None = None, quality: Quality = "balanced"
    ) -> CitedAnswer:
        """Return a draft answer with citations. See `Searcher.cite_answer`."""
        return self._searcher.cite_answer(answer, filter=filter, quality=quality)

    # -- documents: rag_tools.documents ------------------------------------------------------------

    def document(self, id: str) -> Document:
        """Return a document whole, as it was added. See `Documents.document`."""
        return self._documents.document(id)

    def documents(
        self, *, filter: Filter | None = None, after: str = ""
    ) -> Iterator[DocumentEntry]:
        """Iterate over the documents, in order of id. See `Documents.documents`."""
        return self._documents.documents(filter=filter, after=after)

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return ids that begin with `text`, or of such titles. See `Documents.document_ids`."""
        return self._documents.document_ids(text, limit=limit, titles=titles)

    def versions(self, known: Versions | None = None) -> Versions:
        """Return which version of each document the index holds. See `Documents.versions`."""
        return self._documents.versions(known)

    def fetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return a document's text, or a passage's. See `Documents.fetch`."""
        return self._documents.fetch(id, start=start, end=end)

    # -- checking: rag_tools.checking --------------------------------------------------------------

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote still stands where its citation says. See `Checker.verify`."""
        return self._checker.verify(citation)

    def verify_answer(self, answer: str) -> Verifications:
        """Check what an agent's finished answer quotes. See `Checker.verify_answer`."""
        return self._checker.verify_answer(answer)

    # -- the index itself --------------------------------------------------------------------------

    def status(self) -> Status:
        """Return what the index holds and how it was built."""
        return status(self._opened)

    @property
    def replaced(self) -> bool:
        """Whether the index was deleted, and perhaps made anew, since it was opened."""
        return self._opened.reader.replaced

    def check(self) -> None:
        """Compare the checksums of everything stored. See `Reader.check`."""
        self._opened.reader.check()

    def warm(self) -> None:
        """Load the encoder and map the segments now rather than at the first search."""
        self._opened.load_batch()
        with self._opened.reader.view():
            pass

    def close(self) -> None:
        """Release connections and mapped files."""
        self._opened.reader.close()
