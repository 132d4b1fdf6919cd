"""Markdown (CommonMark with tables) and MDX → Document: the source itself, with its structure.

markdown-it-py finds the blocks and their lines. Nothing is rendered, and the canonical text keeps
its mark-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag_tools.ingest import front_matter, hidden
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.decode import decode
from rag_tools.ingest.text import is_definition
from rag_tools.sentences import lines
from rag_tools.types import Block, BlockKind, Document, Hidden

_KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "header",
    "fence": "code",
    "code_block": "code",
}
# Parts of a list or a table that are units of their own.
_PARTS: dict[str, BlockKind] = {"list_item_open": "item", "tr_open": "row"}
# The id and classes that site generators read from the end of a heading.
_ATTRIBUTES = re.compile(
    r"(?<!\s)\s*+(?:\{:?\s*(?:[#.][\w:.-]+|-|[\w-]+=(?:\"[^\"{}]*\"|[^\s{}]+))(?:\s[^{}]*)?\}"
    r"|\{/\*[^{}]*\*/\})\s*\Z"
)
_MODULE_LINE = re.compile(r"(?:import|export)\s")  # of MDX
_CLOSING_HASHES = re.compile(r"(?<!\s)\s++#+\s*\Z")
_FOOTNOTE = re.compile(r"\[\^[^\]\s]{1,100}\]")
_WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|]{1,200}\|)?([^\[\]|]{1,200})\]\]")
_PERMALINK = frozenset({"#", "¶", "§", "🔗"})
_HTML_HEADING = re.compile(
    r"<h(?P<level>[1-6])\b[^<>]{0,500}>(?P<content>.{0,1000}?)</h(?P=level)\s*>", re.I | re.DOTALL
)
_HTML_COMMENT = re.compile(r"<!--.{0,1000}?-->", re.DOTALL)
# What rendering leaves out. Most of what may follow an opening mark is looked at, not all of it.
_UNSEEN = (
    (
        re.compile(
            r"^ {0,3}\[(?://|comment|_|#)[^\]\n]{0,100}\]: *(?:#|<>|\S+) *[(\"'].{0,2000}$", re.M
        ),
        "a comment",
    ),
    (
        re.compile(
            r"<(?P<tag>[a-z]{1,10})\b[^<>]{0,300}?(?:\bhidden\b|style\s*=\s*[\"'][^\"'<>]{0,200}?"
            r"(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.\d])|"
            r"color\s*:\s*(?:white|#fff(?:fff)?)\b))[^<>]{0,300}>.{0,3000}?</(?P=tag)\s*>",
            re.I | re.DOTALL,
        ),
        "an element that isn't displayed",
    ),
)
_HTML_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")
_ALT = re.compile(r"<img\b[^<>]{0,1000}?\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')[^<>]{0,1000}>", re.I)


def load_markdown(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a Markdown file.

    Each heading, paragraph and code block at the outermost level is a block, and so is each list
    item at any level and each table row. The title is that of YAML or TOML front matter, else the
    first heading of level 1, in Markdown or in HTML, else the name of the file. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    body = front_matter.end(text)
    openings, heading = markdown_openings(text, body, Sections(), components=name.endswith(".mdx"))
    blocks = tile(openings, len(text))
    return Document(
        text=text,
        uri=uri,
        title=front_matter.title(text[:body]) or heading or name,
        media_type="text/markdown",
        labels=front_matter.access(text[:body]),
        blocks=blocks,
        hidden=comments(text, blocks),
        metadata=front_matter.metadata(text[:body]),
        **front_matter.terms(text[:body]),
    )


def comments(text: str, blocks: Sequence[Block]) -> tuple[Hidden, ...]:
    """Return what rendering leaves out of Markdown: comments, and elements with a hiding style.

    They are in the text, which is the file itself.
    """
    found: list[Hidden] = []
    for block in blocks:
        if block.kind == "code":
            continue
        spans = [(*span, "a comment") for span in _marked(text, block.start, block.end)]
        for pattern, how in _UNSEEN:
            spans += [(*match.span(), how) for match in pattern.finditer(text, *block[1:3])]
        for start, end, how in spans:
            before = text[text.rfind("\n", 0, start) + 1 : start]
            if before.count("`") % 2 == 0:  # not in a code span
                found.append(Hidden(start, end, how))
    found.sort()
    apart = [each for at, each in enumerate(found) if not at or each.start >= found[at - 1].end]
    return hidden.joined(apart, text)


def _marked(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the comments of HTML in a range of a text."""
    while (first := text.find("<!--", start, end)) >= 0:
        start = text.find("-->", first + 4, end) + 3
        if start < 3:
            return
        yield first, start


