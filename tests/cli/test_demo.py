"""`rag-tools demo`, as somebody reads it who has just installed the package."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rag_tools
from rag_tools.cli import demo
from rag_tools.cli.main import app
from rag_tools.engine import Engine

COMMAND = [sys.executable, "-m", "rag_tools.cli.main"]

ANSWERS = {
    "How many spaces per indentation level?": ("pep-0008.rst", "Use 4 spaces"),
    "Why was the print statement replaced with a function?": ("pep-3105.pdf", "print()"),
    "Which syntax was chosen for conditional expressions?": ("pep-0308.html", "X if C else Y"),
    "When does zip raise an error?": ("pep-0618.md", "raise a `ValueError`"),
    "Who decides whether a PEP is accepted?": ("pep-0001.docx", "Steering\nCouncil|Council"),
    "How long to wait before the next attempt?": ("backoff.py", "delay"),
}


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the demo in `folder`, wide, so that no line is wrapped."""
    return subprocess.run(
        [*COMMAND, "demo", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "COLUMNS": "300", "HOME": str(folder), "USERPROFILE": str(folder)},
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the sample documents."""
    directory = tmp_path_factory.mktemp("sample") / "index"
    with Engine.open(directory, create=True) as engine:
        report = engine.sync([demo.SAMPLE])
    assert len(report.added) == 8
    assert report.skipped == ()
    # A slow laptop encodes 35 a second, and shows its first answer within 20 seconds.
    assert report.encoded_passages <= 350
    return directory


def test_the_sample_is_in_the_package_and_has_every_format():
    assert demo.SAMPLE.is_relative_to(Path(rag_tools.__file__).parent)
    suffixes = {path.suffix for path in demo.SAMPLE.iterdir()}
    assert suffixes >= {".rst", ".md", ".html", ".pdf", ".docx", ".py"}


def test_no_document_is_kept_twice():
    names = [path.name for path in (*demo.SAMPLE.iterdir(), *demo.CORPUS.iterdir())]
    assert {name for name in names if names.count(name) > 1} <= {"README.md"}


def test_every_question_is_asked_of_the_right_document(index: Path):
    assert set(ANSWERS) == set(demo.QUESTIONS)
    with Engine.open(index) as engine:
        for question, (name, words) in ANSWERS.items():
            found = engine.search(question, limit=1)
            assert not found.low_confidence, question
            (hit,) = found.results
            assert hit.uri.endswith(f"/{name}"), question
            assert re.search(words, " ".join(cited.quote for cited in hit.citations)), question
        assert engine.search(demo.UNANSWERED).low_confidence
        assert engine.cite(demo.CLAIM).verdict == "supported"


def test_demo_goes_through_the_whole_tour(indexed_corpus: Path, tmp_path: Path):
    result = run(tmp_path, "--corpus", indexed_corpus, "--index", tmp_path / "index")
    assert result.returncode == 0, result.stderr
    for part in ("6 added", "→ search", "→ cite", "→ verify", '"status": "exact"'):
        assert part in result.stdout
    assert "install claude-code --index" in result.stdout


@pytest.mark.parametrize("kept", [[], ["--index", "kept here"]])
def test_every_command_that_is_shown_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[str]
):
    # Where the demo ran, its index is there if it was kept; else the first command makes one.
    shown = run(tmp_path, *kept)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "kept here").is_dir() == bool(kept)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAG_TOOLS_INDEX", raising=False)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    lines = [line[2:] for line in shown.stdout.splitlines() if line.startswith("$ ")]
    assert len(lines) == 20
    for line in lines:
        command, _, file = line.partition(" > ")
        start, *arguments = shlex.split(command)
        if arguments[0] == "-m":  # the program isn't installed, and the interpreter starts it
            arguments = arguments[2:]
        assert Path(start).name.startswith(("rag-tools", "python"))
        if arguments[0] == "serve":  # it waits for an agent
            continue
        if arguments[:2] == ["index", "."]:
            Path("note.md").write_text("The tide is high at noon.", encoding="utf-8")
        done = CliRunner().invoke(app, arguments, input="y\n")
        assert done.exit_code == 0, (line, done.output)
        if file:
            Path(file).write_bytes(done.stdout_bytes)


def test_everything_needs_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "CORPUS", tmp_path / "gone")
    done = CliRunner().invoke(app, ["demo", "--full"])
    assert done.exit_code == 2
    assert "clone" in done.output
    done = CliRunner().invoke(app, ["demo", "--full", "--corpus", str(tmp_path)])
    assert done.exit_code == 2
