r"""LaTeX → Document: the source itself, with its structure, read line by line.

No macro is expanded and nothing is included: ``\input`` names a file that is a document of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

_LEVELS = {
    **{"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5},
    **{"paragraph": 6, "subparagraph": 7},
}
_HEADING = re.compile(
    r"\s*\\(?P<name>part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?"
    r"\s*(?:\[[^\]]{0,500}\]\s*)?(?=\{)"
)
_TITLE = re.compile(r"\\title\s*(?:\[[^\]]{0,500}\]\s*)?(?=\{)")
_BEGIN = re.compile(r"\s*\\begin\s*\{(?P<name>[A-Za-z]+)\*?\}")
_END = re.compile(r"\s*\\end\s*\{(?P<name>[A-Za-z]+)\*?\}")
_ITEM = re.compile(r"\s*\\item\b")
_COMMENT = re.compile(r"\s*%")
_VERBATIM = frozenset({"Verbatim", "comment", "lstlisting", "minted", "verbatim"})
_TABLES = frozenset({"array", "longtable", "tabular", "tabularx", "tabulary"})
_RULE = re.compile(r"\s*\\(?:[hc]line|(?:top|mid|bottom|cmid)rule|endhead|endfirsthead)\b")
_ROW_END = re.compile(
    r"\\\\(?:\[[^\]]{0,20}\])?\s*(?:\\(?:hline|midrule|bottomrule)\s*)*(?:%.*)?\Z"
)
_LONGEST_TITLE = 2_000  # characters in which the brace that closes a title is looked for
_COMMAND = re.compile(r"\\(?:[A-Za-z]+\*?|(?P<escaped>[%&$#_{}])|.)\s*|[{}~$]")
_LABEL = re.compile(r"\\(?:label|footnote|thanks|index)\s*\{[^{}]*\}")


def load_latex(data: bytes, *, uri: str, name: str) -> Document:
    r"""Return the document in a LaTeX file.

    Each heading, paragraph, item of a list, row of a table and verbatim environment is a block;
    what stands before ``\begin{document}`` is lines. The title is that of ``\title``, else the name
    of the file. A `Loader`, see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    openings = list(_openings(text))
    title = _TITLE.search(text)
    return Document(
        text=text,
        uri=uri,
        title=(_argument(text, title.end()) if title else "") or name,
        media_type="text/x-tex",
        blocks=tile(openings, len(text)) if text else (),
    )


def _openings(text: str) -> Iterator[Opening]:
    sections = Sections()
    kind: BlockKind | None = None  # of the block that goes on
    verbatim = ""  # the environment that is open
    tables = 0  # environments of tables that are open
    ended = True  # whether the row before ended
    row_number = 0
    preamble = re.search(r"\\begin\s*\{document\}", text)
    body = preamble.end() if preamble else 0
    if preamble:
        yield Opening("lines", 0)
    for span in lines(text, body):
        line = span.of(text).rstrip()

        def opening(kind: BlockKind, start: int = span.start) -> Opening:
            return Opening(kind, start, sections.path)

        begin, end = _BEGIN.match(line), _END.match(line)
        if verbatim:
            if end and end["name"] == verbatim:
                verbatim, kind = "", None
            continue
        if begin and begin["name"] in _VERBATIM:
            verbatim, kind = begin["name"], "code"
            yield opening(kind)
        elif heading := _HEADING.match(line):
            title = _argument(text, span.start + heading.end())
            sections.open(_LEVELS[heading["name"]], title or heading["name"])
            yield opening("heading")
            kind = None
        elif begin and begin["name"] in _TABLES:
            tables, row_number, ended, kind = tables + 1, 0, True, None
            yield opening("lines")
        elif end and end["name"] in _TABLES and tables:
            tables, kind = tables - 1, None
            yield opening("lines")
        elif tables:
            if ended and line and not _RULE.match(line):
                row_number += 1
                yield opening("header" if row_number == 1 else "row")
                ended = False
            ended = ended or _ROW_END.search(line) is not None
        elif _ITEM.match(line):
            kind = "item"
            yield opening(kind)
        elif not line:
            kind = kind if kind == "item" else None
        elif begin or end or _COMMENT.match(line):
            if kind != "lines":
                yield opening("lines")
            kind = "lines"
        elif kind not in ("item", "paragraph"):
            kind = "paragraph"
            yield opening(kind)


def _argument(text: str, start: int) -> str:
    r"""Return what a pair of braces holds, as it is read: without commands and labels."""
    depth = 0
    for place in range(start, min(len(text), start + _LONGEST_TITLE)):
        if text[place] == "{" and text[place - 1] != "\\":
            depth += 1
        elif text[place] == "}" and text[place - 1] != "\\":
            depth -= 1
            if not depth:
                return _plain(text[start + 1 : place])
    return ""


def _plain(title: str) -> str:
    r"""Return a title without its mark-up.

    Examples
    --------
    >>> _plain(r"\emph{Tom} \& Ann\label{sec:a}")
    'Tom & Ann'
    """
    title = re.sub(r"\\\\|~", " ", _LABEL.sub("", title))
    return " ".join(_COMMAND.sub(lambda match: match["escaped"] or "", title).split())
