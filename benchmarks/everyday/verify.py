"""Check that every gold unit stands in its document, as the loaders read it today.

    python benchmarks/everyday/verify.py CORPUS

A unit that is missing is named; then the text of the document, or how a loader reads it, has
changed, and the unit has to be mended before a measure means anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from corpus import Text, manifest, read

from rag_tools.ingest.load import load


def main(corpus: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Print what is missing; exit with 1 if anything is."""
    texts = {
        f"{package}/{each['name']}": Text(load(corpus / package / each["name"]).text)
        for package, entry in manifest().items()
        for each in entry["documents"]
    }
    missing = list(_missing(texts))
    print("\n".join(missing) or f"all gold units stand in {len(texts)} documents")
    sys.exit(bool(missing))


def _missing(texts: dict[str, Text]) -> Iterator[str]:
    """Yield the gold units that no document holds, or of which an entry's document holds none."""
    for name in ("questions.jsonl", "reserve.jsonl", "claims.jsonl"):
        for entry in read(name):
            own = texts[entry["document"]]
            if not any(own.locate(unit) for unit in entry["gold"]):
                yield f"{name} {entry['id']}: no gold unit in {entry['document']}"
            for unit in entry["gold"]:
                if not any(text.locate(unit) for text in texts.values()):
                    yield f"{name} {entry['id']}: in no document: {unit!r}"


if __name__ == "__main__":
    typer.run(main)
