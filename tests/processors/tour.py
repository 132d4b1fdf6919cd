"""The commands of the product one after the other in one process.

    python tour.py DOCUMENTS INDEX [SEARCHED ...]

DOCUMENTS are indexed in INDEX and searched, cited and verified there; other indexes are searched.
What was found is written as JSON. An emulated processor takes half a minute to start the program:
here it starts once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rag_tools.cli.main import app

QUESTION = "How long are backups kept?"
CLAIM = "Backups are kept for two weeks."


def told(*arguments: str) -> Any:
    """Return what a command prints as JSON."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exit_code:
        sys.exit(f"{' '.join(arguments)}: exit status {done.exit_code}\n{done.output}")
    return json.loads(done.stdout)


def main(documents: str, index: str, *searched: str) -> None:
    """Print what is found."""
    told("index", documents, "--index", index)
    hits = told("search", QUESTION, "--index", index)["results"]
    citations = told("cite", CLAIM, "--index", index)["citations"]
    file = Path(index).with_name(f"{Path(index).name}.json")
    file.write_text(json.dumps(citations), encoding="utf-8")
    verified = told("verify", str(file), "--index", index)["verifications"]
    found = {
        "kernel": told("status", "--index", index)["kernel"],
        "hits": [hit["text"] for hit in hits],
        "scores": [hit["score"] for hit in hits],
        "quotes": [citation["quote"] for citation in citations],
        "verified": [each["status"] for each in verified],
        "searched": [
            [hit["text"] for hit in told("search", QUESTION, "--index", other)["results"]]
            for other in searched
        ],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
