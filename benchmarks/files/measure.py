"""How much of each file the loaders read, beside what another program reads of it.

    python benchmarks/files/measure.py FILES [--lost] [--only FORMAT]

FILES is what ``fetch.py`` made. Every file is loaded as a sync loads it; its spans are checked, and
each unit's place. Then its words are compared with those that the program people would use shows:
the share of the program's distinct words, counted as often as both have them, that the document
has. ``--lost`` lists words that are lost. Text that people don't see in the program on purpose
isn't text here either, so less than all is expected where a program shows what is hidden.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from mutate import check
from shown import SHOWN

from rag_tools.ingest.contents import Contents
from rag_tools.ingest.worker import Worker

_WORD = re.compile(r"[^\W_]+")


def main(
    files: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    lost: Annotated[bool, typer.Option(help="List words that are lost.")] = False,
    only: Annotated[str, typer.Option(help="A format.")] = "",
) -> None:
    """Print a row for each format."""
    print("format     files  loaded  spans right  words found  lowest")
    with Worker() as worker:
        for folder in sorted(each for each in files.iterdir() if each.is_dir()):
            if not only or folder.name == only:
                _row(worker, folder, lost=lost)


def _row(worker: Worker, folder: Path, *, lost: bool) -> None:
    paths = sorted(folder.iterdir())
    loaded = right = 0
    shares: dict[str, float] = {}
    for path in paths:
        text, wrong = _loaded(worker, path)
        loaded += text is not None
        right += text is not None and not wrong
        if wrong:
            print(f"  {path.name}: {wrong}", file=sys.stderr)
        show: Callable[[Path], str] | None = SHOWN.get(folder.name)
        if text is None or show is None:
            continue
        try:
            shown = show(path)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"  {path.name}: the program fails: {error}", file=sys.stderr)
            continue
        theirs, ours = _words(shown), _words(text)
        if theirs:
            shares[path.name] = sum((theirs & ours).values()) / theirs.total()
            if lost and shares[path.name] < 1:
                missing = (theirs - ours).most_common(25)
                print(f"  {path.name} {shares[path.name]:.3f}: {missing}", file=sys.stderr)
    mean = sum(shares.values()) / len(shares) if shares else float("nan")
    worst = min(shares, key=lambda name: shares[name], default="")
    lowest = f"{shares[worst]:.3f} {worst}" if worst else ""
    print(f"{folder.name:10} {len(paths):5} {loaded:7} {right:12} {mean:12.4f}  {lowest}")


def _loaded(worker: Worker, path: Path) -> tuple[str | None, str]:
    """Return the text of a file, with what is inside of it, and what is wrong."""
    texts, wrong = [], []
    contents = Contents(
        worker, path.read_bytes(), name=path.name, uri=path.as_uri(), max_bytes=64 * 1024**2
    )
    try:
        for each in contents:
            if each.document is None:
                wrong.append(f"{each.path}: {each.error}")
            else:
                texts.append(each.document.text)
                if message := check(each.document):
                    wrong.append(f"{each.path}: {message}")
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return "\n".join(texts), "; ".join(wrong)


def _words(text: str) -> Counter[str]:
    # Soft hyphens, and where words are divided, are a matter of the line, not of the text.
    return Counter(_WORD.findall(text.replace("\u00ad", "").casefold()))


if __name__ == "__main__":
    typer.run(main)
