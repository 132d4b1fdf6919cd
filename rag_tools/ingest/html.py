"""HTML to canonical text, as a browser renders it.

The text is what the page's find-in-page and text-fragment search see: white space collapsed
outside ``pre``, character references decoded, block elements on lines of their own, scripts,
templates and hidden elements left out. Style sheets are not read. Beyond that it holds what a page
shows in other ways: alternative texts of pictures and the values of form fields. Detection of
encodings that the page doesn't declare lives in :mod:`rag_tools.ingest.decode`.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lxml import etree, html

from rag_tools.errors import NoTextError, UnreadableFileError
from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode, is_utf8
from rag_tools.types import Block, BlockKind, Document, Element, SourceMap

_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Elements that start and end a line; those of _SPACED also leave a blank line around them.
_SPACED = _tags("blockquote dl fieldset figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul")
_LINES = _SPACED | _tags(
    "address article aside body caption center dd details dialog dir div dt figcaption footer form "
    "frameset header hgroup html legend li listing main menu nav optgroup option plaintext search "
    "section summary tbody tfoot thead tr xmp"
)
_CELLS = _tags("td th")
_LISTS = _tags("dir dl menu ol ul")
_VERBATIM = _tags("listing plaintext pre xmp")

# Elements whose content is not rendered as text of the page.
_SKIPPED = _tags(
    "applet audio canvas datalist head iframe noembed noframes noscript object rp script style "
    "svg template title video annotation annotation-xml"
)
_VALUES = _tags("date datetime-local email month number search tel text time url week")
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp|ico)", re.I)

# What a page repeats around its content. Elements and roles that are navigation anywhere, those
# that are only outside the content, and names by which people mark them.
_NAVIGATION = _tags("nav navigation menu menubar tablist toolbar doc-toc")
_AROUND = _tags("footer contentinfo aside complementary")
_CONTENT = _tags("article main section blockquote figure")
_BOILERPLATE = re.compile(
    r"(?:^|\s)(?:breadcrumbs?|pagination|skip-?link|toc|table-of-contents|gdpr|cookiebot|onetrust\S*"
    r"|(?:\S*[_-])?(?:cookies?|consent|gdpr)[_-]?(?:bar|banner|box|consent|container|dialog|law|manager"
    r"|message|modal|notice|notification|overlay|popup|wrapper))(?=$|\s)",
    re.I,
)
# A name that says too little by itself, and what the text of such an element says about consent.
_COOKIES = re.compile(r"(?:^|\s)cookies?(?=$|\s)", re.I)
_CONSENT = re.compile(
    r"\b(?:accept|agree|allow|consent|decline|akzeptieren|accepter|aceptar)\b", re.I
)
_LONGEST_NOTICE = 2000
_LONGEST_NAME = 3  # words of an entry of a menu
_DRAWN_BY = ("script", "noscript", "iframe", "frame", "canvas", "object")
_HIDING_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.I)
# Sphinx and MkDocs append a "¶" link to each heading and hide it in their style sheets.
_HIDDEN_CLASS = "headerlink"

_WHITE_SPACE = re.compile(r"[ \t\n\f\r]+")
_DECLARED_CHARSET = re.compile(
    rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']?([\w.:-]+)|<meta[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)",
    re.I,
)
# The Encoding Standard reads these labels as the superset that pages really use, and takes a
# UTF-16 declared in ASCII bytes for the mistake it is.
_SUPERSET = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "utf-16": "utf-8",
    "utf-16-be": "utf-8",
    "utf-16-le": "utf-8",
}
# Runs of bytes that no ASCII character has: so many in a page that is valid UTF-8 are no accident.
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_SURELY_UTF8 = 2
_SURELY_ANOTHER = 3
_PAGE_CODEC = re.compile(r"utf-8|cp\d+|iso8859|koi8|mac-|gb18030|big5|euc_|iso2022_jp|johab")


def load_html(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the rendered text of an HTML page.

    Parameters
    ----------
    data
        The page. A byte order mark wins over valid UTF-8, which wins over a declared charset,
        which wins over detection.
    uri, name
        The document's identity, and what to call it in messages and for want of a title.

    Returns
    -------
    Document
        Blocks tile the text; ``source_map.elements`` gives each line of text its element path
        (an XPath without the leading slash) and the nearest id to link to.

    Raises
    ------
    UnreadableFileError
        The bytes are no text, elements are nested deeper than the parser follows, or the page
        has no text of its own since scripts draw it.
    """
    root = _parse(_decode_page(data, name), name)
    rendering = _Rendering()
    if root is not None:
        rendering.render(root)
    if not rendering.parts and root is not None and _is_drawn(root):
        raise NoTextError(
            f"{name}: no text: scripts or frames draw the page; save it from a browser as it is "
            "shown there"
        )
    return Document(
        text="".join(rendering.parts),
        uri=uri,
        title=_title(root, rendering) or name,
        media_type="text/html",
        blocks=rendering.blocks(),
        source_map=SourceMap(elements=rendering.elements()),
    )


