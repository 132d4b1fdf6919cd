"""The options that several commands have, and how values such as filters and sizes are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

# The same as in `rag_tools.index.search`, whose import would slow down --help.
Quality = Literal["fast", "balanced", "exact"]

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        file_okay=False,
        readable=False,  # opening the index reports why it can't be read, and what to do
        help="Directory of the index. Default: $RAG_TOOLS_INDEX, else ./.rag-tools.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FIELD=VALUE",
        help="Only documents whose metadata has this value; `path` takes a glob. Repeatable.",
    ),
]
ExplainOption = Annotated[
    bool,
    typer.Option("--explain", help="Show which query words match which words of the documents."),
]
QualityOption = Annotated[
    Quality,
    typer.Option(
        help="How thorough the search is: exact scores every passage, however many there are."
    ),
]

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
    """Return ``FIELD=VALUE`` options as a filter; a field given twice matches either value.

    A value that can be read as a number or a truth value matches metadata of that type as well as
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
    """Return ``[NAME=]DIR`` options as a mapping from collection names to directories.

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
    """Return the settings of the only token of a server that has no settings file."""
    return {
        "name": "default",
        "file": file.absolute(),
        "scopes": ["read", "write"],
        "reads_all": True,
    }


def _scalar(value: str) -> list[int | float | bool]:
    try:
        parsed = json.loads(value)
    except ValueError:
        return []
    return [parsed] if isinstance(parsed, int | float) else []
