"""What is saved is found, in other processes too; what fails is tried again and reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag_tools import Engine, watch
from rag_tools.errors import ConfigurationError, IndexLockedError
from rag_tools.index import recoding
from rag_tools.locking import acquire
from rag_tools.opened import open_index
from rag_tools.types import SyncReport, WatchState, WebOptions
from rag_tools.watch import Watcher, is_remote
from rag_tools.watching import STATE, watch_state
from sites import serving

SLOW = 60.0  # far more than anything takes; nothing here measures time


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SLOW
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.02)


@contextmanager
def watching(
    index: Path, **options: object
) -> Iterator[list[tuple[WatchState, SyncReport | None]]]:
    """Watch on another thread; give what was reported so far, the first sync included."""
    seen: list[tuple[WatchState, SyncReport | None]] = []
    stop = threading.Event()
    with open_index(index) as opened:
        watcher = Watcher(opened, report=lambda *both: seen.append(both), **options)  # type: ignore[arg-type]
        thread = threading.Thread(target=watcher.run, args=[stop])
        thread.start()
        try:
            until(lambda: seen)
            yield seen
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tea.md").write_text("Tea brews at ninety degrees.")
    return tmp_path / "notes"


@pytest.fixture
def index(notes: Path, tmp_path: Path) -> Path:
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([notes])
    return tmp_path / "index"


def texts(engine: Engine) -> set[str]:
    return {engine.fetch(entry.id).text for entry in engine.documents()}


READER = """
import sys, time
from rag_tools import Engine

with Engine.open(sys.argv[1]) as engine:
    engine.warm()
    print("ready", flush=True)
    while True:
        for hit in engine.search("coffee brews").results:
            if "Coffee" in hit.text:
                print("found", flush=True)
                sys.exit()
        time.sleep(0.01)
