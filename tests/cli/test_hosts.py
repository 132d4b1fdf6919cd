"""What `install` and `uninstall` do to the files of the programs that start the server."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters

from rag_tools.errors import HostError
from rag_tools_mcp.install import hosts, jsonc, toml
from rag_tools_mcp.install.changes import Change
from rag_tools_mcp.install.values import EditError

COMMAND = ["/opt/my tools/rag-tools", "serve", "--index", "/home/zoë/all notes"]
NAMES = get_args(hosts.HostName)
VARIABLES = (
    "APPDATA",
    "LOCALAPPDATA",
    "XDG_CONFIG_HOME",
    "CLAUDE_CONFIG_DIR",
    "COPILOT_HOME",
    "CODEX_HOME",
    "RAG_TOOLS_INDEX",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home that is empty; the working directory is a project in it."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return tmp_path


def rag_tools(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rag_tools.cli.main", *arguments]
    return subprocess.run(
        command, input=answer, capture_output=True, encoding="utf-8", check=False, timeout=60
    )


def entries(file: Path, key: str) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    return (tomllib.loads(text) if file.suffix == ".toml" else json.loads(text))[key]


def servers(name: hosts.HostName, scope: hosts.Scope = "user") -> dict[str, Any]:
    return entries(hosts.install(name, scope, COMMAND).file, hosts.HOSTS[name].key)


PLACES = {
    ("claude-code", "linux"): ".claude.json",
    ("claude-code", "darwin"): ".claude.json",
    ("claude-code", "win32"): ".claude.json",
    ("claude-desktop", "linux"): ".config/Claude/claude_desktop_config.json",
    ("claude-desktop", "darwin"): ("Library/Application Support/Claude/claude_desktop_config.json"),
    ("claude-desktop", "win32"): "AppData/Roaming/Claude/claude_desktop_config.json",
    ("vscode", "linux"): ".config/Code/User/mcp.json",
    ("vscode", "darwin"): "Library/Application Support/Code/User/mcp.json",
    ("vscode", "win32"): "AppData/Roaming/Code/User/mcp.json",
    ("cursor", "linux"): ".cursor/mcp.json",
    ("cursor", "darwin"): ".cursor/mcp.json",
    ("cursor", "win32"): ".cursor/mcp.json",
    ("copilot-cli", "linux"): ".copilot/mcp-config.json",
    ("copilot-cli", "darwin"): ".copilot/mcp-config.json",
    ("copilot-cli", "win32"): ".copilot/mcp-config.json",
    ("codex", "linux"): ".codex/config.toml",
    ("codex", "darwin"): ".codex/config.toml",
    ("codex", "win32"): ".codex/config.toml",
}


@pytest.mark.parametrize(("name", "system"), PLACES)
def test_the_file_of_the_user(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: hosts.HostName, system: str
):
    monkeypatch.setattr(hosts, "sys", SimpleNamespace(platform=system, executable=sys.executable))
    hosts.install(name, "user", COMMAND).write()
    file = home / PLACES[name, system]
    assert entries(file, hosts.HOSTS[name].key)["rag-tools"]["command"] == COMMAND[0]
    assert {each for each in home.rglob("*") if each.is_file()} == {file}


@pytest.mark.parametrize(
    ("name", "system", "variable", "rest"),
    [
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("claude-desktop", "linux", "XDG_CONFIG_HOME", "Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", "APPDATA", "Claude/claude_desktop_config.json"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
        ("copilot-cli", "darwin", "COPILOT_HOME", "mcp-config.json"),
        ("codex", "win32", "CODEX_HOME", "config.toml"),
    ],
)
def test_variables_move_the_file(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: hosts.HostName,
    system: str,
    variable: str,
    rest: str,
):
    monkeypatch.setattr(hosts, "sys", SimpleNamespace(platform=system))
    monkeypatch.setenv(variable, str(home / "else where"))
    assert hosts.install(name, "user", COMMAND).file == home / "else where" / rest


def test_claude_desktop_as_a_windows_package(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosts, "sys", SimpleNamespace(platform="win32"))
    package = home / "AppData" / "Local" / "Packages" / "Claude_pzs8sxrjxfjjc"
    package.mkdir(parents=True)
    file = hosts.install("claude-desktop", "user", COMMAND).file
    assert file == package / "LocalCache/Roaming/Claude/claude_desktop_config.json"


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_a_project(home: Path, name: hosts.HostName):
    place = hosts.HOSTS[name].project
    if place is None:
        with pytest.raises(HostError, match="project"):
            hosts.install(name, "project", COMMAND)
        with pytest.raises(HostError, match="project"):
            hosts.uninstall(name, "project")
    else:
        hosts.install(name, "project", COMMAND).write()
        assert [f for f in home.rglob("*") if f.is_file()] == [home / "project" / place]


def test_two_hosts_share_the_file_of_a_project():
    hosts.install("claude-code", "project", COMMAND).write()
    hosts.install("copilot-cli", "project", COMMAND).write()
    assert hosts.install("claude-code", "project", COMMAND).empty
    assert servers("claude-code", "project")["rag-tools"] == {
        "type": "stdio",
        "command": COMMAND[0],
        "args": COMMAND[1:],
        "tools": ["*"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_is_what_is_installed(name: hosts.HostName):
    change = hosts.install(name, "user", COMMAND)
    assert change.before is None
    assert change.after.rstrip("\n") == hosts.snippet(name, COMMAND).text
    entry = dict(hosts.HOSTS[name].fields) | {"command": COMMAND[0], "args": COMMAND[1:]}
    change.write()
    assert servers(name)["rag-tools"] == entry


@pytest.mark.parametrize("name", ["vscode", "codex"])
def test_from_the_command_line(home: Path, name: hosts.HostName, index_dir: Path):
    arguments = (name, "--index", str(index_dir))
    file = hosts.install(name, "user", COMMAND).file

    printed = rag_tools("install", *arguments, "--print")
    assert printed.returncode == 0
    assert not file.exists()

    refused = rag_tools("install", *arguments, answer="n\n")
    assert refused.returncode == 1
    assert f"+++ {file}" in refused.stdout
    assert not file.exists()
    assert rag_tools("install", *arguments).returncode == 1, "nobody there to answer"
    assert not file.exists()

    accepted = rag_tools("install", *arguments, answer="y\n")
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stderr == ""
    assert file.read_text(encoding="utf-8") == printed.stdout

    again = rag_tools("install", *arguments)
    assert (again.returncode, again.stdout) == (0, f"Nothing to do: {file}\n")

    # What the host starts is this server, with this index, wherever the host stands.
    entry = servers(name)["rag-tools"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-1] == str(index_dir)
    search = anyio.run(over_stdio, entry["command"], entry["args"], home)
    assert search["results"]

    assert rag_tools("uninstall", name, "--yes").returncode == 0
    assert servers(name, "user") == {} if name != "codex" else file.read_text() == ""
    gone = rag_tools("uninstall", name)
    assert (gone.returncode, gone.stdout) == (0, f"Nothing to do: {file}\n")


async def over_stdio(command: str, arguments: list[str], folder: Path) -> dict[str, Any]:
    server = StdioServerParameters(command=command, args=arguments, cwd=folder, env={})
    async with Client(server) as client:
        return (await client.call_tool("search", {"query": "tides"})).structured_content


def test_paths_are_absolute_and_a_missing_index_is_said(home: Path):
    done = rag_tools("install", "cursor", "--index", "notes index", "--yes")
    assert done.returncode == 0
    wanted = str(home / "project" / "notes index")
    assert wanted in done.stderr
    assert "rag-tools index" in done.stderr
    assert servers("cursor")["rag-tools"]["args"][-1] == wanted


def test_an_unknown_host_or_scope():
    for arguments in (("install", "emacs"), ("install", "cursor", "--scope", "world")):
        done = rag_tools(*arguments)
        assert done.returncode == 2
        assert arguments[-1] in done.stderr


BY_HAND = """\
// My servers
{
    "inputs": [], // none
    "servers": {
        /* the weather, "quoted" */
        "weather": {
            "command": "uvx", "args": ["weather", "--unit=°C"], // don't touch
        },
        // "rag-tools": {}
    },
}
"""


def test_comments_and_trailing_commas_stay(home: Path):
    file = home / "project" / ".vscode" / "mcp.json"
    file.parent.mkdir()
    file.write_text(BY_HAND, encoding="utf-8")
    change = hosts.install("vscode", "project", COMMAND)
    change.write()
    _from, _to, *lines = change.diff().splitlines()
    assert not [line for line in lines if line.startswith("-")], "nothing but additions"
    assert '+        "rag-tools": {' in lines, "the indentation is the file's"
    assert jsonc.get(change.after, ["servers", "rag-tools", "args"]) == COMMAND[1:]
    assert hosts.install("vscode", "project", COMMAND).empty
    hosts.uninstall("vscode", "project").write()
    assert file.read_text(encoding="utf-8") == BY_HAND


CODEX = """\
# Codex, by hand
model = "gpt-5" # the model

