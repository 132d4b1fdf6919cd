"""Fetch documentation to make training examples of, from packages of Debian.

    python benchmarks/evidence/fetch.py FOLDER

Needs a Debian system with `apt-get` and `dpkg-deb`; nothing is installed. Of each package in
``packages.json`` at most `MOST_DOCUMENTS` documents, drawn evenly from the sorted list of those
that are neither tiny nor huge, are copied to ``FOLDER/PACKAGE/``, with the package's copyright
file. None of the packages is one that a development or test set is made of.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent
MOST_DOCUMENTS = 60
SMALLEST, LARGEST = 2_000, 400_000  # bytes, uncompressed
SUFFIXES = (".html", ".htm", ".xhtml", ".rst", ".md", ".rst.txt", ".adoc")
COPYRIGHT = "COPYRIGHT"


def main(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder to put them into.")],
) -> None:
    """Fetch what isn't there yet."""
    for package in json.loads((HERE / "packages.json").read_text(encoding="utf-8")):
        target = folder / package
        if not (target / COPYRIGHT).is_file():
            with tempfile.TemporaryDirectory() as scratch:
                n_copied = _fetch(package, Path(scratch), target)
            print(f"{package}: {n_copied} documents", file=sys.stderr)


def _fetch(package: str, scratch: Path, target: Path) -> int:
    done = subprocess.run(
        ["apt-get", "download", package], cwd=scratch, capture_output=True, text=True
    )
    if done.returncode:
        print(f"apt-get can't download {package}: {done.stderr.strip()}", file=sys.stderr)
        return 0
    (archive,) = scratch.glob("*.deb")
    files = scratch / "files"
    subprocess.run(["dpkg-deb", "--extract", archive, files], check=True)
    found = sorted(path for path in files.rglob("*") if _readable(path))
    n_kept = min(MOST_DOCUMENTS, len(found))
    names: set[str] = set()
    target.mkdir(parents=True, exist_ok=True)
    for path in (found[number * len(found) // n_kept] for number in range(n_kept)):
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        name = path.name.removesuffix(".gz").replace(".rst.txt", ".rst")
        name = name if name not in names else f"{path.parent.name}-{name}"
        if SMALLEST <= len(data) <= LARGEST and name not in names:
            names.add(name)
            (target / name).write_bytes(data)
    copyright_file = next(iter(sorted(files.glob("usr/share/doc/*/copyright"))), None)
    if copyright_file is not None:
        shutil.copyfile(copyright_file, target / COPYRIGHT)
    else:
        (target / COPYRIGHT).touch()
    return len(names)


def _readable(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return path.is_file() and not path.is_symlink() and name.endswith(SUFFIXES)


if __name__ == "__main__":
    typer.run(main)