"""


def test_a_saved_file_is_found_by_a_process_that_was_reading(index: Path, notes: Path):
    command = [sys.executable, "-m", "rag_tools.cli.main", "watch", "--index", str(index)]
    watcher = subprocess.Popen(
        [*command, "--json", "--end-with-input"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(index)], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdin is not None and watcher.stdout is not None and reader.stdout is not None
    try:
        assert json.loads(watcher.stdout.readline())["failures"] == 0
        assert reader.stdout.readline() == "ready\n"
        (notes / "coffee.md").write_text("Coffee brews at ninety-five degrees.")
        assert reader.stdout.readline() == "found\n"
        assert json.loads(watcher.stdout.readline())["added"] == 1
        state = watch_state(index)
        assert state is not None and state.process == watcher.pid and state.events
        watcher.stdin.close()  # as the end of the program that started it does
        assert watcher.wait(SLOW) == 0
        assert watch_state(index) is None
    finally:
        for process in (watcher, reader):
            process.kill()
            process.wait()


def replaced(path: Path, text: str) -> None:
    """Save as vim and VS Code do: write another file, keep the old one aside, rename."""
    swap = path.with_name(f".{path.name}.swp")
    swap.write_text(text)
    path.replace(path.with_name(f"{path.name}~"))
    swap.replace(path)
    path.with_name(f"{path.name}~").unlink()


@pytest.mark.parametrize("poll", [False, True])
def test_what_editors_and_people_do(index: Path, notes: Path, poll: bool):
    with watching(index, poll=poll) as seen, Engine.open(index) as engine:
        assert seen[-1][0].polling == poll
        replaced(notes / "tea.md", "Tea brews at eighty degrees.")
        until(lambda: texts(engine) == {"Tea brews at eighty degrees."})
        (notes / "deep" / "deeper").mkdir(parents=True)
        (notes / "deep" / "deeper" / "milk.md").write_text("Milk boils over.")
        until(lambda: "Milk boils over." in texts(engine))
        (notes / "deep").rename(notes / "moved")
        until(lambda: any(report and report.removed for _, report in seen))
        (notes / "moved" / "deeper" / "milk.md").rename(notes / "milk.md")
        shutil.rmtree(notes / "moved")
        until(lambda: not any("deeper" in entry.uri for entry in engine.documents()))
        assert {Path(entry.uri).name for entry in engine.documents()} == {"milk.md", "tea.md"}
        moved = [report for _, report in seen if report and report.removed and report.added]
        assert moved and not any(report.encoded_passages for report in moved), seen


def test_a_folder_that_is_replaced_and_a_single_file(index: Path, notes: Path, tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only.txt").write_text("Only this.")
    with Engine.open(index) as engine:
        engine.sync([tmp_path / "one" / "only.txt"])
        with watching(index):
            replaced(tmp_path / "one" / "only.txt", "Only that.")
            until(lambda: "Only that." in texts(engine))
            notes.rename(tmp_path / "aside")
            notes.mkdir()
            (notes / "juice.md").write_text("Juice is pressed.")
            until(lambda: texts(engine) == {"Only that.", "Juice is pressed."})
            (notes / "cider.md").write_text("Cider ferments.")
            until(lambda: "Cider ferments." in texts(engine))


def test_an_interval_without_events(index: Path, notes: Path):
    with watching(index, every=0.2, events=False) as seen, Engine.open(index) as engine:
        (notes / "soup.md").write_text("Soup simmers.")
        until(lambda: "Soup simmers." in texts(engine))
        count = len(seen)
        until(lambda: len(seen) > count + 1)
        assert seen[-1][0].next is not None


def test_a_failure_is_reported_and_tried_again(index: Path, notes: Path):
    with watching(index) as seen, Engine.open(index) as engine:
        with acquire(index):
            (notes / "soup.md").write_text("Soup simmers.")
            until(lambda: seen[-1][0].failures >= 2)
            state = engine.status().watch
            assert state is not None and state.failures
            assert "another process is writing" in str(state.error)
        until(lambda: "Soup simmers." in texts(engine))
        until(lambda: seen[-1][0].failures == 0)


def test_the_index_in_a_watched_folder_is_not_an_endless_reason(notes: Path):
    with Engine.open(notes / ".rag-tools", create=True) as engine:
        engine.sync([notes])
        with watching(notes / ".rag-tools") as seen:
            (notes / "soup.md").write_text("Soup simmers.")
            until(lambda: "Soup simmers." in texts(engine))
            time.sleep(2.5)
            assert len(seen) <= 3


def test_one_watches_at_a_time_and_what_it_left_tells_nothing(index: Path):
    with watching(index), open_index(index) as opened, pytest.raises(IndexLockedError):
        Watcher(opened).run(threading.Event())
    assert watch_state(index) is None
    (index / STATE).write_text(WatchState(process=os.getpid()).model_dump_json())
    assert watch_state(index) is None, "its process was killed"
    with open_index(index) as opened:
        for options in ({"events": False}, {"every": -1.0}):
            with pytest.raises(ConfigurationError):
                Watcher(opened, **options)  # type: ignore[arg-type]


def test_local_folders_are_not_polled(tmp_path: Path):
    assert not is_remote(tmp_path)


def test_a_page_of_the_web_is_asked_for_at_intervals_and_only_sent_when_it_changed(
    index: Path, notes: Path
):
    page = "<title>Tides</title><p>Two tides a day, since the Earth turns.</p>"
    here = WebOptions(delay=0, allow_private=True)
    with serving({"/": page}) as site:
        with Engine.open(index) as engine:
            engine.sync([site.url], web=here)
        site.paths()
        with watching(index) as seen, Engine.open(index) as engine:
            assert site.asked[-1] == ("/", 304)  # at the beginning
            assert site.paths() == ["/"]
            (notes / "milk.md").write_text("Milk boils over.")
            until(lambda: "Milk boils over." in texts(engine))
            until(lambda: any(report and report.added for _, report in seen))
            assert site.asked == [], "a saved file is no reason to ask other servers"
            assert seen[-1][0].next is None
        site.paths()
        with watching(index, every=0.2) as seen, Engine.open(index) as engine:
            until(lambda: [status for _, status in site.asked].count(304) >= 3)
            assert {status for path, status in site.asked if path == "/"} == {304}
            site.pages["/"] = page.replace("Two", "Three")
            until(lambda: any("Three tides" in text for text in texts(engine)))
            until(lambda: site.asked[-1] == ("/", 304))
            assert [status for path, status in site.asked if path == "/"].count(200) == 1
            assert seen[-1][0].next is not None


def test_the_codebook_is_trained_anew_when_documents_changed_in_kind(
    index: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
):
    def codebooks() -> set[str]:
        return {path.name for path in (index / "codebooks").iterdir()}

    monkeypatch.setattr(recoding, "_LEAST_TOKENS", 1)
    monkeypatch.setattr(watch, "_IDLE_SECONDS", 0.0)
    first = codebooks()
    with watching(index), Engine.open(index) as engine:
        (notes / "milk.md").write_text("Milk boils over.")
        until(lambda: "Milk boils over." in texts(engine))
        until(lambda: codebooks() >= first)
        known = codebooks()  # grown, and not trained anew: the drift is small
        monkeypatch.setattr(recoding, "MOST_DRIFT", 0.0)
        (notes / "coffee.md").write_text("Coffee brews at ninety-five degrees.")
        until(lambda: texts(engine) >= {"Coffee brews at ninety-five degrees."})
        until(lambda: not codebooks() & known)
        assert "Milk" in engine.search("what boils over?").results[0].text
        engine.check()
