"""Definitions in languages whose grammars have no wheels for every system, found by patterns.

Protocol Buffers and Dockerfiles are simple enough that words, braces and comments tell what is
defined. The scripts in components of Vue and Svelte are parsed by the grammars of their languages;
here are only their borders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rag_tools.ingest.code_definitions import Definition
from rag_tools.types import BlockKind

_PROTO_TOKEN = re.compile(
    rb"//[^\r\n]*+|/\*(?:[^*]|\*(?!/))*+\*/|\"(?:[^\"\\\r\n]|\\.)*+\"|'(?:[^'\\\r\n]|\\.)*+'"
    rb"|(?P<kind>message|enum|service|oneof|extend|rpc)\s++(?P<name>[\w.]++)(?=\s*[{(])"
    rb"|[{};]|[\w.]++"
)
_STAGE = re.compile(
    rb"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(?P<image>\S+)(?:[ \t]+AS[ \t]+(?P<name>\S+))?",
    re.MULTILINE | re.IGNORECASE,
)
_COMMENT = re.compile(rb"[ \t]*+(?://|#|/\*|\*)")
_COMMENT_LINES = 100  # above a definition, that belong to it
_MAX_OPEN = 32
_SECTION = re.compile(
    rb"^<(?P<tag>script|template|style)\b(?P<attributes>[^<>\r\n]{0,500})>"
    rb"(?P<content>.*?)^</(?P=tag)\s*>",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_LANG = re.compile(rb"\blang\s*=\s*[\"']?(\w+)")


def proto_definitions(source: bytes) -> Iterator[Definition]:
    """Yield the messages, enums, services and calls of a ``.proto`` file, outer ones first."""
    found: list[Definition] = []
    opened: list[int | None] = []  # for each open brace, the place in `found` of what it is of
    path: list[str] = []
    waiting: int | None = None  # of a definition whose brace or semicolon is still to come
    for token in _PROTO_TOKEN.finditer(source):
        mark = token[0]
        if token["kind"] and len(path) < _MAX_OPEN:
            kind: BlockKind = "function" if token["kind"] in (b"rpc", b"oneof") else "class"
            own = (*path, token["name"].decode("utf-8", "replace"))
            waiting = len(found)
            found.append(Definition(_above(source, token.start()), len(source), kind, own))
        elif mark == b"{":
            opened.append(waiting)
            if waiting is not None:
                path.append(found[waiting].path[-1])
            waiting = None
        elif mark == b"}" and opened:
            closed = opened.pop()
            if closed is not None:
                found[closed] = found[closed]._replace(end=token.end())
                path.pop()
        elif mark == b";" and waiting is not None:
            found[waiting] = found[waiting]._replace(end=token.end())
            waiting = None
    yield from found


def docker_definitions(source: bytes) -> Iterator[Definition]:
    """Yield the stages of a Dockerfile, named as it names them, else by their images."""
    stages = list(_STAGE.finditer(source))
    starts = [_above(source, stage.start()) for stage in stages]
    for stage, (start, end) in zip(stages, pairwise([*starts, len(source)]), strict=True):
        name = (stage["name"] or stage["image"]).decode("utf-8", "replace")
        yield Definition(start, end, "class", (name,))


def component_sections(source: bytes) -> Iterator[tuple[Definition, bytes, str | None]]:
    """Yield the sections of a component, its script with what is around it blanked, its language.

    Only a script has content; that of the others is empty.
    """
    position = 0
    while section := _SECTION.search(source, position):
        tag = section["tag"].decode().lower()
        position = section.end()
        language = _LANG.search(section["attributes"])
        script = b""
        if tag == "script":
            start, end = section.span("content")
            blank = re.sub(rb"[^\r\n]", b" ", source[:start])
            script = blank + source[start:end]
        yield (
            Definition(section.start(), section.end(), "class", (tag,)),
            script,
            language[1].decode().lower() if language else None,
        )


def _above(source: bytes, start: int) -> int:
    """Return where the comment lines right above a definition begin, or its own line."""
    line = source.rfind(b"\n", 0, start) + 1
    if source[line:start].strip():
        return start
    for _ in range(_COMMENT_LINES):
        above = source.rfind(b"\n", 0, max(line - 1, 0)) + 1
        if above == line or not _COMMENT.match(source, above, line):
            break
        line = above
    return line