def _is_drawn(root: html.HtmlElement) -> bool:
    """Tell whether scripts or frames put something into a page."""
    return any(
        element.get("src") or (element.text or "").strip() for element in root.iter(*_DRAWN_BY)
    )


def _decode_page(data: bytes, name: str) -> str:
    """Decode by byte order mark, then as UTF-8 if it can only be that, then as declared.

    A page that is no valid UTF-8 though it says so, and one that declares nothing, is in a legacy
    encoding: that is detected.
    """
    has_mark = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE))
    declared = None if has_mark else _DECLARED_CHARSET.search(data[:1024])
    if declared is None or _is_utf8_whatever_it_says(data):
        return decode(data, name=name)
    label = (declared[1] or declared[2]).decode("ascii").lower()
    try:
        codec = codecs.lookup(label).name
    except LookupError:
        return decode(data, name=name)
    codec = _SUPERSET.get(codec, codec)
    if not _PAGE_CODEC.match(codec):
        return decode(data, name=name)
    if codec == "utf-8":
        return _decode_declared_utf8(data, name)
    return data.decode(codec, errors="replace")


def _is_utf8_whatever_it_says(data: bytes) -> bool:
    """Tell whether data is UTF-8 beyond doubt: several characters beyond ASCII, all valid."""
    return is_utf8(data) and len(_BEYOND_ASCII.findall(data)) >= _SURELY_UTF8


def _decode_declared_utf8(data: bytes, name: str) -> str:
    """Decode a page that says it is UTF-8; it isn't if several bytes are invalid and none valid."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = any(character > "\x7f" and character != "\ufffd" for character in text)
    if valid or broken < _SURELY_ANOTHER:
        return text  # damaged, at worst
    try:
        return decode(data, name=name)
    except UnreadableFileError:
        return text


def _parse(page: str, name: str) -> html.HtmlElement | None:
    """Return the page's root element, or ``None`` for a page without any."""
    # The HTML standard drops NUL and normalises line ends before it builds the tree.
    page = page.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    parser = html.HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:  # nothing but white space and comments
        root = None
    # The parser drops what it doesn't follow and only logs it.
    for entry in parser.error_log:
        if entry.type_name == "ERR_RESOURCE_LIMIT":
            raise UnreadableFileError(
                f"{name}: elements are nested too deeply to read ({entry.message.split(',')[0]}); "
                "simplify the page or convert it to text"
            )
    return root


def _title(root: html.HtmlElement | None, rendering: _Rendering) -> str:
    declared = "" if root is None else _collapse(root.xpath("string(//head/title)"))
    headings = (run.path[-1] for run in rendering.runs if run.kind == "heading" and run.path)
    return declared or next(headings, "")


def _collapse(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text).strip(" ")


def _is_skipped(element: html.HtmlElement) -> bool:
    tag = element.tag
    return (
        tag in _SKIPPED
        or (tag == "dialog" and element.get("open") is None)
        or element.get("hidden", "until-found").lower() != "until-found"
        or _HIDING_STYLE.search(element.get("style", "")) is not None
        or _HIDDEN_CLASS in element.get("class", "").split()
        or _is_second_formula(element)
        or (tag == "option" and element.get("selected") is None)
    )


