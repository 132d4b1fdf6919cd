"""Indexes that earlier releases wrote are read, and written to, by this one."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from rag_tools import Document, Engine
from rag_tools.index.arrayfile import FORMAT_VERSION

FORMATS = Path(__file__).parents[1] / "data" / "formats"
GOLDEN = sorted(FORMATS.glob("format-*.zip"))
KEPT = "They are kept for two weeks."


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def index(request, tmp_path):
    with ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_there_is_a_golden_index_of_the_current_format():
    assert FORMATS / f"format-{FORMAT_VERSION}.zip" in GOLDEN


def test_a_golden_index_is_read(index):
    with Engine.open(index) as engine:
        assert sorted(engine.versions().keys) == ["backups", "kettle", "keys"]
        found = engine.search("how long are backups kept?", limit=3)
        assert found.results[0].document_id == "backups"
        citation = found.results[0].citations[0]
        assert citation.quote == KEPT
        text = engine.fetch("backups").text
        assert text[citation.start : citation.end] == KEPT
        assert engine.verify(citation).status == "exact"
        assert engine.document("kettle").text.endswith("boils at 100 °C. ☕\n")
        only = engine.search("water", filter={"team": "kitchen"}).results
        assert [hit.document_id for hit in only] == ["kettle"]
        engine.check()


def test_a_golden_index_is_written_to(index):
    with Engine.open(index) as engine:
        added = Document(uri="notes:tides", id="tides", text="Most coasts see two tides a day.\n")
        engine.add([added])
        engine.delete(["keys"])
        assert sorted(engine.versions().keys) == ["backups", "kettle", "tides"]
        assert engine.search("tides", limit=1).results[0].document_id == "tides"
        quote = engine.search("how long are backups kept?", limit=1).results[0].citations[0].quote
        assert quote == KEPT
        engine.check()
