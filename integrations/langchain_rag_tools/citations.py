"""The numbers in an answer, as the annotations with which LangChain messages cite.

`numbered_quotes` is what the model reads, `annotate` what is made of its answer: both number the
citations of the same documents alike.
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


def numbered_quotes(documents: Sequence[Document]) -> str:
    """Return the quotes of what a `RagToolsRetriever` found, numbered from 1, with their links.

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
    """Return an answer whose ``[n]`` are annotated with the quotes that they refer to.

    Its text blocks gain an annotation per number, in order: a `Citation` whose ``start_index`` and
    ``end_index`` are the marker's, in code points of the block's text, with ``cited_text``,
    ``url`` and ``title``. Its ``extras`` hold ``number`` and ``citation``, the
    `rag_tools.Citation` as JSON: the span in the source, and what `Engine.verify` takes. A number
    that no quote has becomes a ``non_standard_annotation`` whose ``value`` has ``error``.

    Parameters
    ----------
    answer
        Of the model; it isn't changed.
    documents
        Those that were given to `numbered_quotes`.

    Raises
    ------
    ValueError
        If a document has no citations.
    """
    message = AIMessage(answer) if isinstance(answer, str) else answer
    sources = list(_citations(documents))
    blocks = [_annotated(block, sources) for block in message.content_blocks]
    # Standard blocks: not to be read again as those of the model's provider.
    described = {**message.response_metadata, "output_version": "v1"}
    return message.model_copy(update={"content": blocks, "response_metadata": described})


def _citations(documents: Sequence[Document]) -> Iterator[tuple[Document, dict[str, Any]]]:
    for document in documents:
        if "citations" not in document.metadata:
            raise ValueError(f"document {document.id} has no citations: use a RagToolsRetriever")
        for citation in document.metadata["citations"]:
            yield document, citation


def _annotated(
    block: ContentBlock, sources: Sequence[tuple[Document, dict[str, Any]]]
) -> ContentBlock:
    if block["type"] != "text":
        return block
    annotations: list[Annotation] = [
        _annotation(number, marker.span.start, marker.span.end, sources)
        for marker in markers(block["text"])
        for number in marker.numbers
    ]
    return {**block, "annotations": [*block.get("annotations", []), *annotations]}


def _annotation(
    number: int, start: int, end: int, sources: Sequence[tuple[Document, dict[str, Any]]]
) -> Annotation:
    if not 0 < number <= len(sources):
        error = f"no quote has the number {number}"
        return NonStandardAnnotation(
            type="non_standard_annotation",
            value={"number": number, "start_index": start, "end_index": end, "error": error},
        )
    document, citation = sources[number - 1]
    return Citation(
        type="citation",
        start_index=start,
        end_index=end,
        cited_text=citation["quote"],
        url=citation["url"],
        title=document.metadata["title"],
        extras={"number": number, "citation": citation},
    )
