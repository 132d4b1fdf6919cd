"""Fetch the documents of the everyday set with apt and put them into a folder.

    python benchmarks/everyday/fetch.py CORPUS [--confidence]

Needs a Debian system with `apt-get` and `dpkg-deb`; nothing is installed. Of each package in
``manifest.json``, or with ``--confidence`` in ``confidence.json``, the documents listed are copied
to ``CORPUS/PACKAGE/NAME`` and checked against their SHA-256. Files that end in ``.gz`` are
uncompressed; Sphinx's copies of sources, ``NAME.rst.txt``, are named ``NAME.rst`` again. The set
was made with Debian 12: a package whose version is no longer offered is fetched in the one that is,
and the documents that differ are named.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from corpus import manifest


def main(
    corpus: Annotated[Path, typer.Argument(file_okay=False, help="Folder to put them into.")],
    confidence: Annotated[bool, typer.Option(help="Those that confidence is fitted to.")] = False,
) -> None:
    """Fetch what isn't there yet."""
    differing: list[str] = []
    for package, entry in manifest("confidence.json" if confidence else "manifest.json").items():
        if all(_same(corpus / package / each["name"], each) for each in entry["documents"]):
            continue
        print(f"{package} {entry['version']}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            unpacked = _unpacked(package, entry["version"], Path(folder))
            for each in entry["documents"]:
                target = corpus / package / each["name"]
                _copy(unpacked / each["path"], target)
                if not _same(target, each):
                    differing.append(f"{package}/{each['name']}")
    if differing:
        sys.exit(
            "These documents aren't those the questions were written for, so some gold units may "
            f"be missing: {', '.join(differing)}"
        )


def _unpacked(package: str, version: str, folder: Path) -> Path:
    """Download a package into `folder` and return the folder with its files."""
    for wanted in (f"{package}={version}", package):
        command = ["apt-get", "download", wanted]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode == 0:
            break
    else:
        sys.exit(f"apt-get can't download {package}: {done.stderr.strip()}")
    files = folder / "files"
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, files], check=True)
    return files


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        return
    data = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.decompress(data) if source.suffix == ".gz" else data)


def _same(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


if __name__ == "__main__":
    typer.run(main)
