"""The commands that answer for an index: `hold`, `release`, `expire`, `purge` and `audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from rag_tools.cli import exits
from rag_tools.cli.options import IndexOption, JsonOption
from rag_tools.cli.output import complain, console, one_line, write, write_json

Ids = Annotated[
    list[str],
    typer.Argument(metavar="DOCUMENT_ID", help="Ids of documents, as in results."),
]


def hold(ids: Ids, index: IndexOption = None) -> None:
    """Hold documents: until they are released, they are neither changed, deleted nor purged."""
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        _said("held", engine.retention.hold(ids), ids)


def release(ids: Ids, index: IndexOption = None) -> None:
    """Release documents that are held."""
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        _said("released", engine.retention.release(ids), ids)


def expire(
    ids: Ids,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When: 2026-12-31 (the beginning of that day, in UTC), or with a time and a zone.",
        ),
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="Never, whatever was set before.")] = False,
    index: IndexOption = None,
) -> None:
    """Set when documents expire: then they can't be found, and the next index run purges them."""
    if (on is None) != never:
        raise typer.BadParameter("give either --on TIME or --never")
    when = None if on is None else _time(on)
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        _said("set", engine.retention.expire(ids, when), ids)


def purge(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DOCUMENT_ID",
            help="Ids of documents, as in results.",
            show_default=False,
        ),
    ] = None,
    index: IndexOption = None,
    uri: Annotated[
        list[str] | None,
        typer.Option(metavar="URI", help="Purge what came from this address. Repeatable."),
    ] = None,
    backups: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Purge the indexes in this folder too, and search its files. Repeatable.",
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", exists=True, help="Search these files too, such as logs. Repeatable."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
    json: JsonOption = False,
) -> None:
    """Erase documents from all files of the index, and prove it by searching the files for them.

    The exit code is 1 if anything is left. --json prints the signed report.
    """
    wanted = [*(ids or ()), *(uri or ())]
    if not wanted:
        raise typer.BadParameter("name the documents: DOCUMENT_ID or --uri URI")
    if not yes:
        typer.confirm(f"Erase {len(wanted)} document(s) for good?", abort=True, err=True)
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        report = engine.retention.purge(
            ids or (), uris=uri or (), backups=backups or (), also=also or ()
        )
    if json:
        write_json(report)
    else:
        searched = sum(file.bytes for file in report.files)
        write(
            f"{len(report.documents):,} purged, {len(report.held):,} held, "
            f"{len(report.unknown):,} unknown\n"
            f"{report.traces:,} traces looked for in {len(report.files):,} files "
            f"({searched:,} bytes): {len(report.findings):,} found\n"
        )
        for finding in report.findings:
            complain(f"left in {finding.path}: {finding.kind} at {finding.offset}")
        for remark in report.remarks:
            complain(remark)
    if report.findings or report.held or report.unknown:
        raise typer.Exit(exits.FAILED)


def audit(
    action: Annotated[
        Literal["verify", "show"],
        typer.Argument(help="verify checks that the log is whole; show prints its records."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The audit log.")],
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="File with the key of the log."),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER:HASH", help="A record that must be in it, as verify printed it before."
        ),
    ] = None,
    removed: Annotated[
        bool, typer.Option("--removed", help="The oldest files were removed on purpose.")
    ] = False,
    last: Annotated[
        int | None,
        typer.Option(min=1, help="Show only so many records, the last ones.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check or print an audit log. The exit code is 1 if a record is missing or was changed."""
    from rag_tools.audit.log import key_from
    from rag_tools.audit.verify import records, verify

    if action == "show":
        from collections import deque

        found = records(file)
        for record in found if last is None else deque(found, last):
            write(_shown(record, as_json=json))
        return
    expected = None if expect is None else _expected(expect)
    key = None if key_file is None else key_from(key_file)
    report = verify(file, key=key, removed=removed, expected=expected)
    if json:
        write_json(report)
    else:
        keyed = "with the key" if report.keyed else "without a key"
        write(
            f"{report.records:,} records, {report.first} to {report.last}, checked {keyed}\n"
            f"head {report.last}:{report.head}\n"
        )
        for notice in report.notices:
            complain(notice)
        for problem in report.problems:
            complain(f"{problem.file}:{problem.line}: {problem.kind}: {problem.message}")
    if report.problems:
        raise typer.Exit(exits.FAILED)


def _shown(record: dict[str, object], *, as_json: bool) -> str:
    from json import dumps

    if as_json:
        return dumps(record, ensure_ascii=True) + "\n"
    query, documents = record.get("query"), record.get("documents")
    words = [
        *(str(record.get(name, "")) for name in ("number", "time", "actor", "event", "outcome")),
        str(record.get("index") or ""),
        repr(query["text"]) if isinstance(query, dict) else "",
        " ".join(map(str, documents)) if isinstance(documents, list) else "",
    ]
    return one_line("  ".join(filter(None, words))) + "\n"


def _expected(value: str) -> tuple[int, str]:
    number, colon, digest = value.partition(":")
    if not colon or not number.isdecimal():
        raise typer.BadParameter(f"{value!r} is not of the form NUMBER:HASH")
    return int(number), digest


def _time(value: str) -> datetime:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no time: write 2026-12-31") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _said(what: str, number: int, ids: list[str]) -> None:
    console().print(f"{number:,} {what}")
    if missing := len(set(ids)) - number:
        complain(f"{missing} of the ids name no document")
        raise typer.Exit(exits.FAILED)
