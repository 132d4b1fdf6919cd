"""The configuration that makes a program start the server: what to paste, and where.

Nothing here needs the MCP SDK.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Snippet(NamedTuple):
    """A piece of configuration: the host, the file or place it goes to, its language, itself."""

    host: str
    place: str
    language: str
    text: str


def snippets(command: Sequence[str]) -> tuple[Snippet, ...]:
    """Return the configuration for every host that we know.

    Parameters
    ----------
    command
        The program that serves the index, and its arguments. Hosts start it in a folder and with
        a PATH of their own: paths should be absolute.

    Examples
    --------
    >>> snippets(["rag-tools", "serve"])[0].text
    'claude mcp add rag-tools -- rag-tools serve'
    """
    program, *arguments = command
    server = {"command": program, "args": arguments}
    return (
        Snippet("Claude Code", "a terminal", "sh", _line(("claude", "mcp", "add"), command)),
        Snippet(
            "VS Code with Copilot",
            ".vscode/mcp.json",
            "json",
            _document("servers", {"type": "stdio", **server}),
        ),
        Snippet(
            "Claude Desktop", "claude_desktop_config.json", "json", _document("mcpServers", server)
        ),
        Snippet("Cursor", ".cursor/mcp.json", "json", _document("mcpServers", server)),
    )


def _line(add: Sequence[str], command: Sequence[str]) -> str:
    join: Callable[[list[str]], str] = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([*add, "rag-tools", "--", *command])


def _document(key: str, server: Mapping[str, Any]) -> str:
    return json.dumps({key: {"rag-tools": server}}, ensure_ascii=False, indent=2)
