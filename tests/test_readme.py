"""The README is true: its commands run, its Python runs, its configuration is the program's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_tools_mcp.hosts import snippets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLACE = "/path/to/.rag-tools"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands():
    return [
        shlex.split(line, comments=True)
        for block in blocks("sh")
        for line in block.splitlines()
        if line.strip()
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a corner of the sample corpus, and the folders that are named."""
    corpus = tmp_path / "examples" / "corpus"
    corpus.mkdir(parents=True)
    for name in ("pep-0008.rst", "backoff.py"):
        shutil.copy(ROOT / "examples" / "corpus" / name, corpus)
    for name in ("notes", "src/project"):
        shutil.copytree(corpus, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("RAG_TOOLS_INDEX", raising=False)
    return tmp_path


def test_the_python_example_runs_and_prints_citations(folder, capsys):
    (example,) = blocks("python")
    assert len(example.splitlines()) <= 10
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "79 characters" in printed
    assert "pep-0008.rst#L" in printed


def test_every_command_runs(folder):
    ours = [command for command in commands() if command[0] == "rag-tools"]
    assert [command[1] for command in ours] == ["index", "search", "serve"]
    for command in ours:
        expanded = [str(Path(word).expanduser()) for word in command[1:]]  # as a shell does
        done = subprocess.run(
            [sys.executable, "-m", "rag_tools.cli.main", *expanded],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    others = {tuple(command[:2]) for command in commands() if command[0] != "rag-tools"}
    assert others == {("make", "demo"), ("make", "test"), ("pip", "install"), ("claude", "mcp")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_the_configurations_are_what_the_program_prints():
    expected = {each.host: each.text for each in snippets(["rag-tools", "serve", "--index", PLACE])}
    assert (
        shlex.join(next(command for command in commands() if command[0] == "claude"))
        == (expected["Claude Code"])
    )
    vscode, desktop_and_cursor = (json.loads(block) for block in blocks("json"))
    assert vscode == json.loads(expected["VS Code with Copilot"])
    assert desktop_and_cursor == json.loads(expected["Claude Desktop"])
    assert desktop_and_cursor == json.loads(expected["Cursor"])


def test_every_link_leads_somewhere():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"
