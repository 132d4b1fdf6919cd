"""The command about earlier versions of documents: `versions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_tools.cli import options
from rag_tools.cli.options import IndexOption, JsonOption
from rag_tools.cli.output import complain, console, one_line, write, write_json

if TYPE_CHECKING:
    from rag_tools.types import DocumentVersion


def versions(
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="DOCUMENT_ID",
            help="Id of a document, as in results. Without one, the rules are shown or set.",
            show_default=False,
        ),
    ] = None,
    index: IndexOption = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Keep earlier versions of documents whose paths match, * for all. Repeatable.",
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Keep no further versions.")] = False,
    most: Annotated[
        int | None,
        typer.Option(min=0, help="Most earlier versions of a document; 0 removes the limit."),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(
            min=0, help="Days for which a version is kept once it is replaced; 0 removes the limit."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the versions of a document, or show or set which earlier versions the index keeps.

    What was kept before stays, unless it exceeds a limit.
    """
    changes = bool(keep) or off or most is not None or days is not None
    if id is not None and changes:
        raise typer.BadParameter("give a DOCUMENT_ID, or options that set the rules")
    if keep and off:
        raise typer.BadParameter("give either --keep or --off")
    if id is None:
        _rules(index, () if off else keep, most, days, change=changes, json=json)
        return
    from rag_tools.engine import Engine
    from rag_tools.types import DocumentVersions

    with Engine.open(index) as engine:
        found = engine.history.versions(id)
    if json:
        write_json(DocumentVersions(versions=found))
        return
    for version in found:
        write(one_line(_shown(version)) + "\n")


def _rules(
    index: Path | None,
    keep: list[str] | tuple[()] | None,
    most: int | None,
    days: float | None,
    *,
    change: bool,
    json: bool,
) -> None:
    from rag_tools.cli import show
    from rag_tools.engine import Engine
    from rag_tools.opened import open_index
    from rag_tools.versioning import rules_of

    if change:
        with Engine.open(index) as engine:
            rules = engine.retention.keep_versions(keep, most=most, days=days)
    else:
        with open_index(options.directory(index)) as opened, opened.reader.view() as view:
            rules = rules_of(view.catalog)
    if json:
        write_json(rules)
    elif rules.keep:
        show.report(rules, console())
    else:
        complain("no earlier versions are kept: --keep GLOB, or --keep-versions when indexing")


def _shown(version: DocumentVersion) -> str:
    told = version.provenance
    words = [
        f"{version.since or 'unknown':<29}",
        f"{version.until or 'now':<29}",
        f"{version.characters:,} characters",
        version.sha256[:12],
    ]
    if told is not None:
        words += [f"by {told.by}", f"rag-tools {told.release}"]
        words += [f"loader {told.loader}"] if told.loader else []
        words += [f"revision {told.revision[:12]}"] if told.revision else []
    return "  ".join(words)
