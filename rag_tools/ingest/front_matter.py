"""The block of YAML or TOML at the start of a Markdown file: where it ends, and what it states.

The title is read even from YAML that is broken: only the scalar after ``title`` counts, in each of
the styles in which YAML writes a scalar. The other fields need a block that is whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

from rag_tools.ingest.stated import fields, yaml_fields
from rag_tools.sentences import lines
from rag_tools.types import Metadata

_FENCE = re.compile(r"(?P<fence>---|\+\+\+)[ \t]*(?=[\r\n])")
_CLOSERS = {"---": ("---", "..."), "+++": ("+++",)}
_TITLE = re.compile(r"(?P<quote>[\"']?)title(?P=quote)[ \t]*:(?:[ \t]+|\Z)(?P<value>.*)", re.I)
_BLOCK = re.compile(r"[|>][-+1-9]{0,2}(?:[ \t]+#.*)?")
_COMMENT = re.compile(r"(?:\A|[ \t])#.*")
_SINGLE_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LONGEST = 32_768  # characters of front matter from which metadata are read
_MAX_LINES = 50
"""Most lines that a title may take up."""


def end(text: str) -> int:
    """Return where the front matter of `text` ends, or 0 if it has none."""
    match = _FENCE.match(text)
    if match is None:
        return 0
    closers = _CLOSERS[match["fence"]]
    for line in lines(text)[1:]:
        if line.of(text).rstrip() in closers:
            return line.end
    return 0


def title(text: str) -> str:
    r"""Return the title stated by front matter, given with its fences, on one line, or ``""``.

    Examples
    --------
    >>> title("---\ntitle: 'It''s on'  # still\n---\n")
    "It's on"
    >>> title("---\ntitle: >-\n  Two\n  lines\n---\n")
    'Two lines'
    >>> title('+++\ntitle = "Mine"\n+++\n')
    'Mine'
    """
    rows = [line.of(text).rstrip() for line in lines(text)]
    found = _toml_title(rows[1:-1]) if text.startswith("+++") else _yaml_title(rows[1:-1])
    return " ".join(found.split())


def metadata(text: str) -> Metadata:
    """Return the other fields of front matter, given with its fences; see `stated.fields`."""
    rows = [line.of(text).rstrip() for line in lines(text)][1:-1]
    body = "\n".join(rows)
    if not body or len(body) > _LONGEST:
        return {}
    if not text.startswith("+++"):
        return yaml_fields(body)
    try:
        return fields(tomllib.loads(body))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _toml_title(rows: Sequence[str]) -> str:
    try:
        found = tomllib.loads("\n".join(rows)).get("title", "")
    except (tomllib.TOMLDecodeError, RecursionError):
        return ""
    return str(found) if isinstance(found, str | int | float) else ""


def _yaml_title(rows: Sequence[str]) -> str:
    for number, row in enumerate(rows):
        if match := _TITLE.fullmatch(row):
            return _scalar(match["value"].strip(), _continuation(rows[number + 1 :]))
    return ""


def _continuation(rows: Sequence[str]) -> list[str]:
    """Return the indented or blank rows at the start: they continue the value."""
    found: list[str] = []
    for row in rows[:_MAX_LINES]:
        if row.strip() and not row[0].isspace():
            break
        found.append(row.strip())
    return found


def _scalar(first: str, rest: Sequence[str]) -> str:
    """Return the value that begins with `first` and goes on in `rest`."""
    if _BLOCK.fullmatch(first):
        return " ".join(rest)
    for pattern, unescaped in ((_SINGLE_QUOTED, _unquoted), (_DOUBLE_QUOTED, _unescaped)):
        if quoted := pattern.match(" ".join([first, *rest])):
            return unescaped(quoted[1])
    words = []
    for row in (first, *rest):
        words.append(_COMMENT.sub("", row))
        if words[-1] != row:
            break  # nothing goes on after a comment
    value = " ".join(words).strip()
    return "" if value in _NULLS else value


def _unquoted(raw: str) -> str:
    return raw.replace("''", "'")


def _unescaped(raw: str) -> str:
    return _ESCAPE.sub(_escaped, raw)


def _escaped(match: re.Match[str]) -> str:
    code = next(filter(None, match.groups()[:3]), None)
    if code is None:
        return " " if match[4] in "nrtv_NLP0abef" else match[4].strip()
    number = int(code, 16)
    # No text holds a surrogate by itself, and beyond the last character there is none.
    return (
        chr(number)
        if number < 0xD800 or 0xDFFF < number < 0x110000
        else "\N{REPLACEMENT CHARACTER}"
    )
