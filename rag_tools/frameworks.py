"""What the adapters to other frameworks have in common: documents of theirs, and metadata of hits.

No framework is imported here: LangChain and LlamaIndex have extras of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from rag_tools.types import Document, Hit, SourceMap

OF_THE_QUERY = frozenset({"citations", "confidence", "quotes"})
"""Fields of a result's metadata that depend on the query, not on the passage alone."""


def indexed_document(
    id: str,
    text: str,
    *,
    source: str,
    default_uri: str,
    title: str,
    metadata: Mapping[str, Any],
    labels: tuple[str, ...],
) -> Document:
    """Return the document to index for one of a framework.

    Parameters
    ----------
    source
        The URI that citations link to; empty if the document has none.
    default_uri
        The URI of a document without a source.
    title
        If empty, the last part of the source.
    labels
        Who may read it.
    """
    return Document(
        id=id,
        text=text,
        uri=source or default_uri,
        # The title is encoded with every passage: an empty one is better than one made of an id.
        title=title or source.rstrip("/").rsplit("/", 1)[-1],
        # The framework extracted the text: its lines may differ from those of the source.
        source_map=SourceMap(),
        metadata=dict(metadata),
        labels=labels,
    )


def hit_metadata(hit: Hit, confidence: float | None) -> dict[str, Any]:
    """Return the metadata of a hit: those of its document, and what rag-tools adds.

    Added are ``source``, ``title``, ``heading``, ``url`` and ``document_sha256``; ``citations``, a
    list of `rag_tools.Citation` as JSON; ``also_in``, the duplicates of the passage;
    ``flags``, a list of `rag_tools.Flag` as JSON; and ``confidence``, that of the search.
    """
    return {
        **deepcopy(hit.metadata),  # pipelines change metadata, and the engine keeps its own
        "source": hit.uri,
        "title": hit.title,
        "heading": hit.heading,
        "url": hit.url,
        "document_sha256": hit.document_sha256,
        "citations": [citation.model_dump(mode="json") for citation in hit.citations],
        "also_in": [copy.model_dump(mode="json") for copy in hit.also_in],
        "flags": [flag.model_dump(mode="json") for flag in hit.flags],
        "confidence": confidence,
    }


def containing(text: str, *, case: bool = True) -> str:
    """Return the glob of what contains a text; `case` says whether its case matters.

    Examples
    --------
    >>> containing("a*b"), containing("Ab", case=False)
    ('*a[*]b*', '*[aA][bB]*')
    """
    return f"*{''.join(_in_glob(character, case) for character in text)}*"


def _in_glob(character: str, case: bool) -> str:
    forms = character if case else "".join(sorted({character.lower(), character.upper()}))[::-1]
    if len(forms) == 2 and forms.isalpha():
        return f"[{forms}]"
    return f"[{character}]" if character in "*?[" else character
