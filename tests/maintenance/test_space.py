"""Compaction and vacuum free room and change no result; a quota refuses what exceeds it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.compaction import SegmentSize, paced, plan
from rag_tools.errors import IndexMismatchError, IndexNotFoundError, SkippedDocumentsError
from rag_tools.maintenance.space import compact, set_quota, vacuum


@pytest.fixture
def index(tmp_path: Path) -> Path:
    with Engine.open(tmp_path / "index", create=True) as engine:
        for n in range(5):
            engine.add(
                Document(uri=f"test:{n}-{m}", text=f"River {n} {m} flows to the sea.")
                for m in range(4)
            )
        engine.delete(Document(uri=f"test:{n}-0", text="").id for n in range(5))
    return tmp_path / "index"


def found(engine: Engine) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in engine.search("river sea", limit=50).results]


def test_compaction_keeps_every_result_of_open_readers(index: Path):
    with Engine.open(index) as engine:
        before, tombstones = found(engine), engine.status().tombstones
        assert tombstones
        stop = threading.Event()
        seen: list[list[tuple[str, float]]] = []

        def read() -> None:
            while not stop.is_set():
                seen.append(found(engine))

        thread = threading.Thread(target=read)
        thread.start()
        report = compact(index, throttle=0.5)
        vacuum(index)
        stop.set()
        thread.join()
        seen.append(found(engine))
        assert {id for id, _ in before} == {id for id, _ in seen[0]}
        for each in seen:
            assert [id for id, _ in each] == [id for id, _ in before]
        assert (report.segments_before, report.segments) == (5, 1)
        assert (report.tombstones_before, report.tombstones) == (tombstones, 0)
        assert engine.status().segments == 1
        engine.check()


def test_a_thorough_plan():
    sizes = [SegmentSize(1, 100, 10_000, 100), SegmentSize(2, 10, 100, 9), SegmentSize(3, 1, 9, 1)]
    assert plan(sizes) == []
    assert plan(sizes, thorough=True) == [[1, 2, 3]]
    full = [SegmentSize(1, 9, 20_000_000, 9), SegmentSize(2, 9, 20_000_000, 8)]
    assert plan(full, thorough=True) == [[2]]
    assert list(paced([1, 2, 3], 0.001)) == [1, 2, 3]


def test_where_there_is_no_index(tmp_path: Path):
    for action in (compact, vacuum, set_quota):
        with pytest.raises(IndexNotFoundError):
            action(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_was_renamed_is_not_made_again(index: Path):
    with Engine.open(index) as engine:
        engine.warm()
        index.rename(index.with_name("moved"))
        with pytest.raises((IndexMismatchError, IndexNotFoundError), match="deleted"):
            engine.add([Document(uri="test:new", text="New.")])
    assert not index.exists()


def test_a_quota_of_documents(index: Path):
    assert set_quota(index).documents is None
    set_quota(index, documents=16)
    with Engine.open(index) as engine:
        assert engine.status().documents == 15
        with pytest.raises(SkippedDocumentsError, match=r"16 documents.*rag-tools quota") as raised:
            engine.add(Document(uri=f"test:new{n}", text=f"Number {n}.") for n in range(3))
        assert len(raised.value.added) == 1
        engine.add([Document(uri="test:1-1", text="Replacing one is no new document.")])
        engine.delete([Document(uri="test:1-1", text="").id])
        engine.add([Document(uri="test:other", text="There is room again.")])
        assert engine.status().documents == 16
    assert set_quota(index, documents=0).documents is None
    with Engine.open(index) as engine:
        engine.add([Document(uri="test:more", text="More.")])


def test_a_quota_of_bytes_is_kept(index: Path, tmp_path: Path):
    with Engine.open(index) as engine:
        limit = engine.status().bytes + 300_000
    set_quota(index, size=limit)
    (tmp_path / "notes").mkdir()
    for n in range(30):
        words = " ".join(f"word{n}x{m}" for m in range(400))
        (tmp_path / "notes" / f"{n:02}.txt").write_text(f"Note {n}. {words}")
    with Engine.open(index) as engine:
        report = engine.sync([tmp_path / "notes"])
        assert report.added and report.skipped
        assert all("rag-tools quota --size" in skipped.reason for skipped in report.skipped)
        assert engine.status().bytes <= limit
