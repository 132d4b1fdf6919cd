"""Documents and passages as LlamaIndex has them: what is indexed for a node, and the way back."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from rag_tools.types import Document, Hit, SourceMap

SPAN_METADATA = ("source", "url", "document_sha256", "citations", "also_in", "confidence")
"""What programs read: of no use to a language model or an embedding."""

OF_THE_QUERY = frozenset({"citations", "confidence", "quotes"})
"""Keys of a node's metadata that another query fills otherwise."""

_HIDDEN = "excluded_llm_metadata_keys"
"""In the metadata of what is indexed: what the document hides from the language model."""


class RetrievedNode(TextNode):
    """A text node that has the same hash whichever query found it.

    ``citations``, ``confidence`` and ``quotes`` in the metadata belong to the query and aren't
    hashed. Retrievers that ask several questions or several retrievers, such as
    ``QueryFusionRetriever``, recognise a passage by its hash. Serialised by LlamaIndex, it comes
    back as a plain `TextNode`.
    """

    @property
    def hash(self) -> str:
        """The hash that a `TextNode` of the passage has, without what belongs to the query."""
        metadata = {
            name: value for name, value in self.metadata.items() if name not in OF_THE_QUERY
        }
        return TextNode(text=self.text, metadata=metadata).hash


def to_document(node: BaseNode) -> Document:
    """Return what is indexed for a document of LlamaIndex: its id, text and metadata.

    Raises
    ------
    ValueError
        If it is a part of another document, or its metadata aren't JSON.
    """
    if node.ref_doc_id is not None:
        raise ValueError(
            f"node {node.node_id} is a part of {node.ref_doc_id}: insert the document, which the "
            "index divides itself"
        )
    metadata = dict(node.metadata)
    source = next((str(metadata[key]) for key in ("source", "url") if metadata.get(key)), "")
    if not source and metadata.get("file_path"):
        source = Path(str(metadata["file_path"])).absolute().as_uri()
    title = metadata.get("title") or metadata.get("file_name")
    if node.excluded_llm_metadata_keys:
        metadata[_HIDDEN] = list(node.excluded_llm_metadata_keys)
    return Document(
        id=node.node_id,
        text=node.get_content(MetadataMode.NONE),
        uri=source or f"llama-index:{node.node_id}",
        # Encoded with every passage: no name at all says more than one made of an id.
        title=str(title or source.rstrip("/").rsplit("/", 1)[-1]),
        # The text was extracted, so that its lines needn't be those of the source.
        source_map=SourceMap(),
        metadata=metadata,
    )


def to_node(hit: Hit, confidence: float | None) -> RetrievedNode:
    """Return a hit as the node that `RagToolsRetriever` describes, with that of its search."""
    metadata = deepcopy(hit.metadata)  # the engine keeps it, and pipelines like to change theirs
    hidden = [*SPAN_METADATA, *metadata.pop(_HIDDEN, ())]
    return RetrievedNode(
        id_=hit.id,
        text=hit.text,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        metadata={
            **metadata,
            "source": hit.uri,
            "title": hit.title,
            "heading": hit.heading or "",
            "url": hit.url,
            "document_sha256": hit.document_sha256,
            "citations": [citation.model_dump(mode="json") for citation in hit.citations],
            "also_in": [copy.model_dump(mode="json") for copy in hit.also_in],
            "confidence": confidence,
        },
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=list(SPAN_METADATA),
        relationships=source_relationship(hit.document_id, hit.document_sha256),
    )


def source_relationship(
    document_id: str, document_sha256: str
) -> dict[NodeRelationship, RelatedNodeInfo | list[RelatedNodeInfo]]:
    """Return the relationships of a part of a document."""
    source = RelatedNodeInfo(
        node_id=document_id, node_type=ObjectType.DOCUMENT, hash=document_sha256
    )
    return {NodeRelationship.SOURCE: source}
