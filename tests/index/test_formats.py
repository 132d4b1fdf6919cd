"""Indexes that earlier releases wrote are read, and written to, by this one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from rag_tools import Document, Engine, NotFoundError, Principal
from rag_tools.catalog import upgrade
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.index.arrayfile import FORMAT_VERSION, OLDEST_VERSION

FORMATS = Path(__file__).parents[1] / "data" / "formats"
GOLDEN = sorted(FORMATS.glob("format-*.zip"))
EARLIER = [path for path in GOLDEN if path.stem != f"format-{FORMAT_VERSION}"]
KEPT = "They are kept for two weeks."
CHARACTERS = {"backups": 75, "kettle": 40, "keys": 54}


def extract(archive, directory):
    with ZipFile(archive) as opened:
        opened.extractall(directory)
    return directory


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def index(request, tmp_path):
    return extract(request.param, tmp_path)


@pytest.fixture(params=EARLIER, ids=lambda path: path.stem)
def earlier(request, tmp_path):
    return extract(request.param, tmp_path / "i")


def test_there_is_a_golden_index_of_every_format_that_is_read():
    assert [path.stem for path in GOLDEN] == [
        f"format-{version}" for version in range(OLDEST_VERSION, FORMAT_VERSION + 1)
    ]


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
        assert {entry.id: entry.characters for entry in engine.documents()} == CHARACTERS
        engine.check()


def test_earlier_versions_are_read(index):
    """Formats before 6 kept none."""
    with Engine.open(index) as engine:
        kept = engine.history.versions("kettle")
        if engine.status().format_version < 6:
            assert len(kept) == 1
            return
        assert [version.until is None for version in kept] == [False, True]
        before = engine.document("kettle", as_of=kept[0].since)
    assert before.text.endswith("boils at 99 °C.\n")


def test_who_may_read_and_what_is_kept_is_read(index):
    """Formats before 5 knew neither."""
    with Engine.open(index) as engine:
        keys, backups = engine.document("keys"), engine.document("backups")
        version = engine.status().format_version
    assert (backups.labels, backups.expires, backups.hold) == ((), None, False)
    governed = (("ops", "user:ana"), 4_102_444_800, True) if version >= 5 else ((), None, False)
    assert (keys.labels, keys.expires, keys.hold) == governed


def test_a_golden_index_is_written_to(index):
    with Engine.open(index) as engine:
        added = Document(uri="notes:tides", id="tides", text="Most coasts see two tides a day.\n")
        engine.add([added])
        engine.retention.release(["keys"])  # format 5 holds it
        engine.delete(["keys"])
        assert sorted(engine.versions().keys) == ["backups", "kettle", "tides"]
        assert engine.search("tides", limit=1).results[0].document_id == "tides"
        quote = engine.search("how long are backups kept?", limit=1).results[0].citations[0].quote
        assert quote == KEPT
        assert engine.status().format_version == FORMAT_VERSION
        engine.check()


def tables(directory):
    connection = sqlite3.connect(directory / FILE_NAME)
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    found = {name: list(connection.execute(f"PRAGMA table_xinfo({name})")) for (name,) in rows}
    indexes = connection.execute(
        "SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index' ORDER BY name"
    ).fetchall()
    keys = connection.execute("SELECT * FROM sqlite_sequence ORDER BY name").fetchall()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    # A column that was added stands last.
    return {name: sorted(row[1:] for row in rows) for name, rows in found.items()}, indexes, keys


def test_an_upgraded_catalog_is_one_of_the_current_format(earlier, tmp_path):
    before = tables(earlier)[2]
    with Engine.open(earlier) as engine:
        assert engine.status().format_version < FORMAT_VERSION
        engine.delete([])  # the smallest write there is
        assert engine.status().format_version == FORMAT_VERSION
    upgraded, indexes, keys = tables(earlier)
    assert keys == before, "keys are never used again"
    current = tables(extract(GOLDEN[-1], tmp_path / "current"))
    assert (upgraded, indexes) == current[:2]


def test_what_an_earlier_release_encoded_is_not_encoded_again(earlier):
    with Engine.open(earlier) as engine:
        text = engine.document("backups").text
        engine.add([Document(uri="notes:copy", id="copy", text=text)])
        with engine._opened.reader.view() as view:
            keys = [view.catalog.document_key(id) for id in ("backups", "copy")]
            rows = [row for key in keys for row in view.catalog.encoded_rows(key)]
        assert len(rows) == 2
        # Its title is another, so the copy isn't the same to the encoder.
        assert all(row.encoded for row in rows)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_earlier_index_is_read_where_nothing_can_be_written(earlier):
    read_only(earlier)


def test_an_earlier_index_is_read_and_left_as_it_is(earlier, monkeypatch):
    """Also by root, to whom every directory can be written."""
    before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    read_only(earlier)
    assert {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()} == before


def read_only(directory):
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with Engine.open(directory) as engine:
            assert {entry.id: entry.characters for entry in engine.documents()} == CHARACTERS
            kitchen = [entry.id for entry in engine.documents(filter={"team": "kitchen"})]
            assert kitchen == ["kettle"]
            assert engine.search("how long are backups kept?").results[0].document_id == "backups"
            engine.check()
    finally:
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_reader_that_was_there_before_the_upgrade_goes_on(earlier):
    with Engine.open(earlier) as reader, Engine.open(earlier) as writer:
        assert len(list(reader.documents())) == 3
        tides = Document(uri="notes:tides", id="tides", text="Two tides a day.\n", labels=["ops"])
        writer.add([tides])
        assert reader.document("tides").labels == ("ops",)
        found = {entry.id: entry.characters for entry in reader.documents()}
        assert found == {**CHARACTERS, "tides": 17}
        assert reader.search("tides", limit=1).results[0].document_id == "tides"


def test_a_set_of_labels_is_forgotten_with_its_last_document(index):
    with Engine.open(index) as engine:
        engine.add([Document(uri="notes:tides", text="Two tides a day.\n", labels=["coast"])])
        engine.retention.release(["keys"])  # format 5 holds it
        engine.delete([Document(uri="notes:tides", text="").id, "keys"])
    connection = sqlite3.connect(index / FILE_NAME)
    assert connection.execute("SELECT * FROM labels").fetchall() == [(0, "[]")]
    connection.close()


UPGRADER = """
import os, signal, sqlite3, sys
from rag_tools import Engine
from rag_tools.catalog import schema

