"""Markdown (CommonMark with tables) → Document: the source itself, with its structure.

markdown-it-py finds the blocks and the lines they stand on; nothing is rendered, and the
canonical text keeps its mark-up.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode
from rag_tools.ingest.text import is_definition
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

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
_FRONT_MATTER = re.compile(r"(?P<fence>---|\+\+\+)[ \t]*(?=[\r\n])")
_FRONT_MATTER_END = {"---": ("---", "..."), "+++": ("+++",)}
_FRONT_MATTER_TITLE = re.compile(r"title[ \t]*[:=][ \t]*(?P<title>[^\r\n]*)")


def load_markdown(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a Markdown file.

    One block per heading, paragraph and code block at the outermost level, per list item at any,
    and per table row. The title is that of YAML or TOML front matter, else the first heading of
    level 1, else the file's name.

    Raises
    ------
    UnreadableFileError
        The bytes aren't text.
    """
    text = decode(data, name=name)
    front_matter = _front_matter_end(text)
    openings, heading = _openings(text, front_matter)
    return Document(
        text=text,
        uri=uri,
        title=_front_matter_title(text, front_matter) or heading or name,
        media_type="text/markdown",
        blocks=tile(openings, len(text)),
    )


def _openings(text: str, start: int) -> tuple[list[Opening], str]:
    """Return where blocks open in `text`, whose Markdown begins at `start`, and its first title."""
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    # Line i of the parser is line i here: it counts \n, \r\n and \r as we do.
    offsets = [line.start for line in lines(text, start)]
    title = ""
    path: list[tuple[int, str]] = []  # (level, title), outermost first
    openings = [Opening("lines", 0)] if start else []
    tokens = parser.parse(text[start:])
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
        if token.type == "heading_open":
            level = int(token.tag[1:])
            heading = _heading_title(parser, tokens[index + 1])
            title = title or (heading if level == 1 else "")
            path = [entry for entry in path if entry[0] < level] + [(level, heading)]
        outer = kind = _KINDS.get(token.type, "paragraph")
        header_line = first_line if kind == "header" else -1
        if token.type == "paragraph_open" and is_definition(text, offsets[first_line]):
            kind = "item"
        titles = tuple(entry[1] for entry in path)
        openings.append(Opening(kind, offsets[first_line], titles))
    return openings, title


def _heading_title(parser: MarkdownIt, inline: Token) -> str:
    """Return a heading's text without its mark-up."""
    inline.children = []
    parser.inline.parse(inline.content, parser, {}, inline.children)
    parts = (
        " " if token.type in ("softbreak", "hardbreak") else token.content
        for token in inline.children
        if token.type != "html_inline"
    )
    return " ".join("".join(parts).split())


def _front_matter_end(text: str) -> int:
    """Return where front matter ends, 0 if there is none."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return 0
    closers = _FRONT_MATTER_END[match["fence"]]
    for line in lines(text)[1:]:
        if line.of(text).rstrip() in closers:
            return line.end
    return 0


def _front_matter_title(text: str, end: int) -> str:
    for line in lines(text, 0, end):
        match = _FRONT_MATTER_TITLE.match(text, line.start, line.end)
        if match:
            return match["title"].strip().strip("\"'").strip()
    return ""
