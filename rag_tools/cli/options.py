"""The options that several commands have, and how values such as filters and sizes are read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rag_tools.types import AccessRules

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
        help="Only documents whose metadata has this value; `path` takes a glob. Or a filter as "
        "JSON. Repeatable.",
    ),
]
FacetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--facets",
        metavar="FIELD",
        help="Count the values of this field in the documents that match the filter. Repeatable.",
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


def directory(index: Path | None) -> Path:
    """Return the directory of the index that `IndexOption` names, or the default."""
    from rag_tools.creation import default_directory

    return default_directory() if index is None else index


def sources(paths: list[str] | None) -> list[str] | None:
    """Return what to index; refuse paths that don't exist. URLs pass."""
    for path in paths or ():
        if "://" not in path and not os.path.lexists(path):
            raise typer.BadParameter(f"Path {path!r} does not exist.")
    return paths


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


def seconds(value: str) -> float:
    """Return the number of seconds that a time such as ``30s``, ``10m`` or ``1h`` stands for."""
    from rag_tools import durations

    try:
        return durations.seconds(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def filters(values: Iterable[str]) -> dict[str, Any]:
    """Return ``FIELD=VALUE`` options as a filter; a field given twice matches either value.

    A value that can be read as a number or a truth value matches metadata of that type as well as
    text, because a command line can't tell them apart. An option that begins with a brace is a
    filter itself, as JSON; it must match too.

    Examples
    --------
    >>> filters(["lang=en", "lang=fr", "year=2020"])
    {'lang': ['en', 'fr'], 'year': ['2020', 2020]}
    >>> filters(["lang=en", '{"year": {">=": 2020}}'])
    {'and': [{'lang': ['en']}, {'year': {'>=': 2020}}]}
    """
    wanted: dict[str, list[str | int | float | bool]] = {}
    stated: list[dict[str, Any]] = []
    for option in values:
        if option.startswith("{"):
            stated.append(_filter(option))
            continue
        field, equals, value = option.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"{option!r} is not of the form FIELD=VALUE")
        wanted.setdefault(field, []).append(value)
        if field not in _TEXT_FIELDS:
            wanted[field].extend(_scalar(value))
    if not stated:
        return wanted
    return {"and": [*([wanted] if wanted else []), *stated]}


def _filter(option: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(option)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{option!r} is no JSON: {error}") from None
    return found


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


def access(
    labels: Sequence[str], *, posix: bool, none: bool, default_deny: bool | None
) -> AccessRules | None:
    """Return the rules of ``--label PATTERN=LABEL,…`` and the like; None if none was given."""
    if not (labels or posix or none or default_deny is not None):
        return None
    from pydantic import ValidationError

    from rag_tools.types import AccessRules

    rules: dict[str, tuple[str, ...]] = {}
    for each in labels:
        pattern, equals, names = each.rpartition("=")
        if not equals:
            raise typer.BadParameter(f"--label {each!r}: write PATTERN=LABEL, such as 'hr/**=hr'")
        rules[pattern] = tuple(name.strip() for name in names.split(","))
    try:
        return AccessRules(
            labels=rules if labels or none else None, posix=posix, default_deny=default_deny
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"--label: {reason}") from None


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
