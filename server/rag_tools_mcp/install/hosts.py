"""The programs that start the server, their hosts: where their configuration is and what it needs.

Nothing here needs the MCP SDK. `jsonc`, `toml` and `changes` change the files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from rag_tools.errors import HostError
from rag_tools_mcp.install.changes import Change, read
from rag_tools_mcp.install.program import program

HostName = Literal["claude-code", "claude-desktop", "vscode", "cursor", "copilot-cli", "codex"]
Scope = Literal["user", "project"]

SERVER = "rag-tools"
"""The name of the server in every configuration."""


class Snippet(NamedTuple):
    """A piece of configuration: its host, its file, its language and its text."""

    host: str
    place: str
    language: str
    text: str


@dataclass(frozen=True)
class Host:
    """A program that starts MCP servers.

    Attributes
    ----------
    title
        The name of the program.
    user
        Returns the configuration file of the user.
    project
        The configuration file of a project, relative to its folder; None if there is none.
    key
        The key under which the file lists the servers.
    fields
        What an entry needs in addition to the command and its arguments.
    """

    title: str
    user: Callable[[], Path]
    project: str | None
    key: str = "mcpServers"
    fields: Mapping[str, Any] = field(default_factory=dict)


def settings_folder() -> Path:
    """Return the folder in which desktop programs keep their settings."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return _folder("APPDATA", Path.home() / "AppData" / "Roaming")
    return _folder("XDG_CONFIG_HOME", Path.home() / ".config")


def _folder(variable: str, default: Path) -> Path:
    """Return the folder in an environment variable, or the default."""
    return Path(os.environ.get(variable) or default)


def _claude_desktop() -> Path:
    if sys.platform == "win32":
        # Installed as a package, the program has its own copy of %APPDATA%:
        # https://github.com/anthropics/claude-code/issues/57998
        local = _folder("LOCALAPPDATA", Path.home() / "AppData" / "Local")
        package = local / "Packages" / "Claude_pzs8sxrjxfjjc"
        if package.is_dir():
            return package / "LocalCache" / "Roaming" / "Claude" / "claude_desktop_config.json"
    return settings_folder() / "Claude" / "claude_desktop_config.json"


HOSTS: Mapping[HostName, Host] = {
    # https://code.claude.com/docs/en/mcp#mcp-installation-scopes
    "claude-code": Host(
        "Claude Code",
        lambda: _folder("CLAUDE_CONFIG_DIR", Path.home()) / ".claude.json",
        ".mcp.json",
        fields={"type": "stdio"},
    ),
    # https://modelcontextprotocol.io/docs/develop/connect-local-servers
    "claude-desktop": Host("Claude Desktop", _claude_desktop, None),
    # https://code.visualstudio.com/docs/copilot/reference/mcp-configuration
    "vscode": Host(
        "VS Code with Copilot",
        lambda: settings_folder() / "Code" / "User" / "mcp.json",
        ".vscode/mcp.json",
        key="servers",
        fields={"type": "stdio"},
    ),
    # https://cursor.com/docs/mcp#configuration-locations
    "cursor": Host("Cursor", lambda: Path.home() / ".cursor" / "mcp.json", ".cursor/mcp.json"),
    # https://docs.github.com/en/copilot/how-tos/copilot-cli/customize-copilot/add-mcp-servers
    "copilot-cli": Host(
        "Copilot CLI",
        lambda: _folder("COPILOT_HOME", Path.home() / ".copilot") / "mcp-config.json",
        ".mcp.json",
        fields={"type": "stdio", "tools": ["*"]},
    ),
    # https://developers.openai.com/codex/mcp
    "codex": Host(
        "Codex",
        lambda: _folder("CODEX_HOME", Path.home() / ".codex") / "config.toml",
        ".codex/config.toml",
        key="mcp_servers",
    ),
}


def launch(index: Path) -> list[str]:
    """Return the command that serves an index, with absolute paths.

    Hosts start it in a folder and with a PATH of their own.
    """
    return [*program(), "serve", "--index", str(index.absolute())]


def snippet(name: HostName, command: Sequence[str]) -> Snippet:
    """Return the configuration that makes a host start `command`, as a complete file.

    Examples
    --------
    >>> print(snippet("codex", ["rag-tools", "serve"]).text)
    [mcp_servers.rag-tools]
    command = "rag-tools"
    args = ["serve"]
    """
    host = HOSTS[name]
    place = host.project or host.user().name
    entry = _entry(host, command)
    if place.endswith(".toml"):
        from rag_tools_mcp.install import toml

        return Snippet(host.title, place, "toml", toml.put("", (host.key, SERVER), entry).rstrip())
    text = json.dumps({host.key: {SERVER: entry}}, ensure_ascii=False, indent=2)
    return Snippet(host.title, place, "json", text)


def install(name: HostName, scope: Scope, command: Sequence[str]) -> Change:
    """Return the change that makes a host start `command`, without writing it.

    The rest of the file is kept, and so are the fields that the user added to the entry.

    Raises
    ------
    HostError
        If the host has no such scope, or its file can't be read or changed safely.
    """
    host, file = HOSTS[name], _file(name, scope)
    entry = _entry(host, command)

    def edit(text: str, syntax: ModuleType) -> str:
        path = (host.key, SERVER)
        present = syntax.get(text, path)
        if present is None:
            return str(syntax.put(text, path, entry))
        if not isinstance(present, Mapping) or "command" not in present:
            raise HostError(
                f"{file} has an entry {SERVER} that is not started by a command: remove it first"
            )
        for key, value in entry.items():
            ours = key in ("command", "args")
            if key not in present or (ours and present[key] != value):
                text = syntax.put(text, (*path, key), value)
        return text

    return _change(name, file, edit)


def uninstall(name: HostName, scope: Scope) -> Change:
    """Return the change that removes the server from a host's file, without writing it.

    Raises
    ------
    HostError
        If the host has no such scope, or its file can't be read or changed safely.
    """

    def edit(text: str, syntax: ModuleType) -> str:
        path = (HOSTS[name].key, SERVER)
        return text if syntax.get(text, path) is None else str(syntax.remove(text, path))

    return _change(name, _file(name, scope), edit)


def _file(name: HostName, scope: Scope) -> Path:
    host = HOSTS[name]
    if scope == "user":
        return host.user()
    if host.project is None:
        raise HostError(f"{host.title} has no configuration for projects: leave out --scope")
    return Path.cwd() / host.project


def _entry(host: Host, command: Sequence[str]) -> dict[str, Any]:
    start, *arguments = command
    return {**host.fields, "command": start, "args": arguments}


def _change(name: HostName, file: Path, edit: Callable[[str, ModuleType], str]) -> Change:
    """Return the change that `edit` makes, after checking that nothing else changes."""
    # Imported here, since every command of rag-tools imports this module.
    from rag_tools_mcp.install import jsonc, toml

    key, syntax = HOSTS[name].key, toml if file.suffix == ".toml" else jsonc
    before = read(file)
    text = before or ""
    try:
        after = edit(text, syntax)
        others = [_without(key, syntax.get(each, ())) for each in (text, after)]
    except ValueError as error:
        raise HostError(
            f"can't change {file}: {error}. The file wasn't changed. To see what to add by hand, "
            f"run "
            f"rag-tools install {name} --print"
        ) from error
    if others[0] != others[1]:
        raise HostError(
            f"can't change {file} without changing other entries; the file wasn't changed"
        )
    return Change(file, before, after)


def _without(key: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without our entry."""
    servers = {name: entry for name, entry in document.get(key, {}).items() if name != SERVER}
    return {**document, key: servers}
