"""Answer a question as an agent does, over MCP: search, cite, verify, then say it with its sources.

rag-tools index rag_tools/sample
python examples/mcp_agent.py "how long may a line of code be?"

Without --url the server is a process of its own, spoken to over its standard input and output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, NamedTuple

import anyio
import httpx2
import typer
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from rag_tools.cli.output import replace_unprintable

# What a host runs: `rag-tools serve`, of the Python that runs this. $RAG_TOOLS_INDEX names the
# index, else .rag-tools here.
SERVER = StdioServerParameters(
    command=sys.executable, args=["-m", "rag_tools.cli.main", "serve"], env=dict(os.environ)
)
STEPS = 8  # calls of tools before the agent gives up
TIMEOUT = 60  # seconds; the first search waits for the server to load its model


class Call(NamedTuple):
    """What the model asks for: a tool and its arguments."""

    tool: str
    arguments: dict[str, Any]


def model(question: str, results: Mapping[str, Any]) -> Call | str:
    """Return the next call, or the answer, from the results of the tools called so far.

    Stands in for a language model and needs no key: it always takes the same steps. A real one
    is given the tools' descriptions and schemas and decides for itself; it would read the compact
    results, while a program like this one asks for every field.
    """
    if "search" not in results:
        return Call("search", {"query": question, "limit": 5, "detail": "full"})
    if "cite" not in results:
        found = results["search"]
        quotes = [each for hit in found["results"] for each in hit["citations"]]
        best = max(quotes, key=lambda each: each["score"], default=None)
        if best is None or found["low_confidence"]:
            return "Nothing in the documents supports an answer."
        claim = " ".join(best["quote"].split())
        return Call("cite", {"claim": claim, "limit": 2, "detail": "full"})
    if "verify" not in results:
        return Call("verify", {"citations": results["cite"]["citations"], "detail": "full"})
    verified = [
        each["citation"]
        for each in results["verify"]["verifications"]
        if each["status"] in ("exact", "moved")
    ]
    answer = [f"{' '.join(each['quote'].split())} [{n}]" for n, each in enumerate(verified, 1)]
    sources = [f"[{n}] {each['url']}" for n, each in enumerate(verified, 1)]
    return "\n".join([*answer, "", *sources]) if verified else "No quote holds any more."


async def agent(question: str, url: str | None) -> str:
    """Return the answer to a question, calling the tools of a server until the model has it."""
    results: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        if url is None:
            client = await stack.enter_async_context(Client(SERVER))
        else:
            token = os.environ.get("RAG_TOOLS_TOKEN")
            headers = {"authorization": f"Bearer {token}"} if token else {}
            http = httpx2.AsyncClient(headers=headers, timeout=TIMEOUT)
            await stack.enter_async_context(http)
            transport = streamable_http_client(url, http_client=http)
            client = await stack.enter_async_context(Client(transport))
        tools = [tool.name for tool in (await client.list_tools()).tools]
        print(f"tools: {', '.join(tools)}", file=sys.stderr)
        for _ in range(STEPS):
            step = model(question, results)
            if isinstance(step, str):
                return step
            print(f"→ {step.tool} {step.arguments}"[:100], file=sys.stderr)
            result = await client.call_tool(step.tool, step.arguments)
            if result.is_error:  # a real model would read it and try otherwise
                texts = [each.text for each in result.content if isinstance(each, TextContent)]
                return f"{step.tool} failed: {' '.join(texts)}"
            results[step.tool] = result.structured_content
    return "No answer yet, and the agent has tried for long enough."


def main(
    question: str,
    url: Annotated[
        str | None,
        typer.Option(
            help="Of a server that runs, such as http://127.0.0.1:8000/mcp, instead of one of our "
            "own; $RAG_TOOLS_TOKEN is its token, if it wants one."
        ),
    ] = None,
) -> None:
    """Answer a question as an agent does, over MCP."""
    try:
        print(anyio.run(agent, question, url))
    except ExceptionGroup as errors:  # what task groups make of one failure
        failure: Exception = errors
        while isinstance(failure, ExceptionGroup):
            failure = failure.exceptions[0]
        if not isinstance(failure, httpx2.HTTPError | MCPError):
            raise
        print(f"{url}: {failure}", file=sys.stderr)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    replace_unprintable()
    typer.run(main)
