"""A tour on the sample documents: what a person sees, then what an agent sees over MCP."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import typer
from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.table import Table
from rich.text import Text

import rag_tools
from rag_tools.cli import show
from rag_tools.cli.output import complain, console, visible
from rag_tools.engine import Engine
from rag_tools.types import Citation
from rag_tools_mcp.hosts import snippets

QUESTIONS = (
    "How many spaces per indentation level?",
    "Why is explicit better than implicit?",
    "When should a function return None explicitly?",
    "What does the walrus operator do?",
    "How do I annotate a variable with a type?",
)
CLAIM = "Lines of Python code should be at most 79 characters long."

_SHOWN_CHARACTERS = 72
"""Of each string in what the agent sees."""

_SHOWN_ITEMS = 2
"""Of each list in what the agent sees."""


def run(corpus: Path | None, index: Path | None) -> None:
    """Index `corpus`, ask, cite and verify; then do the same as an MCP client.

    Parameters
    ----------
    corpus
        Folder to index; the sample corpus of the clone if None.
    index
        Where the index stays; None makes one that is removed in the end.
    """
    corpus = corpus or _sample_corpus()
    out = console()
    with _directory(index) as directory:
        with Engine.open(directory, create=True) as engine:
            _index(engine, corpus, out)
            _ask(engine, out)
            _check(engine, out)
        anyio.run(_as_an_agent, directory, out)
    _connect(out)


def _sample_corpus() -> Path:
    for root in (Path.cwd(), Path(rag_tools.__file__).parents[1]):
        corpus = root / "examples" / "corpus"
        if corpus.is_dir():
            return corpus
    raise typer.BadParameter(
        "no examples/corpus here; run this in a clone of rag-tools, or give a folder of yours",
        param_hint="--corpus",
    )


@contextmanager
def _directory(index: Path | None) -> Iterator[Path]:
    if index is not None:
        yield index
    else:
        with TemporaryDirectory(prefix="rag-tools-demo-", ignore_cleanup_errors=True) as directory:
            yield Path(directory)


def _index(engine: Engine, corpus: Path, out: Console) -> None:
    _step("Index a folder", f"rag-tools index {corpus}", out)
    with show.progress() as progress:
        report = engine.sync([corpus], progress=progress)
    show.sync_report(report, out)


def _ask(engine: Engine, out: Console) -> None:
    for question in QUESTIONS:
        _step("Ask", f'rag-tools search "{question}" --limit 1', out)
        show.search_results(engine.search(question, limit=1), out)


def _check(engine: Engine, out: Console) -> None:
    _step("Find support for a claim", f'rag-tools cite "{CLAIM}" --limit 2', out)
    found = engine.cite(CLAIM, limit=2)
    show.support(found, out)
    _step("Check citations, one of them tampered with", "rag-tools verify citations.json", out)
    citations = [*found.citations[:1], *(_tampered(each) for each in found.citations[:1])]
    show.verifications([engine.verify(each) for each in citations], out)


def _tampered(citation: Citation) -> Citation:
    """Return a citation of words that the document doesn't hold."""
    return citation.model_copy(update={"quote": citation.quote[::-1]})


async def _as_an_agent(directory: Path, out: Console) -> None:
    """Make the same calls through the MCP client, as an agent's host does."""
    command = [sys.executable, "-m", "rag_tools_mcp", "--index", str(directory)]
    _step("The same, as an agent sees it over MCP", "rag-tools serve", out)
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with Client(server) as client:
        tools = Table.grid(padding=(0, 2))
        for tool in (await client.list_tools()).tools:
            tools.add_row(Text(tool.name, style="bold"), Text(tool.description or ""))
        out.print(tools)
        await _call(client, "search", {"query": QUESTIONS[0]}, out)
        cited = await _call(client, "cite", {"claim": CLAIM, "limit": 1}, out)
        for citation in cited["citations"]:
            await _call(client, "verify", {"citation": citation}, out)


async def _call(
    client: Client, tool: str, arguments: Mapping[str, Any], out: Console
) -> dict[str, Any]:
    """Call a tool, print the call and its result in short, and return the whole result."""
    called = Text(f"\n→ {tool} ", style="bold cyan").append(_abridged(arguments), style="none")
    out.print(called, soft_wrap=True)
    answer = await client.call_tool(tool, dict(arguments))
    content: dict[str, Any] = answer.structured_content or {}
    if answer.is_error:
        complain(" ".join(getattr(item, "text", "") for item in answer.content))
        raise typer.Exit(1)
    out.print(
        Text("← ", style="bold cyan").append(_abridged(content), style="none"), soft_wrap=True
    )
    return content


def _abridged(value: object) -> str:
    text = json.dumps(_short(value), ensure_ascii=False, indent=2)
    # Pairs of numbers on one line.
    return visible(re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", text))


def _short(value: object) -> object:
    """Return a JSON value with its long strings and lists cut and its empty fields left out."""
    match value:
        case str() if len(value) > _SHOWN_CHARACTERS:
            return value[:_SHOWN_CHARACTERS] + "…"
        case list():
            more = len(value) - _SHOWN_ITEMS
            short = [_short(item) for item in value[:_SHOWN_ITEMS]]
            return [*short, f"… {more} more"] if more > 0 else short
        case Mapping():
            return {key: _short(item) for key, item in value.items() if item not in (None, [], {})}
    return value


def _connect(out: Console) -> None:
    """Print what makes a host serve the user's own folder."""
    index = Path.home() / ".rag-tools"
    program = shutil.which("rag-tools", path=str(Path(sys.executable).parent))
    launch = [program, "serve"] if program else [sys.executable, "-m", "rag_tools_mcp"]
    _step(
        "Your own folder",
        f'{program or "rag-tools"} index YOUR_FOLDER --index "{index}"',
        out,
    )
    for snippet in snippets([*launch, "--index", str(index)]):
        out.print(Text(f"\n{snippet.host}: {snippet.place}", style="bold"))
        out.print(Text(snippet.text), soft_wrap=True)


def _step(title: str, command: str, out: Console) -> None:
    out.print()
    out.rule(Text(title, style="bold"), align="left")
    out.print(Text(f"$ {visible(command)}", style="dim"), soft_wrap=True)
    out.print()