[mcp_servers.weather] # the weather
command = "uvx"
args = [
    "weather", # the program
]

# Which folders I trust
[projects."/home/zoë"]
trust_level = "trusted"
"""


def test_toml_keeps_its_comments(home: Path):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text(CODEX, encoding="utf-8")
    hosts.install("codex", "user", ["old-rag-tools", "serve"]).write()
    hosts.install("codex", "user", COMMAND).write()
    text = file.read_text(encoding="utf-8")
    assert text.startswith(CODEX)
    assert set(servers("codex")) == {"weather", "rag-tools"}
    assert servers("codex")["rag-tools"]["command"] == COMMAND[0]
    file.write_text(text + '\n[mcp_servers.rag-tools.env]\nA = "b"\n\n# the end\n', "utf-8")
    hosts.uninstall("codex", "user").write()
    left = file.read_text(encoding="utf-8")
    assert left == CODEX + "\n# the end\n"


def test_the_users_own_fields_of_our_entry_stay():
    hosts.install("copilot-cli", "user", ["/old/rag-tools", "serve"]).write()
    change = hosts.install("copilot-cli", "user", COMMAND)
    text = jsonc.put(change.before or "", ["mcpServers", "rag-tools", "env"], {"A": "b"})
    text = jsonc.put(text, ["mcpServers", "rag-tools", "tools"], ["search"])
    change.file.write_text(text, encoding="utf-8")
    hosts.install("copilot-cli", "user", COMMAND).write()
    assert servers("copilot-cli")["rag-tools"] == {
        "type": "stdio",
        "tools": ["search"],
        "command": COMMAND[0],
        "args": COMMAND[1:],
        "env": {"A": "b"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "not JSON at all",
        '{"mcpServers": {',
        '{"mcpServers": {}} and more',
        '{"mcpServers": {}}{"mcpServers": {}}',
        '{"mcpServers": {},, "a": 1}',
        "{,}",
        "{mcpServers: {}}",
        "{'mcpServers': {}}",
        '{"mcpServers": {"other": run()}}',
        '{"mcpServers": null}',
        '{"mcpServers": ["rag-tools"]}',
        '{"mcpServers": {"rag-tools": "on"}}',
        '{"mcpServers": {"rag-tools": {"url": "http://127.0.0.1:8931/mcp"}}}',
        '["mcpServers"]',
        '}) ; ({"mcpServers": {}',
        "null",
    ],
)
def test_a_file_that_cannot_be_changed_safely_is_left_alone(home: Path, text: str):
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(HostError, match=r"mcp\.json"):
        hosts.install("cursor", "user", COMMAND)
    assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


def test_the_command_says_what_it_left_alone(home: Path):
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text("{mine: 1}")
    for command in ("install", "uninstall"):
        done = rag_tools(command, "cursor", "--yes")
        assert done.returncode == 1
        assert str(file) in done.stderr
        assert "rag-tools install cursor --print" in done.stderr
        assert "Traceback" not in done.stderr
        assert file.read_text() == "{mine: 1}"


@pytest.mark.parametrize(
    "text",
    [
        "not = TOML = at all",
        "mcp_servers = 1",
        "[[mcp_servers]]\na = 1",
        '[mcp_servers]\nrag-tools = {url = "http://127.0.0.1"}',
        'mcp_servers = {other = {command = "x"}}',
    ],
)
def test_toml_that_cannot_be_changed_safely_is_left_alone(home: Path, text: str):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(HostError, match=r"config\.toml"):
        hosts.install("codex", "user", COMMAND)


def test_toml_that_holds_the_server_in_one_line_is_left_alone(home: Path):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text('mcp_servers = {rag-tools = {command = "x"}, other = {command = "y"}}\n')
    with pytest.raises(HostError, match="header"):
        hosts.uninstall("codex", "user")
    hosts.install("codex", "user", COMMAND).write()
    assert servers("codex") == {
        "rag-tools": {"command": COMMAND[0], "args": COMMAND[1:]},
        "other": {"command": "y"},
    }


def test_bytes_that_are_not_text_are_left_alone(home: Path):
    file = home / ".claude.json"
    file.write_bytes(b'{"caf\xe9": 1}')
    with pytest.raises(HostError, match="can't read"):
        hosts.install("claude-code", "user", COMMAND)


def test_line_ends_and_byte_order_mark_stay(home: Path):
    file = home / ".claude.json"
    before = '\ufeff{\r\n\t"n": 1.50\r\n}\r\n'.encode()
    file.write_bytes(before)
    hosts.install("claude-code", "user", COMMAND).write()
    after = file.read_bytes()
    assert after.startswith(before[: before.index(b"\r\n}")])
    assert after.count(b"\n") == after.count(b"\r\n")
    assert b'\r\n\t\t"rag-tools"' in after


def test_the_backup_is_the_file_as_it_was(home: Path):
    file = home / ".claude.json"
    file.write_text('{"n": 1}')
    change = hosts.install("claude-code", "user", COMMAND)
    change.write()
    assert change.backup.read_text() == '{"n": 1}'
    assert sorted(home.glob(".claude*")) == [file, change.backup]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(home: Path):
    real = home / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text('{"secret": "token"}')
    real.chmod(0o600)
    (home / ".claude.json").symlink_to(real)
    change = hosts.install("claude-code", "user", COMMAND)
    change.write()
    assert (home / ".claude.json").is_symlink()
    assert "rag-tools" in real.read_text()
    for each in (real, change.backup):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_a_file_that_changed_meanwhile_is_not_overwritten(home: Path):
    change = hosts.install("claude-code", "user", COMMAND)
    (home / ".claude.json").write_text('{"new": true}')
    with pytest.raises(HostError, match="another program"):
        change.write()
    assert (home / ".claude.json").read_text() == '{"new": true}'


def test_a_failure_while_writing_leaves_the_file(home: Path, monkeypatch: pytest.MonkeyPatch):
    file = home / ".claude.json"
    file.write_text("{}")
    change = hosts.install("claude-code", "user", COMMAND)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HostError, match="No space left"):
        change.write()
    assert file.read_text() == "{}"
    assert sorted(home.glob(".claude*")) == [file, change.backup]


def test_a_diff_shows_nothing_but_the_change(home: Path):
    change = Change(home / "f", '{\n  "a": 1\n}\n', jsonc.put('{\n  "a": 1\n}\n', ["b"], 2))
    assert change.diff().splitlines()[2:] == [
        "@@ -1,3 +1,4 @@",
        " {",
        '-  "a": 1',
        '+  "a": 1,',
        '+  "b": 2',
        " }",
    ]


NAME = st.sampled_from(["a", "b", "", "é", 'with "quotes"', "mcpServers", "__proto__", "\n"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=8,
)
FILLER = st.sampled_from(["", " ", "\n", "\r\n", "\t", "// note, }\n", "/* { */"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A document with comments, white space and trailing commas; and what it holds."""

    def written(value: Any) -> str:
        space = [draw(FILLER) for _ in range(4)]
        comma = draw(st.sampled_from(["", ","])) if value else ""
        if isinstance(value, dict):
            members = [f"{space[0]}{json.dumps(k)}:{written(v)}" for k, v in value.items()]
            return f"{space[1]}{{{','.join(members)}{space[2]}{comma}{space[3]}}}"
        if isinstance(value, list):
            items = [written(item) for item in value]
            return f"{space[1]}[{','.join(items)}{space[2]}{comma}{space[3]}]"
        return f"{space[0]}{json.dumps(value, ensure_ascii=draw(st.booleans()))}{space[1]}"

    value = draw(st.dictionaries(NAME, JSON, max_size=4))
    return written(value), value


