"""A document that is put together from pieces: its text, blocks, elements and parts."""

from __future__ import annotations

from typing import Any

from rag_tools.ingest import hidden
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.types import BlockKind, Document, Element, Hidden, Part, SourceMap

_CONTINUED = frozenset(("item", "row", "header"))  # kinds that follow each other without a gap
_IN_TABLE = frozenset(("row", "header"))


class Extraction:
    """The text that was read so far, the openings of its blocks, its elements and its parts.

    Attributes
    ----------
    length
        Of the text, in code points.
    sections
        The headings that are open.
    openings
        Of the blocks so far.
    left_out
        Characters that the source doesn't show and that aren't in the text.
    """

    def __init__(self) -> None:
        self.length = 0
        self.sections = Sections()
        self.openings: list[Opening] = []
        self.left_out = 0
        self._hidden: list[Hidden] = []
        self._pieces: list[str] = []
        self._elements: list[Element] = []
        self._parts: list[Part] = []

    def start_block(
        self, kind: BlockKind, *, path: tuple[str, ...] | None = None, separator: str = ""
    ) -> None:
        """Open a block.

        Parameters
        ----------
        kind
            Of the block.
        path
            By default, that of the open sections.
        separator
            From the text before. By default a line end between the items of a list and between the
            rows of a table, else a blank line.
        """
        if self.length:
            before = self.openings[-1].kind if self.openings else None
            follows = kind in _CONTINUED and (
                kind == before or (before in _IN_TABLE and kind in _IN_TABLE)
            )
            self.append(separator or ("\n" if follows else "\n\n"))
        self.openings.append(
            Opening(kind, self.length, self.sections.path if path is None else path)
        )

    def heading(self, level: int, title: str) -> None:
        """Open a section and the block of its heading, whose text is written next."""
        self.sections.open(level, " ".join(title.split()))
        self.start_block("heading")

    def write(self, text: str, element: str = "", anchor: str = "") -> None:
        """Add text, and the path of the element that holds it if that is known."""
        if element:
            self._elements.append(Element(self.length, self.length + len(text), element, anchor))
        self.append(text)

    def append(self, text: str) -> None:
        """Add text that is in no element."""
        self._pieces.append(text)
        self.length += len(text)

    def hide(self, start: int, end: int, how: str) -> None:
        """Note that no reader of the source sees a stretch of the text."""
        if start < end:
            self._hidden.append(Hidden(start, end, how))

    def mark(self, start: int, label: str, fragment: str = "") -> None:
        """Give a name to the text from `start` on, if there is any."""
        if start < self.length:
            self._parts.append(Part(start, self.length, label, fragment))

    def insert(self, document: Document, element: str = "", label: str = "") -> None:
        """Add a document below the open sections, with its own blocks, elements and parts.

        Parameters
        ----------
        document
            To add.
        element
            The path of the element that it stands in, if that is known.
        label
            What the document is called as a part, if it has a name; those of its own parts and
            pages are added.
        """
        if not document.text:
            return
        if self.length:
            self.append("\n\n")
        start = self.length
        self.append(document.text)
        self.left_out += document.left_out
        self._hidden += [
            Hidden(start + each.start, start + each.end, each.how) for each in document.hidden
        ]
        around = self.sections.path
        for block in document.blocks or tile((), len(document.text)):
            self.openings.append(Opening(block.kind, start + block.start, (*around, *block.path)))
        inner = document.source_map.elements if document.source_map else ()
        prefix = f"{element}#" if element else ""
        self._elements += [
            Element(start + each.start, start + each.end, prefix + each.path, each.anchor)
            for each in inner
        ] or [Element(start, self.length, element, "")] * bool(element)
        if label:
            self._insert_parts(document, start, label)

    def _insert_parts(self, document: Document, start: int, label: str) -> None:
        inner = document.source_map or SourceMap()
        pages = [Part(page.start, page.end, f"page {page.number}") for page in inner.pages]
        parts = inner.parts or pages
        self._parts += [
            Part(start + part.start, start + part.end, f"{label}, {part.label}") for part in parts
        ] or [Part(start, self.length, label)]

    def document(
        self,
        *,
        uri: str,
        name: str,
        media_type: str,
        title: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> Document:
        """Return the document; without a title, its first heading is the title, else its name."""
        headings = (
            opening.path[-1]
            for opening in self.openings
            if opening.kind == "heading" and opening.path
        )
        text = "".join(self._pieces)
        return Document(
            text=text,
            uri=uri,
            title=" ".join(title.split()) or next(headings, name),
            media_type=media_type,
            blocks=tile(self.openings, self.length),
            source_map=SourceMap(elements=tuple(self._elements), parts=tuple(self._parts)),
            metadata=metadata or {},
            hidden=hidden.joined(self._hidden, text),
            left_out=self.left_out,
        )
