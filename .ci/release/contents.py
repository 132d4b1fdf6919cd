"""What a wheel may hold and how large it may be: ``contents.py WHEEL...``.

check-wheel-contents knows what is wrong in any wheel; here stands what is wrong in ours.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

PACKAGES = ("langchain_rag_tools", "llama_index_rag_tools", "rag_tools", "rag_tools_mcp")

LARGEST = 60 * 2**20
"""Bytes. An index refuses files above 100 MB, and people on slow lines wait long before that."""

_SOURCE = {".c", ".cpp", ".h", ".hpp", ".cmake", ".pyc"}
_OF_THE_CLONE = {"tests", "benchmarks", "examples", "docs", "release", "native", "__pycache__"}


def main(wheels: list[Path]) -> int:
    """Print the size of each wheel, and what is wrong with it to standard error."""
    complaints = [f"{wheel.name}: {each}" for wheel in wheels for each in check(wheel)]
    for wheel in wheels:
        print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints or not wheels else 0


def check(wheel: Path) -> list[str]:
    """Return what is wrong with a wheel, a sentence each."""
    with ZipFile(wheel) as archive:
        files = [PurePosixPath(name) for name in archive.namelist()]
    wrong = [f"{file} doesn't belong in a wheel" for file in files if _is_foreign(file)]
    named = {str(file) for file in files}
    wrong += [
        f"{package} has no py.typed, so its types aren't seen"
        for package in PACKAGES
        if f"{package}/py.typed" not in named
    ]
    native = [file for file in files if file.suffix in {".so", ".pyd"}]
    expected = 0 if wheel.name.endswith("-none-any.whl") else 1
    if len(native) != expected:
        wrong.append(f"{len(native)} native modules, not {expected}: {', '.join(map(str, native))}")
    if wheel.stat().st_size > LARGEST:
        wrong.append(f"{wheel.stat().st_size:,} bytes are more than {LARGEST:,}")
    return wrong


def _is_foreign(file: PurePosixPath) -> bool:
    top = file.parts[0]
    if re.fullmatch(r"rag_tools-[^/]+\.dist-info|rag_tools\.libs", top):
        return False
    if top not in PACKAGES:
        return True
    return file.suffix in _SOURCE or not _OF_THE_CLONE.isdisjoint(file.parts)


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