def _is_second_formula(element: html.HtmlElement) -> bool:
    """Tell whether an element draws a formula that stands beside it as MathML.

    KaTeX and MathJax put the drawing first or last, and hide it from screen readers.
    """
    if element.get("aria-hidden") != "true":
        return False
    beside = (element.getprevious(), element.getnext())
    return any(
        each is not None and (each.tag == "math" or next(each.iter("math"), None) is not None)
        for each in beside
    )


def _is_navigation(element: html.HtmlElement) -> bool:
    """Tell by element, role or name whether it is no part of what a page says."""
    tag, role = element.tag, element.get("role", "")
    if tag in ("html", "body", "main", "article") or tag in _HEADINGS:
        return False
    if tag in _NAVIGATION - {"menu"} or role in _NAVIGATION:
        return True
    names = f"{element.get('class', '')} {element.get('id', '')}"
    if _COOKIES.search(names):
        words = element.text_content()
        return len(words) <= _LONGEST_NOTICE and _CONSENT.search(words) is not None
    return _BOILERPLATE.search(names) is not None


def _is_around(element: html.HtmlElement) -> bool:
    """Tell whether an element stands around the content: a page's footer or side bar."""
    return (element.tag in _AROUND or element.get("role") in _AROUND) and not any(
        each.tag in _CONTENT for each in element.iterancestors()
    )


def _is_menu(words: str) -> bool:
    """Tell whether a line at the edge of a page is a row of names, or a notice of copyright."""
    names = [name for name in re.split(r"[|·•›»\n]", words) if name.strip()]
    return words.lstrip().startswith(("©", "Copyright")) or all(
        len(name.split()) <= _LONGEST_NAME for name in names
    )


def _shown(element: html.HtmlElement) -> str:
    """Return what an element shows that isn't text in it: a picture's meaning, a field's value."""
    if element.tag == "img":
        words = _collapse(element.get("alt", ""))
        decorative = element.get("aria-hidden") == "true" or element.get("role") == "presentation"
        return "" if decorative or _FILE_NAME.fullmatch(words) else words
    if element.tag == "input" and element.get("type", "text").lower() in _VALUES:
        return _collapse(element.get("value", ""))
    return ""


def _own_kind(element: html.HtmlElement, navigation: bool) -> BlockKind | None:
    """Return the kind of block that an element opens, if it opens one."""
    tag = element.tag
    if navigation:
        return "navigation"
    if tag in _HEADINGS or tag == "summary":
        return "heading"
    if tag in _VERBATIM:
        return "code"
    if tag in ("li", "dt"):
        return "item"
    if tag == "tr":
        cells = [cell.tag for cell in element.iterchildren(*_CELLS)]
        around = element.getparent()
        is_head = around is not None and around.tag == "thead"
        return "header" if cells and (is_head or set(cells) == {"th"}) else "row"
    return None


class _Anchor(NamedTuple):
    """An id to link to, ordered by where it stands in the page."""

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
    spaced: bool  # a blank line around it
    parts_before: int
    runs_before: int
    in_list: bool = False  # or in a table
    navigation: bool = False
    around: bool = False  # the content
    linked: bool = False
    last_tag: str = ""  # of the last element in it
    term_group: int = 0  # of the last dt in it, whose definition a dd is
    outer_cell: int | None = None  # of a table: the cell it stands in
    children: Counter[str] = field(default_factory=Counter)  # tag → number seen so far
    all_children: Counter[str] | None = None  # tag → number in the page, counted when needed


@dataclass(slots=True)
class _Run:
    """A stretch of text that no block boundary interrupts."""

    start: int
    end: int
    kind: BlockKind
    group: int
    element: str
    anchor: str
    path: tuple[str, ...]
    around: bool = False  # the content of the page
    linked: bool = True  # all of it


