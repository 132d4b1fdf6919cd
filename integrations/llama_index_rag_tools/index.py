"""LlamaIndex's interface for managed indexes, to an index of rag-tools."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from llama_index.core.callbacks import CallbackManager
from llama_index.core.data_structs.data_structs import IndexDict
from llama_index.core.indices.managed.base import BaseManagedIndex
from llama_index.core.schema import BaseNode, Document, TransformComponent
from llama_index.core.storage.storage_context import StorageContext
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_rag_tools.nodes import to_document
from llama_index_rag_tools.retriever import RagToolsRetriever
from rag_tools.aio import offload
from rag_tools.client import open_to_write
from rag_tools.engine import Engine
from rag_tools.errors import NotFoundError
from rag_tools.types import Document as Indexed
from rag_tools.types import Filter, Principal, check_labels


class RagToolsIndex(BaseManagedIndex):
    """Adds, refreshes and deletes the documents of an index, and makes retrievers for it.

    Documents needn't be split: the index divides them into passages. A document keeps its id
    (``id_``), and is the source node of its passages. Give documents ids that don't change from run
    to run, so that `refresh_ref_docs` can recognise them. Metadata must be JSON. Citations link to
    the first of ``source``, ``url`` and ``file_path`` that is set. The index stores everything
    itself, and nothing in LlamaIndex's storage context.

    Calls from several threads write one after the other. The asynchronous methods don't block the
    event loop.

    Parameters
    ----------
    index
        The directory of an index, which is created if there is none, or an open engine; by default
        the directory of `Engine.open`. To close what was opened here, call
        ``index.engine.close()``.
    labels
        Who may read what is added, see `rag_tools.Document`; what is replaced gets these too.
    callback_manager
        As for every index of LlamaIndex.

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

    index_struct_cls = IndexDict

    def __init__(
        self,
        index: Engine | Path | str | None = None,
        *,
        labels: Sequence[str] = (),
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(index_struct=IndexDict(), callback_manager=callback_manager)
        self.engine = open_to_write(index)
        self._labels = check_labels(labels)

    @classmethod
    def from_documents(  # type: ignore[override]  # the base binds cls to its own type variable
        cls,
        documents: Sequence[Document],
        storage_context: StorageContext | None = None,
        show_progress: bool = False,
        callback_manager: CallbackManager | None = None,
        transformations: list[TransformComponent] | None = None,
        *,
        index: Engine | Path | str | None = None,
        labels: Sequence[str] = (),
    ) -> Self:
        """Return an index to which the documents have been added.

        Raises
        ------
        ValueError
            If a storage context or transformations are given, since the index stores and divides
            documents itself.
        """
        if storage_context is not None or transformations is not None:
            raise ValueError(
                "storage_context and transformations must be None: the index stores and divides "
                "documents itself"
            )
        made = cls(index, labels=labels, callback_manager=callback_manager)
        made.insert_nodes(documents)
        return made

    def insert(self, document: Document, **insert_kwargs: Any) -> None:  # noqa: ANN401
        """Add a document, replacing the one with the same id.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        """
        self.insert_nodes([document])

    async def ainsert(self, document: Document, **insert_kwargs: Any) -> None:  # noqa: ANN401
        """Do the same as `insert`."""
        await self.ainsert_nodes([document])

    def insert_nodes(
        self,
        nodes: Sequence[BaseNode],
        **insert_kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Add documents in one commit.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        ValueError
            If a node is a part of another document.
        """
        with self._callback_manager.as_trace("insert_nodes"):
            self._insert(nodes)

    async def ainsert_nodes(
        self,
        nodes: Sequence[BaseNode],
        **insert_kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Do the same as `insert_nodes`."""
        await offload(lambda: self.insert_nodes(nodes))

    def delete_ref_doc(
        self,
        ref_doc_id: str,
        delete_from_docstore: bool = False,
        **delete_kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Delete a document; an unknown id is ignored.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        """
        self.engine.delete([ref_doc_id])

    async def adelete_ref_doc(
        self,
        ref_doc_id: str,
        delete_from_docstore: bool = False,
        **delete_kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Do the same as `delete_ref_doc`."""
        await offload(lambda: self.delete_ref_doc(ref_doc_id))

    def update_ref_doc(self, document: Document, **update_kwargs: Any) -> None:  # noqa: ANN401
        """Do the same as `insert`."""
        self.insert(document)

    async def aupdate_ref_doc(
        self,
        document: Document,
        **update_kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Do the same as `insert`."""
        await self.ainsert(document)

    def refresh_ref_docs(
        self,
        documents: Sequence[Document],
        **update_kwargs: Any,  # noqa: ANN401
    ) -> list[bool]:
        """Add the documents that are new or have changed; return for each whether it was added.

        Unchanged documents aren't encoded again. Other documents of the index stay.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        """
        changed = [
            self._indexed(document.node_id) != to_document(document, self._labels)
            for document in documents
        ]
        self.insert_nodes([each for each, new in zip(documents, changed, strict=True) if new])
        return changed

    async def arefresh_ref_docs(
        self,
        documents: Sequence[Document],
        **update_kwargs: Any,  # noqa: ANN401
    ) -> list[bool]:
        """Do the same as `refresh_ref_docs`."""
        return await offload(lambda: self.refresh_ref_docs(documents))

    def as_retriever(
        self,
        *,
        similarity_top_k: int = 10,
        filter: Filter | MetadataFilters | None = None,
        filters: MetadataFilters | None = None,
        principal: Principal | None = None,
        **kwargs: Any,  # noqa: ANN401 - LlamaIndex passes those of a query engine
    ) -> RagToolsRetriever:
        """Return a retriever with the same engine; `similarity_top_k` is its `k`.

        `filters` is LlamaIndex's name for `filter`.
        """
        return RagToolsRetriever(
            self.engine,
            principal=principal,
            k=similarity_top_k,
            filter=filter if filters is None else filters,
            callback_manager=self._callback_manager,
        )

    def _insert(self, nodes: Sequence[BaseNode], **insert_kwargs: Any) -> None:  # noqa: ANN401
        added = [to_document(node, self._labels) for node in nodes]
        if added:
            self.engine.add(added)

    def _indexed(self, id: str) -> Indexed | None:
        with suppress(NotFoundError):
            return self.engine.document(id)
        return None
