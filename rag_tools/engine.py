"""The engine: one object through which everything reads and writes an index.

The command line, the MCP server and the framework adapters call these methods and hold no
retrieval logic of their own.
"""

from __future__ import annotations

import rag_tools.processor  # noqa: F401 - refuses one that is too old before NumPy is loaded

# isort: split
import contextlib
import functools
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urldefrag

import numpy as np

from rag_tools.catalog import catalog, lexical, schema
from rag_tools.catalog.catalog import SourceState
from rag_tools.catalog.filters import compile_filter
from rag_tools.cite import support
from rag_tools.cite.answer import Quotation, quotations
from rag_tools.cite.claims import QUOTES, cited_answer
from rag_tools.cite.locate import check_url_template, cite_span
from rag_tools.cite.quote import strongest
from rag_tools.cite.verify import parse_citations, verify
from rag_tools.disk import failures_named
from rag_tools.encode.batch import Batch
from rag_tools.encode.checkpoint import Checkpoint, load_checkpoint
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.encode.encoder import BATCH, Encoder
from rag_tools.errors import (
    IndexMismatchError,
    IngestError,
    InvalidQueryError,
    NotFoundError,
    SkippedDocumentsError,
)
from rag_tools.hits import hits
from rag_tools.index.arrayfile import FORMAT_VERSION
from rag_tools.index.dispatch import kernel_name, thread_count, use_one_thread
from rag_tools.index.loss import mean as mean_loss
from rag_tools.index.residual import BITS
from rag_tools.index.search import EFFORTS, Quality, Query, Signals, search, weigh
from rag_tools.ingest.chunk import MIN_PASSAGE_TOKENS
from rag_tools.ingest.discover import inside
from rag_tools.ingest.load import DEFAULT_MAX_BYTES, load
from rag_tools.ingest.worker import DEFAULT_TIMEOUT, Worker
from rag_tools.limits import MAX_QUERY, check_answer, check_query
from rag_tools.offload import offload
from rag_tools.reader import Reader
from rag_tools.sync import Meter, SyncOptions, source_root, sync
from rag_tools.types import (
    Citation,
    CitedAnswer,
    Document,
    DocumentEntry,
    Fetched,
    Filter,
    Progress,
    SearchResults,
    Skipped,
    Span,
    Status,
    Support,
    SyncReport,
    Verification,
    Verifications,
    Versions,
    document_id,
)
from rag_tools.writer import Writer, create_index

DEFAULT_DIRECTORY = ".rag-tools"
DEFAULT_PASSAGE_TOKENS = 180
MAX_PASSAGE_TOKENS = 1024
DEFAULT_BITS = 4
MIN_DIM = 16
_LISTED_TOGETHER = 16  # documents whose texts are read to be counted before the first is listed
_VERDICTS = ("exact", "moved", "stale", "missing")  # best first
_PASSAGE_ID = re.compile(r".+:(?P<start>\d{1,15})-(?P<end>\d{1,15})", re.DOTALL)

_Result = TypeVar("_Result")


def default_directory() -> Path:
    """Return ``$RAG_TOOLS_INDEX``, or ``.rag-tools`` in the working directory."""
    return Path(os.environ.get("RAG_TOOLS_INDEX") or DEFAULT_DIRECTORY)


