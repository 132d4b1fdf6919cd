"""From nothing to the first answer: ``install.py WHEEL [FOLDER]``.

A fresh virtual environment, ``pip install`` of a wheel, an index of a small folder and a first
search, each in seconds of the clock and of the processor, and the bytes of the environment. It is
done twice: the second time, what pip downloads is in its cache, and that is the figure to compare.
With ``--check`` the exit code says whether the second keeps within the limits.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parents[1] / "examples" / "manuals"
QUESTION = "how do I reset it?"

INSTALL_SECONDS = 90.0
"""Limit for creating the environment and installing from pip's cache."""

ANSWER_SECONDS = 20.0
"""Limit from there to the end of the first search."""


def main() -> int:
    """Print a line a step; return 1 if a limit was to be checked and wasn't kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--check", action="store_true", help="fail above the limits")
    given = parser.parse_args()
    files = sum(1 for path in given.folder.rglob("*") if path.is_file())
    print(
        f"{given.wheel.name}, {files} files, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for title in ("first", "again"):
        print(f"\n{title:<24}{'seconds':>9}{'processor':>11}")
        install, answer = _run(given.wheel.resolve(), given.folder.resolve())
    kept = install <= INSTALL_SECONDS and answer <= ANSWER_SECONDS
    print(
        f"\ninstalled in {install:.1f} s (at most {INSTALL_SECONDS:.0f}), "
        f"answer {answer:.1f} s later (at most {ANSWER_SECONDS:.0f})"
    )
    return int(given.check and not kept)


def _run(wheel: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds of installing, and from there to the first answer."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        programs = place / "environment" / ("Scripts" if os.name == "nt" else "bin")
        index = ("--index", str(place / "index"))
        install = _timed("environment", [sys.executable, "-m", "venv", str(programs.parent)])
        install += _timed(
            "install", [str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
        )
        answer = _timed("index", [str(programs / "rag-tools"), "index", str(folder), *index])
        answer += _timed("search", [str(programs / "rag-tools"), "search", QUESTION, *index])
        _timed("search, again", [str(programs / "rag-tools"), "search", QUESTION, *index])
        print(f"{'environment, MiB':<24}{_bytes(programs.parent) / 2**20:>9.0f}")
        print(f"{'index, MiB':<24}{_bytes(place / 'index') / 2**20:>9.1f}")
        return install, answer


def _timed(step: str, command: list[str]) -> float:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{step:<24}{seconds:>9.1f}{processor:>11.1f}", flush=True)
    return seconds


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
