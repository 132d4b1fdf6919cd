"""The command that keeps an index up to date: `watch`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_tools.cli import exits, options
from rag_tools.cli.options import IndexOption
from rag_tools.cli.output import complain, one_line, write, write_json

if TYPE_CHECKING:
    from rag_tools.types import SyncReport, WatchState


def watch(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            exists=True,
            readable=False,
            help="Files and folders to index first. Default: those that were indexed before.",
            show_default=False,
        ),
    ] = None,
    index: IndexOption = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Sync at this interval as well, such as 10m or 1h."),
    ] = None,
    no_events: Annotated[
        bool, typer.Option("--no-events", help="Sync at the interval only, not at changes.")
    ] = False,
    poll: Annotated[
        bool,
        typer.Option(
            "--poll",
            help="Look at every file each second instead of waiting for events of the system. "
            "Default: only for network file systems.",
        ),
    ] = False,
    end_with_input: Annotated[
        bool,
        typer.Option(
            "--end-with-input",
            help="End when standard input is closed, as it is with the program that started this.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per sync instead of text.")
    ] = False,
) -> None:
    """Keep the index up to date: sync it when files change, until interrupted."""
    interval = None if every is None else options.seconds(every)
    from rag_tools.cli import show
    from rag_tools.indexer import Indexer
    from rag_tools.opened import open_index
    from rag_tools.watch import Watcher

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if end_with_input:
        threading.Thread(target=_end_with_input, args=[stop], daemon=True).start()

    def report(state: WatchState, done: SyncReport | None) -> None:
        if json:
            write_json(state)
        elif done is None:
            complain(show.watched(state, done))
        elif line := show.watched(state, done):
            write(f"{state.synced} {one_line(line)}\n")

    try:
        with open_index(options.directory(index), create=bool(paths)) as opened:
            if paths:
                Indexer(opened).sync(paths)
            Watcher(
                opened, every=interval, events=not no_events, poll=poll or None, report=report
            ).run(stop)
    except KeyboardInterrupt:
        raise typer.Exit(exits.INTERRUPTED) from None


def _end_with_input(stop: threading.Event) -> None:
    while sys.stdin.buffer.read(1024):
        pass
    stop.set()
