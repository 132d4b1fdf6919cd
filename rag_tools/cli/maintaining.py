"""The commands that keep an index in good order: check, repair, copies of it, room on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rag_tools.cli import exits, options
from rag_tools.cli.options import IndexOption, JsonOption
from rag_tools.cli.output import console, write_json

if TYPE_CHECKING:
    from rag_tools.types import Value

CheckpointOption = Annotated[
    str | None,
    typer.Option(
        help="Directory or Hugging Face name of the checkpoint that the index was made with. "
        "Default: the one that it names."
    ),
]
BackupArgument = Annotated[
    Path, typer.Argument(metavar="BACKUP", help="Directory of the backup.", show_default=False)
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="File of the export.", show_default=False)
]
ThrottleOption = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="X",
        help="Pause for X seconds after each second of work, to leave the processor to searches.",
    ),
]


def check(index: IndexOption = None, json: JsonOption = False) -> None:
    """Read everything in the index, compare the checksums, and name all damage."""
    from rag_tools.maintenance.checking import check

    report = check(options.directory(index))
    _show(report, json)
    if report.damage:
        raise typer.Exit(exits.FAILED)


def repair(
    index: IndexOption = None, checkpoint: CheckpointOption = None, json: JsonOption = False
) -> None:
    """Repair a damaged index: keep what is intact, and encode again what isn't.

    The exit code is 3 if the text of a document is lost.
    """
    from rag_tools.cli import show
    from rag_tools.maintenance.repair import repair

    with show.progress() as progress:
        report = repair(options.directory(index), checkpoint=checkpoint, progress=progress)
    _show(report, json)
    if report.lost:
        raise typer.Exit(exits.SKIPPED)


def backup(
    backup: BackupArgument,
    index: IndexOption = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Check the files that the backup has already, and copy damaged ones."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy the last commit of the index to a backup, while others read and write the index.

    Only what changed since the backup before is copied.
    """
    from rag_tools.cli import show
    from rag_tools.maintenance.backup import backup as back_up

    with show.progress() as progress:
        report = back_up(options.directory(index), backup, verify=verify, progress=progress)
    _show(report, json)


def restore(
    backup: BackupArgument,
    index: IndexOption = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the index that is there by the backup."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make the index of a backup again, after checking every file of the backup."""
    from rag_tools.cli import show
    from rag_tools.maintenance.backup import restore

    with show.progress() as progress:
        report = restore(backup, options.directory(index), replace=replace, progress=progress)
    _show(report, json)


def compact(
    index: IndexOption = None,
    recluster: Annotated[
        bool,
        typer.Option(
            "--recluster",
            help="Train the codebook anew on what is stored, for an index whose documents have "
            "changed in kind: see drift in status.",
        ),
    ] = False,
    throttle: ThrottleOption = 0.0,
    json: JsonOption = False,
) -> None:
    """Merge the segments of the index, and free the room of deleted passages."""
    from rag_tools.maintenance.space import compact

    _show(compact(options.directory(index), recluster=recluster, throttle=throttle), json)


def vacuum(index: IndexOption = None, json: JsonOption = False) -> None:
    """Free the room that deleted documents had in the catalog of the index."""
    from rag_tools.maintenance.space import vacuum

    _show(vacuum(options.directory(index)), json)


def quota(
    index: IndexOption = None,
    documents: Annotated[
        int | None,
        typer.Option(min=0, help="Maximum number of documents; 0 removes the limit."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Maximum size on disk, such as 10GB; 0 removes the limit."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show or set how much the index may hold. What exceeds it is refused from then on."""
    most = None if size is None else options.size(size)
    from rag_tools.maintenance.space import set_quota

    _show(set_quota(options.directory(index), documents=documents, size=most), json)


def export_index(
    file: FileArgument,
    index: IndexOption = None,
    embeddings: Annotated[
        bool,
        typer.Option(
            "--embeddings",
            help="Write the embeddings too, so that an import needn't encode: 60 kB per passage.",
        ),
    ] = False,
    format: Annotated[
        Literal["jsonl", "parquet"],
        typer.Option(help="JSON lines, or Parquet, which needs rag-tools[parquet]."),
    ] = "jsonl",
    json: JsonOption = False,
) -> None:
    """Write the documents of the index to a file, with their versions and where they are from."""
    from rag_tools.cli import show
    from rag_tools.maintenance.transfer import export
    from rag_tools.opened import open_index

    with open_index(options.directory(index)) as opened, show.progress() as progress:
        report = export(opened, file, embeddings=embeddings, format=format, progress=progress)
    _show(report, json)
    if report.skipped:
        raise typer.Exit(exits.SKIPPED)


def import_index(
    file: FileArgument,
    index: IndexOption = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Directory or Hugging Face name of a ColBERT checkpoint, for a new index. "
            "Default: the bundled one."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Add the documents of an export to the index, which is made if there is none."""
    from rag_tools.cli import show
    from rag_tools.maintenance.transfer import import_
    from rag_tools.opened import open_index

    with (
        open_index(options.directory(index), checkpoint=checkpoint, create=True) as opened,
        show.progress() as progress,
    ):
        report = import_(opened, file, progress=progress)
    _show(report, json)
    if report.skipped:
        raise typer.Exit(exits.SKIPPED)


def _show(report: Value, json: bool) -> None:
    if json:
        write_json(report)
    else:
        from rag_tools.cli import show

        show.report(report, console())
