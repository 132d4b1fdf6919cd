"""How to start this installation of rag-tools again, from any folder and at any later time.

A host keeps what it was told and starts it in a folder and with a PATH of its own, long after the
command that told it has ended. So every path is absolute, and an environment that `uvx` or
`pipx run` made for one run, and may delete, is named by the tool that makes it again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

DISTRIBUTION = "rag-tools"
COMMAND = "rag-tools"


def program() -> list[str]:
    """Return the words that start `rag-tools`; its arguments are to follow."""
    maker = _maker(Path(sys.prefix))
    if maker == "uv":
        return [*_uvx(), *_from("--from"), COMMAND]
    if maker == "pipx":
        return [_found("pipx") or "pipx", "run", *_from("--spec"), COMMAND]
    installed = _found(COMMAND, sysconfig.get_path("scripts"))
    return [installed] if installed else [sys.executable, "-m", "rag_tools.cli.main"]


def _maker(prefix: Path) -> Literal["uv", "pipx"] | None:
    """Return the tool that made the environment in `prefix` for one run; None if it is to stay.

    pipx leaves its metadata in each environment, and keeps what was installed in the folder
    ``venvs``: https://pipx.pypa.io/stable/explanation/how-pipx-works/. uv names itself in
    ``pyvenv.cfg``, and makes the environments of a run in its cache, which it marks as one
    (https://bford.info/cachedir/). It marks every environment so, too, but not the folders around
    one that stays.
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
    """Return the words that start uvx, which is `uv tool run`."""
    if uvx := _found("uvx"):
        return [uvx]
    # The processes that uv starts are told where it is:
    # https://docs.astral.sh/uv/reference/environment/#uv
    uv = os.environ.get("UV")
    return [uv, "tool", "run"] if uv else ["uvx"]


def _from(option: str) -> list[str]:
    """Return the option that names what was installed; nothing if it came by its name alone.

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
    """Return the absolute path of a program in `folder`, by default in one of PATH."""
    path = shutil.which(name, path=folder)
    return path and str(Path(path).absolute())
