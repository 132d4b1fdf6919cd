"""The README is true: its commands run, its Python runs, its configuration is the program's."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    """A working directory with some of the sample documents, and the folders that are named."""
    corpus = tmp_path / "rag_tools" / "sample"
    corpus.mkdir(parents=True)
    for name in ("pep-0008.rst", "backoff.py"):
        shutil.copy(ROOT / "rag_tools" / "sample" / name, corpus)
    for name in ("notes", "src/project"):
        shutil.copytree(corpus, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("RAG_TOOLS_INDEX", raising=False)
    return tmp_path


def test_the_python_example_is_short():  # that it runs: `test_docs`
    (example,) = blocks("python")
    assert len(example.splitlines()) <= 10


def test_every_command_runs(folder):
    ours = [command for command in commands() if command[0] == "rag-tools"]
    assert [command[1] for command in ours] == ["index", "search", "serve", "install"]
    for command in ours:
        expanded = [str(Path(word).expanduser()) for word in command[1:]]  # as a shell does
        done = subprocess.run(
            [sys.executable, "-m", "rag_tools.cli.main", *expanded],
            capture_output=True,
            text=True,
            input="yes\n" if "install" in command else "",
            check=False,
        )
        assert done.returncode == 0, done.stderr
    others = {tuple(command[:2]) for command in commands() if command[0] != "rag-tools"}
    assert others == {("make", "demo"), ("make", "test"), ("pip", "install")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_the_badges_start_the_server():
    # https://code.visualstudio.com/docs/copilot/reference/mcp-configuration
    # https://cursor.com/docs/mcp/install-links
    vscode, cursor = re.findall(r"\[!\[.*?\]\(.*?\)\]\((.*?)\)", README)
    asked = parse_qs(urlsplit(vscode).query)
    (question,) = json.loads(asked["inputs"][0])
    server = json.loads(asked["config"][0])
    assert server["args"] == ["serve", "--index", f"${{input:{question['id']}}}"]
    given = parse_qs(urlsplit(cursor).query)
    also = json.loads(base64.b64decode(given["config"][0]))
    assert also["args"][:2] == server["args"][:2]
    assert server["command"] == also["command"] == "rag-tools"
    assert asked["name"] == given["name"] == ["rag-tools"]


def test_every_link_leads_somewhere():
    for path in [
        page for folder in ("", "docs", "benchmarks") for page in (ROOT / folder).glob("*.md")
    ]:
        for link in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"
