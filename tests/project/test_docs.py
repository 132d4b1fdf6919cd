"""The documentation says what the program does: every command, option, tool and snippet."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from mcp import Client
from mcp.types import Tool
from typer.testing import CliRunner

from rag_tools.cli.main import app
from rag_tools.creation import DEFAULT_BITS, DEFAULT_PASSAGE_TOKENS
from rag_tools.evaluate.dataset import read
from rag_tools.evaluate.systems import Plan
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.install.hosts import HOSTS, settings_folder, snippet
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import Http

ROOT = Path(__file__).parents[2]
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
MCP = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

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
    given = [one for each in COMMANDS.values() for one in each.params]
    options = {option for one in given for option in (*one.opts, *one.secondary_opts)}
    assert set(re.findall(r"`(--[a-z-]+)", CLI)) <= options | {"--version", "--help"}


# Defaults that aren't those of an option: it is None, and somebody else decides.
DECIDED_ELSEWHERE = {
    ("index", "--bits"): DEFAULT_BITS,
    ("index", "--passage-tokens"): DEFAULT_PASSAGE_TOKENS,
    ("serve", "--workers"): Http.model_fields["workers"].default,
    ("serve", "--profile"): inspect.signature(build).parameters["profile"].default,
    ("eval", "--bits"): Plan.__dataclass_fields__["bits"].default,
    ("eval", "--quality"): Plan.__dataclass_fields__["quality"].default,
    ("eval", "--split"): inspect.signature(read).parameters["split"].default or "test",
}
# Zero is where everything begins, unless said otherwise.
SELF_EVIDENT = {("fetch", "--start")}


def stated_defaults(text: str) -> dict[str, str]:
    """Return the defaults that the description of a command states, by option."""
    number = r"(`[^`$]+`|\d[\d.]*\b)"
    stated = {}
    for options, meaning in re.findall(r"^\| (`--.*?`) \| (.*) \|$", text, re.MULTILINE):
        option = re.findall(r"`(--[a-z-]+)", options)[0]
        found = re.search(rf"{number}(?: and all)? by default", meaning)
        found = found or re.search(r"(`[^`]+`) \(the default\)", meaning)
        if found:
            stated[option] = found[1].strip("`")
        elif "(the default)" in meaning:  # of the choices that the option names, the first
            stated[option] = re.split(r"[ \\|`]+", options)[2]
    inline = rf"`(--[a-z-]+)`\s+\({number}\s+by\s+default\)"
    return stated | {option: value.strip("`") for option, value in re.findall(inline, text)}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_of_options_are_those_of_the_program(name: str):
    stated = stated_defaults(section(CLI, name))
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name != "option" or getattr(parameter, "is_flag", False):
            continue
        option = parameter.opts[0]
        default = parameter.default
        if default is None:
            default = DECIDED_ELSEWHERE.get((name, option))
        shared = option == "--quality" and f"`{option}`" in section(CLI, name)  # as for `search`
        if default in (None, [], ()) or (name, option) in SELF_EVIDENT:
            assert option not in stated, f"{name} {option}: nothing says {stated.get(option)}"
        elif option in stated or not (shared or option == "--scope"):
            assert option in stated, f"{name} {option}: the default {default} isn't stated"
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert stated.pop(option) in (str(default), shown), option


def test_stated_defaults_are_found():
    text = (
        "Takes `--limit` (5 by\ndefault) and `--json`.\n\n"
        "| `--share X` | drop more than this; 0.95 by default |\n"
        "| `--bits N`, `--dim N` | of a token; 4 and all by default |\n"
        "| `--quality` | `fast`, `balanced` (the default) or `exact` |\n"
        "| `--scope user\\|project` | for you (the default), or for all |\n"
        "| `--base X` | the bundled one by default |\n"
    )
    assert stated_defaults(text) == {
        "--limit": "5",
        "--share": "0.95",
        "--bits": "4",
        "--quality": "balanced",
        "--scope": "user",
    }


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_no_type_of_a_flag_and_no_option_of_the_shell(name: str):
    arguments = [*filter(None, [name]), "--help"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert "--help" in shown.stdout
    assert "<bool>" not in shown.stdout.lower().replace("boolean", "bool")
    assert "completion" not in shown.stdout


def test_every_environment_variable_that_is_read_is_in_the_table():
    table = CLI[CLI.index("### Environment variables") :].split("\n## ")[0]
    documented = set(
        re.findall(r"`([A-Z][A-Z_]+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.M)))
    )
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("rag_tools", "server/rag_tools_mcp", "integrations")
        for path in (ROOT / folder).rglob("*.py")
    ]
    read = {found for text in sources for found in re.findall(r"\bRAG_TOOLS_[A-Z_]+\b", text)}
    for text in sources:
        read |= set(re.findall(r"environ(?:\.\w+\(|\[)\s*\"([A-Z_]+)\"", text))
        read |= set(re.findall(r"^\w*VARIABLE = \"([A-Z_]+)\"", text, re.M))
        read |= set(re.findall(r"_folder\(\s*\"([A-Z_]+)\"", text))
    assert read >= {"RAG_TOOLS_INDEX", "RAG_TOOLS_THREADS", "RAG_TOOLS_KERNEL", "RAG_TOOLS_TOKEN"}
    assert read == documented


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
    stated = re.findall(r"`(\w+)` \(([\d,]+)\)", row[1])
    assert {name: int(number.replace(",", "")) for name, number in stated} == {
        name: schema["default"]
        for name, schema in tool.input_schema["properties"].items()
        if isinstance(schema.get("default"), int)
    }
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


def defined(tree: ast.AST, within: str) -> Iterator[str]:
    """Yield the dotted names of all functions and classes, below the name of their module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{within}.{node.name}"
            yield from defined(node, f"{within}.{node.name}")


@pytest.mark.parametrize("title", ["One query", "One file"])
def test_the_walk_through_the_modules_names_what_there_is(title: str):
    package = ROOT / "rag_tools"
    names = {
        name
        for path in package.rglob("*.py")
        for name in defined(
            ast.parse(path.read_text(encoding="utf-8")),
            ".".join(path.relative_to(ROOT).with_suffix("").parts),
        )
    }
    named = re.findall(r"`([^`]+)`", section(ARCHITECTURE, title))
    files = [name for name in named if name.endswith(".py")]
    assert len(files) >= 4
    for file in files:
        assert list(package.rglob(file)), file
    functions = [name for name in named if re.fullmatch(r"\w+(\.\w+)+|_\w+|[a-z]+_[a-z_]+", name)]
    functions = [name for name in functions if not name.endswith((".py", ".md"))]
    assert len(functions) >= 10
    for function in functions:
        assert any(name.endswith(f".{function}") for name in names), function


def test_every_file_that_a_page_names_is_there():
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
    ]
    folders = "tests|docs|benchmarks|examples|rag_tools|server|integrations"
    named = {
        (page.relative_to(ROOT).as_posix(), path)
        for page in pages
        for path in re.findall(
            rf"(?<![\w/.-])((?:{folders})/[\w/-]+\.(?:py|txt|md|json|cpp|h))\b",
            page.read_text(encoding="utf-8"),
        )
        if "NAME" not in path  # stands for any
    }
    assert len(named) >= 40
    assert not [(page, path) for page, path in named if not (ROOT / path).exists()]
