"""The commands that bring an index up to date and describe it: `index` and `status`."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_tools.cli import exits, options
from rag_tools.cli.options import IndexOption, JsonOption
from rag_tools.cli.output import complain, console, write_json


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            callback=options.sources,
            help="Files, folders, URLs of the web and git repositories to index. Default: those "
            "that were indexed before.",
            show_default=False,
        ),
    ] = None,
    index: IndexOption = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Index only files that match this pattern. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out files that match this pattern. Repeatable."),
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Include hidden files.")] = False,
    no_gitignore: Annotated[
        bool, typer.Option("--no-gitignore", help="Include files that git ignores.")
    ] = False,
    max_file_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Skip files larger than this.")
    ] = "64MiB",
    document_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Skip documents that take longer than this to parse."),
    ] = 60.0,
    url_template: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Template for the links in citations, such as https://docs.example.com/{relative_path}"
            "#L{first_line}. Stored with the index; an empty value removes it.",
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option(min=0, help="How many links to follow from a page of the web.")
    ] = 0,
    max_pages: Annotated[
        int, typer.Option(min=1, help="Maximum pages of the web for each URL.")
    ] = 1000,
    delay: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Time between two requests to a host."),
    ] = 0.5,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private",
            help="Fetch from addresses of private networks and of this machine too.",
        ),
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB=LABEL",
            help="Who may read files that match: names of groups or user:NAME, separated by "
            "commas. Repeatable; the last that matches decides. Stored with the folder.",
        ),
    ] = None,
    posix_labels: Annotated[
        bool,
        typer.Option("--posix-labels", help="Files without labels get those of their permissions."),
    ] = False,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Forget the labels stored with the folder.")
    ] = False,
    default_deny: Annotated[
        bool | None,
        typer.Option(
            "--default-deny/--no-default-deny",
            help="Whether nobody may read documents without labels through a server. "
            "Stored with the index.",
            show_default=False,
        ),
    ] = None,
    keep_versions: Annotated[
        bool | None,
        typer.Option(
            "--keep-versions/--no-keep-versions",
            help="Whether earlier versions of documents are kept from now on, see the command "
            "versions. Stored with the index.",
            show_default=False,
        ),
    ] = None,
    passage_tokens: Annotated[
        int | None,
        typer.Option(help="Maximum tokens per passage, for a new index.", show_default=False),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Bits per dimension, for a new index: 4, 2 or 1. Default: 4.", show_default=False
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Dimensions per token, for a new index. Default: all.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Directory or Hugging Face name of a ColBERT checkpoint, for a new index. "
            "Default: the bundled one."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring the index up to date with files, folders, pages of the web and repositories.

    Unchanged files cost nothing. Files that can't be read are skipped, and the exit code is 3.
    """
    max_bytes = options.size(max_file_size)
    access = options.access(
        label or (), posix=posix_labels, none=no_labels, default_deny=default_deny
    )
    from rag_tools.cli import show
    from rag_tools.engine import Engine
    from rag_tools.types import WebOptions

    web = WebOptions(depth, max_pages, delay, allow_private)
    try:
        with (
            Engine.open(
                index,
                checkpoint=checkpoint,
                create=bool(paths),
                passage_tokens=passage_tokens,
                bits=bits,
                dim=dim,
                keep_versions=keep_versions,
            ) as engine,
            show.progress() as progress,
        ):
            report = engine.sync(
                paths or (),
                include=include or (),
                exclude=exclude or (),
                hidden=hidden,
                gitignore=not no_gitignore,
                max_bytes=max_bytes,
                document_timeout=document_timeout,
                url_template=url_template,
                web=web,
                access=access,
                progress=progress,
            )
    except KeyboardInterrupt:
        complain("interrupted; what was committed is kept. Run the command again to resume")
        raise typer.Exit(exits.INTERRUPTED) from None
    if json:
        write_json(report)
    else:
        show.sync_report(report, console())
    if report.skipped:
        raise typer.Exit(exits.SKIPPED)


def status(
    index: IndexOption = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Read every file of the index first and compare its checksum."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report what the index contains and how it was built."""
    from rag_tools.engine import Engine

    with Engine.open(index) as engine:
        if check:
            engine.check()
        found = engine.status()
    if json:
        write_json(found)
    else:
        from rag_tools.cli import show

        show.status(found, console())
