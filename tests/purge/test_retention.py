"""Holding documents and letting them expire."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rag_tools.engine import Engine
from rag_tools.errors import HeldError, InvalidQueryError, NotFoundError, SkippedDocumentsError
from rag_tools.types import Document, Principal


def documents() -> list[Document]:
    return [
        Document(id="tides", uri="memo:tides", text="The tide turns twice a day in the estuary."),
        Document(id="boats", uri="memo:boats", text="The ferry to the island leaves at noon."),
    ]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = Engine.open(tmp_path / "index", create=True)
    engine.add(documents())
    return engine


def ids(engine: Engine) -> set[str]:
    found = {hit.document_id for hit in engine.search("ferry tide").results}
    assert found == {entry.id for entry in engine.documents()}
    return found


PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize("principal", [None, Principal(user="ana")])
def test_an_expired_document_does_not_exist_from_that_second_on(
    engine: Engine, principal: Principal | None
):
    reader = engine if principal is None else engine.as_(principal)
    assert engine.retention.expire(["boats"], datetime.now(UTC) + timedelta(hours=1)) == 1
    assert ids(reader) == {"tides", "boats"}
    engine.retention.expire(["boats"], PAST)
    assert ids(reader) == {"tides"}
    for read in (reader.document, reader.fetch):
        with pytest.raises(NotFoundError):
            read("boats")
    assert reader.search("ferry", filter={"document_id": "boats"}).results == ()
    assert reader.document_ids("b", limit=5) == ()
    engine.retention.expire(["boats"], None)
    assert ids(reader) == {"tides", "boats"}


def test_a_document_expires_while_an_index_is_open(engine: Engine):
    engine.retention.expire(["boats"], int(time.time()) + 2)
    assert ids(engine) == {"tides", "boats"}
    deadline = time.monotonic() + 20
    while ids(engine) != {"tides"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_held_document_is_kept_whatever_expires_says(engine: Engine):
    engine.retention.expire(["boats"], PAST)
    engine.retention.hold(["boats"])
    assert ids(engine) == {"tides", "boats"}
    with pytest.raises(HeldError, match="release"):
        engine.delete(["tides", "boats"])
    with pytest.raises(SkippedDocumentsError, match="is held"):
        engine.add([documents()[1].model_copy(update={"text": "Something else."})])
    report = engine.retention.purge(["boats"])
    assert (report.held, report.documents) == (("boats",), ())
    assert ids(engine) == {"tides", "boats"}
    engine.retention.release(["boats"])
    assert ids(engine) == {"tides"}


def test_expired_documents_are_purged_by_the_next_sync(tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "old.md").write_text(
        "---\nexpires: 2020-01-31\n---\nThe ferry leaves at noon.", encoding="utf-8"
    )
    (folder / "held.md").write_text(
        "---\nexpires: 2020-01-31\nhold: true\n---\nThe tide turns twice.", encoding="utf-8"
    )
    (folder / "new.md").write_text("The xylocanary42 sings at dawn.", encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        report = engine.sync([folder])
        assert (len(report.added), report.retired) == (2, 1)
        names = {entry.metadata["path"]: entry.id for entry in engine.documents()}
        assert set(names) == {"held.md", "new.md"}
        engine.retention.expire([names["new.md"]], PAST)
        report = engine.sync()
        assert (report.expired, report.removed) == (1, (names["new.md"],))
        files = (path for path in engine.directory.rglob("*") if path.is_file())
        assert not any(b"xylocanary42" in path.read_bytes() for path in files)
        assert engine.sync().retired == 2  # the file is still there
        report = engine.sync([folder / "new.md"])  # and is indexed again if it is named
        assert report.added == (names["new.md"],)


def test_a_held_document_stays_as_it_is_when_its_file_changes_or_goes(tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("The ferry leaves at noon.", encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        (id,) = engine.sync([folder]).added
        engine.retention.hold([id])
        (folder / "a.md").write_text("The ferry leaves at one.", encoding="utf-8")
        assert "is held" in engine.sync().skipped[0].reason
        (folder / "a.md").unlink()
        assert "is held" in engine.sync().skipped[0].reason
        assert engine.document(id).text == "The ferry leaves at noon."
        engine.retention.release([id])
        assert engine.sync().removed == (id,)


def test_a_time_needs_a_zone(engine: Engine):
    with pytest.raises(InvalidQueryError, match="time zone"):
        engine.retention.expire(["boats"], datetime(2030, 1, 1))


def test_a_document_that_was_read_before_shows_its_new_terms(tmp_path: Path):
    with Engine.open(tmp_path / "i", create=True) as engine, Engine.open(tmp_path / "i") as other:
        (id,) = engine.add([Document(uri="memo:boats", text="The ferry leaves at noon.")])
        assert [each.document(id).hold for each in (engine, other)] == [False, False]
        engine.retention.expire([id], 1_999_999_999)
        engine.retention.hold([id])
        for each in (engine, other):
            assert each.document(id).hold
            assert each.document(id).expires == 1_999_999_999
