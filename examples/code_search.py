"""Ask a source tree in words: functions and classes, the lines that answer, a link to the editor.

python examples/code_search.py rag_tools/cite "does the quote still stand in its source?"

The index is brought in step with the tree before each search, which costs little where little
changed, so the lines are those of the files as they are now.
"""

from __future__ import annotations

from itertools import chain, takewhile
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from chat import session
from pydantic import BaseModel
from rich.text import Text

from rag_tools import Engine, sentences
from rag_tools.cite.locate import line_columns
from rag_tools.cli import show
from rag_tools.cli.output import complain, console, one_line, visible, write_json
from rag_tools.ingest.code_grammars import LANGUAGES
from rag_tools.sync import source_root
from rag_tools.types import Block, BlockKind, Citation, Document, Filter, Span

# Name of a language, as it stands in its media type → the media type.
MEDIA_TYPES = {
    grammar.media_type.removeprefix("text/").removeprefix("x-"): grammar.media_type
    for grammar in LANGUAGES.values()
}
PASSAGES = 4  # searched for each symbol wanted: several may be parts of one function
EVIDENCE_LINES = 6  # shown of a symbol


class Symbol(BaseModel):
    """A function, a class, or what stands between them, with the lines that answer.

    Attributes
    ----------
    path
        Names of the enclosing symbols and its own, outermost first; empty between definitions.
    lines
        First and last, from 1.
    link
        Opens Visual Studio Code where the evidence is.
    evidence
        Quotes, best first.
    """

    path: tuple[str, ...]
    kind: BlockKind
    file: str
    lines: tuple[int, int]
    link: str
    score: float
    evidence: tuple[Citation, ...]


class Symbols(BaseModel):
    """What was found, best first."""

    query: str
    symbols: tuple[Symbol, ...]


def find(engine: Engine, query: str, filter: Filter, limit: int) -> Symbols:
    """Return the symbols whose code answers a query, then what stands outside of any.

    The text at the top of a module says in general what each of its functions does in particular.
    """
    found: dict[tuple[str, Span], Symbol] = {}
    for hit in engine.search(query, limit=PASSAGES * limit, filter=filter).results:
        document = engine.document(hit.document_id)
        for citation in hit.citations:
            kind, path, span = definition(document, citation)
            if known := found.get((document.id, span)):
                known.evidence += (citation,)
            else:
                found[document.id, span] = Symbol(
                    path=path,
                    kind=kind,
                    file=show.location(document.uri),
                    lines=line_columns(document.text, span)[0],
                    link=editor_link(document, citation),
                    score=hit.score,
                    evidence=(citation,),
                )
    ranked = sorted(found.values(), key=lambda symbol: not symbol.path)  # else as they are
    return Symbols(query=query, symbols=tuple(ranked)[:limit])


def definition(document: Document, citation: Citation) -> tuple[BlockKind, tuple[str, ...], Span]:
    """Return kind, path and range of the innermost definition around a quote, else the quote's."""
    blocks = document.blocks
    at = max(i for i, block in enumerate(blocks) if block.start <= citation.start)
    kind, _, _, path = blocks[at]
    if not path:
        return kind, path, Span(citation.start, citation.end)

    def inside(block: Block) -> bool:
        return block.path[: len(path)] == path

    # What is defined in it parts it into several blocks.
    parts = [*takewhile(inside, reversed(blocks[:at])), *takewhile(inside, blocks[at:])]
    start, end = min(part.start for part in parts), max(part.end for part in parts)
    text = document.text[start:end]
    return kind, path, Span(end - len(text.lstrip()), start + len(text.rstrip()))


def editor_link(document: Document, citation: Citation) -> str:
    """Return the link that opens Visual Studio Code, and its like, at a quote."""
    (line, _), (column, _) = line_columns(document.text, Span(citation.start, citation.end))
    # The URI less its scheme, with the name of a share if the file is on one.
    address = urlsplit(document.uri)
    share = f"//{address.netloc}" if address.netloc else ""
    return f"vscode://file{share}{address.path}:{line}:{column}"


def show_symbols(found: Symbols, engine: Engine) -> None:
    """Print symbols with the lines of their evidence."""
    out = console()
    for rank, symbol in enumerate(found.symbols, 1):
        first, last = symbol.lines
        name = ".".join(symbol.path) or "top level"
        out.print(
            Text.assemble(
                (f"{rank}. ", "dim"),
                (one_line(name), "bold"),
                (f"  {one_line(symbol.file)}:{first}-{last}", "blue"),
                (f"  {symbol.score:.3f}", "cyan"),
            ),
            soft_wrap=True,
        )
        text = engine.document(symbol.evidence[0].document_id).text
        lines = [line.of(text).rstrip() for line in sentences.lines(text)]
        quoted = (
            range(first, last + 1)
            for citation in symbol.evidence
            for first, last in [line_columns(text, Span(citation.start, citation.end))[0]]
        )
        for number in sorted(set(chain(*quoted)))[:EVIDENCE_LINES]:
            out.print(Text(visible(f"{number:8}  {lines[number - 1]}")), soft_wrap=True)
    if not found.symbols:
        complain("nothing found")


def main(
    source: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The tree.")],
    query: Annotated[str, typer.Argument(help="What the code does, in words.")],
    language: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(MEDIA_TYPES)}. Repeatable."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only such files, relative to SOURCE. Repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Symbols to return.")] = 5,
    open: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Print the link of the Nth alone, for an editor."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    index: Annotated[
        Path | None,
        typer.Option(help="Directory of this tree's index. Default: .rag-tools in SOURCE."),
    ] = None,
) -> None:
    """Find the functions of a source tree that do what is asked for."""
    if unknown := set(language or ()) - MEDIA_TYPES.keys():
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: use {', '.join(MEDIA_TYPES)}")
    filter: dict[str, list[str]] = {
        "media_type": [MEDIA_TYPES[name] for name in language or MEDIA_TYPES]
    }
    if path:
        filter["path"] = path
    with session(), Engine.open(index or source / ".rag-tools", create=True) as engine:
        with show.progress() as progress:
            # With the options it was indexed with, if it was.
            known = str(source_root(source)) in engine.status().roots
            engine.sync([] if known else [source], progress=progress)
        found = find(engine, query, filter, limit)
        if open is not None:
            if open > len(found.symbols):
                raise typer.BadParameter(f"--open {open}: there are {len(found.symbols)}")
            print(found.symbols[open - 1].link)
        elif json:
            write_json(found)
        else:
            show_symbols(found, engine)


if __name__ == "__main__":
    typer.run(main)
