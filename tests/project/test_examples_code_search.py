"""The search of a source tree: symbols, their lines as they are now, links, filters."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import programs
from programs import ROOT, run

JAVASCRIPT = """\
class Queue {
  /** Put a job at the end of the queue. */
  push(job) {
    this.jobs.push(job);
  }

  /** Take the oldest job. */
  pop() {
    return this.jobs.shift();
  }
}
"""
INDEX = shutil.ignore_patterns(".rag-tools")
EXPONENTIAL = "wait twice as long after every failed attempt"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree with two languages, some of it this project's own; don't change it."""
    tree = tmp_path_factory.mktemp("source") / "zoë's tree"
    (tree / "queue").mkdir(parents=True)
    (tree / "queue" / "queue.js").write_text(JAVASCRIPT, encoding="utf-8")
    shutil.copy(ROOT / "rag_tools" / "cite" / "verify.py", tree)
    shutil.copy(ROOT / "rag_tools" / "sentences.py", tree)
    shutil.copy(ROOT / "rag_tools" / "sample" / "README.md", tree)
    search(tree, "anything")
    return tree


def search(tree: Path, *arguments: str) -> str:
    done = run(programs.environment(), "code_search.py", tree, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(tree: Path, *arguments: str) -> list[dict[str, Any]]:
    return json.loads(search(tree, *arguments, "--json"))["symbols"]


def test_functions_with_their_lines_and_evidence(tree: Path):
    source = (tree / "verify.py").read_text(encoding="utf-8").splitlines()
    best = found(tree, "length of the common prefix of two texts", "--limit", "3")[0]
    assert best["path"] == ["_agreement"]
    assert best["kind"] == "function"
    first, last = best["lines"]
    assert source[first - 1].startswith("def _agreement(")
    assert source[last - 1].startswith("    return next(")
    text = (tree / "verify.py").read_text(encoding="utf-8")
    for citation in best["evidence"]:
        assert text[citation["start"] : citation["end"]] == citation["quote"]
        assert first <= citation["lines"][0] <= citation["lines"][1] <= last


def test_no_symbol_is_listed_twice(tree: Path):
    symbols = found(tree, "the quote stands where it was cited", "--limit", "8")
    places = [(each["file"], *each["lines"]) for each in symbols]
    assert len(set(places)) == len(places) > 3


def test_what_a_person_sees(tree: Path):
    shown = search(tree, "put a job at the end of the queue", "--limit", "1").splitlines()
    assert "Queue.push  " in shown[0]
    assert shown[0].partition("queue.js:")[2].startswith("2-5  ")
    assert "       2    /** Put a job at the end of the queue. */" in shown[1:]


def test_the_link_opens_an_editor_there(tree: Path):
    query = "put a job at the end of the queue"
    link = search(tree, query, "--open", "1").strip()
    address = (tree / "queue" / "queue.js").as_uri().removeprefix("file://")
    assert link == f"vscode://file{address}:2:3"
    assert found(tree, query)[0]["link"] == link
    done = run(programs.environment(), "code_search.py", tree, query, "--open", "99")
    assert done.returncode == 2
    assert "there are" in done.stderr


def test_languages_and_paths(tree: Path):
    query = "put a job at the end of the queue"
    files = {each["file"].rpartition(".")[2] for each in found(tree, query)}
    assert files == {"js", "py"}  # code alone: README.md is indexed too
    assert {each["path"][0] for each in found(tree, query, "--language", "javascript")} == {"Queue"}
    assert all(
        each["file"].endswith("sentences.py") for each in found(tree, query, "--path", "sent*")
    )
    assert found(tree, query, "--language", "rust") == []
    done = run(programs.environment(), "code_search.py", tree, query, "--language", "cobol")
    assert done.returncode == 2
    assert "use python, javascript" in done.stderr


def test_it_keeps_in_step(tree: Path, tmp_path: Path):
    copied = Path(shutil.copytree(tree, tmp_path / "tree", ignore=INDEX))
    query = EXPONENTIAL
    assert all(each["path"] != ["back_off"] for each in found(copied, query))
    code = (
        f'"""Patience."""\n\n\ndef back_off(attempt):\n    """{query}."""\n    return 2**attempt\n'
    )
    (copied / "patience.py").write_text(code, encoding="utf-8")
    best = found(copied, query)[0]
    assert (best["path"], best["lines"]) == (["back_off"], [4, 6])
    (copied / "patience.py").write_text("# moved\n\n" + code, encoding="utf-8")
    assert found(copied, query)[0]["lines"] == [6, 8]
    (copied / "patience.py").unlink()
    assert all(each["path"] != ["back_off"] for each in found(copied, query))


def test_a_tree_that_was_indexed_keeps_its_options(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("kept.py", "left_out.py"):
        (tree / name).write_text(
            f'def {name[:-3]}():\n    """{EXPONENTIAL}."""\n', encoding="utf-8"
        )

    command = [sys.executable, "-m", "rag_tools.cli.main", "index", "."]
    subprocess.run([*command, "--exclude", "left_*"], cwd=tree, check=True, capture_output=True)
    assert [each["path"] for each in found(tree, EXPONENTIAL)] == [["kept"]]
