"""Jupyter notebooks → Document: the sources of their cells, with what they put out as text.

The canonical text is extracted: in the file, each line of a cell is a JSON string with escapes, in
which no sentence and no function stands as it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.code import load_code
from rag_tools.ingest.code_grammars import LANGUAGES
from rag_tools.ingest.decode import decode
from rag_tools.ingest.markdown import markdown_openings
from rag_tools.types import Document, Element, SourceMap

_SUFFIXES = {
    **{"bash": ".sh", "c++": ".cpp", "c++17": ".cpp", "csharp": ".cs", "c#": ".cs", "ruby": ".rb"},
    **{"javascript": ".js", "kotlin": ".kt", "python": ".py", "rust": ".rs", "scala": ".scala"},
    **{"sql": ".sql", "typescript": ".ts", "go": ".go", "java": ".java", "swift": ".swift"},
}
"""Language of a kernel → suffix of its files."""

_LONGEST_OUTPUT = 4_000
"""Most characters of an output; what is longer is a table or a log that nobody wrote to be read."""

_BETWEEN = "\n\n"


def load_notebook(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a Jupyter notebook of format 3 or 4.

    Cells of Markdown are divided as Markdown is, cells of code by function and class. After a cell
    of code stand its outputs of text, as lines, up to `_LONGEST_OUTPUT` characters of each;
    pictures and widgets are left out. Every path but that of a heading ends with the number of the
    cell, from 1, as in ``cell 3``. The source map has an element for each cell, whose path leads to
    it in the file and whose anchor is its id. A `Loader`, see `rag_tools.ingest.load`.
    """
    try:
        notebook = json.loads(decode(data, name=name))
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{name}: not a notebook: {error}; save it again") from error
    cells = _cells(notebook)
    if cells is None:
        raise UnreadableFileError(f"{name}: not a notebook: it has no list of cells")
    reader = _Reader(_suffix(notebook))
    for number, (pointer, cell) in enumerate(cells, start=1):
        if isinstance(cell, dict):
            reader.add(cell, number, pointer)
    text = "".join(reader.parts)
    return Document(
        text=text,
        uri=uri,
        title=reader.title or name,
        media_type="application/x-ipynb+json",
        blocks=tile(reader.openings, len(text)),
        source_map=SourceMap(elements=tuple(reader.elements)),
    )


def _cells(notebook: Any) -> list[tuple[str, Any]] | None:  # noqa: ANN401 - from JSON
    """Return the cells with their JSON pointers; None if it isn't a notebook."""
    if not isinstance(notebook, dict):
        return None
    if isinstance(cells := notebook.get("cells"), list):
        return [(f"/cells/{place}", cell) for place, cell in enumerate(cells)]
    sheets = notebook.get("worksheets")  # format 3
    if not isinstance(sheets, list):
        return None
    return [
        (f"/worksheets/{sheet}/cells/{place}", cell)
        for sheet, content in enumerate(sheets)
        if isinstance(content, dict) and isinstance(content.get("cells"), list)
        for place, cell in enumerate(content["cells"])
    ]


def _suffix(notebook: dict[str, Any]) -> str:
    """Return the suffix of files in the language of the notebook; Python's if it states none."""
    metadata = _mapping(notebook.get("metadata"))
    known = _mapping(metadata.get("language_info")).get("name")
    known = known or _mapping(metadata.get("kernelspec")).get("language") or "python"
    return _SUFFIXES.get(str(known).lower(), "")


class _Reader:
    """Gathers the text of cells and where its blocks open."""

    def __init__(self, suffix: str) -> None:
        self.parts: list[str] = []
        self.openings: list[Opening] = []
        self.elements: list[Element] = []
        self.title = ""
        self._suffix = suffix
        self._length = 0
        self._sections = Sections()

    def add(self, cell: dict[str, Any], number: int, pointer: str) -> None:
        """Add a cell."""
        kind = cell.get("cell_type")
        source = _joined(cell.get("source", cell.get("input")))
        if kind == "heading":  # format 3
            source = "#" * (cell["level"] if cell.get("level") in range(1, 7) else 1) + " " + source
        start = self._length
        label = f"cell {number}"
        if source.strip():
            if kind == "code":
                self._add_code(source, label)
            elif kind in ("markdown", "heading"):
                self._add_markdown(source, label)
            else:
                self._append(source, [Opening("paragraph", 0, (*self._sections.path, label))])
        for output in _outputs(cell) if kind == "code" else ():
            path = (*self._sections.path, label, "output")
            self._append(output, [Opening("lines", 0, path)])
        if self._length > start:
            end = self._length - len(_BETWEEN)
            self.elements.append(Element(start, end, pointer, str(cell.get("id") or "")[:64]))

    def _add_markdown(self, source: str, label: str) -> None:
        openings, title = markdown_openings(source, 0, self._sections)
        self.title = self.title or title
        self._append(
            source,
            [
                opening
                if opening.kind == "heading"
                else opening._replace(path=(*opening.path, label))
                for opening in openings
            ],
        )

    def _add_code(self, source: str, label: str) -> None:
        path = (*self._sections.path, label)
        openings = [Opening("code", 0, path)]
        if self._suffix in LANGUAGES:
            found = load_code(source.encode(), uri="cell:", name=f"cell{self._suffix}")
            if found.text == source:
                openings = [
                    Opening(block.kind, block.start, (*path, *block.path)) for block in found.blocks
                ]
        self._append(source, openings)

    def _append(self, part: str, openings: Sequence[Opening]) -> None:
        if openings and openings[0].start:
            openings = [Opening("paragraph", 0, openings[0].path), *openings]
        self.openings += [
            opening._replace(start=opening.start + self._length) for opening in openings
        ]
        self.parts += [part, _BETWEEN]
        self._length += len(part) + len(_BETWEEN)


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    """Yield what a cell put out as text."""
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        shown = _mapping(output.get("data")).get("text/plain", output.get("text"))
        if output.get("output_type") in ("error", "pyerr"):
            shown = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        text = _joined(shown).strip("\r\n")
        if text.strip():
            yield text[:_LONGEST_OUTPUT]


def _joined(source: Any) -> str:  # noqa: ANN401 - from JSON
    """Return a text that JSON holds whole or as a list of its lines, as valid Unicode."""
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    text = source if isinstance(source, str) else ""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - from JSON
    return value if isinstance(value, dict) else {}
