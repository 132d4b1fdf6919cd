"""A tour of the sample documents: what a person sees, then what an agent sees over MCP."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from rag_tools_mcp.install.hosts import HOSTS
from rag_tools_mcp.install.program import typed

SAMPLE = Path(rag_tools.__file__).parent / "sample"
"""So few documents that a slow laptop indexes them within seconds; they are in every wheel."""

CORPUS = Path(rag_tools.__file__).parents[1] / "examples" / "corpus"
"""Ten times as many documents of the same kind, in a clone of the repository only."""

QUESTIONS = (
    "How many spaces per indentation level?",
    "Why was the print statement replaced with a function?",
    "Which syntax was chosen for conditional expressions?",
    "When does zip raise an error?",
    "Who decides whether a PEP is accepted?",
    "How long to wait before the next attempt?",
)
UNANSWERED = "Who wrote Hamlet?"
CLAIM = "Lines of Python code should be at most 79 characters long."

_SHOWN_CHARACTERS = 72
"""Maximum characters shown of each string that the agent sees."""

_SHOWN_ITEMS = 2
"""Maximum items shown of each list that the agent sees."""

_CITATIONS = "citations.json"


@dataclass(frozen=True)
class _Tour:
    """Prints the steps of the tour: their titles, and the commands that do the same.

    Attributes
    ----------
    out
        Console to print on.
    kept
        Option that names the index, if the index is kept.
    """

    out: Console
    kept: tuple[str, ...]

    def step(self, title: str, *commands: tuple[str, ...], into: str | None = None) -> None:
        """Print the title of a step and the commands that a reader can type to do the same.

        The output of the first command is redirected to the file `into`.
        """
        self.out.print()
        self.out.rule(Text(title, style="bold"), align="left")
        for number, command in enumerate(commands):
            line = typed(*command, *self.kept)
            if into is not None and number == 0:
                line = f"{line} > {into}"
            self.out.print(Text(f"$ {one_line(line)}", style="dim"), soft_wrap=True)
        self.out.print()


def run(corpus: Path | None, index: Path | None, *, full: bool = False) -> None:
    """Index documents, ask, cite and verify; then do the same as an MCP client.

    Parameters
    ----------
    corpus
        Folder to index; None indexes the sample documents.
    index
        Directory in which the index is kept; None removes the index at the end.
    full
        Index the sample documents and the further ones that a clone has.

    Raises
    ------
    typer.BadParameter
        If `full` is set and the package isn't in a clone.
    """
    roots = _roots(corpus, full)
    tour = _Tour(console(), () if index is None else ("--index", _relative(index)))
    tour.out.print("You can type each command as it is shown, one after the other.")
    if index is None:
        tour.out.print("Your commands keep their index in .rag-tools; this demo's is temporary.")
    with _directory(index) as directory:
        with Engine.open(directory, create=True) as engine:
            _index(engine, roots, tour)
            _ask(engine, tour)
            _check(engine, tour)
        _as_an_agent(directory, tour)
    _connect(tour)


def _relative(path: Path) -> str:
    """Return a path in the shortest form that can be typed here."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _roots(corpus: Path | None, full: bool) -> list[Path]:
    if not full:
        return [corpus or SAMPLE]
    if corpus is not None:
        raise typer.BadParameter("give either --corpus or --full", param_hint="--full")
    if not CORPUS.is_dir():
        raise typer.BadParameter(
            "the other documents are in the repository of rag-tools, not in the package: leave "
            "out --full, or run this in a clone",
            param_hint="--full",
        )
    return [SAMPLE, CORPUS]


@contextmanager
def _directory(index: Path | None) -> Iterator[Path]:
    if index is not None:
        yield index
    else:
        with TemporaryDirectory(prefix="rag-tools-demo-", ignore_cleanup_errors=True) as directory:
            yield Path(directory)


def _index(engine: Engine, roots: Sequence[Path], tour: _Tour) -> None:
    tour.step("Index a folder", ("index", *map(_relative, roots)))
    with show.progress() as progress:
        report = engine.sync(roots, progress=progress)
    show.sync_report(report, tour.out)


def _ask(engine: Engine, tour: _Tour) -> None:
    asked = [("Ask", question) for question in QUESTIONS]
    for title, question in [*asked, ("Ask what isn't in the documents", UNANSWERED)]:
        tour.step(title, ("search", question, "--limit", "1"))
        show.search_results(engine.search(question, limit=1), tour.out)


def _check(engine: Engine, tour: _Tour) -> None:
    tour.step("Find support for a claim", ("cite", CLAIM, "--limit", "2"))
    show.support(engine.cite(CLAIM, limit=2), tour.out)
    (citation,) = engine.cite(CLAIM, limit=1).citations[:1] or (None,)
    if citation is None:  # a corpus of the user's own may have nothing like it
        return
    verify = ("verify", _CITATIONS)
    cite = ("cite", CLAIM, "--limit", "1", "--json")
    tour.step("Check a citation", cite, verify, into=_CITATIONS)
    show.verifications([engine.verify(citation)], tour.out)
    tampered = _tampered(citation)
    before, after = citation.quote.split(None, 1)[0], tampered.quote.split(None, 1)[0]
    tour.step(f"Check it with another word in {_CITATIONS}: {after} for {before}", verify)
    show.verifications([engine.verify(tampered)], tour.out)


def _tampered(citation: Citation) -> Citation:
    """Return a citation of words that aren't in the document."""
    _first, _, rest = citation.quote.partition(" ")
    return citation.model_copy(update={"quote": f"Never {rest}"})


def _as_an_agent(directory: Path, tour: _Tour) -> None:
    """Make the same calls through an MCP client, as an agent's host does."""
    tour.step("The same, as an agent sees it over MCP", ("serve",))
    out = tour.out
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
    """Return a server's tools, and the name, arguments and result of each call."""
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
    # Put pairs of numbers on one line.
    return visible(re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", text))


def _short(value: object) -> object:
    """Return a JSON value with long strings and lists shortened and empty fields left out."""
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


def _connect(tour: _Tour) -> None:
    """Print the commands that connect an agent to the user's own documents."""
    own = replace(tour, kept=("--index", str(Path.home() / ".rag-tools")))
    own.step("Your own documents, in the folder that holds them", ("index", "."))
    own.step("Your agent", *(("install", name) for name in HOSTS))
