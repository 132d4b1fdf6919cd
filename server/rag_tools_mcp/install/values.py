"""What editing JSON and TOML have in common: an error, and finding a value by its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class EditError(ValueError):
    """A text can't be parsed, or its structure doesn't allow the edit."""


def at(document: Any, path: Sequence[str]) -> Any:  # noqa: ANN401 - any value of JSON or TOML
    """Return the value at `path` in a parsed document; None if there is none.

    Raises
    ------
    EditError
        If a value on the path isn't an object, which TOML calls a table.

    Examples
    --------
    >>> at({"a": {"b": [1, 2]}}, ["a", "b"])
    [1, 2]
    """
    value = document
    for depth, name in enumerate(path):
        if not isinstance(value, Mapping):
            raise EditError(f"{'.'.join(path[:depth]) or 'the document'} is not an object")
        if name not in value:
            return None
        value = value[name]
    return value
