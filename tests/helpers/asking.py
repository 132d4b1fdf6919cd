"""A client of a server in the same process, for tests of what the tools answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build

Ask = Callable[[Client], Awaitable[None]]


def run(
    directories: Mapping[str, Path | None],
    ask: Ask,
    visible: frozenset[str] | None = None,
    *,
    mode: str = "auto",
    **options: Any,
) -> None:
    async def connected() -> None:
        server = build(Collections(directories), visible=lambda: visible, **options)
        async with Client(server, mode=mode) as client:
            await ask(client)

    anyio.run(connected)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content
