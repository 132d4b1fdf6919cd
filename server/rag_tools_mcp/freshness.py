"""Keeping the indexes of a server up to date, by one process each.

The processes run `rag-tools watch` with a lower priority than the server, so that searches go
first. They end with the server, whose end closes their standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from rag_tools.creation import default_directory
from rag_tools_mcp import logs
from rag_tools_mcp.settings import Settings

_AGAIN_SECONDS = 30.0  # after a process ended, as where there is no index yet
_LOWER = 10  # of priority, as of `nice`
_FIELDS = ("added", "updated", "removed", "skipped", "failures", "error", "next")


@contextmanager
def kept_fresh(settings: Settings) -> Iterator[None]:
    """Keep the indexes up to date for the length of a ``with`` block.

    An index that another process keeps up to date already is left to that one.
    """
    with ExitStack() as stack:
        for name, directory in settings.collections.items():
            keeper = _Keeper(name, _command(directory or default_directory(), settings))
            stack.callback(keeper.close)
            keeper.start()
        yield


def _command(directory: Path, settings: Settings) -> list[str]:
    command = [sys.executable, "-m", "rag_tools.cli.main", "watch", "--index", str(directory)]
    if settings.sync_every is not None:
        command += ["--every", f"{settings.sync_every:g}s"]
    return [*command, *([] if settings.watch else ["--no-events"]), "--json", "--end-with-input"]


class _Keeper:
    """Runs the process of one collection, again if it ends, and logs what it reports."""

    def __init__(self, collection: str, command: Sequence[str]) -> None:
        self._collection, self._command = collection, command
        self._stopping = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, name=f"watch-{collection}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the process, after what it is writing."""
        self._stopping.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        self._thread.join(timeout=10)
        if process is not None and process.poll() is None:
            process.terminate()  # what was committed stays

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except OSError as error:
                logs.event("sync", collection=self._collection, error=str(error))
            self._stopping.wait(_AGAIN_SECONDS)

    def _follow(self) -> None:
        with subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            self._process = process
            if self._stopping.is_set() and process.stdin is not None:
                process.stdin.close()
            if sys.platform != "win32":
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, process.pid, _LOWER)
            assert process.stdout is not None and process.stderr is not None
            last: list[str] = []
            reader = Thread(target=_last_line, args=[process.stderr, last], daemon=True)
            reader.start()
            for line in process.stdout:
                with suppress(ValueError):
                    state = json.loads(line)
                    fields = {name: state.get(name) for name in _FIELDS if state.get(name)}
                    logs.event("sync", collection=self._collection, **fields)
            reader.join()
            if process.wait() and not self._stopping.is_set():
                logs.event("sync", collection=self._collection, error=" ".join(last))


def _last_line(stream: Iterator[bytes], last: list[str]) -> None:
    """Keep the last line that a process wrote about an error."""
    for line in stream:
        last[:] = [line.decode("utf-8", "replace").strip()]
