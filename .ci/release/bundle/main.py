"""What the bundle starts: ``main.py INDEX FOLDER`` serves an index that the agent may fill."""

from __future__ import annotations

import sys
from pathlib import Path

from rag_tools.cli.main import app
from rag_tools.engine import Engine


def main(index: str, folder: str) -> None:
    """Serve `index`, made if it isn't there, and let agents index what is in `folder`."""
    if not Path(index).exists():
        Engine.open(index, create=True).close()
    app(["serve", "--index", index, "--allow-write", folder])


if __name__ == "__main__":
    main(*sys.argv[1:])
