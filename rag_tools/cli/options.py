"""The option values that take more than a conversion: filters, sizes, qualities, collections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import typer

# That of `rag_tools.index.search`, which would take long to import for --help.
Quality = Literal["fast", "balanced", "exact"]

_TEXT_FIELDS = frozenset({"document_id", "title", "path"})


def size(value: str) -> int:
    """Return the number of bytes that a size such as ``64MiB``, ``1.5GB`` or ``4096`` stands for.

    Examples
    --------
    >>> size("64MiB")
    67108864
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        raise typer.BadParameter(f"{value!r} is not a size; write 64MiB, 10MB or 4096") from None


def filters(values: Iterable[str]) -> dict[str, list[str | int | float | bool]]:
    """Return ``FIELD=VALUE`` options as a filter; one field given twice matches either value.

    A value that reads as a number or a truth value matches metadata of that type as well as
    text, because a command line can't tell them apart.

    Examples
    --------
    >>> filters(["lang=en", "lang=fr", "year=2020"])
    {'lang': ['en', 'fr'], 'year': ['2020', 2020]}
    """
    wanted: dict[str, list[str | int | float | bool]] = {}
    for option in values:
        field, equals, value = option.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"{option!r} is not of the form FIELD=VALUE")
        wanted.setdefault(field, []).append(value)
        if field not in _TEXT_FIELDS:
            wanted[field].extend(_scalar(value))
    return wanted


def collections(values: Iterable[str]) -> dict[str, Path]:
    """Return ``[NAME=]DIR`` options as directories by the name of the collection.

    Examples
    --------
    >>> sorted(collections(["papers=/srv/papers", "/srv/notes"]))
    ['default', 'papers']
    """
    directories: dict[str, Path] = {}
    for option in values:
        name, equals, directory = option.partition("=")
        if not equals or re.search(r"[/\\.]", name):  # a path may hold =
            name, directory = "default", option
        if name in directories:
            raise typer.BadParameter(f"two indexes have the name {name!r}: write NAME=DIR")
        directories[name] = Path(directory).absolute()
    return directories


def token(file: Path) -> dict[str, Any]:
    """Return the settings of the one token of a server that has no file of settings."""
    return {"name": "default", "file": file.absolute(), "scopes": ["read", "write"]}


def _scalar(value: str) -> list[int | float | bool]:
    try:
        parsed = json.loads(value)
    except ValueError:
        return []
    return [parsed] if isinstance(parsed, int | float) else []
