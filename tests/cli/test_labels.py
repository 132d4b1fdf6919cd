"""Options of ``index`` that say who may read what."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rag_tools import Engine, Principal
from rag_tools.cli.main import app


def index(*arguments):
    return CliRunner().invoke(app, ["index", *map(str, arguments)])


def test_labels_are_stored_with_the_folder(tmp_path):
    docs, directory = tmp_path / "docs", tmp_path / "index"
    (docs / "hr").mkdir(parents=True)
    (docs / "hr" / "pay=2026.txt").write_text("The director earns a fortune.\n")
    (docs / "tides.txt").write_text("Two tides a day.\n")
    to = ("--index", directory, "--json")
    rules = ("--label", "*.txt=everyone", "--label", "pay=2026.txt=hr, user:ana")
    for arguments, updated, readable in (
        ((docs, *rules, "--default-deny"), 0, 1),
        ((docs,), 0, 1),
        ((docs, "--no-labels"), 2, 0),
        (("--no-default-deny",), 0, 2),
    ):
        done = index(*arguments, *to)
        assert done.exit_code == 0, done.stderr
        assert len(json.loads(done.stdout)["updated"]) == updated
        with Engine.open(directory) as engine:
            assert engine.as_(Principal()).status().documents == readable
            if arguments[0] == docs and "--no-labels" not in arguments:
                assert engine.as_(Principal(user="ana")).status().documents == 2


@pytest.mark.parametrize("wrong", ["hr", "hr/**=", "=hr", "hr/**=a\nb"])
def test_a_label_that_cannot_be_understood_is_refused(tmp_path, wrong):
    done = index(tmp_path, "--index", tmp_path / "index", "--label", wrong)
    assert done.exit_code == 2
    assert "--label" in done.stderr
    assert not (tmp_path / "index").exists()
