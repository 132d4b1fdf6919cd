"""Loaders of other packages: one is installed, and its files are indexed like any others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rag_tools import Engine
from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.load import harmless, load_bytes, supported
from rag_tools.ingest.plugins import _announced, plugin

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "rag-tools-recipes"
version = "1.0"

[project.entry-points."rag_tools.loaders"]
recipe = "recipes:load_recipe"
broken = "recipes:no_such_function"
txt = "recipes:load_recipe"
wrong = "recipes:load_wrong"
"""

MODULE = """\
from rag_tools.types import Block, Document


def load_recipe(data, *, uri, name):
    text = data.decode("utf-8")
    title, _, _ = text.partition("\\n")
    start = len(title) + 1
    blocks = (Block("heading", 0, start, (title,)), Block("paragraph", start, len(text), (title,)))
    return Document(text=text, uri=uri, title=title, blocks=blocks)


def load_wrong(data, *, uri, name):
    return "text"
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder into which the package is installed, without a network."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("packages")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "recipes.py").write_text(MODULE)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", target]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, source], capture_output=True, text=True
    )
    if done.returncode and "No module named" in done.stderr:
        pytest.skip("pip and setuptools aren't installed here")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(packages, monkeypatch):
    monkeypatch.syspath_prepend(str(packages))
    plugin.cache_clear()
    _announced.cache_clear()
    yield
    plugin.cache_clear()
    _announced.cache_clear()


def test_files_of_an_installed_loader_are_indexed(installed, tmp_path):
    folder = tmp_path / "kitchen"
    folder.mkdir()
    (folder / "soup.recipe").write_text("Leek soup\nBoil the leeks for twenty minutes.")
    (folder / "bad.recipe").write_bytes(b"\xff\xfe\xfd")
    with Engine.open(tmp_path / "index", create=True) as engine:
        report = engine.sync([folder])
        assert len(report.added) == 1
        assert "bad.recipe" in report.skipped[0].path
        citation = engine.search("how long do leeks boil?").results[0].citations[0]
        assert citation.quote == "Boil the leeks for twenty minutes."
        assert citation.heading == "Leek soup"


def test_a_loader_of_another_package_runs_in_a_process_of_its_own(installed):
    assert not harmless("a.recipe", 1)


def test_our_own_formats_stay_ours(installed):
    assert load_bytes(b"One.\n\nTwo.", name="a.txt", uri="memory:a").title == "a.txt"


def test_a_loader_that_fails_costs_its_files_alone(installed):
    for name in ("a.broken", "a.wrong"):
        with pytest.raises(UnreadableFileError, match=name):
            load_bytes(b"x", name=name, uri="memory:x")


def test_without_it_the_files_are_not_supported():
    from pathlib import Path

    assert not supported(Path("soup.recipe"))
    with pytest.raises(UnsupportedFormatError):
        load_bytes(b"x", name="soup.recipe", uri="memory:x")
