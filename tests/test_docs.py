"""The documentation says what the program does: every command, option, tool and snippet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from mcp import Client
from mcp.types import Tool

from rag_tools.cli.main import app
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.install.hosts import HOSTS, settings_folder, snippet
from rag_tools_mcp.server import build

ROOT = Path(__file__).parents[1]
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
MCP = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def section(document: str, title: str) -> str:
    found = re.search(
        rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", document, re.DOTALL | re.MULTILINE
    )
    assert found, f"no section {title}"
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_documented(name: str):
    command = COMMANDS[name]
    assert command.help
    text = section(CLI, name)
    assert f"rag-tools {name}" in text
    for parameter in command.params:
        if parameter.name == "help":
            continue
        assert parameter.help, f"{name} {parameter.name}"
        if parameter.param_type_name == "option" and parameter.name != "index":
            assert parameter.opts[0] in text, f"{name} {parameter.opts[0]}"


def test_the_documentation_names_no_command_or_option_that_is_not_there():
    assert re.findall(r"^## (.+)$", CLI, re.MULTILINE) == list(COMMANDS)
    options = {option for each in COMMANDS.values() for one in each.params for option in one.opts}
    assert set(re.findall(r"`(--[a-z-]+)", CLI)) <= options | {"--version", "--help"}


def tools() -> list[Tool]:
    async def ask() -> list[Tool]:
        server = build(Collections({"default": Path("no index")}), writable=[Path("notes")])
        async with Client(server) as client:
            return (await client.list_tools()).tools

    return anyio.run(ask)


@pytest.mark.parametrize("tool", tools(), ids=lambda tool: tool.name)
def test_every_tool_and_argument_is_documented(tool: Tool):
    row = re.search(rf"^\| `{tool.name}` \| (.*) \| (.*) \|$", MCP, re.MULTILINE)
    assert row, tool.name
    assert re.findall(r"`(\w+)`", row[1]) == list(tool.input_schema["properties"])
    assert tool.output_schema is not None
    assert set(re.findall(r"`(\w+)`", row[2])) <= set(json.dumps(tool.output_schema).split('"'))


def test_every_host_is_documented_with_its_files():
    for name, host in HOSTS.items():
        place = f"`{host.project}`" if host.project else ""
        row = rf"^\| `{name}` \| {host.title} \| `(.*)` \| {re.escape(place)} ?\| `{host.key}` \|$"
        found = re.search(row, MCP, re.MULTILINE)
        assert found, name
        user = host.user()
        assert found[1].replace("SETTINGS", str(settings_folder())) in (
            user.as_posix(),
            user.as_posix().replace(Path.home().as_posix(), "~"),
        )
        assert f"`{name}`" in section(CLI, "install")


def test_the_configuration_by_hand_is_what_the_program_prints():
    (written,) = re.findall(r"For `(\w+)`:\n\n```json\n(.*?)\n```", MCP, re.DOTALL)
    name, text = written
    assert text == snippet(name, ["rag-tools", "serve", "--index", "/path/to/index"]).text
