"""A server process on a port that the system chose, for as long as a test needs it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RAG_TOOLS = [sys.executable, "-m", "rag_tools.cli.main"]


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """Run `command`, which logs JSON with the event ``serving``; give the URL of its endpoint."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    assert process.stderr is not None
    log: list[str] = []
    try:
        for line in process.stderr:
            log.append(line)
            if '"serving"' in line:
                break
        else:
            raise AssertionError(f"{command} ended:\n{''.join(log)}")
        port = json.loads(log[-1])["port"]
        # Nobody may wait for room in the pipe.
        reader = threading.Thread(target=log.extend, args=(process.stderr,))
        reader.start()
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(timeout=30)
    reader.join()


@contextmanager
def served(index: Path) -> Iterator[str]:
    """Serve an index over HTTP; give the URL of its endpoint."""
    command = [*RAG_TOOLS, "serve", "--index", str(index), "--http", "127.0.0.1:0"]
    with serving(command) as url:
        yield url
