"""Other people's clients: whichever talks to the server, and however, gets the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anthropic.lib.tools.mcp import (
    async_mcp_tool,
    mcp_content,
    mcp_message,
    mcp_resource_to_content,
)
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

from rag_tools_mcp.collections import DEFAULT_NAME
from rag_tools_mcp.resources import document_uri
from serving import RAG_TOOLS, served

ROOT = Path(__file__).parents[2]
LANGCHAIN = ROOT / ".venv-langchain" / ("Scripts" if os.name == "nt" else "bin") / "python"
QUESTION = "two high tides a day"

Result = tuple[bool | None, list[dict[str, Any]], dict[str, Any] | None]


@pytest.fixture(scope="module")
def url(index_dir: Path) -> Iterator[str]:
    """The server over HTTP."""
    with served(index_dir) as url:
        yield url


def stdio(index: Path) -> list[str]:
    return [*RAG_TOOLS, "serve", "--index", str(index)]


def connections(index: Path, url: str) -> Iterator[Client]:
    """The official client over both transports, before and since 2026-07-28."""
    program, *arguments = stdio(index)
    for mode in ("legacy", "auto"):
        yield Client(url, mode=mode)
        server = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        yield Client(server, mode=mode)


async def calls(client: Client) -> Sequence[tuple[str, dict[str, Any]]]:
    """Return calls of every tool, as an agent would make them, and some that it shouldn't."""
    found = await client.call_tool("search", {"query": QUESTION})
    assert found.structured_content is not None
    hit = found.structured_content["results"][0]
    false = {**hit["citations"][0], "quote": "The Moon is made of cheese."}
    return (
        ("search", {"query": QUESTION}),
        ("search", {"query": "🏔️ water", "limit": 3, "filter": {"path": "*.md"}}),
        ("search", {"query": "no such filter", "filter": {"path": "*.nothing"}}),
        ("search", {"query": ["wrong"], "limt": 1}),
        ("fetch", {"id": hit["id"].partition(":")[0]}),
        ("fetch", {"id": hit["id"]}),
        ("fetch", {"id": "no-such-document"}),
        ("cite", {"claim": "Bees shiver to keep the queen warm."}),
        ("verify", {"citation": hit["citations"][0]}),
        ("verify", {"citations": [hit["citations"][0], false]}),
        ("verify", {"ids": [hit["citations"][0]["id"]]}),
        ("verify", {}),
        ("check_answer", {"draft": "Bees shiver to keep the queen warm. I hope this helps!"}),
        ("list_documents", {}),
        ("status", {}),
        ("no_such_tool", {}),
    )


def plain(result: CallToolResult) -> Result:
    content = [item.model_dump(mode="json", exclude_none=True) for item in result.content]
    return result.is_error, content, result.structured_content


async def everything(client: Client) -> dict[str, Any]:
    """Return all that the server says of itself, and what its tools return."""
    async with client:
        lists = {
            "tools": (await client.list_tools()).tools,
            "resources": (await client.list_resources()).resources,
            "templates": (await client.list_resource_templates()).resource_templates,
            "prompts": (await client.list_prompts()).prompts,
        }
        seen: dict[str, Any] = {
            name: [item.model_dump(mode="json") for item in items] for name, items in lists.items()
        }
        for number, (tool, arguments) in enumerate(await calls(client)):
            seen[f"{number} {tool}"] = plain(await client.call_tool(tool, arguments))
        return seen


def test_the_official_client_gets_the_same_everywhere(index_dir: Path, url: str):
    first, *others = (anyio.run(everything, client) for client in connections(index_dir, url))
    assert first["tools"]
    failed = {name for name, seen in first.items() if isinstance(seen, tuple) and seen[0]}
    assert failed == {"3 search", "6 fetch", "11 verify", "15 no_such_tool"}
    for other in others:
        assert other.keys() == first.keys()
        for name in first:
            assert other[name] == first[name], name


def test_the_anthropic_sdk_accepts_every_result(index_dir: Path, url: str):
    async def convert() -> None:
        async with Client(url) as client:
            tools = {tool.name: async_mcp_tool(tool, client) for tool in await listed(client)}
            for tool, arguments in await calls(client):
                result = await client.call_tool(tool, arguments)
                blocks = [mcp_content(item) for item in result.content]
                assert blocks
                assert all(block["type"] == "text" and block["text"] for block in blocks)
                if not result.is_error:
                    assert await tools[tool].call(arguments) == blocks
                    assert json.loads(blocks[0]["text"]) == result.structured_content
            for tool in tools.values():
                assert tool.to_dict()["input_schema"]["type"] == "object"
            listing = (await client.call_tool("list_documents", {})).structured_content
            document = document_uri(DEFAULT_NAME, listing["documents"][0]["id"])
            read = await client.read_resource(document)
            assert mcp_resource_to_content(read)["type"] == "document"
            for prompt in (await client.list_prompts()).prompts:
                given = {each.name: "tides" for each in prompt.arguments or () if each.required}
                messages = (await client.get_prompt(prompt.name, given)).messages
                assert all(mcp_message(message)["content"] for message in messages)

    async def listed(client: Client) -> list[Any]:
        return (await client.list_tools()).tools

    anyio.run(convert)


def test_llama_index_tools_mcp(index_dir: Path, url: str):
    async def ask() -> None:
        async with Client(url) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            expected = await client.call_tool("search", {"query": QUESTION})
        program, *arguments = stdio(index_dir)
        for server in (BasicMCPClient(url), BasicMCPClient(program, args=arguments)):
            tools = {
                tool.metadata.name: tool for tool in await McpToolSpec(server).to_tool_list_async()
            }
            assert tools.keys() == names
            output = await tools["search"].acall(query=QUESTION)
            assert plain(output.raw_output) == plain(expected)

    anyio.run(ask)


@pytest.mark.skipif(not LANGCHAIN.exists(), reason="`make test-clients` installs it")
def test_langchain_mcp_adapters(index_dir: Path, url: str):
    """It needs the first generation of the official SDK: it runs in an environment of its own."""

    async def ask() -> CallToolResult:
        async with Client(url) as client:
            return await client.call_tool("search", {"query": QUESTION})

    expected = anyio.run(ask)
    script = ROOT / "tests" / "helpers" / "langchain_client.py"
    command = [str(LANGCHAIN), str(script), url, QUESTION, *stdio(index_dir)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    for transport, seen in json.loads(done.stdout).items():
        assert seen["structured"] == expected.structured_content, transport
        assert json.loads(seen["text"]) == expected.structured_content, transport
        assert {"search", "fetch", "cite", "verify", "status"} <= set(seen["tools"]), transport
        assert "no-such-document" in seen["error"], transport
