"""Manual pages (macros man and mdoc of roff) → Document: the source itself, with its structure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

_REQUEST = re.compile(r"[.'][ \t]*(?P<name>[A-Za-z]{1,4})(?P<rest>(?:[ \t][^\r\n]*)?)\Z")
_PAGE = re.compile(r"^[.'][ \t]*(?:TH|Dd|Dt)[ \t]", re.MULTILINE)
_COMMENT = re.compile(r"[.'][ \t]*\\\"|'\\\"")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
_ESCAPE = re.compile(r"\\(?:f(?:\[[^\]]*\]|\(..|.)|\*(?:\[[^\]]*\]|\(..|.)|[&|^,/%])")
_CHARACTER = re.compile(r"\\(?:\((..)|\[([^\]]{1,20})\]|(.))")
_CHARACTERS = {
    "-": "-",
    "aq": "'",
    "co": "©",
    "em": "—",
    "en": "–",
    "lq": "“",
    "rq": "”",
    "e": "\\",
}
_HEADINGS = {"SH": 1, "Sh": 1, "SS": 2, "Ss": 2}
_PARAGRAPHS = frozenset({"PP", "P", "LP", "Pp", "HP"})
_ITEMS = frozenset({"TP", "IP", "It", "TQ"})
_CODE_STARTS = frozenset({"nf", "EX"})
_CODE_ENDS = frozenset({"fi", "EE"})


def load_man(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a manual page.

    Each section, paragraph, tagged or listed entry and example is a block. The title is that of the
    page with its section of the manual, such as ``grep(1)``. A `Loader`, see
    `rag_tools.ingest.load`.

    Raises
    ------
    UnsupportedFormatError
        It isn't a page: many names end like one, such as those of releases.
    """
    try:
        text = decode(data, name=name)
    except UnreadableFileError as error:
        raise UnsupportedFormatError(str(error)) from error
    if not _PAGE.search(text):
        raise UnsupportedFormatError(
            f"{name}: not a manual page: none of .TH, .Dd and .Dt is in it; name it {name}.txt if "
            "it is text"
        )
    reader = _Reader(text)
    openings = list(reader.openings())
    return Document(
        text=text,
        uri=uri,
        title=reader.title or name,
        media_type="text/troff",
        blocks=tile(openings, len(text)),
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.title = ""
        self._lines = [(span.start, span.of(text).rstrip()) for span in lines(text)]
        self._sections = Sections()

    def openings(self) -> Iterator[Opening]:
        kind: BlockKind | None = "lines"  # of the block that goes on: at first, the header
        yield Opening("lines", 0)
        in_code = False
        for place, (start, line) in enumerate(self._lines):
            request = _REQUEST.match(line)
            name = request["name"] if request else ""
            rest = request["rest"] if request else ""
            if name in ("TH", "Dt"):
                self._name(_arguments(rest))
            elif name in _HEADINGS:
                in_code = False
                follows = self._lines[place + 1][1] if place + 1 < len(self._lines) else ""
                self._sections.open(_HEADINGS[name], _plain(" ".join(_arguments(rest)) or follows))
                yield self._sections.opening("heading", start)
                # A heading without arguments is the line below.
                kind = "heading" if not rest.strip() else None
                continue
            elif name in _CODE_STARTS or (name == "Bd" and "-literal" in rest):
                in_code, kind = True, "code"
                yield self._sections.opening("code", start)
            elif name in _CODE_ENDS or name == "Ed":
                in_code, kind = False, None
            elif in_code:
                continue
            elif name in _PARAGRAPHS:
                kind = "paragraph"
                yield self._sections.opening(kind, start)
            elif name == "TQ" and kind == "item":
                continue  # another term of the same entry
            elif name in _ITEMS:
                kind = "item"
                yield self._sections.opening(kind, start)
            elif kind == "heading":
                kind = None
            elif kind is None and line and not _COMMENT.match(line):
                kind = "paragraph"
                yield self._sections.opening(kind, start)

    def _name(self, arguments: list[str]) -> None:
        if arguments:
            name = _plain(arguments[0])
            name = name.lower() if name.isupper() else name
            self.title = f"{name}({arguments[1]})" if len(arguments) > 1 else name


def _arguments(rest: str) -> list[str]:
    return [quoted.replace('""', '"') or bare for quoted, bare in _ARGUMENT.findall(rest)]


def _plain(text: str) -> str:
    r"""Return a heading as it is shown.

    Examples
    --------
    >>> _plain(r"\fBSEE\fP \-\- ALSO")
    'SEE -- ALSO'
    """
    text = _ESCAPE.sub("", text)
    shown = _CHARACTER.sub(
        lambda match: _CHARACTERS.get(match[1] or match[2] or match[3], match[3] or ""), text
    )
    return " ".join(shown.split())
