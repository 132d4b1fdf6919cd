"""The block of YAML or TOML at the start of a Markdown file: where it ends, and what it states.

The title is read even from YAML that is broken: only the scalar after ``title`` counts, in each of
the styles in which YAML writes a scalar, and only the list of names after ``access``, its readers.
The other fields need a block that is whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as datetime_time
from typing import Any

from rag_tools.errors import InvalidDocumentError
from rag_tools.ingest.stated import fields, yaml_fields
from rag_tools.sentences import lines
from rag_tools.types import Metadata, check_labels

_FENCE = re.compile(r"(?P<fence>---|\+\+\+)[ \t]*(?=[\r\n])")
_CLOSERS = {"---": ("---", "..."), "+++": ("+++",)}
_TITLE = re.compile(r"(?P<quote>[\"']?)title(?P=quote)[ \t]*:(?:[ \t]+|\Z)(?P<value>.*)", re.I)
_ACCESS = re.compile(r"(?P<quote>[\"']?)access(?P=quote)[ \t]*[:=][ \t]*(?P<value>.*)", re.I)
_TERM = re.compile(
    r"(?P<quote>[\"']?)(?P<name>expires|hold)(?P=quote)[ \t]*[:=][ \t]*"
    r"(?P<value>[^#]*?)(?:[ \t]+#.*)?",
    re.I,
)
_HOLDS = {"true": True, "yes": True, "false": False, "no": False}
_ITEM = re.compile(r"-[ \t]+(?P<item>.*)")
_PLAIN = re.compile(r"[\w@][\w@.:/+ -]*")
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


def access(text: str) -> tuple[str, ...]:
    r"""Return the labels that front matter, given with its fences, states as ``access``.

    Raises
    ------
    InvalidDocumentError
        If it states something else there: nobody then knows who may read the document.

    Examples
    --------
    >>> access("---\naccess: [ops, 'user:ana']  # not for all\n---\n")
    ('ops', 'user:ana')
    >>> access("---\naccess:\n  - ops\n  - board\n---\n")
    ('board', 'ops')
    >>> access('+++\naccess = ["ops"]\n+++\n')
    ('ops',)
    """
    rows = [line.of(text).rstrip() for line in lines(text)][1:-1]
    stated = [number for number, row in enumerate(rows) if _ACCESS.fullmatch(row)]
    if not stated:
        return ()
    try:
        if text.startswith("+++"):
            stored = tomllib.loads("\n".join(rows))
            found = next((stored[key] for key in stored if key.lower() == "access"), ())
            return check_labels([found] if isinstance(found, str) else found)
        if len(stated) > 1:
            raise ValueError("it is stated twice")
        match = _ACCESS.fullmatch(rows[stated[0]])
        assert match is not None
        return check_labels(_names(match["value"].strip(), rows[stated[0] + 1 :]))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidDocumentError(
            f"the front matter's access can't be read ({error}): write access: [GROUP, user:NAME]"
        ) from None


def terms(text: str) -> dict[str, Any]:
    r"""Return ``expires`` and ``hold`` as front matter, given with its fences, states them.

    A date without a time means its end, in UTC.

    Raises
    ------
    InvalidDocumentError
        If one of them is stated in another way: nobody then knows how long to keep the document.

    Examples
    --------
    >>> terms("---\nexpires: 2026-03-31\nhold: true\n---\n")
    {'expires': 1775001600, 'hold': True}
    >>> terms("---\ntitle: Tides\n---\n")
    {}
    """
    found: dict[str, Any] = {}
    for line in lines(text)[1:-1]:
        if match := _TERM.fullmatch(line.of(text).rstrip()):
            name, value = match["name"].lower(), match["value"].strip().strip("'\"")
            try:
                found[name] = _expiry(value) if name == "expires" else _HOLDS[value.lower()]
            except (ValueError, KeyError, OverflowError):
                raise InvalidDocumentError(
                    f"the front matter's {name} can't be read ({value!r}): write expires: "
                    "2026-12-31, with a time and its zone if you like, or hold: true"
                ) from None
    return found


def _expiry(value: str) -> int:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        day = datetime.combine(date.fromisoformat(value), datetime_time(), UTC)
        return int((day + timedelta(days=1)).timestamp())
    when = datetime.fromisoformat(value)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _names(first: str, rest: Sequence[str]) -> list[str]:
    """Return the names in a list of YAML, in brackets or one in a row."""
    if not first or first.startswith("#"):
        rows = [row for row in _items(rest) if row and not row.startswith("#")]
        items = [match["item"] for row in rows if (match := _ITEM.fullmatch(row))]
        if not items or len(items) < len(rows):
            raise ValueError("it has no list of names")
        return [_label(item) for item in items]
    if not first.startswith("["):
        return [_label(first)]
    written = " ".join([first, *_continuation(rest)])
    inside, closed, after = written[1:].partition("]")
    if not closed or (after.strip() and not after.strip().startswith("#")):
        raise ValueError("its list doesn't end")
    return [_label(item) for item in inside.split(",") if item.strip()]


def _items(rows: Sequence[str]) -> list[str]:
    """Return the rows of a list at the start, which may stand at the margin."""
    found: list[str] = []
    for row in rows:
        if row.strip() and not row[0].isspace() and not row.startswith(("-", "#")):
            break
        found.append(row.strip())
    return found


def _label(written: str) -> str:
    """Return a label that is written as a scalar of YAML."""
    scalar = _scalar(written.strip(), ())
    quoted = written.strip().startswith(("'", '"'))
    if not scalar or not (quoted or _PLAIN.fullmatch(scalar)):
        raise ValueError(f"{written.strip()!r} is no name")
    return scalar


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
