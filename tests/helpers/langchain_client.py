"""What `langchain-mcp-adapters` gets from a server: ``URL QUESTION COMMAND...``, JSON comes out."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient


async def seen(client: MultiServerMCPClient, server: str, question: str) -> dict[str, Any]:
    tools = {tool.name: tool for tool in await client.get_tools(server_name=server)}
    call = {"name": "search", "args": {"query": question}, "id": "1", "type": "tool_call"}
    message = await tools["search"].ainvoke(call)
    (block,) = message.content
    error = None
    try:
        error = await tools["fetch"].ainvoke({"id": "no-such-document"})
    except ToolException as raised:
        error = str(raised)
    return {
        "tools": list(tools),
        "text": block["text"],
        "structured": message.artifact["structured_content"],
        "error": str(error),
    }


async def main(url: str, question: str, program: str, *arguments: str) -> None:
    client = MultiServerMCPClient(
        {
            "http": {"transport": "streamable_http", "url": url},
            "stdio": {"transport": "stdio", "command": program, "args": list(arguments)},
        }
    )
    result = {each: await seen(client, each, question) for each in ("http", "stdio")}
    sys.stdout.write(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
