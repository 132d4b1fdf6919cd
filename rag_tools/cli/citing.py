"""The commands that cite documents and check citations: `cite` and `verify`."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_tools.cli import exits, options
from rag_tools.cli.options import (
    ExplainOption,
    FilterOption,
    IndexOption,
    JsonOption,
    QualityOption,
)
from rag_tools.cli.output import console, write_json
from rag_tools.errors import InvalidQueryError


def cite(
    claim: Annotated[
        str | None,
        typer.Argument(
            metavar="[CLAIM]", help="A statement to find support for.", show_default=False
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="File with a draft answer in Markdown to cite.",
        ),
    ] = None,
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of quotes to return for a claim.")] = 8,
    filter: FilterOption = None,
    explain: ExplainOption = False,
    quality: QualityOption = "balanced",
    json: JsonOption = False,
) -> None:
    """Report how far the documents support a claim or a whole answer, with quotes.

    With --answer, the exit code is 1 if a statement is unsupported.
    """
    if (claim is None) == (answer is None):
        raise typer.BadParameter("give either a CLAIM or --answer FILE")
    from rag_tools.engine import Engine

    wanted = options.filters(filter or ()) or None
    with Engine.open(index) as engine:
        if answer is not None:
            cited = engine.cite_answer(_read(answer), filter=wanted, quality=quality)
        else:
            assert claim is not None
            found = engine.cite(claim, limit=limit, filter=wanted, explain=explain, quality=quality)
    if json:
        write_json(found if answer is None else cited)
    else:
        from rag_tools.cli import show

        if answer is None:
            show.support(found, console())
        else:
            show.cited_answer(cited)
    if answer is not None and any(c.support.verdict == "unsupported" for c in cited.claims):
        raise typer.Exit(exits.FAILED)


def verify(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Citations as JSON or JSON lines: one, a list, or the output of search or cite.",
        ),
    ],
    answer: Annotated[
        bool,
        typer.Option("--answer", help="FILE is an agent's answer, whose quotations are checked."),
    ] = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Check that quotes are still where their citations say.

    The exit code is 0 if every citation is exact or moved, else 1.
    """
    from rag_tools.cite.verify import parse_citations
    from rag_tools.engine import Engine
    from rag_tools.types import Verifications

    text = _read(file)
    citations = () if answer else parse_citations(_parsed(text, file))
    with Engine.open(index) as engine:
        found = (
            engine.verify_answer(text)
            if answer
            else Verifications(verifications=tuple(engine.verify(c) for c in citations))
        )
    if json:
        write_json(found)
    else:
        from rag_tools.cli import show

        show.verifications(found.verifications, console())
    if any(v.status in ("stale", "missing") for v in found.verifications):
        raise typer.Exit(exits.FAILED)


def _read(file: str) -> str:
    """Return the text in `file`, or on standard input if that is ``-``.

    Raises
    ------
    InvalidQueryError
        If the text can't be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # PowerShell 5 writes UTF-16 with a byte order mark when output is redirected to a file.
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if marked else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidQueryError(f"can't read {file}: {error}") from None


def _parsed(text: str, file: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """Return the value of a JSON document, or the list of values of JSON lines.

    Raises
    ------
    InvalidQueryError
        If the text is neither.
    """
    from json import loads

    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        failure = f"{file} doesn't hold JSON: {error}"
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                records.append(loads(line))
            except (ValueError, RecursionError) as error:
                # If no line before was JSON by itself, these aren't JSON lines.
                message = f"line {number} of {file} isn't JSON: {error}" if records else failure
                raise InvalidQueryError(message) from None
    if not records:
        raise InvalidQueryError(failure)
    return records
