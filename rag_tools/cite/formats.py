"""A cited answer in the forms that others read: Markdown, Anthropic's blocks, OpenAI's annotations.

Nothing is looked up or sent. Every form comes with the ids of the citations that it numbers, so
that what a program gets back from one leads to the span in the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rag_tools.cite.heatmap import place
from rag_tools.cite.markers import markers
from rag_tools.types import Citation, CitedAnswer

# Pairs of marks that `rag_tools.cite.answer` knows a quotation by.
_MARKS = ("“”", "«»", '""')
# What Markdown could take for mark-up in a line of text.
_ACTIVE = re.compile(r"([\\`*_<>\[\]#|~&])")


class AnthropicContent(NamedTuple):
    """A cited answer as content blocks of Anthropic's Messages API.

    Attributes
    ----------
    search_results
        One ``search_result`` block for each citation, in order of their numbers; for the user's
        message or the result of a tool.
    content
        The answer, without markers, as ``text`` blocks of the assistant's message; those of cited
        claims have ``search_result_location`` citations. Their texts join to the draft.
    citation_ids
        By ``search_result_index``: ``DOCUMENT_ID:START-END``, which `Engine.fetch` takes.
    """

    search_results: list[dict[str, Any]]
    content: list[dict[str, Any]]
    citation_ids: list[str]


class OpenAIAnnotations(NamedTuple):
    """The citations of an answer as OpenAI's Responses API annotates them.

    Attributes
    ----------
    annotations
        ``url_citation`` objects, by rising ``start_index``; `start_index` to `end_index` is the
        marker in the answer's `text`, in code points, the end not included.
    citation_ids
        That of each annotation: ``DOCUMENT_ID:START-END``, which `Engine.fetch` takes.
    """

    annotations: list[dict[str, Any]]
    citation_ids: list[str]


def references(citations: Iterable[Citation]) -> str:
    r"""Return the quotes with their links as a Markdown list, numbered from 1.

    `rag_tools.cite.answer.quotations` reads it: verifying an answer with this list below it
    verifies the quotes.

    Examples
    --------
    >>> tides = Citation(document_id="t", document_sha256="", start=0, end=9, quote="The *Moon",
    ...                  url="file:///tides.txt#L1")
    >>> references([tides])
    '- [1] <file:///tides.txt#L1> “The \\*Moon”\n'
    """
    return "".join(
        f"- [{number}] <{citation.url}> {_quoted(citation.quote)}\n"
        for number, citation in enumerate(citations, 1)
    )


def anthropic_content(answer: CitedAnswer) -> AnthropicContent:
    """Return an answer for Anthropic's Messages API: plain dictionaries, ready to be sent."""
    results: list[dict[str, Any]] = [
        {
            "type": "search_result",
            "source": citation.url,
            "title": _title(citation),
            "content": [{"type": "text", "text": citation.quote}],
            "citations": {"enabled": True},
        }
        for citation in answer.citations
    ]
    content: list[dict[str, Any]] = []
    end = 0
    for claim in answer.claims:
        if claim.numbers:
            # The service refuses blocks of white space alone.
            if answer.draft[end : claim.start].strip():
                content.append({"type": "text", "text": answer.draft[end : claim.start]})
                end = claim.start
            content.append(
                {
                    "type": "text",
                    "text": answer.draft[end : claim.end],
                    "citations": [_location(answer.citations, n) for n in claim.numbers],
                }
            )
            end = claim.end
    rest = answer.draft[end:]
    if rest.strip() or not content:
        content.append({"type": "text", "text": rest})
    else:
        content[-1]["text"] += rest
    return AnthropicContent(results, content, [_id(each) for each in answer.citations])


def openai_annotations(answer: CitedAnswer) -> OpenAIAnnotations:
    """Return the markers of an answer for OpenAI's Responses API, one annotation a number."""
    cited = [
        (marker.span, answer.citations[number - 1])
        for marker in markers(answer.text)
        for number in marker.numbers
    ]
    annotations: list[dict[str, Any]] = [
        {
            "type": "url_citation",
            "start_index": span.start,
            "end_index": span.end,
            "url": citation.url,
            "title": _title(citation),
        }
        for span, citation in cited
    ]
    return OpenAIAnnotations(annotations, [_id(citation) for _, citation in cited])


def _quoted(quote: str) -> str:
    """Return a quote on one line of Markdown, between marks that it doesn't hold if there are."""
    marks = next((marks for marks in _MARKS if not set(marks) & set(quote)), _MARKS[0])
    return marks[0] + _ACTIVE.sub(r"\\\1", " ".join(quote.split())) + marks[1]


def _location(citations: Sequence[Citation], number: int) -> dict[str, Any]:
    citation = citations[number - 1]
    return {
        "type": "search_result_location",
        "cited_text": citation.quote,
        "source": citation.url,
        "title": _title(citation),
        "search_result_index": number - 1,
        "start_block_index": 0,
        "end_block_index": 1,
    }


def _title(citation: Citation) -> str:
    return " > ".join(filter(None, (place(citation.url), citation.heading)))


def _id(citation: Citation) -> str:
    return f"{citation.document_id}:{citation.start}-{citation.end}"
