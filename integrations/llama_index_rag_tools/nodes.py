"""LlamaIndex's nodes: turning them into documents to index, and hits into nodes."""

from __future__ import annotations

from pathlib import Path

from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from rag_tools.frameworks import OF_THE_QUERY, hit_metadata, indexed_document
from rag_tools.types import Document, Hit

SPAN_METADATA = ("source", "url", "document_sha256", "citations", "also_in", "confidence")
"""Metadata for programs, hidden from the language model and the embedding."""

_HIDDEN = "excluded_llm_metadata_keys"
"""The key, in indexed metadata, for the fields that the node hides from the language model."""


class RetrievedNode(TextNode):
    """A text node whose hash doesn't depend on the query that found it.

    ``citations``, ``confidence`` and ``quotes`` in the metadata depend on the query and aren't
    hashed. ``QueryFusionRetriever`` and the like, which ask several questions or several
    retrievers, recognise a passage by its hash. LlamaIndex serialises and restores it as a plain
    `TextNode`.
    """

    @property
    def hash(self) -> str:
        """The hash of a `TextNode` with the metadata that don't depend on the query."""
        metadata = {
            name: value for name, value in self.metadata.items() if name not in OF_THE_QUERY
        }
        return TextNode(text=self.text, metadata=metadata).hash


def to_document(node: BaseNode, labels: tuple[str, ...] = ()) -> Document:
    """Return the document to index for one of LlamaIndex.

    Raises
    ------
    ValueError
        If the node is a part of another document, or its metadata aren't JSON.
    """
    if node.ref_doc_id is not None:
        raise ValueError(
            f"node {node.node_id} is a part of document {node.ref_doc_id}: insert the whole "
            f"document, "
            "since the index divides it itself"
        )
    metadata = dict(node.metadata)
    source = next((str(metadata[key]) for key in ("source", "url") if metadata.get(key)), "")
    if not source and metadata.get("file_path"):
        source = Path(str(metadata["file_path"])).absolute().as_uri()
    title = metadata.get("title") or metadata.get("file_name")
    if node.excluded_llm_metadata_keys:
        metadata[_HIDDEN] = list(node.excluded_llm_metadata_keys)
    return indexed_document(
        node.node_id,
        node.get_content(MetadataMode.NONE),
        source=source,
        default_uri=f"llama-index:{node.node_id}",
        title=str(title or ""),
        metadata=metadata,
        labels=labels,
    )


def to_node(hit: Hit, confidence: float | None) -> RetrievedNode:
    """Return a hit as the node that `RagToolsRetriever` describes.

    Parameters
    ----------
    confidence
        That of the search.
    """
    metadata = hit_metadata(hit, confidence)
    hidden = [*SPAN_METADATA, *metadata.pop(_HIDDEN, ())]
    return RetrievedNode(
        id_=hit.id,
        text=hit.text,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        metadata={**metadata, "heading": hit.heading or ""},  # the language model reads it
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=list(SPAN_METADATA),
        relationships=source_relationship(hit.document_id, hit.document_sha256),
    )


def source_relationship(
    document_id: str, document_sha256: str
) -> dict[NodeRelationship, RelatedNodeInfo | list[RelatedNodeInfo]]:
    """Return the relationships of a node that is a part of a document."""
    source = RelatedNodeInfo(
        node_id=document_id, node_type=ObjectType.DOCUMENT, hash=document_sha256
    )
    return {NodeRelationship.SOURCE: source}
