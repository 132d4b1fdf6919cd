"""The command that starts this installation of rag-tools, from any folder and at any later time.

A host stores the command and runs it in a folder and with a PATH of its own, long after the
installation. Therefore every path is absolute. An environment that `uvx` or `pipx run` made for one
run may be deleted; the command then uses the same tool, which makes the environment again.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from subprocess import list2cmdline
from typing import Literal

DISTRIBUTION = "rag-tools"
COMMAND = "rag-tools"


def program() -> list[str]:
    """Return the words of the command that starts `rag-tools`, without arguments."""
    maker = _maker(Path(sys.prefix))
    if maker == "uv":
        return [*_uvx(), *_from("--from"), COMMAND]
    if maker == "pipx":
        return [_found("pipx") or "pipx", "run", *_from("--spec"), COMMAND]
    installed = _found(COMMAND, sysconfig.get_path("scripts"))
    return [installed] if installed else [sys.executable, "-m", "rag_tools.cli.main"]


def typed(*arguments: str) -> str:
    """Return the line to type in the current folder to run `rag-tools` with `arguments`.

    It begins with the name of the program if PATH has it, otherwise with the shortest path.
    """
    start, *rest = program()
    name = Path(start).stem
    if _found(name) == start:
        start = name
    elif Path(start).is_relative_to(here := Path.cwd()):
        relative = str(Path(start).relative_to(here))
        start = relative if os.sep in relative else os.path.join(os.curdir, relative)  # noqa: PTH118
    return line([start, *rest, *arguments])


def line(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    r"""Return a command as it is typed into a shell of this system.

    Examples
    --------
    >>> print(line(["rag-tools", "search", "What's new?"], windows=True))
    rag-tools search "What's new?"
    >>> print(line(["rag-tools", "search", "What's new?"], windows=False))
    rag-tools search 'What'"'"'s new?'
    """
    return list2cmdline(words) if windows else shlex.join(words)


def _maker(prefix: Path) -> Literal["uv", "pipx"] | None:
    """Return the tool that made the environment in `prefix` for one run; None if it is permanent.

    pipx leaves its metadata in each environment, and keeps what was installed in the folder
    ``venvs``: https://pipx.pypa.io/stable/explanation/how-pipx-works/. uv names itself in
    ``pyvenv.cfg``, and makes the environments of a run in its cache, which it marks as one
    (https://bford.info/cachedir/). It marks every environment in this way, but not the folders
    around a permanent one.
    """
    if (prefix / "pipx_metadata.json").is_file():
        return None if prefix.parent.name == "venvs" else "pipx"
    cached = any((folder / "CACHEDIR.TAG").is_file() for folder in prefix.parents)
    return "uv" if cached and _made_by_uv(prefix / "pyvenv.cfg") else None


def _made_by_uv(file: Path) -> bool:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)


def _uvx() -> list[str]:
    """Return the words that start uvx, which is short for `uv tool run`."""
    if uvx := _found("uvx"):
        return [uvx]
    # uv tells the processes that it starts where it is:
    # https://docs.astral.sh/uv/reference/environment/#uv
    uv = os.environ.get("UV")
    return [uv, "tool", "run"] if uv else ["uvx"]


def _from(option: str) -> list[str]:
    """Return the option for the source of the installation; nothing if it is the package index.

    Installers record it: https://packaging.python.org/en/latest/specifications/direct-url/.
    """
    try:
        recorded = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return []
    if not recorded:
        return []
    origin = json.loads(recorded)
    url = str(origin["url"])
    if version := origin.get("vcs_info"):
        url = f"{version['vcs']}+{url}@{version['commit_id']}"
    if folder := origin.get("subdirectory"):
        url = f"{url}#subdirectory={folder}"
    return [option, f"{DISTRIBUTION} @ {url}"]


def _found(name: str, folder: str | None = None) -> str | None:
    """Return the absolute path of a program in `folder`, by default in the folders of PATH."""
    path = shutil.which(name, path=folder)
    return path and str(Path(path).absolute())
