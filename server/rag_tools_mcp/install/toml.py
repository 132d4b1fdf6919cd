"""TOML changed in place: comments, order and layout stay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError


class TomlError(ValueError):
    """The text isn't TOML, has something else where a table is needed, or is laid out oddly."""


def get(text: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - any TOML value
    r"""Return the value at `path`; None if nothing is there.

    Raises
    ------
    TomlError
        The text can't be parsed, or a value on the way isn't a table.

    Examples
    --------
    >>> get("[a]\nb = [1, 2]", ["a", "b"])
    [1, 2]
    """
    try:
        value: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(str(error)) from error
    for depth, name in enumerate(path):
        if not isinstance(value, Mapping):
            raise TomlError(f"{'.'.join(path[:depth])} isn't a table")
        if name not in value:
            return None
        value = value[name]
    return value


def put(text: str, path: Sequence[str], value: object) -> str:
    r"""Return `text` with `value` at `path`; a table that isn't there yet comes last.

    Raises
    ------
    TomlError
        The text can't be parsed, or its layout leaves no place for the value.

    Examples
    --------
    >>> print(put("a = 1 # one\n", ["b", "c"], {"d": 2}))
    a = 1 # one
    <BLANKLINE>
    [b.c]
    d = 2
    <BLANKLINE>
    """
    if isinstance(value, Mapping) and get(text, path) is None:
        # At the end. Among its like, tomlkit would put it behind the comments of the next table.
        for name in reversed(path):
            value = {name: value}
        space = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        after = text + space + tomlkit.dumps(value)
        get(after, path)
        return after
    try:
        document = tomlkit.parse(text)
        table: Any = document
        for name in path[:-1]:
            table = table[name]
        table[path[-1]] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError) as error:
        raise TomlError(str(error)) from error


def remove(text: str, path: Sequence[str]) -> str:
    r"""Return `text` without the table at `path` and those inside it.

    The comments that follow the table stay: they introduce what comes next.

    Raises
    ------
    TomlError
        The text can't be parsed, or no table stands there under a header of its own.

    Examples
    --------
    >>> remove("[a]\nx = 1\n\n[b]\ny = 2 # two\n\n# of c\n[c]\n", ["b"])
    '[a]\nx = 1\n\n# of c\n[c]\n'
    """
    keys = r"\s*\.\s*".join(rf"""["']?{re.escape(name)}["']?""" for name in path)
    header = re.compile(rf"\[\s*{keys}\s*[\].]")
    kept: list[str] = []
    comments: list[str] = []
    inside = False
    for line in [*text.splitlines(keepends=True), ""]:
        content = line.strip()
        if content.startswith("[") or not line:
            if inside and kept and not kept[-1].strip() and not "".join(comments[:1]).strip():
                kept.pop()  # the empty line in front of what is taken out
            inside = header.match(content) is not None
        if not inside:
            kept += [*comments, line]
            comments = []
        elif not content or content.startswith("#"):
            comments.append(line)
        else:
            comments = []
    after = "".join(kept)
    if get(after, path) is not None:
        raise TomlError(f"{'.'.join(path)} isn't a table with a header of its own")
    return after
