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
_DOCUMENT = re.compile(r"\\begin\s*\{document\}")
_VERBATIM = frozenset({"Verbatim", "comment", "lstlisting", "minted", "verbatim"})
_TABLES = frozenset({"array", "longtable", "tabular", "tabularx", "tabulary"})
_RULE = re.compile(r"\s*\\(?:[hc]line|(?:top|mid|bottom|cmid)rule|endhead|endfirsthead)\b")
_ROW_END = re.compile(
    r"\\\\(?:\[[^\]]{0,20}\])?\s*(?:\\(?:hline|midrule|bottomrule)\s*)*(?:%.*)?\Z"
)
_LONGEST_TITLE = 2_000  # characters in which the brace that closes a title is looked for
_COMMAND = re.compile(r"\\(?:[A-Za-z]+\*?\s*|(?P<escaped>[%&$#_{}])|.)|[{}~$]")
_LABEL = re.compile(r"\\(?:label|footnote|thanks|index)\s*\{[^{}]*\}")


def load_latex(data: bytes, *, uri: str, name: str) -> Document:
    r"""Return the document in a LaTeX file.

    Each heading, paragraph, item of a list, row of a table and verbatim environment is a block;
    what stands before ``\begin{document}`` is lines. The title is that of ``\title``, else the name
    of the file. A `Loader`, see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    openings = list(_Reader(text).openings())
    title = _TITLE.search(text)
    return Document(
        text=text,
        uri=uri,
        title=(_argument(text, title.end()) if title else "") or name,
        media_type="text/x-tex",
        blocks=tile(openings, len(text)),
    )


class _Reader:
    """Reads a file line by line; it keeps what is open."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sections = Sections()
        self._kind: BlockKind | None = None  # of the block that goes on
        self._verbatim = ""  # the environment that is open
        self._tables = 0  # environments of tables that are open
        self._rows = 0  # of the table that is open
        self._row_ended = True

    def openings(self) -> Iterator[Opening]:
        """Yield where blocks open."""
        preamble = _DOCUMENT.search(self._text)
        if preamble:
            yield Opening("lines", 0)
        for span in lines(self._text, preamble.end() if preamble else 0):
            line = span.of(self._text).rstrip()
            kind = self._verbatim_line(line) if self._verbatim else self._line(line, span.start)
            if kind:
                yield self._sections.opening(kind, span.start)

    def _verbatim_line(self, line: str) -> BlockKind | None:
        end = _END.match(line)
        if end and end["name"] == self._verbatim:
            self._verbatim, self._kind = "", None
        return None

    def _line(self, line: str, start: int) -> BlockKind | None:
        """Return the kind of the block that a line opens, if it opens one."""
        begin, end = _BEGIN.match(line), _END.match(line)
        if heading := _HEADING.match(line):
            title = _argument(self._text, start + heading.end())
            self._sections.open(_LEVELS[heading["name"]], title or heading["name"])
            self._kind = None
            return "heading"
        if begin and begin["name"] in _VERBATIM:
            self._verbatim = begin["name"]
            return "code"
        if (begin and begin["name"] in _TABLES) or (
            end and end["name"] in _TABLES and self._tables
        ):
            self._tables += 1 if begin else -1
            self._rows, self._row_ended, self._kind = 0, True, None
            return "lines"
        return self._row(line) if self._tables else self._text_line(line, begin or end)

    def _row(self, line: str) -> BlockKind | None:
        opens = self._row_ended and bool(line) and not _RULE.match(line)
        self._rows += opens
        self._row_ended = (self._row_ended and not opens) or _ROW_END.search(line) is not None
        return ("header" if self._rows == 1 else "row") if opens else None

    def _text_line(self, line: str, environment: re.Match[str] | None) -> BlockKind | None:
        before = self._kind
        if not line:
            self._kind = before if before == "item" else None
            return None
        if _ITEM.match(line):
            self._kind = "item"
            return "item"
        if environment or _COMMENT.match(line):
            self._kind = "lines"
        elif before not in ("item", "paragraph"):
            self._kind = "paragraph"
        return self._kind if self._kind != before else None


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
