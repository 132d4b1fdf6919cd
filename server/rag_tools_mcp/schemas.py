"""The schemas of the tools, as simple as the strictest hosts require.

Some hosts refuse or misread ``anyOf``, ``$ref`` and ``$defs``. Tools accept more than their schemas
say, such as null for an optional argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[type, dict[str, Any]] = {
    list: {"type": "array", "items": {"type": "object"}},
    str: {"type": "string"},
}


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON schema made by pydantic without references, unions, titles and null defaults.

    A union of one type and null becomes that type; any other union becomes no constraint.
    """
    definitions = schema.get("$defs", {})
    flattened: dict[str, Any] = _flat(schema, definitions)
    return flattened


def result(required: Mapping[str, type]) -> dict[str, Any]:
    """Return the schema of a result: only the fields that are always present, and their types.

    Parameters
    ----------
    required
        The types of the fields by name: ``str``, or ``list`` for a list of objects.
    """
    return {
        "type": "object",
        "properties": {name: _TYPES[kind] for name, kind in required.items()},
        "required": list(required),
    }


def _flat(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(schema, list):
        return [_flat(each, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _flat({**definitions[name], **beside}, definitions)
    if "anyOf" in schema:
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        kinds = [each for each in schema["anyOf"] if each != {"type": "null"}]
        return _flat({**(kinds[0] if len(kinds) == 1 else {}), **beside}, definitions)
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: _flat(each, definitions) for name, each in value.items()}
        elif key == "additionalProperties":
            if (more := _flat(value, definitions)) not in ({}, True):
                found[key] = more
        elif key not in ("title", "$defs") and not (key == "default" and value is None):
            found[key] = _flat(value, definitions)
    return found
