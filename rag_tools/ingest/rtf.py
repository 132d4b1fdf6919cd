"""Rich Text Format (.rtf) to canonical text.

The text holds paragraphs, lists, tables, text boxes and footnotes in document order. It doesn't
hold hidden and deleted text, headers, footers, pictures and comments. Control words are those of
the specification of RTF 1.9.1; unknown ones are passed over, as it asks.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import valid
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.symbols import symbol
from rag_tools.ingest.tables import write_table
from rag_tools.types import Document, Metadata

SIGNATURE = b"{\\rtf"
_MEDIA_TYPE = "application/rtf"

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n\0]+"
    rb"|([^\\{}\r\n\0]+)|\\",
    re.DOTALL,
)
_CHARACTERS = {
    "tab": "\t",
    "line": "\n",
    "lbr": "\n",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "emspace": " ",
    "enspace": " ",
    "qmspace": " ",
    "nestcell": "\t",
    "nestrow": "\n",
    "chftn": "",
}
_SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"{": "{", b"}": "}", b"\\": "\\", b"\t": "\t"}
_CODE_PAGES = {  # of \fcharset
    **{77: "mac-roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "cp950"},
    **{161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257"},
    **{204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850"},
}
_SYMBOL_FONT = 2  # \fcharset
_LEFT_OUT = frozenset(
    (
        *("aftncn", "aftnsep", "aftnsepc", "bkmkend", "bkmkstart", "colortbl", "comment"),
        *("datastore", "do", "falt", "filetbl", "fldinst", "footer", "footerf", "footerl"),
        *("footerr", "ftncn", "ftnsep", "ftnsepc", "generator", "header", "headerf", "headerl"),
        *("headerr", "latentstyles", "listoverridetable", "listtable", "listtext"),
        *("nonesttables", "nonshppict", "objclass", "objdata", "pict", "pntext", "pntxta"),
        *("pntxtb", "private", "revtbl", "rsidtbl", "sn", "sv", "tc", "template", "themedata"),
        *("txe", "userprops", "xe", "xmlnstbl"),
    )
)
# Destinations that are read although programs that don't know them should pass them over.
_READ = frozenset(("footnote", "shpinst", "shptxt", "ud", "nesttableprops", "shppict"))
_TABLES = frozenset(("fonttbl", "stylesheet", "info"))
_ENTRIES = frozenset((("fonttbl", "f"), ("stylesheet", "s")))  # what begins an entry of a table
_INFO = {
    "title": "title",
    "author": "author",
    "subject": "subject",
    "keywords": "keywords",
    "doccomm": "description",
    "category": "category",
}
_HEADING_STYLE = re.compile(r"heading ([1-9])", re.IGNORECASE)
_TITLE_LEVEL = 0
_LONGEST_VALUE = 1000


@dataclass(slots=True)
class _Group:
    """What an opening brace saves and a closing one brings back."""

    place: str = ""  # table that is read: "fonttbl", "stylesheet", "info", a field of that
    skipped: bool = False
    hidden: bool = False
    skip_after_unicode: int = 1
    font: int = -1
    ignorable: bool = False  # after \*
    is_note: bool = False


@dataclass(slots=True)
class _Style:
    name: str = ""
    level: int | None = None


@dataclass(slots=True)
class _Paragraph:
    """Properties of the current paragraph, until the control word ``pard``."""

    style: int = -1
    level: int | None = None
    is_item: bool = False
    in_table: bool = False


def load_rtf(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text of a document in Rich Text Format.

    ``source_map.elements`` numbers the paragraphs, such as ``p[12]``, and the rows of tables, such
    as ``table[2]/tr[1]``. A `Loader`, see `rag_tools.ingest.load`.
    """
    if not data.lstrip()[:5].startswith(SIGNATURE):
        raise UnreadableFileError(
            f"{name}: not a document in Rich Text Format: rename it to what it is, or save it again"
        )
    reader = _Reader(data)
    reader.read()
    return reader.out.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=str(reader.info.pop("title", "")),
        metadata=reader.info,
    )


@dataclass(slots=True)
class _Fonts:
    code_pages: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # of symbol fonts