class Engine:
    """An open index. Made by `open`; safe to share between threads; a context manager.

    Reads see the last commit, whoever made it. Writes take turns: those of other threads wait,
    while one process at a time can hold the index's lock, and others are refused.
    """

    def __init__(
        self,
        directory: Path,
        reader: Reader,
        *,
        checkpoint: str | Path | None,
        settings: Mapping[str, Any],
        signals: Signals,
    ) -> None:
        self.directory = directory
        self._reader = reader
        self._checkpoint = checkpoint
        self._settings = settings
        self._signals = signals
        self._encoder: Encoder | None = None
        self._batch: Batch | None = None
        self._loading = threading.Lock()
        # Reentrant: a thread that writes while it writes is refused by the index's lock, and would
        # wait for itself here.
        self._writing = threading.RLock()

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
            Of a dimension of a token, 4, 2 or 1, fixed when the index is made; default 4.
        dim
            Dimensions of a token, fixed when the index is made; default: all that the checkpoint
            gives. Fewer are its first ones, which in the bundled checkpoint hold the most.
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
        directory = Path(directory) if directory is not None else default_directory()
        with failures_named(directory):
            missing = not (directory / schema.FILE_NAME).exists()
        if create and missing:
            _create(
                directory,
                checkpoint,
                passage_tokens=DEFAULT_PASSAGE_TOKENS if passage_tokens is None else passage_tokens,
                bits=DEFAULT_BITS if bits is None else bits,
                dim=dim,
            )
        reader = Reader(directory)
        with reader.view() as view:
            settings = {
                key: catalog.setting(view.connection, key)
                for key in ("checkpoint", "fingerprint", "dim", "bits", "passage_tokens")
            }
        asked = {"passage_tokens": passage_tokens, "bits": bits, "dim": dim}
        for name, value in asked.items():
            if value not in (None, settings[name]):
                reader.close()
                raise IndexMismatchError(
                    f"{directory} was made with {name} {settings[name]}, not {value}: name "
                    "another directory to index otherwise"
                )
        return cls(
            directory,
            reader,
            checkpoint=checkpoint or settings["checkpoint"],
            settings=settings,
            signals=signals or Signals(),
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
        opened = functools.partial(
            Engine.open, self.directory, checkpoint=self._checkpoint, signals=self._signals
        )
        return opened, ()

    # -- writing ---------------------------------------------------------------------------------

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
        """Bring the index in step with files and folders.

        New and changed files are indexed, vanished ones removed, unchanged ones cost a stat.
        Files that can't be read or parsed are reported in the result and skipped.

        Parameters
        ----------
        paths
            Files and folders; default: those synced before, with the options used then. What
            was synced before and lies inside one of them keeps its own options.
        include, exclude
            Patterns as in a .gitignore, relative to each folder. `exclude` wins.
        hidden
            Take files and folders whose name starts with a dot.
        gitignore
            Leave out what .gitignore files name.
        max_bytes
            Report and skip larger files; default 64 MiB.
        document_timeout
            Report and skip a file that isn't parsed within so many seconds; default 60. Files that
            a parser could stall or crash on are parsed in a process of their own.
        url_template
            Makes the urls of citations from now on, whatever was synced before: such as
            ``https://docs.example.com/{relative_path}#L{first_line}``; see `cite_span` for the
            fields. An empty string: the source's own again.
        within
            Folders that nothing is read outside of: for callers who aren't trusted with all
            files. `paths` must lie in them, links that lead out of them aren't followed, and what
            was synced before keeps its options.
        progress
            Called as work advances, with the stage ``scan`` while files are looked at, then
            ``index``, whose total stays the same. If it raises, the work ends; what was committed
            stays.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        InvalidQueryError
            If the time for a document isn't positive, the template has an unknown field, a path
            isn't `within` the folders, or nothing in them was synced before and there are no paths.
        """
        timeout = DEFAULT_TIMEOUT if document_timeout is None else document_timeout
        if not timeout > 0:
            raise InvalidQueryError(f"{timeout:g} seconds for a document: allow more than 0")
        if url_template:
            check_url_template(url_template)
        options = SyncOptions(tuple(include), tuple(exclude), hidden, gitignore)
        roots = [source_root(path) for path in paths]
        folders = [source_root(folder) for folder in within]
        for path, root in zip(paths, roots, strict=True):
            if folders and not inside(root, folders):
                raise InvalidQueryError(
                    f"{str(path)!r} isn't in a folder that may be indexed: "
                    f"{', '.join(map(str, folders))}"
                )
        meter = Meter(progress)
        with Worker(timeout=timeout) as worker, self._writer(meter) as writer:
            if url_template is not None:
                writer.set_url_template(url_template or None)
            return sync(
                writer,
                [(root, options) for root in roots],
                worker=worker,
                max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else max_bytes,
                meter=meter,
                within=folders,
            )

    def add(
        self, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> tuple[str, ...]:
        """Add documents, replacing those with the same id; return their ids.

        They are committed as they gather: if this raises, the first ones may have been added.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        SkippedDocumentsError
            If some documents can't be indexed, such as one whose blocks don't tile its text. It
            says which and why. The others were added; earlier versions of these stay.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        """
        added: list[str] = []
        skipped: list[Skipped] = []
        with self._writer(progress) as writer:
            for document in documents:
                try:
                    prepared = writer.prepare(document)
                except IngestError as error:
                    skipped.append(Skipped(path=document.uri, reason=str(error)))
                    continue
                writer.put(prepared)
                added.append(document.id)
        if skipped:
            raise SkippedDocumentsError(tuple(added), tuple(skipped))
        return tuple(added)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Delete documents; unknown ids are ignored. Return how many there were.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        """
        with self._writer(None) as writer:
            known = [
                id
                for id in dict.fromkeys(document_ids)
                if catalog.document_key(writer.connection, id) is not None
            ]
            for id in known:
                writer.delete(id)
        return len(known)

    # -- reading ---------------------------------------------------------------------------------

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
        """Return the passages that answer `query` best, with citations.

        Parameters
        ----------
        query
            A question or keywords, of `limits.MAX_QUERY` characters at most; or what `offload`
            made of them.
        limit
            At most so many hits.
        filter
            Restriction on documents, see `Filter`; applied before ranking.
        explain
            Give every citation its alignment.
        quality
            ``exact`` scores every passage, ``balanced`` those that can be expected to matter,
            ``fast`` fewer; an index that is small is scored whole anyway, see `EFFORTS`.
        cite
            False leaves out the citations, and with them the confidence: where only ranks
            matter, a hundred hits take a third of the time.

        Raises
        ------
        InvalidQueryError
            If the query is blank or too long, the limit isn't positive, the filter can't be used,
            or there is no such quality.
        """
        _check(limit, quality)
        text, embeddings = self._encoded(query)
        signals = self._signals.adapted(self._ready().pieces_per_word(text, embeddings))
        condition, parameters = compile_filter(filter or {})
        with self._reader.view() as view:
            snapshot = view.snapshot
            frequencies = snapshot.document_frequencies(embeddings.token_ids)
            listed = lexical.bm25(
                view.connection,
                lexical.telling_words(text, embeddings.spans, frequencies, snapshot.n_passages),
                limit=lexical.LISTED,
                condition=condition,
                parameters=parameters,
            )
            prepared = Query(
                vectors=embeddings.vectors,
                weights=weigh(frequencies, snapshot.n_passages, exponent=signals.idf),
                pooled=embeddings.pooled,
                lexical=(
                    catalog.places_of(view.connection, [key for key, _ in listed]),
                    np.array([score for _, score in listed], dtype=np.float32),
                ),
            )
            selection = (
                snapshot.select(catalog.places(view.connection, condition, parameters))
                if filter
                else snapshot.everything
            )
            matches = search(
                snapshot,
                prepared,
                selection,
                limit=limit,
                signals=signals,
                effort=EFFORTS[quality],
            )
            found = hits(
                self._reader,
                view,
                matches,
                prepared,
                embeddings.spans if explain else None,
                limit=limit,
                ceiling=signals.ceiling,
                cite=cite,
            )
        judged = cite and found and self._calibrated
        sure = support.confidence(text, found[0]) if judged else None
        return SearchResults(
            query=text,
            results=found,
            confidence=sure,
            low_confidence=sure is not None and sure < support.calibration().low,
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
        return await self.offload(
            query,
            lambda encoded: self.search(
                encoded, limit=limit, filter=filter, explain=explain, quality=quality
            ),
        )

    async def offload(self, query: str, work: Callable[[EncodedQuery], _Result]) -> _Result:
        """Run `work` on a worker thread, with a query or claim encoded for `search` or `cite`.

        The first query to get a thread is encoded with all that wait by then: each comes out the
        same as alone, in less time.

        Raises
        ------
        InvalidQueryError
            If the query is blank, too long or isn't valid Unicode.
        """
        check_query(query)
        if self._batch is None:
            await offload(self._ready)
        assert self._batch is not None
        with self._batch.join(query) as waiting:
            return await offload(lambda: work(EncodedQuery(query, waiting.embeddings())))

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
        """Search for each of some queries: the same results as one by one, in less time.

        Every query runs on one thread, and as many run at once as there are cores. Parameters
        and errors are those of `search`.
        """
        for query in queries:
            check_query(query)
        _check(limit, quality)
        encoder = self._ready()

        def encoded(texts: Sequence[str]) -> list[EncodedQuery]:
            return list(map(EncodedQuery, texts, encoder.encode_queries(texts)))

        def found(query: EncodedQuery) -> SearchResults:
            return self.search(
                query, limit=limit, filter=filter, explain=explain, quality=quality, cite=cite
            )

        with ThreadPoolExecutor(thread_count(), initializer=use_one_thread) as pool:
            groups = [queries[i : i + BATCH] for i in range(0, len(queries), BATCH)]
            return list(pool.map(found, chain.from_iterable(pool.map(encoded, groups))))

    def cite(
        self,
        claim: str | EncodedQuery,
        *,
        limit: int = 8,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
    ) -> Support:
        """Return how far the documents support `claim`, and the quotes that bear on it best.

        Parameters and errors are those of `search`; `limit` is the most citations returned.
        """
        found = self.search(claim, limit=2 * limit, filter=filter, explain=True, quality=quality)
        citations = strongest(citation for hit in found.results for citation in hit.citations)
        assessed = support.assess(found.query, citations[:limit], calibrated=self._calibrated)
        return assessed if explain else assessed.unaligned()

    def cite_answer(
        self, answer: str, *, filter: Filter | None = None, quality: Quality = "balanced"
    ) -> CitedAnswer:
        """Return a draft answer with citations: which statements the documents support, and where.

        Parameters
        ----------
        answer
            In Markdown, of `limits.MAX_ANSWER` characters at most. Its own markers and list of
            references are left out; sentences that need no citation stay as they are, see
            `statements`.
        filter, quality
            As in `search`.

        Raises
        ------
        InvalidQueryError
            If the answer is blank, too long or isn't valid Unicode, a statement of it is longer
            than a claim may be, or the filter can't be used.
        """
        _check(1, quality)

        def cite(claim: str) -> Support:
            return self.cite(claim, limit=QUOTES, filter=filter, quality=quality)

        return cited_answer(answer, cite)

    def document(self, id: str) -> Document:
        """Return a document whole, as it was added.

        Raises
        ------
        NotFoundError
            If no document has this id.
        """
        with self._reader.view() as view:
            key = catalog.document_key(view.connection, id)
            if key is None:
                raise NotFoundError(f"no document has the id {id!r}: search for it")
            return self._reader.document(view, key)

    def documents(
        self, *, filter: Filter | None = None, after: str = ""
    ) -> Iterator[DocumentEntry]:
        """Iterate over the documents, without their texts, in order of id.

        What is committed meanwhile is seen or not; no document is given twice.

        Parameters
        ----------
        filter
            Restriction on documents, see `Filter`.
        after
            Leave out this id and those before it.

        Raises
        ------
        InvalidQueryError
            If the filter can't be used.
        """
        condition, parameters = compile_filter(filter or {})
        return self._documents(condition, parameters, after)

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return the first ids that begin with `text`, or whose document's title contains it.

        Without `titles`, only ids count; then the time doesn't grow with the documents.
        """
        with self._reader.view() as view:
            # No id and no title holds a lone surrogate.
            known = text.encode("utf-8", "replace").decode("utf-8")
            look_up = catalog.ids_like if titles else catalog.ids_beginning
            return tuple(look_up(view.connection, known, limit=limit))

    def versions(self, known: Versions | None = None) -> Versions:
        """Return which version of each document the index holds; `known` if it is still true."""
        with self._reader.view() as view:
            generation = view.snapshot.generation
            if known is not None and known.generation == generation:
                return known
            return Versions(generation, catalog.document_keys(view.connection))

    def fetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return a document's text, or a passage's.

        Parameters
        ----------
        id
            Of a document, or of a passage as `search` returns it.
        start, end
            Range of code points of the document; default: all of it. A passage has its own range,
            and these are ignored.

        Raises
        ------
        NotFoundError
            If nothing has this id.
        InvalidQueryError
            If the range isn't within the document.
        """
        with self._reader.view() as view:
            key = catalog.document_key(view.connection, id)
            if key is None and (passage := _passage_range(id)):
                key = catalog.document_key(view.connection, id.rpartition(":")[0])
                start, end = passage
            if key is None:
                raise NotFoundError(f"no document or passage has the id {id!r}: search for it")
            document = self._reader.document(view, key)
        size = len(document.text)
        end = size if end is None else end
        if not 0 <= start <= end <= size:
            raise InvalidQueryError(
                f"range {start}:{end} isn't within the {size} characters of {document.title!r}"
            )
        whole = start == 0 and end == size
        return Fetched(
            id=id,
            title=document.title,
            text=document.text[start:end],
            url=document.uri
            if whole or start == end
            else cite_span(document, Span(start, end), url_template=view.url_template).url,
            metadata={
                **document.metadata,
                "document_id": document.id,
                "document_sha256": document.sha256,
                "media_type": document.media_type,
                "start": start,
                "end": end,
                "total_characters": size,
            },
        )

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote still stands where its citation says.

        Reads the source itself where it is a file within reach, else the indexed text.

        Raises
        ------
        InvalidQueryError
            If the citation lacks a field or holds nonsense.
        """
        if not isinstance(citation, Citation):
            (citation,) = parse_citations([citation])
        with self._reader.view() as view:
            key = catalog.document_key(view.connection, citation.document_id)
            if key is None:  # perhaps the same text under another name
                key = catalog.document_key_by_text(view.connection, citation.document_sha256)
            if key is None:
                return verify(citation, indexed=None, source=None)
            indexed = self._reader.document(view, key)
            path, state = catalog.source(view.connection, key)
            url_template = view.url_template
        source = _reread(path, state, indexed)
        return verify(citation, indexed=indexed, source=source, url_template=url_template)

    def verify_answer(self, answer: str) -> Verifications:
        """Check what an agent's finished answer quotes, see `quotations`, in order.

        A quotation must stand in the document that the answer gives as its source; where that is
        none that is indexed, in one of those that a search for it finds.

        Raises
        ------
        InvalidQueryError
            If the answer quotes nothing, or is longer than `limits.MAX_ANSWER` characters.
        """
        check_answer(answer)
        found = quotations(answer)
        if not found:
            raise InvalidQueryError(
                "the answer quotes nothing: a quotation stands between quotation marks, or in a "
                "block quote"
            )
        return Verifications(verifications=tuple(map(self._verify_quotation, found)))

    def status(self) -> Status:
        """Return what the index holds and how it was built."""
        with self._reader.view() as view:
            counts = catalog.counts(view.connection)
            roots = tuple(catalog.roots(view.connection))
            snapshot = view.snapshot
        loss = mean_loss((segment.loss, segment.n_tokens) for segment in snapshot.segments.values())
        return Status(
            index=str(self.directory),
            format_version=FORMAT_VERSION,
            checkpoint=self._settings["checkpoint"] or "bundled",
            dim=self._settings["dim"],
            bits=self._settings["bits"],
            passage_tokens=self._settings["passage_tokens"],
            roots=roots,
            documents=counts.documents,
            passages=counts.passages,
            tombstones=counts.tombstones,
            tokens=sum(segment.n_tokens for segment in snapshot.segments.values()),
            segments=len(snapshot.segments),
            centroids=0 if snapshot.codebook is None else len(snapshot.codebook),
            cosine=None if loss is None else loss.cosine,
            maxsim_error=None if loss is None else loss.maxsim,
            generation=snapshot.generation,
            bytes=_bytes_on_disk(self.directory),
            kernel=kernel_name(),
        )

    @property
    def replaced(self) -> bool:
        """Whether the index was deleted, and perhaps made anew, since it was opened."""
        return self._reader.replaced

    def check(self) -> None:
        """Compare the checksums of everything stored: O(size of the index).

        Raises
        ------
        IndexCorruptError
            Naming the first file that is damaged.
        """
        self._reader.check()

    def warm(self) -> None:
        """Load the encoder and map the segments now rather than at the first search."""
        self._ready()
        with self._reader.view():
            pass

    def close(self) -> None:
        """Release connections and mapped files."""
        self._reader.close()

    # -- inside ----------------------------------------------------------------------------------

    def _verify_quotation(self, quotation: Quotation) -> Verification:
        """Return the best verdict on a quotation over the documents that it may be from."""
        with self._reader.view() as view:
            ids = [
                id
                for id in map(document_id, map(_uri, quotation.sources))
                if catalog.document_key(view.connection, id) is not None
            ]
        if not ids:  # its beginning tells where a long quotation is from
            ids = [hit.document_id for hit in self.search(quotation.text[:MAX_QUERY]).results]
        ids = ids or [""]
        citations = parse_citations(
            [{"document_id": id, "quote": quotation.text} for id in dict.fromkeys(ids)]
        )
        verdicts = list(map(self.verify, citations))
        return min(verdicts, key=lambda each: _VERDICTS.index(each.status))

    def _documents(
        self, condition: str, parameters: Sequence[str | int | float], after: str
    ) -> Iterator[DocumentEntry]:
        # Not in one view: a reader that dawdles would keep the writer's log from being emptied.
        while True:
            with self._reader.view() as view:
                entries = catalog.entries(
                    view.connection, condition, parameters, after=after, limit=_LISTED_TOGETHER
                )
            yield from entries
            if len(entries) < _LISTED_TOGETHER:
                return
            after = entries[-1].id

    def _encoded(self, query: str | EncodedQuery) -> EncodedQuery:
        if isinstance(query, EncodedQuery):
            return query
        check_query(query)
        return EncodedQuery(query, self._ready().encode_query(query))

    @property
    def _calibrated(self) -> bool:
        """Whether scores of support and confidence were fitted to an index like this one."""
        return support.calibration().fits(self._settings) and self._signals == Signals()

    def _ready(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                checkpoint = load_checkpoint(self._checkpoint)
                if checkpoint.fingerprint != self._settings["fingerprint"]:
                    raise IndexMismatchError(
                        f"{self.directory} was built with checkpoint "
                        f"{self._settings['checkpoint'] or 'bundled'!r}, and "
                        f"{checkpoint.name!r} gives other embeddings: name the one it was built "
                        "with, or index into another directory"
                    )
                self._encoder = Encoder(checkpoint, dim=self._settings["dim"])
                self._batch = Batch(self._encoder)
            return self._encoder

    @contextlib.contextmanager
    def _writer(self, progress: Progress | None) -> Iterator[Writer]:
        encoder = self._ready()
        with (
            self._writing,
            # Files that can't be read may be those of the caller's documents.
            failures_named(self.directory, files=False),
            Writer(
                self.directory,
                encoder,
                passage_tokens=self._settings["passage_tokens"],
                bits=self._settings["bits"],
                progress=progress,
            ) as writer,
        ):
            yield writer


def check_dim(dim: int | None, checkpoint: Checkpoint) -> None:
    """Raise `InvalidQueryError` unless tokens can have `dim` of the checkpoint's dimensions."""
    if dim is not None and not MIN_DIM <= dim <= checkpoint.dim:
        raise InvalidQueryError(f"{dim} dimensions: choose {MIN_DIM} to {checkpoint.dim}")


def _create(
    directory: Path,
    source: str | Path | None,
    *,
    passage_tokens: int,
    bits: int,
    dim: int | None,
) -> None:
    checkpoint = load_checkpoint(source)
    if bits not in BITS:
        raise InvalidQueryError(f"{bits} bits: choose one of {', '.join(map(str, BITS))}")
    check_dim(dim, checkpoint)
    if not MIN_PASSAGE_TOKENS <= passage_tokens <= MAX_PASSAGE_TOKENS:
        raise InvalidQueryError(
            f"passages of {passage_tokens} tokens: choose {MIN_PASSAGE_TOKENS} to "
            f"{MAX_PASSAGE_TOKENS}"
        )
    create_index(
        directory,
        {
            "checkpoint": None if source is None else str(source),
            "fingerprint": checkpoint.fingerprint,
            "dim": dim or checkpoint.dim,
            "bits": bits,
            "passage_tokens": passage_tokens,
            "generation": 0,
        },
    )


def _bytes_on_disk(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        # A writer may sweep a file while we look, and some may be out of reach.
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _check(limit: int, quality: Quality) -> None:
    if limit < 1:
        raise InvalidQueryError(f"limit {limit}: ask for at least one result")
    if quality not in EFFORTS:
        raise InvalidQueryError(f"quality {quality!r}: choose {', '.join(EFFORTS)}")


def _uri(source: str) -> str:
    """Return the URI of a document that an answer refers to by URL or by path."""
    return urldefrag(source)[0] if "://" in source else Path(source).resolve().as_uri()


def _passage_range(id: str) -> tuple[int, int] | None:
    """Return the range in a passage id, ``DOCUMENT_ID:START-END``."""
    match = _PASSAGE_ID.fullmatch(id)
    return None if match is None else (int(match["start"]), int(match["end"]))


def _reread(path: str | None, state: SourceState, indexed: Document) -> Document | None:
    """Return the document as its source reads now, or None if that is out of reach."""
    if path is None:
        return None
    try:
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() == state.sha256:
            return indexed
        return load(Path(path), uri=indexed.uri)
    except (OSError, IngestError):
        return None
