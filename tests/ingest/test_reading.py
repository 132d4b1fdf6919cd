"""What is read is the file that was meant, in one state, wherever links lead meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rag_tools import Engine
from rag_tools.errors import FileTooLargeError, UnreadableFileError
from rag_tools.ingest import reading
from rag_tools.ingest.reading import read_file

LIMIT = 1_000_000
links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("notes", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"The words of {name}.")
    return tmp_path / "notes", tmp_path / "secret"


@links
@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_file_that_is_swapped_for_a_link_between_listing_and_reading(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
):
    notes, secret = folders
    (notes / "sub").mkdir()
    (notes / "sub" / "a.txt").write_text("The words of sub.")
    original = reading.read_file

    def swapping(path: Path, limit: int, *, within=()):
        if path.parent.name == "sub" and not path.is_symlink():
            if swapped == "file":
                path.unlink()
                path.symlink_to(secret / "a.txt")
            elif not path.parent.is_symlink():
                (notes / "sub").rename(notes / "aside")
                (notes / "sub").symlink_to(secret)
        return original(path, limit, within=within)

    monkeypatch.setattr("rag_tools.ingest.load.read_file", swapping)
    with Engine.open(tmp_path / "index", create=True) as engine:
        report = engine.sync([notes], within=[notes])
        assert [skipped.path for skipped in report.skipped] == [str(notes / "sub" / "a.txt")]
        assert "outside the folders" in report.skipped[0].reason
        assert "secret" not in report.skipped[0].reason
        texts = {engine.fetch(entry.id).text for entry in engine.documents()}
        assert texts == {"The words of notes."}


@links
def test_a_link_that_goes_to_and_fro_never_leads_out(folders: tuple[Path, Path]):
    notes, secret = folders
    (notes / "inside.txt").write_text("The words of notes.")
    link, other = notes / "link.txt", notes / "other"
    link.symlink_to(notes / "inside.txt")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (secret / "a.txt", notes / "inside.txt"):
                other.symlink_to(target)
                other.replace(link)

    thread = threading.Thread(target=swap)
    thread.start()
    read = 0
    try:
        for _ in range(3000):
            try:
                assert read_file(link, LIMIT, within=[notes]).data == b"The words of notes."
                read += 1
            except UnreadableFileError as error:
                assert "outside the folders" in str(error)
            except FileNotFoundError:
                pass
    finally:
        stop.set()
        thread.join()
    assert read


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs of POSIX")
def test_a_fifo_that_takes_the_place_of_a_file_is_not_waited_for(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    path = folders[0] / "a.txt"
    seen = reading._require_regular
    calls = []

    def swapping(path: Path, status: os.stat_result) -> None:
        seen(path, status)
        if not calls:
            calls.append(path)
            path.unlink()
            os.mkfifo(path)

    monkeypatch.setattr(reading, "_require_regular", swapping)
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_file(path, LIMIT)


def test_a_file_that_changes_while_it_is_read(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    notes, _ = folders
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([notes])
        (notes / "a.txt").write_text("New words, of which there are more.")
        original, writes = os.fstat, []

        def writing(descriptor: int) -> os.stat_result:
            status = original(descriptor)
            if (
                len(writes) < 2 * 3
                and Path(f"/proc/self/fd/{descriptor}").readlink().name == "a.txt"
            ):
                writes.append(status)
                with (notes / "a.txt").open("a") as file:
                    file.write(" And more.")
            return status

        if not Path("/proc/self/fd").exists():
            pytest.skip("needs the names of open files")
        monkeypatch.setattr(reading.os, "fstat", writing)
        report = engine.sync([notes])
        assert "changes while it is read" in report.skipped[0].reason
        assert {engine.fetch(entry.id).text for entry in engine.documents()} == {
            "The words of notes."
        }
        monkeypatch.setattr(reading.os, "fstat", original)
        assert len(engine.sync([notes]).updated) == 1


def test_a_clock_that_is_set_back(folders: tuple[Path, Path], tmp_path: Path):
    notes, _ = folders
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([notes])
        for seconds in (4_000_000_000, 1_000_000_000):  # after the next century began, long ago
            (notes / "a.txt").write_text(f"Words at {seconds}.")
            os.utime(notes / "a.txt", (seconds, seconds))
            assert len(engine.sync([notes]).updated) == 1
            (entry,) = engine.documents()
            assert engine.fetch(entry.id).text == f"Words at {seconds}."


def test_a_file_that_is_too_large(folders: tuple[Path, Path]):
    with pytest.raises(FileTooLargeError):
        read_file(folders[0] / "a.txt", 5)
