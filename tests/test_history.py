"""Earlier versions of documents: kept on request, read and verified as they stood, and erased."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag_tools import (
    Document,
    DocumentVersion,
    Engine,
    InvalidQueryError,
    NotFoundError,
    Principal,
    __version__,
)
from rag_tools.catalog.catalog import Catalog
from rag_tools.cli.main import app

MARCH = "Keys are rotated every 90 days. The vault is in the cellar.\n"
APRIL = "Keys are rotated every 30 days. The vault is in the cellar.\n"
MAY = "Keys are not rotated any more, since every request has its own.\n"


def rotation(text: str, **fields) -> Document:
    return Document(id="keys", uri="memo:keys", text=text, **{"title": "Keys", **fields})


@pytest.fixture
def engine(tmp_path: Path):
    with Engine.open(tmp_path / "index", create=True, keep_versions=True) as engine:
        yield engine


def untold(version: DocumentVersion) -> DocumentVersion:
    """A version as a verification has it."""
    return version.model_copy(update={"provenance": None})


def between() -> float:
    """A moment after what is done before it and before what is done after it."""
    time.sleep(0.02)
    moment = time.time()
    time.sleep(0.02)
    return moment


def test_a_document_is_read_and_verified_as_it_stood(engine: Engine):
    before = between()
    engine.add([rotation(MARCH)])
    (cited,) = engine.search("how often are keys rotated?", limit=1).results[0].citations[:1]
    march = between()
    engine.add([rotation(APRIL)])
    april = between()
    engine.add([rotation(MAY)])

    assert engine.document("keys").text == MAY
    assert engine.document("keys", as_of=march).text == MARCH
    assert engine.document("keys", as_of=datetime.fromtimestamp(april, UTC)).text == APRIL
    assert engine.document("keys", as_of="2999-12-31").text == MAY
    fetched = engine.fetch("keys", start=0, end=4, as_of=march)
    assert fetched.text == "Keys"
    first, second, last = engine.history.versions("keys")
    assert fetched.metadata["since"] == first.since
    assert fetched.metadata["until"] == first.until == second.since
    assert (second.until, last.until) == (last.since, None)
    assert engine.fetch("keys:0-4", as_of=april).text == "Keys"
    with pytest.raises(NotFoundError, match="current at"):
        engine.document("keys", as_of=before)
    with pytest.raises(NotFoundError, match="no document"):
        engine.document("other", as_of=march)
    with pytest.raises(InvalidQueryError, match="write 2026-03-31"):
        engine.document("keys", as_of="in March")
    with pytest.raises(InvalidQueryError, match="time zone"):
        engine.document("keys", as_of=datetime(2026, 3, 31))

    found = engine.verify(cited)
    assert found.status == "stale"
    assert found.version == untold(first)
    assert found.version.sha256 == cited.document_sha256
    assert f"from {first.since} to {first.until}" in found.detail
    # Of a pasted quote, the version isn't known: the latest that holds it is named.
    pasted = engine.verify({"document_id": "keys", "quote": "The vault is in the cellar."})
    assert pasted.version == untold(second)
    never = engine.verify({"document_id": "keys", "quote": "The vault is in the attic."})
    assert (never.status, never.version) == ("missing", None)


def test_a_short_id_of_words_that_are_gone_is_verified_by_the_version_that_held_them(engine):
    from rag_tools.wire.ids import ShortIds

    engine.add([rotation(MARCH)])
    quote = "every 90 days"
    id = ShortIds(engine).of("keys", MARCH.index(quote), quote)
    engine.add([rotation(MAY)])
    (verdict,) = engine.verify_answer(f"Keys live long [{id}].").verifications
    assert verdict.status == "stale"
    assert verdict.version is not None
    assert verdict.citation.quote == quote


def test_versions_are_of_texts_and_cost_nothing_unless_asked_for(tmp_path: Path):
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add([rotation(MARCH)])
        engine.add([rotation(APRIL)])
        assert len(engine.history.versions("keys")) == 1
        (old,) = engine.history.versions("keys")
        time.sleep(0.02)
        engine.retention.keep_versions(True)
        engine.add([rotation(APRIL, metadata={"team": "ops"})])  # the same text
        (same,) = engine.history.versions("keys")
        assert same.since == old.since
        engine.add([rotation(MAY)])
        assert len(engine.history.versions("keys")) == 2
        assert engine.status().versions == 1
        engine.retention.keep_versions(False)
        engine.add([rotation(MARCH)])
        assert len(engine.history.versions("keys")) == 2, "what was kept stays"


def test_a_rule_chooses_by_path_and_limits_delete_what_exceeds_them(tmp_path: Path):
    folder = tmp_path / "notes"
    (folder / "policies").mkdir(parents=True)
    kept, other = folder / "policies" / "keys.md", folder / "diary.md"
    directory = tmp_path / "index"
    for number in range(4):
        for path in (kept, other):
            path.write_text(f"# Page\n\nRevision {number} of {path.name}.\n", encoding="utf-8")
        with Engine.open(directory, create=True, keep_versions=["policies/"]) as engine:
            engine.sync([folder])
    with Engine.open(directory) as engine:
        ids = {entry.metadata["path"]: entry.id for entry in engine.documents()}
        assert len(engine.history.versions(ids["policies/keys.md"])) == 4
        assert len(engine.history.versions(ids["diary.md"])) == 1
        engine.retention.hold([ids["policies/keys.md"]])
        assert engine.retention.keep_versions(most=2).keep == ("policies/",)
        assert len(engine.history.versions(ids["policies/keys.md"])) == 4, "it is held"
        engine.retention.release([ids["policies/keys.md"]])
        engine.retention.keep_versions(most=2)
        found = engine.history.versions(ids["policies/keys.md"])
        texts = [engine.document(each.document_id, as_of=each.since).text for each in found]
        assert [text.split()[3] for text in texts] == ["1", "2", "3"]
        engine.retention.keep_versions(days=1e-9)
        assert len(engine.history.versions(ids["policies/keys.md"])) == 1
        with pytest.raises(InvalidQueryError, match="above 0"):
            engine.retention.keep_versions(most=-1)


def test_a_version_goes_with_its_document_unless_its_file_vanished(engine: Engine, tmp_path: Path):
    engine.add([rotation(MARCH)])
    engine.add([rotation(APRIL)])
    assert engine.delete(["keys"]) == 1
    with pytest.raises(NotFoundError):
        engine.history.versions("keys")

    folder = tmp_path / "notes"
    folder.mkdir()
    note = folder / "keys.md"
    note.write_text(MARCH, encoding="utf-8")
    (id,) = engine.sync([folder]).added
    march = between()
    note.unlink()
    assert engine.sync().removed == (id,)
    with pytest.raises(NotFoundError):
        engine.document(id)
    assert engine.document(id, as_of=march).text == MARCH
    found = engine.verify({"document_id": id, "quote": "every 90 days", "start": 21})
    assert (found.status, found.version) == ("stale", untold(engine.history.versions(id)[0]))
    engine.retention.hold([id])
    assert engine.retention.purge([id]).held == (id,)
    engine.retention.release([id])
    engine.retention.expire([id], 1)
    with pytest.raises(NotFoundError):
        engine.document(id, as_of=march)
    assert id in engine.sync().removed
    assert Catalog.open(engine.directory).version_keys() == []


def test_a_caller_sees_no_version_that_they_may_not_see(engine: Engine):
    ana = Principal(user="ana", groups=("ops",))
    seen = engine.as_(ana)
    engine.add([rotation(MARCH, labels=["ops"])])
    first = between()
    engine.add([rotation(APRIL, labels=["board"])])
    second = between()
    for moment in (first, second, None):
        with pytest.raises(NotFoundError):
            seen.document("keys", as_of=moment)
    engine.add([rotation(MAY, labels=["ops"])])
    assert seen.document("keys").text == MAY
    assert [each.until for each in seen.history.versions("keys")] == [None]
    for moment in (first, second):  # what came after it was for others only
        with pytest.raises(NotFoundError):
            seen.document("keys", as_of=moment)
    assert seen.verify({"document_id": "keys", "quote": "every 90 days"}).version is None
    assert engine.document("keys", as_of=first).text == MARCH
    engine.add([rotation(MARCH, labels=["ops"])])
    assert len(seen.history.versions("keys")) == 2
    engine.retention.expire(["keys"], 1)
    for each in (seen, engine):
        with pytest.raises(NotFoundError):
            each.document("keys", as_of=first)


def test_a_purge_erases_every_version(engine: Engine):
    secret = "The word zarquon42 opens the vault of the company at midnight, whoever says it."
    engine.add([Document(uri="memo:other", text="The ferry leaves at noon.")])
    engine.add([rotation(secret, title="Vault of Trillian")])
    engine.add([rotation(MAY)])
    report = engine.retention.purge(["keys"])
    assert report.findings == ()
    assert [purged.versions for purged in report.documents] == [1]
    content = b"".join(p.read_bytes() for p in engine.directory.rglob("*") if p.is_file())
    assert b"Trillian" not in content
    assert b"zarquon42" not in content
    with pytest.raises(NotFoundError):
        engine.history.versions("keys")


def test_where_a_document_is_from_is_recorded(tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "page.html").write_text("<p>Two tides a day.</p>", encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        (id,) = engine.sync([folder]).added
        engine.add([rotation(MARCH)])
        (page,) = engine.history.versions(id)
        (memo,) = engine.history.versions("keys")
        assert page.provenance is not None and memo.provenance is not None
        assert page.provenance.root == str(folder)
        assert (page.provenance.loader, memo.provenance.loader) == ("html", None)
        assert page.provenance.release == memo.provenance.release == __version__
        assert page.provenance.by == memo.provenance.by != ""
        with pytest.raises(NotFoundError):
            engine.as_(Principal(user="ana")).history.versions("nothing")


def test_the_command_line_shows_versions(tmp_path: Path):
    folder, index = tmp_path / "notes", str(tmp_path / "index")
    folder.mkdir()
    note = folder / "keys.md"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--index", index])
        assert done.exit_code == 0, done.output
        return done.stdout

    note.write_text(MARCH, encoding="utf-8")
    run("index", str(folder), "--keep-versions")
    march = datetime.fromtimestamp(between(), UTC).isoformat()
    note.write_text(MAY, encoding="utf-8")
    run("index")
    with Engine.open(index) as engine:
        (entry,) = engine.documents()
    assert run("fetch", entry.id) == MAY
    assert run("fetch", entry.id, "--as-of", march) == MARCH
    lines = run("versions", entry.id).splitlines()
    assert len(lines) == 2 and "loader markdown" in lines[0] and " now " in lines[1]
    told = json.loads(run("versions", entry.id, "--json"))["versions"]
    assert told[0]["provenance"]["root"] == str(folder)
    assert json.loads(run("versions", "--json")) == {"keep": ["*"], "most": None, "days": None}
    assert json.loads(run("versions", "--off", "--most", "3", "--json"))["most"] == 3


def test_damaged_versions_are_found_and_dropped_by_a_repair(engine: Engine):
    import sqlite3

    from rag_tools.maintenance.checking import check
    from rag_tools.maintenance.repair import repair

    engine.add([rotation(MARCH)])
    engine.add([rotation(APRIL)])
    engine.add([rotation(MAY)])
    assert check(engine.directory).damage == ()
    connection = sqlite3.connect(engine.directory / "catalog.sqlite")
    connection.execute("UPDATE version SET text = x'00' WHERE key = 1")
    connection.commit()
    connection.close()
    (damage,) = check(engine.directory).damage
    assert damage.kind == "version"
    assert repair(engine.directory).lost_versions == 1
    assert check(engine.directory).damage == ()
    assert [each.sha256 for each in engine.history.versions("keys")] == [
        rotation(APRIL).sha256,
        rotation(MAY).sha256,
    ]
