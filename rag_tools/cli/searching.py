"""The commands that find passages and show documents: `search`, `explain` and `fetch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rag_tools.cli import options
from rag_tools.cli.options import (
    ExplainOption,
    FacetsOption,
    FilterOption,
    IndexOption,
    JsonOption,
    QualityOption,
)
from rag_tools.cli.output import complain, console, visible, write, write_json


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or keywords.")],
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of passages to return.")] = 10,
    filter: FilterOption = None,
    explain: ExplainOption = False,
    quality: QualityOption = "balanced",
    facets: FacetsOption = None,
    json: JsonOption = False,
) -> None:
    """Find passages, each with the quotes that answer the query."""
    from rag_tools.engine import Engine

    wanted = options.filters(filter or ())
    with Engine.open(index) as engine:
        found = engine.search(
            query,
            limit=limit,
            filter=wanted or None,
            explain=explain,
            quality=quality,
            facets=facets or (),
        )
    if json:
        write_json(found)
    else:
        from rag_tools.cli import counts, show

        show.search_results(found, console())
        counts.facets(found.facets, console())


def explain(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or keywords.")],
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of passages to explain.")] = 3,
    filter: FilterOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write an HTML page to this file instead of printing.",
        ),
    ] = None,
) -> None:
    """Show why passages were found: which words match the query words, and how closely."""
    from rag_tools.engine import Engine

    wanted = options.filters(filter or ())
    with Engine.open(index) as engine:
        found = engine.search(query, limit=limit, filter=wanted or None, explain=True)
    if out is None:
        from rag_tools.cli import show

        show.explanation(found, console())
        return
    from rag_tools.cite import heatmap

    page = heatmap.page(query, heatmap.hits(query, found.results))
    try:
        out.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise typer.BadParameter(f"can't write {out}: {error.strerror}") from None
    complain(f"written to {out}")


def fetch(
    id: Annotated[
        str, typer.Argument(metavar="DOCUMENT_ID", help="Id of a document or of a passage.")
    ],
    index: IndexOption = None,
    start: Annotated[int, typer.Option(min=0, help="First character to print, from 0.")] = 0,
    end: Annotated[
        int | None,
        typer.Option(min=0, help="Character to stop before. Default: the end of the document."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="As the document stood then, if the index keeps versions: 2026-03-31 (the end of "
            "that day, in UTC), or with a time and a zone.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the canonical text of a document, or its characters from START to END."""
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        document = engine.fetch(id, start=start, end=end, as_of=as_of)
    if json:
        write_json(document)
    else:
        # A file gets the text as it is; control characters in it must not reach a terminal.
        write(visible(document.text) + "\n" if sys.stdout.isatty() else document.text)