def markdown_openings(
    text: str, start: int, sections: Sections, *, components: bool = False
) -> tuple[list[Opening], str]:
    """Return the openings of blocks in Markdown, and its title or ``""``.

    Parameters
    ----------
    text
        The whole text.
    start
        Where the Markdown begins.
    sections
        Those that are open there; they are brought up to its end.
    components
        Whether it is MDX, in which imports and exports are code.
    """
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("inline")
    # Line i of the parser is line i here: it counts \n, \r\n and \r as we do.
    offsets = [line.start for line in lines(text, start)]
    title = ""
    openings = [Opening("lines", 0)] if start else []
    references: dict[str, Any] = {}  # the targets of links, by their labels
    tokens = parser.parse(text[start:], references)
    outer: BlockKind = "paragraph"
    header_line = -1
    for index, token in enumerate(tokens):
        if token.map is None:
            continue
        first_line = token.map[0]
        if token.level:
            part = _PARTS.get(token.type)
            # The first row of a table is its header, to which the line below it belongs.
            if part and outer in ("list", "header") and first_line > header_line:
                openings.append(Opening(part, offsets[first_line], openings[-1].path))
            continue
        headings: list[tuple[int, str]] = []
        if token.type == "heading_open":
            heading = _heading_title(parser, tokens[index + 1], references)
            headings = [(int(token.tag[1:]), heading)]
        elif token.type == "html_block":
            headings = _html_headings(token.content)
        for level, heading in headings:
            title = title or (heading if level == 1 else "")
            sections.open(level, heading)
        outer = kind = _KINDS.get(token.type, "paragraph")
        header_line = first_line if kind == "header" else -1
        if token.type == "paragraph_open" and is_definition(text, offsets[first_line]):
            kind = "item"
        elif components and _MODULE_LINE.match(text, offsets[first_line]):
            kind = "code"
        openings.append(sections.opening(kind, offsets[first_line]))
    return openings, title


def _heading_title(parser: MarkdownIt, inline: Token, references: dict[str, Any]) -> str:
    """Return a heading as a reader sees it: without its mark-up and its attributes."""
    content = _ATTRIBUTES.sub("", inline.content) or inline.content
    if content != inline.content:
        content = _CLOSING_HASHES.sub("", content)
    content = _WIKI_LINK.sub(r"\1", _FOOTNOTE.sub("", content)) or content
    children: list[Token] = []
    parser.inline.parse(content, parser, references, children)
    # The texts of badges don't say what a section is about; they count if there is nothing else.
    return _visible(children) or _visible(children, images=True)


def _visible(tokens: Sequence[Token], *, images: bool = False) -> str:
    """Return the visible characters of inline tokens, and with `images` their alternative texts."""
    parts: list[str] = []
    links: list[int] = []  # number of parts before each open link
    for token in tokens:
        if token.type == "link_open":
            links.append(len(parts))
        elif token.type == "link_close" and links:
            opened = links.pop()
            if "".join(parts[opened:]).strip() in _PERMALINK:
                del parts[opened:]
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(_visible(token.children or ()) if images else "")
        elif token.type == "html_inline":
            alt = _ALT.fullmatch(token.content) if images else None
            parts.append(unescape(alt[1] or alt[2] or "") if alt else "")
        else:
            parts.append(token.content)
    return " ".join("".join(parts).split())


def _html_headings(html: str) -> list[tuple[int, str]]:
    """Return the levels and texts of the headings in a block of HTML.

    Examples
    --------
    >>> _html_headings('<h1 align="center"><img src="a.png" alt="">Tom &amp; <b>Ann</b></h1>')
    [(1, 'Tom & Ann')]
    """
    found = []
    for match in _HTML_HEADING.finditer(_HTML_COMMENT.sub("", html)):
        content = match["content"]
        shown = _shown(content) or _shown(_ALT.sub(lambda alt: alt[1] or alt[2] or "", content))
        if shown:
            found.append((int(match["level"]), shown))
    return found


def _shown(html: str) -> str:
    return " ".join(unescape(_HTML_TAG.sub("", html)).split())