directory, fatal = sys.argv[1], int(sys.argv[2])
engine = Engine.open(directory)
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

opened = schema._open

def traced(path):
    connection = opened(path)
    connection.set_trace_callback(step)
    connection.set_progress_handler(step, 200)  # in the midst of statements too
    return connection

schema._open = traced
engine.delete([])
print(steps)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")
def test_an_upgrade_killed_at_any_step_leaves_one_of_the_two(earlier, tmp_path):
    def start(fatal):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(earlier, copy)
        return subprocess.run(
            [sys.executable, "-c", UPGRADER, str(copy), str(fatal)],
            capture_output=True,
            text=True,
            check=False,
        )

    copy = tmp_path / "copy"
    with Engine.open(earlier) as engine:
        written_as = engine.status().format_version
    total = int(start(0).stdout)
    assert total > 40
    versions = []
    for fatal in range(1, total + 1, max(1, total // 10)):
        assert start(fatal).returncode == -9
        with Engine.open(copy) as engine:
            versions.append(engine.status().format_version)
            assert {entry.id: entry.characters for entry in engine.documents()} == CHARACTERS
            assert engine.search("how long are backups kept?").results[0].document_id == "backups"
            engine.check()
            engine.retention.release(["keys"])  # format 5 holds it
            engine.delete(["keys"])
            assert engine.status().format_version == FORMAT_VERSION
            assert engine.status().documents == 2
    assert sorted(versions) == versions and set(versions) == {written_as, FORMAT_VERSION}


def test_an_upgrade_writes_the_words_of_every_passage_and_no_index_of_fts5(earlier):
    with Engine.open(earlier) as engine:
        before = [engine.search(words).model_dump() for words in ("two weeks", "100", "kettle")]
        engine.delete([])
        assert [path.suffix for path in earlier.rglob("*.lex")] == [".lex"] * 3
        assert [engine.search(words).model_dump() for words in ("two weeks", "100", "kettle")] == (
            before
        )
        engine.check()
    connection = sqlite3.connect(earlier / FILE_NAME)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
    connection.close()
    assert not [name for name in names if "lexical" in name and "segment" not in name]


def test_an_upgrade_takes_what_an_interrupted_one_wrote(earlier, monkeypatch):
    written = upgrade.write_postings

    def interrupted(path, runs):
        if list(path.parent.glob("*.lex")):
            raise KeyboardInterrupt
        written(path, runs)

    monkeypatch.setattr(upgrade, "write_postings", interrupted)
    with Engine.open(earlier) as engine, pytest.raises(KeyboardInterrupt):
        engine.delete([])
    (first,) = earlier.rglob("*.lex")
    made = first.stat().st_mtime_ns
    monkeypatch.setattr(upgrade, "write_postings", written)
    with Engine.open(earlier) as engine:
        engine.delete([])
        assert first.stat().st_mtime_ns == made
        engine.check()


def test_a_text_that_is_damaged_does_not_keep_the_others_from_being_upgraded(earlier):
    connection = sqlite3.connect(earlier / FILE_NAME)
    connection.execute("UPDATE document SET text = x'00' WHERE id = 'keys'")
    connection.commit()
    connection.close()
    with Engine.open(earlier) as engine:
        assert {entry.id: entry.characters for entry in engine.documents()} == {
            **CHARACTERS,
            # Format 3 doesn't store the number, which is counted in the text.
            "keys": 0 if engine.status().format_version == 3 else CHARACTERS["keys"],
        }
        engine.add([Document(uri="notes:tides", id="tides", text="Two tides a day.\n")])
        assert len(list(engine.documents())) == 4


def test_a_caller_reads_an_earlier_index_and_labels_count_once_it_is_upgraded(earlier):
    ana = Principal(user="ana")
    with Engine.open(earlier, principal=ana) as seen, Engine.open(earlier) as writer:
        assert {entry.id for entry in seen.documents()} == set(CHARACTERS)
        assert seen.search("how long are backups kept?").results[0].document_id == "backups"
        keys = writer.document("keys").model_copy(update={"hold": False})
        writer.retention.release(["keys"])  # format 5 holds it
        writer.add([keys.model_copy(update={"labels": ("board",)})])  # which upgrades the index
        assert {entry.id for entry in seen.documents()} == set(CHARACTERS) - {"keys"}
        found = seen.search("when are keys rotated?").results
        assert "keys" not in {hit.document_id for hit in found}
        with pytest.raises(NotFoundError):
            seen.fetch("keys")
        assert seen.status().passages == 2
        writer.add([keys.model_copy(update={"labels": ("user:ana",)})])
        assert seen.search("when are keys rotated?").results[0].document_id == "keys"


def test_an_earlier_index_has_one_version_of_each_document_until_it_keeps_more(earlier):
    with Engine.open(earlier) as reader, Engine.open(earlier, keep_versions=True) as writer:
        (known,) = reader.history.versions("backups")
        assert (known.since, known.until, known.provenance) == (None, None, None)
        text = reader.document("backups", as_of="2020-01-01").text
        writer.add([Document(uri="notes:backups", id="backups", text="There are none.\n")])
        first, second = reader.history.versions("backups")
        assert (first.since, first.until) == (None, second.since)
        assert reader.document("backups", as_of="2020-01-01").text == text
        writer.check()