class _Reader:
    """Reads the tokens one after the other."""

    def __init__(self, data: bytes) -> None:
        self.out = Extraction()
        self.info: Metadata = {}
        self._data = data
        self._group = _Group()
        self._groups: list[_Group] = []
        self._paragraph = _Paragraph()
        self._fonts = _Fonts()
        self._styles: dict[int, _Style] = {}
        self._code_page = "cp1252"
        self._bytes = bytearray()  # characters of a code page that aren't decoded yet
        self._text: list[str] = []
        # Number of each note that is open, with the text of the paragraph around it.
        self._outer: list[tuple[int, list[str]]] = []
        self._notes: list[str] = []
        self._cells: list[str] = []
        self._rows: list[tuple[list[str], str]] = []
        self._header_rows = 0
        self._row_is_header = False
        self._to_skip = 0  # characters after \u that stand for it
        self._table_entry = 0  # font or style that is defined
        self._counts = {"p": 0, "table": 0}

    def read(self) -> None:
        """Read the whole file."""
        place = 0
        size = len(self._data)
        while place < size:
            token = _TOKEN.match(self._data, place)
            if token is None:
                break
            place = token.end()
            word, number, code, mark, brace, characters = token.groups()
            if word is not None:
                value = None if number is None else int(number)
                if word == b"bin":
                    place += max(0, value or 0)
                else:
                    self._control(word.decode("ascii"), value)
            elif brace is not None:
                self._brace(brace)
            elif code is not None:
                self._byte(bytes((int(code, 16),)))
            elif characters is not None:
                self._byte(characters)
            elif mark is not None:
                self._mark(mark)
        while self._outer:  # the file ends inside of them
            self._end_note()
        self._end_paragraph()
        self._end_table()
        for number, words in enumerate(self._notes, 1):
            if words:
                self.out.start_block("paragraph", path=())
                self.out.write(f"[{number}] {words}", f"note[{number}]")

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._to_skip = 0
        if brace == b"{":
            self._groups.append(self._group)
            self._group = replace(self._group, ignorable=False, is_note=False)
        elif self._groups:
            if self._group.is_note:
                self._end_note()
            self._group = self._groups.pop()

    def _mark(self, mark: bytes) -> None:
        if mark == b"*":
            self._group.ignorable = True
        elif mark in (b"\r", b"\n"):
            self._control("par", None)
        elif mark in _SYMBOLS:
            self._add(_SYMBOLS[mark])

    def _control(self, word: str, value: int | None) -> None:
        if self._group.ignorable:
            self._group.ignorable = False
            if word not in _READ:
                self._group.skipped = True
                return
        if self._group.skipped:
            return
        if word == "u" and value is not None:
            self._unicode(value)
        elif word in _CHARACTERS:
            self._add(_CHARACTERS[word])
        elif word in _LEFT_OUT:
            self._flush()
            self._group.skipped = True
        elif word in _TABLES or (self._group.place == "info" and word in _INFO):
            self._flush()
            self._group.place = word
        elif self._group.place:
            self._define(word, value)
        else:
            self._format(word, value)

    def _define(self, word: str, value: int | None) -> None:
        """Take note of a property of a font or a style."""
        self._flush()
        if (self._group.place, word) in _ENTRIES and value is not None:
            self._table_entry = value
            if word == "s":
                self._styles[value] = _Style()
        elif word == "fcharset" and self._group.place == "fonttbl":
            if value == _SYMBOL_FONT:
                self._fonts.names[self._table_entry] = ""
            elif value in _CODE_PAGES:
                self._fonts.code_pages[self._table_entry] = _CODE_PAGES[value]
        elif word == "outlinelevel" and value is not None and self._table_entry in self._styles:
            self._styles[self._table_entry].level = value + 1 if 0 <= value < 9 else None

    def _format(self, word: str, value: int | None) -> None:  # noqa: C901 - a table of words
        match word:
            case "par" | "sect" | "page":
                self._end_paragraph()
            case "cell":
                self._end_cell()
            case "row":
                self._end_row()
            case "pard":
                self._flush()
                self._paragraph = _Paragraph()
            case "intbl":
                self._paragraph.in_table = True
            case "trowd":
                self._row_is_header = False
            case "trhdr":
                self._row_is_header = True
            case "s":
                self._paragraph.style = -1 if value is None else value
            case "outlinelevel":
                self._paragraph.level = value + 1 if value is not None and 0 <= value < 9 else None
            case "ls" | "pnlvlblt" | "pnlvlbody":
                self._paragraph.is_item = value != 0
            case "v" | "deleted":
                self._flush()
                self._group.hidden = value != 0
            case "plain":
                self._flush()
                self._group.hidden = False
            case "f" | "af" if word == "f":
                self._flush()
                self._group.font = -1 if value is None else value
            case "uc":
                self._group.skip_after_unicode = max(0, min(value or 0, 16))
            case "ansicpg":
                self._code_page = _codec(f"cp{value}")
            case "mac":
                self._code_page = "mac-roman"
            case "pc":
                self._code_page = "cp437"
            case "footnote" | "annotation":
                self._begin_note(is_shown=word == "footnote")

    def _begin_note(self, *, is_shown: bool) -> None:
        self._flush()
        if not is_shown:
            self._group.skipped = True
            return
        self._notes.append("")
        self._text.append(f"[{len(self._notes)}]")
        self._outer.append((len(self._notes), self._text))
        self._text = []
        self._group.is_note = True

    def _end_note(self) -> None:
        number, around = self._outer.pop()
        self._notes[number - 1] = " ".join(self._taken().split())
        self._text = around

    def _unicode(self, value: int) -> None:
        self._flush()
        self._add_unit(value % 0x10000)
        self._to_skip = self._group.skip_after_unicode

    def _add_unit(self, unit: int) -> None:
        """Add a character, or half of one, of UTF-16."""
        if 0xDC00 <= unit < 0xE000 and self._text and "\ud800" <= self._text[-1] < "\udc00":
            pair = self._text.pop() + chr(unit)
            self._add(pair.encode("utf-16", "surrogatepass").decode("utf-16"))
        elif 0xF000 <= unit < 0xF100 and self._group.font in self._fonts.names:
            self._add(symbol(self._fonts.names[self._group.font], unit))
        elif unit:
            self._add(chr(unit))

    def _byte(self, characters: bytes) -> None:
        if self._to_skip:
            skipped = min(self._to_skip, len(characters))
            self._to_skip -= skipped
            characters = characters[skipped:]
        if characters and not self._group.skipped:
            self._bytes += characters

    def _flush(self) -> None:
        """Decode the characters that were collected."""
        if not self._bytes:
            return
        raw = bytes(self._bytes)
        self._bytes.clear()
        font = self._group.font
        if font in self._fonts.names and not self._group.place:
            self._add("".join(symbol(self._fonts.names[font], each) for each in raw))
        else:
            code_page = self._fonts.code_pages.get(font, self._code_page)
            self._add(raw.decode(code_page, "replace"))

    def _add(self, characters: str) -> None:
        self._flush()
        group = self._group
        if group.skipped or group.hidden:
            return
        match group.place:
            case "":
                self._text.append(characters)
            case "stylesheet" if self._table_entry in self._styles:
                self._styles[self._table_entry].name += characters.rstrip(";")
            case "fonttbl" if self._table_entry in self._fonts.names:
                self._fonts.names[self._table_entry] += characters.rstrip(";")
            case place if place in _INFO:
                stated = str(self.info.get(_INFO[place], "")) + characters
                self.info[_INFO[place]] = valid(stated)[:_LONGEST_VALUE]

    def _taken(self) -> str:
        self._flush()
        words = valid("".join(self._text))
        self._text.clear()
        return words

    def _end_paragraph(self) -> None:
        if self._outer:  # in a note
            self._add("\n")
            return
        if self._paragraph.in_table:
            self._add("\n")
            return
        self._end_table()
        words = self._taken()
        self._counts["p"] += 1
        if not words.strip():
            return
        style = self._styles.get(self._paragraph.style, _Style())
        named = _HEADING_STYLE.fullmatch(style.name.strip())
        level = self._paragraph.level or style.level
        if named:
            level = int(named[1])
        elif style.name.strip().casefold() == "title":
            level = _TITLE_LEVEL
        if level is not None:
            self.out.heading(level, words)
        else:
            self.out.start_block("item" if self._paragraph.is_item else "paragraph")
        self.out.write(words, f"p[{self._counts['p']}]")

    def _end_cell(self) -> None:
        if not self._outer:
            self._cells.append(" ".join(self._taken().split()))

    def _end_row(self) -> None:
        if self._outer:
            return
        if not self._rows:
            self._counts["table"] += 1
        self._header_rows += self._row_is_header and self._header_rows == len(self._rows)
        path = f"table[{self._counts['table']}]/tr[{len(self._rows) + 1}]"
        self._rows.append((self._cells, path))
        self._cells = []

    def _end_table(self) -> None:
        if self._cells:
            self._end_row()
        if self._rows:
            write_table(self.out, self._rows, header_rows=self._header_rows or None)
        self._rows, self._header_rows = [], 0


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
