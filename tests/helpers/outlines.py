"""What a document says, unit by unit, with where it is cited to stand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rag_tools.cite.locate import cite_span
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Document, Span
from rag_tools.units import units

DOCUMENTS = Path(__file__).parents[1] / "data" / "documents"


class Said(NamedTuple):
    kind: str
    part: str | None
    heading: str | None
    quote: str
    url: str


def opened(name: str, data: bytes | None = None) -> Document:
    """Return a document of the test data, or that in `data`."""
    data = (DOCUMENTS / name).read_bytes() if data is None else data
    return load_bytes(data, name=name, uri=f"file:///d/{name}")


def said(document: Document) -> list[Said]:
    """Return the units of a document, without white space at their ends; checks the blocks."""
    ends = [0, *(block.end for block in document.blocks)]
    assert [*(block.start for block in document.blocks), len(document.text)] == ends
    found = []
    for unit in units(document.text, document.blocks):
        words = document.text[unit.start : unit.end]
        start = unit.start + len(words) - len(words.lstrip())
        if words.strip():
            citation = cite_span(document, Span(start, start + len(words.strip())))
            assert document.text[citation.start : citation.end] == citation.quote
            found.append(
                Said(unit.kind, citation.part, citation.heading, citation.quote, citation.url)
            )
    return found


def brief(document: Document) -> list[tuple[str, str | None, str]]:
    """Return the kind, part and words of each unit."""
    return [(each.kind, each.part, each.quote) for each in said(document)]