FILLERS = ("// note, }", "/* { */")


@given(documents(), NAME, JSON)
@settings(max_examples=300, deadline=None)
def test_what_is_put_into_any_document_changes_nothing_else(
    document: tuple[str, Any], name: str, value: Any
):
    text, held = document
    assert jsonc.get(text, []) == held
    added = jsonc.put(text, [name], value)
    assert jsonc.get(added, []) == {**held, name: value}
    if name not in held:
        removed = jsonc.remove(added, [name])
        assert jsonc.get(removed, []) == held
        assert [removed.count(each) for each in FILLERS] == [text.count(each) for each in FILLERS]


@given(documents(), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_removed_from_any_document_leaves_the_rest(
    document: tuple[str, Any], data: st.DataObject
):
    text, held = document
    for name in data.draw(st.permutations(list(held))):
        text = jsonc.remove(text, [name])
        del held[name]
        assert jsonc.get(text, []) == held


def test_what_is_not_there_cannot_be_removed():
    with pytest.raises(EditError, match=r"a\.b"):
        jsonc.remove('{"a": {}}', ["a", "b"])


def test_toml_tables_are_told_apart():
    text = "[a.rag-tools-2]\nx = 1\n\n['a'.\"rag-tools\"]\ny = 2\n[a.rag-tools.env]\nz = 3\n"
    assert toml.remove(text, ["a", "rag-tools"]) == "[a.rag-tools-2]\nx = 1\n"
