"""HTML to canonical text, as a browser renders it.

The text is what find-in-page and the text-fragment search of a browser see: white space is
collapsed outside ``pre``, character references are decoded, block elements are on lines of their
own, and scripts, templates, comments and elements that are hidden by their attributes are left out.
What is hidden by other means is in the text, and noted beside it, see `html_hiding`. The text also
holds what a page shows in other ways: alternative texts of pictures and values of form fields.
"""

from __future__ import annotations

from lxml import etree, html

from rag_tools.errors import NoTextError, UnreadableFileError
from rag_tools.ingest.html_elements import collapse
from rag_tools.ingest.html_encoding import decode_page
from rag_tools.ingest.html_hiding import Styles
from rag_tools.ingest.html_rendering import Rendering
from rag_tools.ingest.properties import page_properties
from rag_tools.types import Document, SourceMap

_DRAWN_BY = ("script", "noscript", "iframe", "frame", "canvas", "object")


def load_html(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the rendered text of an HTML page.

    ``source_map.elements`` gives each line of the text its element path (an XPath without the
    leading slash) and the nearest id to link to. A byte order mark takes precedence over valid
    UTF-8, which takes precedence over a declared charset, which takes precedence over detection.
    A `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if elements are nested deeper than the parser follows.
    NoTextError
        The page has no text of its own because scripts draw it.
    """
    root = _parse(decode_page(data, name), name)
    rendering = Rendering(Styles(root if root is not None else html.Element("html")))
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
        hidden=rendering.hidden(),
        left_out=rendering.left_out,
        metadata=page_properties(root),
    )


def _is_drawn(root: html.HtmlElement) -> bool:
    """Tell whether scripts or frames may draw the content of a page."""
    return any(
        element.get("src") or (element.text or "").strip() for element in root.iter(*_DRAWN_BY)
    )


def _parse(page: str, name: str) -> html.HtmlElement | None:
    """Return the page's root element, or ``None`` for a page without any."""
    # The HTML standard drops NUL and normalises line ends before it builds the tree.
    page = page.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    parser = html.HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:  # nothing but white space and comments
        root = None
    # The parser drops elements that are nested too deeply, and only logs that.
    for entry in parser.error_log:
        if entry.type_name == "ERR_RESOURCE_LIMIT":
            raise UnreadableFileError(
                f"{name}: elements are nested too deeply to read ({entry.message.split(',')[0]}); "
                "simplify the page or convert it to text"
            )
    return root


def _title(root: html.HtmlElement | None, rendering: Rendering) -> str:
    declared = "" if root is None else collapse(root.xpath("string(//head/title)"))
    headings = (run.path[-1] for run in rendering.runs if run.kind == "heading" and run.path)
    return declared or next(headings, "")
