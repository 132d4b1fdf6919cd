"""Answers in which each ``[n]`` refers to a quote with an exact span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.types import TokenAsyncGen, TokenGen

from llama_index_rag_tools.nodes import source_relationship
from rag_tools.cite.markers import resolve
from rag_tools.types import Citation


@dataclass
class CitedResponse(Response):
    """An answer and its citations.

    Attributes
    ----------
    citations
        The quotes by their numbers in the answer, in order of appearance.
    unknown
        The numbers in the answer to which no source belongs.
    """

    citations: dict[int, Citation] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()


@dataclass
class CitedStreamingResponse(StreamingResponse):
    """An answer while it is written; `get_response` waits for the rest and its citations."""

    _pieces: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self.response_gen = self._kept(self.response_gen)

    def __str__(self) -> str:
        return str(self.get_response())

    def get_response(self) -> CitedResponse:
        """Return the complete answer and its citations."""
        for _ in self.response_gen:
            pass
        return _cited("".join(self._pieces), self)

    def _kept(self, pieces: TokenGen) -> TokenGen:
        for piece in pieces:
            self._pieces.append(piece)
            yield piece


@dataclass
class CitedAsyncStreamingResponse(AsyncStreamingResponse):
    """An answer while it is written; `get_response` waits for the rest and its citations."""

    _pieces: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.response_gen = self._kept(self.response_gen)

    async def get_response(self) -> CitedResponse:
        """Return the complete answer and its citations."""
        async for _ in self._yield_response():  # waits until other readers have read it
            pass
        return _cited("".join(self._pieces), self)

    async def _kept(self, pieces: TokenAsyncGen) -> TokenAsyncGen:
        async for piece in pieces:
            self._pieces.append(piece)
            yield piece


class SpanCitationQueryEngine(CitationQueryEngine):
    """LlamaIndex's `CitationQueryEngine` whose sources are quotes with exact spans.

    It is made and called like the original. The sources are the citations of a `RagToolsRetriever`,
    best first, so that ``citation_chunk_size``, ``citation_chunk_overlap``, ``text_splitter``,
    ``metadata_mode`` and ``multimodal`` have no effect. The answer is a `CitedResponse`; with
    ``streaming=True`` its `get_response` returns one. The source nodes are the numbered quotes: the
    text of a node is that of the document between ``start_char_idx`` and ``end_char_idx``.
    """

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Return the model's answer from the quotes of `nodes`."""
        return _resolved(super().synthesize(query_bundle, nodes, additional_source_nodes))

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Do the same as `synthesize`."""
        return _resolved(await super().asynthesize(query_bundle, nodes, additional_source_nodes))

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _resolved(super()._query(query_bundle))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _resolved(await super()._aquery(query_bundle))

    def _create_citation_nodes(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        cited = [(found, citation) for found in nodes for citation in _citations(found)]
        return [
            _source(found, citation, number) for number, (found, citation) in enumerate(cited, 1)
        ]


def _citations(found: NodeWithScore) -> list[Citation]:
    if "citations" not in found.node.metadata:
        raise ValueError(
            f"node {found.node.node_id} has no citations: use the nodes of a RagToolsRetriever"
        )
    return [Citation.model_validate(each) for each in found.node.metadata["citations"]]


def _source(found: NodeWithScore, citation: Citation, number: int) -> NodeWithScore:
    """Return a quote as a node, which the language model reads as ``Source N``."""
    metadata = {
        "number": number,
        "source": found.node.metadata["source"],
        "title": found.node.metadata["title"],
        "heading": citation.heading or "",
        "url": citation.url,
        "document_sha256": citation.document_sha256,
        "citations": [citation.model_dump(mode="json")],
    }
    hidden = [key for key in metadata if key != "number"]
    node = TextNode(
        id_=f"{citation.document_id}:{citation.start}-{citation.end}",
        text=citation.quote,
        start_char_idx=citation.start,
        end_char_idx=citation.end,
        metadata=metadata,
        metadata_template="Source {value}:",
        text_template="{metadata_str}\n{content}\n",
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=list(metadata),
        relationships=source_relationship(citation.document_id, citation.document_sha256),
    )
    return NodeWithScore(node=node, score=citation.score)


def _resolved(response: RESPONSE_TYPE) -> RESPONSE_TYPE:
    """Return an answer with its citations; an answer that isn't text is returned as it is."""
    if isinstance(response, StreamingResponse):
        return CitedStreamingResponse(
            response.response_gen, response.source_nodes, response.metadata
        )
    if isinstance(response, AsyncStreamingResponse):
        return CitedAsyncStreamingResponse(
            response.response_gen, response.source_nodes, response.metadata
        )
    if isinstance(response, Response):
        return _cited(response.response, response)
    return response


def _cited(
    text: str | None, response: Response | StreamingResponse | AsyncStreamingResponse
) -> CitedResponse:
    sources = [citation for found in response.source_nodes for citation in _citations(found)]
    citations, unknown = resolve(text or "", sources)
    return CitedResponse(
        response=text,
        source_nodes=response.source_nodes,
        metadata=response.metadata,
        citations=citations,
        unknown=unknown,
    )
