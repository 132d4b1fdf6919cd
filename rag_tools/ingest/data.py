"""JSON, JSON Lines, YAML, TOML and XML → Document: the file itself, a unit for each value.

What is a unit is decided in ``outline``. Nothing is evaluated: no alias of YAML is followed and no
entity of XML is replaced, so that a small file can't grow. Where the syntax is broken, the rest of
the file is its lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.parsers import expat

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode
from rag_tools.ingest.formats import format_suffix
from rag_tools.ingest.outline import Outline
from rag_tools.types import Document

_JSON_TOKEN = re.compile(
    r'"(?:[^"\\\r\n]|\\.)*+"?|\'(?:[^\'\\\r\n]|\\.)*+\'?|//[^\r\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?'
    r"|[{}\[\],:]|[^\s{}\[\],:\"']++",
    re.DOTALL,
)
_TOML_LINE = re.compile(
    r"[ \t]*+(?:(?P<array>\[\[)(?P<items>[^\r\n]*?)\]\]|\[(?P<table>[^\r\n]*?)\]|(?P<key>"
    r"(?:[\w-]++|\"(?:[^\"\\\r\n]|\\.)*+\"|'[^'\r\n]*+')"
    r"(?:[ \t]*+\.[ \t]*+(?:[\w-]++|\"(?:[^\"\\\r\n]|\\.)*+\"|'[^'\r\n]*+'))*+)[ \t]*+=)"
)
_TOML_KEY = re.compile(r"\"((?:[^\"\\]|\\.)*+)\"|'([^']*+)'|([^\s.\"']++)")
_TOML_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|\'\'\'(?:[^\']|\'(?!\'\'))*+(?:\'\'\')?'
    r'|"(?:[^"\\\r\n]|\\.)*+"?|\'[^\'\r\n]*+\'?|#[^\r\n]*+|[\[\]{}]|\r\n|[\r\n]|[^\[\]{}"\'#\r\n]++',
    re.DOTALL,
)
_LONG = 200  # characters beyond which an array of TOML is its lines
_YAML_SEPARATOR = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_LONGEST_KEY = 200
_LINE_BREAK = re.compile(r"\r\n|[\r\n]|\Z")
_CONTINUATION = bytes(range(0x80, 0xC0))


def load_data(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a file of data.

    The path of a value holds the keys around it: names, and ``[0]`` for the first element of a
    list. Records of JSON Lines and documents of YAML, if there are several, are numbered likewise.
    An element of XML is named by its tag, the second of its siblings of that name ``name[2]``; one
    that holds text of its own is one value. A `Loader`, see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    media_type, read = FORMATS[format_suffix(name)]
    outline = Outline(text)
    read(text, outline)
    return Document(
        text=text,
        uri=uri,
        title=name,
        media_type=media_type,
        blocks=tile(_in_order(outline.openings), len(text)),
    )


def _in_order(openings: list[Opening]) -> list[Opening]:
    """Begin with the text before the first value, which is lines, unless there is none."""
    if openings and openings[0].start == 0:
        return openings
    return [Opening("lines", 0), *openings]


# -- JSON ------------------------------------------------------------------------------------------


def _json(text: str, outline: Outline) -> None:
    _read_json(text, outline, numbered=False)


def _json_lines(text: str, outline: Outline) -> None:
    _read_json(text, outline, numbered=True)


def _read_json(text: str, outline: Outline, *, numbered: bool) -> None:
    """Report the values of JSON, also with comments, single quotation marks and trailing commas."""
    indices: list[int] = [0]  # of the next element, in each open list
    is_object: list[bool] = [False]
    name: tuple[int, str] | None = None  # what may be a key, and where it begins
    named = False
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0]
        start = token.start()
        if mark.startswith(("//", "/*")):
            continue
        if mark in ("{", "["):
            at, key = name if named and name else (start, f"[{indices[-1]}]")
            root = len(indices) == 1 and not numbered
            outline.open(at, None if root else key)
            indices.append(0)
            is_object.append(mark == "{")
            name, named = None, False
        elif mark in ("}", "]"):
            if len(indices) > 1:
                indices.pop()
                is_object.pop()
                outline.close(token.end(), bracket=start)
            name, named = None, False
            indices[-1] += len(indices) == 1
        elif mark == ",":
            indices[-1] += 1
            name, named = None, False
        elif mark == ":":
            named = name is not None
        elif is_object[-1] and not named:
            name = (start, _key(mark))
        else:
            outline.value(name[0] if named and name else start)
            outline.ends(token.end())
            name, named = None, False


def _key(mark: str) -> str:
    return mark.strip("\"'")[:_LONGEST_KEY]


# -- YAML ------------------------------------------------------------------------------------------


def _yaml(text: str, outline: Outline) -> None:
    import yaml

    loader = getattr(yaml, "CLoader", yaml.Loader)
    numbered = len(_YAML_SEPARATOR.findall(text)) > 1
    document = -1
    # For each open container: whether it is a mapping, and the number of its next element.
    containers: list[list[int]] = []
    name: tuple[int, str] | None = None  # the key whose value comes next
    end = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            start = event.start_mark.index
            if isinstance(event, yaml.DocumentStartEvent):
                document += 1
            elif isinstance(event, yaml.CollectionStartEvent):
                key: str | None = None if not numbered else f"[{document}]"
                if name is not None:
                    start, key = name
                elif containers:
                    key = f"[{containers[-1][1]}]"
                outline.open(start, key)
                containers.append([isinstance(event, yaml.MappingStartEvent), 0])
                name = None
            elif isinstance(event, yaml.CollectionEndEvent):
                is_flow = event.end_mark.index > start
                end = event.end_mark.index if is_flow else end
                outline.close(end, bracket=start if is_flow else None)
                containers.pop()
                name = None
                if containers:
                    containers[-1][1] += 1
            elif isinstance(event, yaml.NodeEvent):  # a scalar or an alias
                if containers and containers[-1][0] and name is None:
                    key = getattr(event, "value", None) or text[start : event.end_mark.index]
                    name = (start, " ".join(key[:_LONGEST_KEY].split()))
                    continue
                outline.value(start if name is None else name[0])
                end = event.end_mark.index
                outline.ends(end)
                name = None
                if containers:
                    containers[-1][1] += 1
    except (yaml.YAMLError, ValueError):  # a template, or damaged: its lines, from there on
        outline.rest(end)


def _next_line(text: str, end: int) -> int:
    found = _LINE_BREAK.search(text, end)
    return found.end() if found and end else 0


# -- TOML ------------------------------------------------------------------------------------------


def _toml(text: str, outline: Outline) -> None:
    position = 0
    tables: dict[str, int] = {}
    is_open = False
    while position < len(text):
        line = _TOML_LINE.match(text, position)
        if line is None:
            position = _next_line(text, position) if position else _first_line(text)
            continue
        if line["key"] is None:
            name = line["items"] if line["array"] else line["table"]
            keys = [next(filter(None, key), "") for key in _TOML_KEY.findall(name or "")]
            if is_open:
                outline.close(position, whole=False)
            title = ".".join(keys)
            if line["array"]:
                number = tables[title] = tables.get(title, -1) + 1
                title += f"[{number}]"
            outline.open(line.start(), title)
            is_open = True
            position = _next_line(text, line.end())
            continue
        end, first = _toml_value(text, line.end())
        value = text[line.end() : end].lstrip()
        if value.startswith("[") and end - line.start() > _LONG and first < end:
            outline.open(line.start(), line["key"])
            outline.ends(first)
            outline.value(first, "lines")
            outline.close(end)
        else:
            outline.value(line.start())
        outline.ends(end)
        position = max(end, position + 1)
    if is_open:
        outline.close(len(text))


def _first_line(text: str) -> int:
    return _next_line(text, 1) if not text.startswith(("\n", "\r")) else 1


def _toml_value(text: str, start: int) -> tuple[int, int]:
    """Return where the line ends on which a value ends, and where its second line begins."""
    depth = 0
    second = len(text)
    for token in _TOML_TOKEN.finditer(text, start):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        elif mark[0] in "\r\n":
            second = min(second, token.end())
            if depth <= 0:
                return token.end(), second
    return len(text), second


# -- XML -------------------------------------------------------------------------------------------


class _XmlReader:
    """Reports the elements of XML; positions are counted in bytes until all are known."""

    def __init__(self, text: str, outline: Outline) -> None:
        self._text = text
        self._outline = outline
        self._source = text.encode("utf-8")
        self._is_ascii = len(self._source) == len(text)
        self._at = (0, 0)  # bytes and code points counted so far
        self._siblings: list[dict[str, int]] = [{}]
        self._mixed: list[bool] = [False]
        self._parser = expat.ParserCreate("utf-8")
        # With a default handler, no entity is replaced by what it stands for.
        self._parser.DefaultHandler = lambda data: None
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.CommentHandler = self._comment

    def read(self) -> None:
        try:
            self._parser.Parse(self._source, True)
        except (expat.ExpatError, ValueError):  # damaged: its lines, from there on
            self._outline.rest(self._position())

    def _position(self) -> int:
        """Return the code point at which the parser is."""
        index = self._parser.CurrentByteIndex
        if self._is_ascii:
            return index
        start, count = self._at
        if index >= start:
            count += len(self._source[start:index].translate(None, _CONTINUATION))
            self._at = (index, count)
        return count

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        number = self._siblings[-1][tag] = self._siblings[-1].get(tag, 0) + 1
        key = tag if number == 1 else f"{tag}[{number}]"
        self._outline.open(self._position(), key[:_LONGEST_KEY])
        self._siblings.append({})
        self._mixed.append(False)

    def _end(self, tag: str) -> None:
        self._siblings.pop()
        start = self._position()
        end = self._text.find(">", start) + 1
        is_leaf = self._mixed.pop()
        self._outline.close(end, bracket=start, whole=is_leaf)

    def _characters(self, characters: str) -> None:
        if not self._mixed[-1] and not characters.isspace():
            self._mixed[-1] = True

    def _comment(self, comment: str) -> None:
        self._outline.value(self._position())


def _xml(text: str, outline: Outline) -> None:
    _XmlReader(text, outline).read()


FORMATS: dict[str, tuple[str, Callable[[str, Outline], None]]] = {
    ".geojson": ("application/geo+json", _json),
    ".json": ("application/json", _json),
    ".json5": ("application/json5", _json),
    ".jsonc": ("application/json", _json),
    ".jsonl": ("application/jsonl", _json_lines),
    ".ndjson": ("application/jsonl", _json_lines),
    ".toml": ("application/toml", _toml),
    ".xml": ("application/xml", _xml),
    ".xsd": ("application/xml", _xml),
    ".xsl": ("application/xml", _xml),
    ".yaml": ("application/yaml", _yaml),
    ".yml": ("application/yaml", _yaml),
}
"""Suffix → media type, and what reports the values."""
