"""TOML changed in place: comments, order and layout stay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from rag_tools_mcp.install.values import EditError, at


def get(text: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - any TOML value
    r"""Return the value at `path`; None if there is none.

    Raises
    ------
    EditError
        If the text can't be parsed, or a value on the path isn't a table.

    Examples
    --------
    >>> get("[a]\nb = [1, 2]", ["a", "b"])
    [1, 2]
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EditError(str(error)) from error
    return at(document, path)


def put(text: str, path: Sequence[str], value: object) -> str:
    r"""Return `text` with `value` at `path`; a new table is added at the end.

    Raises
    ------
    EditError
        If the text can't be parsed, or its layout has no place for the value.

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
        # At the end: tomlkit would put it after the last similar table, behind the comments that
        # introduce the next one.
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
        raise EditError(str(error)) from error


def remove(text: str, path: Sequence[str]) -> str:
    r"""Return `text` without the table at `path` and those inside it.

    Comments after the table are kept, since they introduce what follows.

    Raises
    ------
    EditError
        If the text can't be parsed, or the table has no header of its own.

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
                kept.pop()  # the empty line before what is removed
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
        raise EditError(f"{'.'.join(path)} is not a table with a header of its own")
    return after
