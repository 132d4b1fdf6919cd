"""Build what is published beside the package: ``build.py DIRECTORY [REPOSITORY]``.

``rag-tools-VERSION.mcpb``, which desktop programs install with a click, and ``server.json`` for the
MCP registry. The version is that of the package, the tools are those that the server lists.

The registry knows a server by a name that only the owner of its repository, or domain, can publish:
it is derived from REPOSITORY, by default the URL that pyproject.toml gives as ``Repository``. Where
there is none, no name would be true, and no server.json is written.

The bundle holds a wheel without native kernels, which runs everywhere; uv, which the desktop
program brings, installs it with what it depends on.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from rag_tools import __version__
from rag_tools_mcp.collections import DEFAULT_NAME, Collections
from rag_tools_mcp.server import build

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROGRAMS = ROOT / "build" / "node" / "node_modules" / ".bin"

_GITHUB = "github.com"

PROJECT = """\
[project]
name = "rag-tools-bundle"
version = "{version}"
requires-python = "{python}"
dependencies = ["rag-tools"]

[tool.uv.sources]
rag-tools = {{ path = "{wheel}" }}
"""


def main(directory: Path, repository: str | None = None) -> None:
    """Write the bundle, and server.json if the repository is known, into `directory`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    directory.mkdir(parents=True, exist_ok=True)
    repository = repository or project.get("urls", {}).get("Repository")
    if repository:
        _write(directory / "server.json", _registered(repository))
    else:
        sys.stderr.write("no server.json: give the URL of the repository, which names the server\n")
    with TemporaryDirectory() as folder:
        _fill(Path(folder), project)
        bundle = directory / f"rag-tools-{__version__}.mcpb"
        _run(str(PROGRAMS / "mcpb"), "pack", folder, str(bundle))


def _registered(repository: str) -> dict[str, Any]:
    server = _read("server.json")
    packages = [{**package, "version": __version__} for package in server["packages"]]
    named: dict[str, Any] = {"name": registry_name(repository), "version": __version__}
    if urlsplit(repository).hostname == _GITHUB:
        named["repository"] = {"url": repository, "source": "github"}
    return {**server, **named, "packages": packages}


def registry_name(repository: str) -> str:
    """Return what the registry calls the server of a repository: a namespace that it can prove.

    Examples
    --------
    >>> registry_name("https://github.com/someone/rag-tools")
    'io.github.someone/rag-tools'
    >>> registry_name("https://code.example.org/rag-tools.git")
    'org.example.code/rag-tools'
    """
    url = urlsplit(repository)
    owner, name = PurePosixPath(url.path).parent.name, PurePosixPath(url.path).name
    host = ".".join(reversed((url.hostname or "").split(".")))
    if not (host and name and (owner or url.hostname != _GITHUB)):
        raise SystemExit(f"{repository!r} isn't the URL of a repository")
    namespace = f"io.github.{owner}" if url.hostname == _GITHUB else host
    return f"{namespace}/{name.removesuffix('.git')}"


def _fill(folder: Path, project: dict[str, Any]) -> None:
    """Write the files of the bundle into `folder`."""
    # Kernels of this machine wouldn't run on another.
    plain = ("-C", "wheel.cmake=false", "-C", "wheel.py-api=py3")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *plain)
    _run(*pip, "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    settings = PROJECT.format(
        version=__version__, python=project["requires-python"], wheel=wheel.name
    )
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    (folder / "server").mkdir()
    copy(HERE / "main.py", folder / "server")
    copy(ROOT / "LICENSE", folder)
    manifest = {**_read("manifest.json"), "version": __version__, "tools": _tools(folder)}
    _write(folder / "manifest.json", manifest)


def _tools(writable: Path) -> list[dict[str, str | None]]:
    server = build(Collections({DEFAULT_NAME: None}), writable=[writable])
    tools = asyncio.run(server.list_tools())
    return [{"name": tool.name, "description": tool.description} for tool in tools]


def _read(name: str) -> dict[str, Any]:
    return dict(json.loads((HERE / name).read_text(encoding="utf-8")))


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _run(*command: str) -> None:
    # The Node that was installed beside the programs comes first.
    path = os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
