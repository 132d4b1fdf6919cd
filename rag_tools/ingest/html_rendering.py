"""Renders the elements of an HTML page to text and blocks, as a browser does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lxml import etree, html

from rag_tools.ingest import hidden
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.html_elements import (
    CELLS,
    HEADINGS,
    LINES,
    LISTS,
    SPACED,
    VERBATIM,
    WHITE_SPACE,
    block_kind,
    collapse,
    is_around,
    is_hidden,
    is_menu,
    is_navigation,
    is_skipped,
    shown,
)
from rag_tools.ingest.html_hiding import Look, Styles
from rag_tools.types import Block, BlockKind, Element, Hidden


class _Anchor(NamedTuple):
    """An id to link to, ordered by its position in the page."""

    order: int
    id: str


@dataclass(slots=True)
class _Frame:
    """An open element."""

    tag: str
    path: str
    block_path: str  # of the nearest element that isn't inline
    kind: BlockKind
    group: int  # which heading, item, row or code the text belongs to; 0 for none
    anchor: _Anchor
    order: int
    verbatim: bool
    spaced: bool  # whether a blank line surrounds it
    parts_before: int
    runs_before: int
    look: Look
    in_list: bool = False  # or in a table
    navigation: bool = False
    around: bool = False  # whether it is outside the content
    linked: bool = False
    last_tag: str = ""  # of the last element in it
    term_group: int = 0  # group of the last dt in it, which a dd defines
    outer_cell: int | None = None  # the cell that contains it, if it is a table
    children: Counter[str] = field(default_factory=Counter)  # tag → number seen so far
    all_children: Counter[str] | None = None  # tag → number in the page, counted when needed


@dataclass(slots=True)
class Run:
    """A stretch of text without a block boundary inside."""

    start: int
    end: int
    kind: BlockKind
    group: int
    element: str
    anchor: str
    path: tuple[str, ...]
    around: bool = False  # whether it is outside the content of the page
    linked: bool = True  # whether all of it is in links


class Rendering:
    """The text so far, and the state that decides what separates it from what follows.

    Attributes
    ----------
    parts
        Of the text.
    runs
        Of its blocks.
    left_out
        Characters of comments and of elements that their author hid; they aren't in the text.
    """

    def __init__(self, styles: Styles) -> None:
        self.parts: list[str] = []
        self.runs: list[Run] = []
        self.left_out = 0
        self._styles = styles
        self._hidden: list[Hidden] = []
        self._length = 0
        self._gap = ""  # white space owed before the next character
        self._run_is_open = False
        self._cell: int | None = None  # where the open table cell's text starts
        self._sections = Sections()
        self._heading_anchor = _Anchor(0, "")
        self._order = 0
        self._groups = 0
        anchor = _Anchor(0, "")
        self._frames = [
            _Frame("", "", "", "paragraph", 0, anchor, 0, False, False, 0, 0, styles.page)
        ]

    def render(self, root: html.HtmlElement) -> None:
        """Render the tree, without recursion, since pages nest more deeply than Python recurses."""
        skipped: html.HtmlElement | None = None
        walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for event, element in walk:
            if event == "start":
                if is_skipped(element):
                    skipped = element
                    if is_hidden(element):
                        self.left_out += len(collapse(element.text_content()))
                    self._frames[-1].children[element.tag] += 1
                    walk.skip_subtree()
                else:
                    self._enter(element)
                continue
            if event == "end":
                if element is skipped:
                    skipped = None
                else:
                    self._leave(self._frames.pop())
            elif event == "comment":
                self.left_out += len(collapse(element.text or ""))
            if element.tail and element is not root:
                self._write(element.tail)

    def blocks(self) -> tuple[Block, ...]:
        """Return blocks that tile the text: one per list item, definition, and table row."""
        openings: list[Opening] = []
        group = 0
        text = "".join(self.parts)
        runs = [
            replace(run, kind="navigation", group=0)
            if run.around
            and (run.linked or run.kind == "heading" or is_menu(text[run.start : run.end]))
            else run
            for run in self.runs
        ]
        for run in runs:
            if not (run.group and run.group == group and run.path == openings[-1].path):
                openings.append(Opening(run.kind, run.start, run.path))
            group = run.group
        return tile(openings, self._length)

    def elements(self) -> tuple[Element, ...]:
        """Return the element of every run."""
        return tuple(Element(run.start, run.end, run.element, run.anchor) for run in self.runs)

    def hidden(self) -> tuple[Hidden, ...]:
        """Return the stretches of the text that no reader of the page sees."""
        return hidden.joined(self._hidden, "".join(self.parts))

    def _enter(self, element: html.HtmlElement) -> None:
        tag = element.tag
        parent = self._frames[-1]
        self._order += 1
        frame = self._open_frame(element, parent)
        self._frames.append(frame)
        if anchor_id := element.get("id") or (tag == "a" and element.get("name")):
            frame.anchor = _Anchor(self._order, anchor_id)
            if tag not in LINES:
                parent.anchor = frame.anchor  # it marks the place; what follows is nearest to it
        if tag == "br":
            self._gap = "\n\n" if "\n" in self._gap else "\n"
        elif tag in CELLS:
            self._start_cell(first=sum(parent.children[cell] for cell in CELLS) == 1)
        elif tag in LINES:
            self._boundary(frame)
            if tag == "table":
                frame.outer_cell, self._cell = self._cell, None
        if words := shown(element):
            self._write(f" {words} ")
        if element.text:
            self._write(element.text)

    def _leave(self, frame: _Frame) -> None:
        if frame.tag in HEADINGS:
            self._end_heading(frame)
        if frame.tag in ("tr", "table"):
            self._cell = frame.outer_cell
        if frame.tag in LINES:
            self._boundary(frame)

    def _open_frame(self, element: html.HtmlElement, parent: _Frame) -> _Frame:
        tag = element.tag
        parent.children[tag] += 1
        index = parent.children[tag]
        if parent.all_children is None:  # once: to look at the siblings of each is quadratic
            around = element.getparent()
            siblings = [element] if around is None else around.iterchildren("*")
            parent.all_children = Counter(sibling.tag for sibling in siblings)
        step = tag if parent.all_children[tag] == 1 else f"{tag}[{index}]"
        navigation = tag != "address" and (parent.navigation or is_navigation(element))
        kind, group = parent.kind, parent.group
        own_kind = None if navigation and parent.navigation else block_kind(element, navigation)
        if kind == "navigation" and not navigation:
            kind, group = "paragraph", 0
        if tag == "dd" and parent.term_group and not navigation:
            kind, group = "item", parent.term_group
        elif own_kind:
            self._groups += 1
            kind, group = own_kind, self._groups
        if tag == "dt" and not navigation:
            if parent.last_tag == "dt":  # several terms with one definition
                group = parent.term_group
            parent.term_group = group
        parent.last_tag = tag
        path = f"{parent.path}/{step}" if parent.path else step
        return _Frame(
            tag=tag,
            path=path,
            block_path=path if tag in LINES or tag in CELLS else parent.block_path,
            kind=kind,
            group=group,
            anchor=parent.anchor,
            order=self._order,
            verbatim=parent.verbatim or tag in VERBATIM,
            spaced=tag in SPACED and (tag not in LISTS or not parent.in_list),
            in_list=parent.in_list or tag in LISTS or tag == "table",
            navigation=navigation,
            around=tag != "address" and (parent.around or is_around(element)),
            linked=parent.linked or tag in ("a", "button"),
            parts_before=len(self.parts),
            runs_before=len(self.runs),
            look=self._styles.look(element, parent.look),
        )

    def _end_heading(self, frame: _Frame) -> None:
        if frame.navigation or frame.around:
            return
        title = collapse("".join(self.parts[frame.parts_before :]))
        if not title:
            return
        self._sections.open(HEADINGS[frame.tag], title)
        if frame.anchor.order >= frame.order:
            self._heading_anchor = frame.anchor
        for run in self.runs[frame.runs_before :]:
            run.path = self._sections.path
            run.anchor = max(frame.anchor, self._heading_anchor).id

    def _start_cell(self, *, first: bool) -> None:
        """Separate a cell from the one before it with a tab, even if that one has no text."""
        self._run_is_open = False
        if not first:
            has_text = self._cell is not None and self._length > self._cell
            self._gap = "\t" if has_text else self._gap.replace(" ", "") + "\t"
        self._cell = self._length

    def _boundary(self, frame: _Frame) -> None:
        """Start or end a block element, so that the text after it begins on another line."""
        self._run_is_open = False
        if self._cell is not None:
            # The cells of a row share a line, so blocks inside one break it only after some text.
            if self._length > self._cell and "\n" not in self._gap:
                self._gap = "\n"
        elif frame.spaced or "\n\n" in self._gap:
            self._gap = "\n\n"
        else:
            self._gap = "\n"

    def _write(self, text: str) -> None:
        if self._frames[-1].verbatim:
            if not self._run_is_open:
                text = text.lstrip("\n")
            body = text.rstrip("\n")
            self._emit(body)
            self._gap += text[len(body) :]
            return
        body = WHITE_SPACE.sub(" ", text)
        if body.startswith(" "):
            self._gap = self._gap or " "
        self._emit(body.strip(" "))
        if body.endswith(" "):
            self._gap = self._gap or " "

    def _emit(self, text: str) -> None:
        if not text:
            return
        if self._length and self._gap:
            self.parts.append(self._gap)
            self._length += len(self._gap)
        self._gap = ""
        if not self._run_is_open:
            self._run_is_open = True
            frame = self._frames[-1]
            anchor = max(frame.anchor, self._heading_anchor).id
            self.runs.append(
                Run(
                    start=self._length,
                    end=0,
                    kind=frame.kind,
                    group=frame.group,
                    element=frame.block_path,
                    anchor=anchor,
                    path=self._sections.path,
                    around=frame.around,
                )
            )
        if how := self._frames[-1].look.how:
            self._hidden.append(Hidden(self._length, self._length + len(text), how))
        self.parts.append(text)
        self._length += len(text)
        self.runs[-1].end = self._length
        self.runs[-1].linked &= self._frames[-1].linked