class _Rendering:
    """The text so far, and the state that decides what separates it from what follows."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.runs: list[_Run] = []
        self._length = 0
        self._gap = ""  # white space owed before the next character
        self._run_is_open = False
        self._cell: int | None = None  # where the open table cell's text starts
        self._headings: list[tuple[int, str]] = []  # level and title of the open sections
        self._heading_anchor = _Anchor(0, "")
        self._order = 0
        self._groups = 0
        self._frames = [_Frame("", "", "", "paragraph", 0, _Anchor(0, ""), 0, False, False, 0, 0)]

    def render(self, root: html.HtmlElement) -> None:
        """Render the tree. Iterative: pages nest deeper than Python recurses."""
        skipped: html.HtmlElement | None = None
        walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for event, element in walk:
            if event == "start":
                if _is_skipped(element):
                    skipped = element
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
            and (run.linked or run.kind == "heading" or _is_menu(text[run.start : run.end]))
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

    def _enter(self, element: html.HtmlElement) -> None:
        tag = element.tag
        parent = self._frames[-1]
        self._order += 1
        frame = self._open_frame(element, parent)
        self._frames.append(frame)
        if anchor_id := element.get("id") or (tag == "a" and element.get("name")):
            frame.anchor = _Anchor(self._order, anchor_id)
            if tag not in _LINES:
                parent.anchor = frame.anchor  # it marks the place; what follows is nearest to it
        if tag == "br":
            self._gap = "\n\n" if "\n" in self._gap else "\n"
        elif tag in _CELLS:
            self._start_cell(first=sum(parent.children[cell] for cell in _CELLS) == 1)
        elif tag in _LINES:
            self._boundary(frame)
            if tag == "table":
                frame.outer_cell, self._cell = self._cell, None
        if words := _shown(element):
            self._write(f" {words} ")
        if element.text:
            self._write(element.text)

    def _leave(self, frame: _Frame) -> None:
        if frame.tag in _HEADINGS:
            self._end_heading(frame)
        if frame.tag in ("tr", "table"):
            self._cell = frame.outer_cell
        if frame.tag in _LINES:
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
        navigation = tag != "address" and (parent.navigation or _is_navigation(element))
        kind, group = parent.kind, parent.group
        own_kind = None if navigation and parent.navigation else _own_kind(element, navigation)
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
            block_path=path if tag in _LINES or tag in _CELLS else parent.block_path,
            kind=kind,
            group=group,
            anchor=parent.anchor,
            order=self._order,
            verbatim=parent.verbatim or tag in _VERBATIM,
            spaced=tag in _SPACED and (tag not in _LISTS or not parent.in_list),
            in_list=parent.in_list or tag in _LISTS or tag == "table",
            navigation=navigation,
            around=tag != "address" and (parent.around or _is_around(element)),
            linked=parent.linked or tag in ("a", "button"),
            parts_before=len(self.parts),
            runs_before=len(self.runs),
        )

    def _end_heading(self, frame: _Frame) -> None:
        if frame.navigation or frame.around:
            return
        title = _collapse("".join(self.parts[frame.parts_before :]))
        if not title:
            return
        level = _HEADINGS[frame.tag]
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, title))
        if frame.anchor.order >= frame.order:
            self._heading_anchor = frame.anchor
        for run in self.runs[frame.runs_before :]:
            run.path = self._path()
            run.anchor = max(frame.anchor, self._heading_anchor).id

    def _start_cell(self, *, first: bool) -> None:
        """Separate a cell from the one before with a tab, whether that has text or not."""
        self._run_is_open = False
        if not first:
            has_text = self._cell is not None and self._length > self._cell
            self._gap = "\t" if has_text else self._gap.replace(" ", "") + "\t"
        self._cell = self._length

    def _boundary(self, frame: _Frame) -> None:
        """Start or end a block element: what follows stands on another line."""
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
        body = _WHITE_SPACE.sub(" ", text)
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
                _Run(
                    start=self._length,
                    end=0,
                    kind=frame.kind,
                    group=frame.group,
                    element=frame.block_path,
                    anchor=anchor,
                    path=self._path(),
                    around=frame.around,
                )
            )
        self.parts.append(text)
        self._length += len(text)
        self.runs[-1].end = self._length
        self.runs[-1].linked &= self._frames[-1].linked

    def _path(self) -> tuple[str, ...]:
        return tuple(title for _, title in self._headings)
