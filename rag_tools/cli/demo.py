"""A tour on the sample documents: what a person sees, then what an agent sees over MCP."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import typer
from mcp import Client, StdioServerParameters
from mcp.types import Tool
from rich.console import Console
from rich.table import Table
from rich.text import Text

import rag_tools
from rag_tools.cli import show
from rag_tools.cli.output import console, one_line, visible
from rag_tools.engine import Engine
from rag_tools.types import Citation
from rag_tools_mcp.install.hosts import HOSTS, program

QUESTIONS = (
    "How many spaces per indentation level?",
    "Why was the print statement replaced with a function?",
    "How do I write a conditional expression?",
    "What does the walrus operator do?",
    "Who decides whether a PEP is accepted?",
    "How long to wait before the next attempt?",
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
        _as_an_agent(directory, out)
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
    _first, _, rest = citation.quote.partition(" ")
    return citation.model_copy(update={"quote": f"Never {rest}"})


def _as_an_agent(directory: Path, out: Console) -> None:
    """Make the same calls through the MCP client, as an agent's host does."""
    _step("The same, as an agent sees it over MCP", "rag-tools serve", out)
    tools, calls = anyio.run(_over_mcp, directory)
    listed = Table.grid(padding=(0, 2))
    for tool in tools:
        listed.add_row(Text(tool.name, style="bold"), Text(tool.description or ""))
    out.print(listed)
    for name, arguments, result in calls:
        called = Text(f"\n→ {name} ", style="bold cyan")
        out.print(called.append(_abridged(arguments), style="none"), soft_wrap=True)
        returned = Text("← ", style="bold cyan")
        out.print(returned.append(_abridged(result), style="none"), soft_wrap=True)


async def _over_mcp(directory: Path) -> tuple[list[Tool], list[tuple[str, Any, Any]]]:
    """Return the tools of a server process, and the name, arguments and result of each call."""
    command = ["-m", "rag_tools_mcp", "--index", str(directory)]
    server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
    calls = []
    async with Client(server) as client:

        async def call(name: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
            result = (await client.call_tool(name, arguments)).structured_content
            calls.append((name, arguments, result))
            return result

        tools = (await client.list_tools()).tools
        await call("search", query=QUESTIONS[0])
        cited = await call("cite", claim=CLAIM, limit=1)
        await call("verify", citations=cited["citations"])
    return tools, calls


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
    command = program() or "rag-tools"
    index_it = f'{command} index YOUR_FOLDER --index "{index}"'
    _step("Your own folder", index_it, out)
    for name, host in HOSTS.items():
        out.print(Text(f"\n{host.title}", style="bold"))
        out.print(Text(f'{command} install {name} --index "{index}"'), soft_wrap=True)


def _step(title: str, command: str, out: Console) -> None:
    out.print()
    out.rule(Text(title, style="bold"), align="left")
    out.print(Text(f"$ {one_line(command)}", style="dim"), soft_wrap=True)
    out.print()
