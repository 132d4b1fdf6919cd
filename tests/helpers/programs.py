"""The examples as programs of their own: in a pipe, or in a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def environment(index: Path | None = None) -> dict[str, str]:
    """Return the environment of a program, with no service's keys and with an index if given."""
    # Wide, so that nothing is wrapped, and of a terminal that readline asks nothing special of.
    terminal = {"TERM": "dumb", "COLUMNS": "300", "NO_COLOR": "1"}
    utf8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTHROPIC_", "OPENAI_", "RAG_TOOLS_"))
    }
    return {**ours, **terminal, **utf8, **({"RAG_TOOLS_INDEX": str(index)} if index else {})}


def run(
    environment: Mapping[str, str],
    name: str,
    *arguments: str | Path,
    given: str = "",
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        input=given,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        cwd=cwd,
        check=False,
    )


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        import pty

        self.controller, terminal = pty.openpty()
        # In a session of its own, with the terminal as its controlling one: Ctrl-C reaches it.
        become = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", become, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
        )
        os.close(terminal)

    def expect(self, *texts: str) -> str:
        """Return what is shown up to the next prompt, which must hold `texts`."""
        output = self._read_until(r"(?:^|\n)> $")
        for text in texts:
            assert text in output, output
        return output

    def type(self, line: str) -> None:
        os.write(self.controller, line.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until the program ends.

        A signal between readline's prompt and its wait for input is noticed with the next key.
        """
        for _ in range(4):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
                return

    def end(self) -> str:
        """Return what is shown until the program ends."""
        output = self._read_until(None)
        self.process.wait(10)
        return output

    def _read_until(self, pattern: str | None) -> str:
        import select

        output, deadline = b"", time.monotonic() + 30
        while pattern is None or not re.search(pattern, self._text(output)):
            left = max(0, deadline - time.monotonic())
            assert select.select([self.controller], [], [], left)[0], self._text(output)
            try:
                read = os.read(self.controller, 65536)
            except OSError:  # how Linux says that the other end is closed
                read = b""
            if not read:
                assert pattern is None, self._text(output)
                break
            output += read
        return self._text(output)

    def _text(self, output: bytes) -> str:
        return output.decode("utf-8", "replace").replace("\r\n", "\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.controller)
