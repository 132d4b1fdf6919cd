"""The Python of each page of the documentation runs as a program of its own, to its end.

A page's blocks are one program, as somebody would have it who copies them one after the other. All
programs run side by side, since most of their time is their start.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from programs import ROOT, environment
from rag_tools.engine import Engine
from serving import served

SECONDS = 120  # until a program must have ended, on a busy machine
SERVER = "http://127.0.0.1:8931/mcp"  # in the documentation: one that runs stands there


class Page(NamedTuple):
    """What a page needs, and what is to be seen of it.

    Attributes
    ----------
    needs
        Package that the page is about, if it isn't ours.
    checks
        Python that follows the page's own.
    printed
        Patterns of what the page prints, in any order.
    """

    prepare: Callable[[Path, Path], None]
    printed: tuple[str, ...]
    checks: str = ""
    needs: str = "rag_tools"


def corpus(folder: Path, _: Path) -> None:
    sample = folder / "rag_tools" / "sample"
    sample.mkdir(parents=True)
    for name in ("pep-0008.rst", "backoff.py"):
        shutil.copy(ROOT / "rag_tools" / "sample" / name, sample)


def style_guide(folder: Path, _: Path) -> None:
    with Engine.open(folder / ".rag-tools", create=True) as engine:
        engine.sync([ROOT / "rag_tools" / "sample" / "pep-0008.rst"])


def questions(folder: Path, _: Path) -> None:
    shutil.copytree(ROOT / "tests" / "data", folder / "data" / "questions")


def small_index(folder: Path, index: Path) -> None:
    shutil.copytree(index, folder / ".rag-tools")


def nothing(folder: Path, _: Path) -> None:
    assert folder.is_dir()


PAGES = {
    "README.md": Page(corpus, ("79 characters", r"pep-0008\.rst#L")),
    "docs/citations.md": Page(
        style_guide,
        (
            r"\A(?!supported)",
            "no quote says: 120",
            r"79 characters \[1\]\.",
            r"William Shakespeare\.\n",
            r"True\s*\Z",  # low confidence
        ),
    ),
    "docs/evaluation.md": Page(
        questions, (r"\A0\.\d+ \(0\.\d+, 0\.\d+\)\n\Z",), needs="ir_measures"
    ),
    "docs/filters.md": Page(nothing, (r"\['Tea is hot\.'\]", "documents=1")),
    "docs/governance.md": Page(nothing, (r"\['add', 'add', 'search'\]",)),
    "docs/langchain.md": Page(
        small_index,
        ("exact\n",),
        checks=(
            "assert message.artifact\n"
            "quotes = cited[0].metadata['citations']\n"
            "assert quotes[0]['quote'] == 'Keys are rotated every 90 days.'\n"
            "quote = documents[0].metadata['citations'][0]['quote']\n"
            "made = annotate(answer, documents).content_blocks[0]['annotations'][0]\n"
            "assert made['cited_text'] == quote\n"
            "assert made['start_index'] == len('At most 79 characters ')\n"
        ),
        needs="langchain_core",
    ),
    "docs/loaders.md": Page(
        nothing,
        ("Plum cake\n",),
        checks=(
            "data = b'Plum cake\\nBake it for an hour.'\n"
            "document = load_recipe(data, uri='file:///plum.recipe', name='plum.recipe')\n"
            "assert [block.kind for block in document.blocks] == ['heading', 'paragraph']\n"
            "print(document.title)\n"
        ),
    ),
    "docs/security.md": Page(nothing, ()),
    "docs/llamaindex.md": Page(
        small_index,
        ("exact\n", r"\[True\]\n", r"Keys are rotated every 90 days\."),
        checks=(
            "from llama_index_rag_tools import CitedResponse\n"
            "assert len(response.source_nodes) == 3\n"
            "assert isinstance(answer, CitedResponse)\n"
        ),
        needs="llama_index",
    ),
}


def python(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def running(
    index_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The programs of all pages whose packages are installed."""
    programs = {}
    with served(index_dir) as url:
        for name, page in PAGES.items():
            if importlib.util.find_spec(page.needs):
                folder = tmp_path_factory.mktemp("page")
                page.prepare(folder, index_dir)
                program = f"{python(name)}\n{page.checks}".replace(SERVER, url)
                (folder / "page.py").write_text(program, encoding="utf-8")
                programs[name] = subprocess.Popen(
                    [sys.executable, "page.py"],
                    cwd=folder,
                    env=environment(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                )
        yield programs
        for each in programs.values():
            if each.poll() is None:
                each.kill()
            each.communicate()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs_to_its_end(running: dict[str, subprocess.Popen[str]], name: str):
    if name not in running:
        pytest.skip(f"{PAGES[name].needs} isn't installed")
    out, err = running[name].communicate(timeout=SECONDS)
    assert running[name].returncode == 0, err
    for pattern in PAGES[name].printed:
        assert re.search(pattern, out), out


def test_every_page_with_python_is_run():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {path.relative_to(ROOT).as_posix() for path in pages if "```python" in path.read_text()}
    assert found == PAGES.keys()
