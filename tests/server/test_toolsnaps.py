"""The tools as a model sees them, against the files in ``tests/toolsnaps``: a change is a diff.

To accept a change: ``make toolsnaps``, or this test with ``UPDATE_TOOLSNAPS=1``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build

SNAPSHOTS = Path(__file__).parents[1] / "toolsnaps"
SERVERS: dict[str, dict[str, Any]] = {
    "full": {"writable": [Path()]},
    "openai": {"profile": "openai"},
    "collections": {},
}


def tools(name: str) -> dict[str, dict[str, Any]]:
    names = ("a", "b") if name == "collections" else ("default",)

    async def listed() -> dict[str, dict[str, Any]]:
        server = build(Collections(dict.fromkeys(names, SNAPSHOTS)), **SERVERS[name])
        async with Client(server) as client:
            return {
                tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                for tool in (await client.list_tools()).tools
            }

    return anyio.run(listed)


@pytest.mark.parametrize("name", SERVERS)
def test_tools_are_those_that_are_committed(name: str):
    found = tools(name)
    folder = SNAPSHOTS / name
    if os.environ.get("UPDATE_TOOLSNAPS"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.json"):
            path.unlink()
        for tool, seen in found.items():
            text = json.dumps(seen, indent=2, ensure_ascii=False, sort_keys=True)
            (folder / f"{tool}.json").write_text(f"{text}\n", encoding="utf-8")
    committed = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    }
    assert found == committed, "what a model sees changed: if that is meant, run make toolsnaps"


@pytest.mark.parametrize("name", SERVERS)
def test_schemas_are_flat(name: str):
    for tool in tools(name).values():
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            text = json.dumps(schema)
            for word in ("anyOf", "oneOf", "allOf", "$ref", "$defs", '"null"', 'title": "'):
                assert word not in text, (tool["name"], word)
        for argument in tool["inputSchema"]["properties"].values():
            assert isinstance(argument["type"], str)
        assert len(json.dumps(tool["outputSchema"])) < 250
