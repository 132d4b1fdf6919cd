"""LangChain's vector store interface to an index, for `langchain_core.indexing.index`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_rag_tools.filters import to_filter
from rag_tools.client import open_to_write
from rag_tools.engine import Engine
from rag_tools.errors import NotFoundError
from rag_tools.frameworks import indexed_document
from rag_tools.types import Document as Indexed
from rag_tools.types import Filter, Hit, Metadata, check_labels, document_id


class RagToolsVectorStore(VectorStore):
    """Adds, deletes and searches the documents of an index; for citations use `RagToolsRetriever`.

    Documents needn't be split. A search returns a document that fits into one passage as it was
    added. Of a longer document it returns the passages that match: their ids are
    ``DOCUMENT_ID:START-END``, and their metadata have ``start_index``.

    Metadata must be JSON. ``source`` and ``title`` become those of the document.

    Parameters
    ----------
    index
        The directory of an index, which is created if there is none, or an open engine; by default
        the directory of `Engine.open`. To close what the store opened, call
        ``store.engine.close()``.
    labels
        Who may read what is added, see `rag_tools.Document`; what is replaced gets these too.

    Attributes
    ----------
    engine
        The open engine.

    Raises
    ------
    IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ConfigurationError
        If `index` is a server, which can only be read.
    """

    def __init__(
        self, index: Engine | Path | str | None = None, *, labels: Sequence[str] = ()
    ) -> None:
        self.engine = open_to_write(index)
        self._labels = check_labels(labels)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        index: Engine | Path | str | None = None,
        labels: Sequence[str] = (),
        **kwargs: object,
    ) -> Self:
        """Return a store of `index` to which the texts have been added.

        Raises
        ------
        TypeError
            If there are unknown arguments.
        ValueError
            If an embedding is given, since the index encodes with its own checkpoint.
        """
        _refuse("from_texts", kwargs)
        if embedding is not None:
            raise ValueError(
                f"embedding is {type(embedding).__name__}: pass None, since the index encodes "
                f"with its "
                "own checkpoint"
            )
        store = cls(index, labels=labels)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_documents(
        self,
        documents: list[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: object,
    ) -> list[str]:
        """Add documents, replacing those with the same ids; return their ids.

        Calls from several threads take turns.

        Parameters
        ----------
        ids
            By default, the documents' own ids. A document without an id gets one that is derived
            from its content, so that adding it again changes nothing.
        batch_size
            Ignored. LangChain passes it; `Engine.add` needs no batches.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        TypeError
            If there are unknown arguments.
        ValueError
            If the numbers of ids and of documents differ.
        """
        _refuse("add_documents", kwargs)
        given = [document.id for document in documents] if ids is None else ids
        added = [
            _indexed(document, id, self._labels)
            for document, id in zip(documents, given, strict=True)
        ]
        return list(self.engine.add(added))

    def delete(self, ids: list[str] | None = None, **kwargs: object) -> bool:
        """Delete documents; unknown ids are ignored.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        TypeError
            If there are unknown arguments.
        ValueError
            If `ids` is None.
        """
        _refuse("delete", kwargs)
        if ids is None:
            raise ValueError(
                "ids is None: pass the ids of the documents, or delete the directory of the index"
            )
        self.engine.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents or passages with these ids, in the order of the ids."""
        return list(self._get(ids))

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: object
    ) -> list[Document]:
        """Return the documents and passages that best answer `query`.

        Parameters
        ----------
        k
            The most documents to return.
        filter
            Which documents to search, see `rag_tools.types.Filter`; LangChain's operators (``$gte``
            and the like) are read too.

        Raises
        ------
        InvalidQueryError
            If the query is blank, `k` isn't positive, or the filter can't be used.
        TypeError
            If there are unknown arguments.
        """
        _refuse("similarity_search", kwargs)
        found = self.similarity_search_with_score(query, k, filter)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None
    ) -> list[tuple[Document, float]]:
        """Return the same as `similarity_search`, with scores; higher is better."""
        found = self.engine.search(query, limit=k, filter=to_filter(filter))
        return [(_found(hit), hit.score) for hit in found.results]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, *args: object, **kwargs: object
    ) -> list[Document]:
        """Raise `NotImplementedError`; its message says what to use instead."""
        raise NotImplementedError(
            "rag-tools doesn't offer maximal marginal relevance (mmr): use "
            "search_type='similarity', which returns no passage twice, with a larger k"
        )

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: object
    ) -> list[Document]:
        """Raise `NotImplementedError`; its message says what to use instead."""
        raise NotImplementedError(
            "rag-tools encodes queries itself: pass the text of the query to similarity_search"
        )

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: object
    ) -> list[tuple[Document, float]]:
        """Return the same as `similarity_search`, with a relevance from 0 to 1.

        The relevance is the score of the best quote in the passage. Text that an overlapping,
        better passage quotes counts only for that one.
        """
        _refuse("similarity_search_with_relevance_scores", kwargs)
        found = self.engine.search(query, limit=k, filter=to_filter(filter))
        return [(_found(hit), _evidence(hit)) for hit in found.results]

    async def _asimilarity_search_with_relevance_scores(
        self,
        query: str,
        k: int = 4,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, **kwargs
        )

    def _get(self, ids: Sequence[str]) -> Iterator[Document]:
        for id in ids:
            with suppress(NotFoundError):
                fetched = self.engine.fetch(id)
                whole = self.engine.document(fetched.metadata["document_id"])
                start = None if id == whole.id else fetched.metadata["start"]
                yield _returned(id, fetched.text, whole.metadata, start)


def _refuse(method: str, unknown: Mapping[str, object]) -> None:
    """Raise `TypeError` if there are arguments, which only LangChain's signature allows."""
    if unknown:
        raise TypeError(f"{method} got unknown arguments: {', '.join(unknown)}")


def _indexed(document: Document, id: str | None, labels: tuple[str, ...]) -> Indexed:
    """Return the document to index for one of LangChain."""
    metadata = document.metadata
    if not id:
        content = [document.page_content, metadata]
        id = document_id(json.dumps(content, sort_keys=True, ensure_ascii=False))
    return indexed_document(
        id,
        document.page_content,
        source=str(metadata.get("source") or ""),
        default_uri=f"langchain:{id}",
        title=str(metadata.get("title") or ""),
        metadata=metadata,
        labels=labels,
    )


def _found(hit: Hit) -> Document:
    """Return the document as it was added if the hit is all of it, otherwise the passage."""
    if hashlib.sha256(hit.text.encode("utf-8")).hexdigest() == hit.document_sha256:
        return _returned(hit.document_id, hit.text, hit.metadata, None)
    return _returned(hit.id, hit.text, hit.metadata, hit.start)


def _evidence(hit: Hit) -> float:
    """Return the score of the best quote in a hit, limited to 0 to 1."""
    best = max((citation.score for citation in hit.citations), default=0.0)
    return min(1.0, max(0.0, best))


def _returned(id: str, text: str, metadata: Metadata, start: int | None) -> Document:
    # Chains change metadata, and the engine keeps its own.
    own = deepcopy(metadata) | ({} if start is None else {"start_index": start})
    return Document(id=id, page_content=text, metadata=own)
