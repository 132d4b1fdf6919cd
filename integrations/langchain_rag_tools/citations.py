"""Turning the references in an answer into the citation annotations of LangChain messages.

A model refers to quotes by the numbers of `numbered_quotes` or by the ids of `search_tool`;
`annotate` understands both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.messages.content import (
    Annotation,
    Citation,
    ContentBlock,
    NonStandardAnnotation,
)

from rag_tools.cite.markers import markers
from rag_tools.types import Span
from rag_tools.wire import ids

_Source = tuple[Document, dict[str, Any]]


def numbered_quotes(documents: Sequence[Document]) -> str:
    """Return the quotes of a `RagToolsRetriever`'s documents, numbered from 1, with their links.

    Raises
    ------
    ValueError
        If a document has no citations.
    """
    return "\n".join(
        f"[{number}] {citation['quote']}\n    {citation['url']}"
        for number, (_, citation) in enumerate(_citations(documents), 1)
    )


def annotate(answer: AIMessage | str, documents: Sequence[Document]) -> AIMessage:
    """Return an answer in which each reference is annotated with the quote that it refers to.

    References are numbers of `numbered_quotes`, as ``[n]``, and ids of citations that `search_tool`
    returned, as ``[id]``. Each adds an annotation to its text block, in order: a `Citation` with
    ``cited_text``, ``url`` and ``title``, whose ``start_index`` and ``end_index`` are the place of
    the reference in code points of the block's text. Its ``extras`` have ``number`` or ``id``, and
    ``citation``: the `rag_tools.Citation` as JSON, with the span in the source, which
    `Engine.verify` accepts. A reference to no quote becomes a ``non_standard_annotation`` whose
    ``value`` has an ``error``.

    Parameters
    ----------
    answer
        The model's answer; it isn't changed.
    documents
        The documents that were passed to `numbered_quotes`, or the artifacts of `search_tool`.

    Raises
    ------
    ValueError
        If a document has no citations.
    """
    message = AIMessage(answer) if isinstance(answer, str) else answer
    sources = list(_citations(documents))
    blocks = [_annotated(block, sources) for block in message.content_blocks]
    # These are standard blocks: they must not be read as blocks of the model's provider.
    described = {**message.response_metadata, "output_version": "v1"}
    return message.model_copy(update={"content": blocks, "response_metadata": described})


def _citations(documents: Sequence[Document]) -> Iterator[_Source]:
    for document in documents:
        if "citations" not in document.metadata:
            raise ValueError(
                f"document {document.id} has no citations: use the documents of a RagToolsRetriever"
            )
        for citation in document.metadata["citations"]:
            yield document, citation


def _annotated(block: ContentBlock, sources: Sequence[_Source]) -> ContentBlock:
    if block["type"] != "text":
        return block
    text = block["text"]
    found: list[tuple[Span, Annotation]] = [
        (marker.span, _numbered(number, marker.span, sources))
        for marker in markers(text)
        for number in marker.numbers
    ]
    found += [(marker.span, _identified(marker, sources)) for marker in ids.markers(text)]
    found.sort(key=lambda each: each[0])  # stable: numbers in one marker keep their order
    annotations = [annotation for _, annotation in found]
    return {**block, "annotations": [*block.get("annotations", []), *annotations]}


def _numbered(number: int, place: Span, sources: Sequence[_Source]) -> Annotation:
    if not 0 < number <= len(sources):
        return _unknown({"number": number}, place, f"no quote has the number {number}")
    return _citation({"number": number}, place, sources[number - 1])


def _identified(marker: ids.Marker, sources: Sequence[_Source]) -> Annotation:
    for source in sources:
        _, quoted = source
        if ids.matches(marker.id, quoted["document_id"], quoted["start"], quoted["quote"]):
            return _citation({"id": marker.id}, marker.span, source)
    return _unknown({"id": marker.id}, marker.span, f"no quote has the id {marker.id}")


def _unknown(reference: dict[str, Any], place: Span, error: str) -> Annotation:
    start, end = place
    return NonStandardAnnotation(
        type="non_standard_annotation",
        value={**reference, "start_index": start, "end_index": end, "error": error},
    )


def _citation(reference: dict[str, Any], place: Span, source: _Source) -> Annotation:
    document, citation = source
    return Citation(
        type="citation",
        start_index=place.start,
        end_index=place.end,
        cited_text=citation["quote"],
        url=citation["url"],
        title=document.metadata["title"],
        extras={**reference, "citation": citation},
    )
