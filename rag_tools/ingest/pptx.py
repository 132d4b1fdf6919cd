"""PowerPoint presentations (.pptx) to canonical text: slides with their tables and notes.

The text holds, slide by slide, the title, the text of all shapes, tables, the values that charts
show beside their titles, diagrams, alternative texts of pictures, and the speaker's notes. It
doesn't hold dates, footers and numbers that repeat on every slide, nor comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.archive import Archive, Relation, attribute, local
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.properties import office_properties
from rag_tools.ingest.tables import write_table
from rag_tools.types import Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_TITLES = frozenset(("title", "ctrTitle"))
_REPEATED = frozenset(("dt", "ftr", "sldNum", "hdr", "sldImg"))  # placeholders
_LISTS = frozenset(("body", "obj", ""))  # placeholders whose paragraphs have bullets by default
_SHAPES = frozenset(("sp", "graphicFrame", "pic", "cxnSp"))
_MARKS = ("buNone", "buChar", "buAutoNum", "buBlip")
_FILE_NAME_ENDS = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".emf", ".wmf", ".bmp", ".tif", ".tiff")
_MOST_SLIDES = 10_000


def load_pptx(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text of a PowerPoint presentation.

    A slide's title is a heading, and what is on the slide stands below it. The parts of the source
    map are ``slide 3`` and ``slide 3, notes``; its elements have paths such as
    ``slides[3]/sp[2]/p[1]`` and ``slides[3]/graphicFrame[1]/tr[2]``. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    archive = Archive(data, name, "a PowerPoint presentation")
    extraction = Extraction()
    for number, member in enumerate(_slides(archive), 1):
        _Slide(archive, extraction, member, number).read()
    properties = office_properties(archive)
    return extraction.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=properties.title,
        metadata=properties.metadata,
    )


def _slides(archive: Archive) -> Iterator[str]:
    """Yield the names of the slides in the order in which they are shown."""
    main = archive.main("ppt/presentation.xml")
    relations = archive.relations(main)
    ids = archive.xml(main).iterfind("{*}sldIdLst/{*}sldId")
    seen = set()
    for element in ids:
        slide = relations.get(_relation_id(element))
        if slide is None or slide.target in seen or slide.target not in archive:
            continue
        seen.add(slide.target)
        if len(seen) > _MOST_SLIDES:
            raise UnreadableFileError(
                f"{archive.name}: more than {_MOST_SLIDES:,} slides: split the presentation"
            )
        yield slide.target


def _relation_id(element: Any) -> str:  # noqa: ANN401 - lxml has no types
    """Return the id of a relation that an element names, not to be confused with its own id."""
    return next((str(value) for key, value in element.items() if key.endswith("}id")), "")


class _Slide:
    """Reads one slide."""

    def __init__(self, archive: Archive, extraction: Extraction, member: str, number: int) -> None:
        self._archive = archive
        self._out = extraction
        self._root = archive.xml(member)
        self._relations: dict[str, Relation] = archive.relations(member)
        self._number = number

    def read(self) -> None:
        """Add the slide and its notes to the text."""
        start = self._out.length
        self._out.sections.close(1)
        shapes = list(_shapes(self._root))
        title = next((shape for shape, _ in shapes if _placeholder(shape) in _TITLES), None)
        path = f"slides[{self._number}]"
        words = "" if title is None else _one_line(title)
        if words:
            self._out.heading(1, words)
            self._out.write(words, f"{path}/title")
        for shape, step in shapes:
            if shape is not title or not words:
                self._shape(shape, f"{path}/{step}")
        label = f"slide {self._number}"
        self._out.mark(start, label)
        start = self._out.length
        self._notes(f"{path}/notes")
        self._out.mark(start, f"{label}, notes")

    def _shape(self, shape: Any, path: str) -> None:  # noqa: ANN401
        kind = _placeholder(shape)
        if kind in _REPEATED:
            return
        table = next(shape.iter("{*}tbl"), None)
        if table is not None:
            self._table(table, path)
            return
        body = shape.find("{*}txBody")
        if body is not None:
            self._paragraphs(body, path, is_list=kind in _LISTS)
        for relation in self._shown(shape):
            self._shown_part(relation, path)
        words = " ".join(attribute(_properties(shape), "descr").split())
        if words and not words.lower().endswith(_FILE_NAME_ENDS):
            self._out.start_block("paragraph")
            self._out.write(words, path)

    def _paragraphs(self, body: Any, path: str, *, is_list: bool) -> None:  # noqa: ANN401
        for number, paragraph in enumerate(body.iterchildren("{*}p"), 1):
            words = _words(paragraph)
            if not words.strip():
                continue
            self._out.start_block("item" if _is_item(paragraph, is_list) else "paragraph")
            self._out.write(words, f"{path}/p[{number}]")

    def _table(self, table: Any, path: str) -> None:  # noqa: ANN401
        rows = []
        for number, row in enumerate(table.iterchildren("{*}tr"), 1):
            cells = [_one_line(cell) for cell in row.iterchildren("{*}tc")]
            rows.append((cells, f"{path}/tr[{number}]"))
        properties = table.find("{*}tblPr")
        marked = properties is not None and properties.get("firstRow") in ("1", "true")
        write_table(self._out, rows, header_rows=1 if marked else None)

    def _shown(self, shape: Any) -> Iterator[Relation]:  # noqa: ANN401
        """Yield the charts and diagrams that a shape shows."""
        for element in shape.iter("{*}chart", "{*}relIds"):
            for key, value in element.items():
                if key.rpartition("}")[2] in ("id", "dm") and value in self._relations:
                    yield self._relations[value]

    def _shown_part(self, relation: Relation, path: str) -> None:
        root = self._archive.xml_if_any(relation.target) if relation.target else None
        if root is None:
            return
        if relation.kind == "chart":
            lines = list(_chart(root))
        else:
            lines = [_words(each).strip() for each in root.iter("{*}p")]
        for line in filter(None, lines):
            self._out.start_block("item")
            self._out.write(line, path)

    def _notes(self, path: str) -> None:
        target = next(
            (each.target for each in self._relations.values() if each.kind == "notesSlide"), ""
        )
        root = self._archive.xml_if_any(target) if target else None
        for shape, step in () if root is None else _shapes(root):
            body = shape.find("{*}txBody")
            if body is not None and _placeholder(shape) == "body":
                self._paragraphs(body, f"{path}/{step}", is_list=False)


def _shapes(root: Any) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    """Yield the shapes of a slide, those in groups included, with the last step of their path."""
    counts: dict[str, int] = {}
    for tree in root.iterfind("{*}cSld/{*}spTree"):
        for shape in tree.iter("*"):
            step = local(shape)
            around = shape.getparent()
            if step not in _SHAPES or local(around) == "Fallback":
                continue
            counts[step] = counts.get(step, 0) + 1
            yield shape, f"{step}[{counts[step]}]"


def _properties(shape: Any) -> Any:  # noqa: ANN401
    found = next(shape.iter("{*}cNvPr"), None)
    return shape if found is None else found


def _placeholder(shape: Any) -> str | None:  # noqa: ANN401
    """Return the type of a placeholder, ``""`` if it is the general one, or None."""
    for element in shape.iterchildren("{*}nvSpPr", "{*}nvGraphicFramePr", "{*}nvPicPr"):
        for found in element.iterfind("{*}nvPr/{*}ph"):
            return str(found.get("type", ""))
    return None


def _words(paragraph: Any) -> str:  # noqa: ANN401
    pieces = []
    for element in paragraph.iter("{*}t", "{*}br", "{*}tab"):
        pieces.append({"br": "\n", "tab": "\t"}.get(local(element)) or element.text or "")
    return "".join(pieces)


def _one_line(container: Any) -> str:  # noqa: ANN401
    return " ".join(" ".join(map(_words, container.iter("{*}p"))).split())


def _is_item(paragraph: Any, is_list: bool) -> bool:  # noqa: ANN401
    properties = paragraph.find("{*}pPr")
    if properties is None:
        return is_list
    for mark in _MARKS:
        if properties.find(f"{{*}}{mark}") is not None:
            return mark != "buNone"
    return is_list or properties.get("lvl", "0") != "0"


def _chart(root: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the title of a chart, and a line for each series with its values."""
    for title in root.iterfind("{*}chart/{*}title"):
        yield _one_line(title)
    for series in root.iter("{*}ser"):
        names = _points(series, "{*}tx")
        labels = _points(series, "{*}cat")
        values = _points(series, "{*}val")
        pairs = [f"{label} {value}" for label, value in zip(labels, values, strict=False)] or values
        if pairs:
            yield f"{' '.join(names)}: {', '.join(pairs)}" if names else ", ".join(pairs)


def _points(series: Any, which: str) -> list[str]:  # noqa: ANN401
    return [
        (point.text or "").strip()
        for holder in series.iterchildren(which)
        for point in holder.iter("{*}v")
    ]
