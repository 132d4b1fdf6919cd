"""A backup is one commit, whatever is written meanwhile; what is restored is what was backed up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.errors import (
    BackupError,
    IndexCorruptError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
)
from rag_tools.locking import acquire
from rag_tools.maintenance.backup import backup, restore
from rag_tools.maintenance.checking import check
from rag_tools.maintenance.manifest import MANIFEST, Manifest

# Each commit holds the same number in every document, so that a torn copy would show.
WRITER = """
import sys
from rag_tools import Document, Engine

with Engine.open(sys.argv[1]) as engine:
    print("ready", flush=True)
    for round in range(1, 1000):
        engine.add([
            Document(uri=f"test:{n}", text=f"Round {round} of river {n}.") for n in range(6)
        ])
        print(round, flush=True)
"""


def texts(directory: Path) -> dict[str, str]:
    with Engine.open(directory) as engine:
        engine.check()
        return {entry.uri: engine.document(entry.id).text for entry in engine.documents()}


def found(engine: Engine, query: str) -> list[str]:
    return [hit.text for hit in engine.search(query).results]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add(
            [Document(uri="test:a", text="Rivers flow."), Document(uri="test:b", text="Sea.")]
        )
    return tmp_path / "index"


def test_a_backup_beside_a_writer_is_one_commit(tmp_path: Path):
    index = tmp_path / "index"
    Engine.open(index, create=True).close()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(index)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "ready\n"
        writer.stdout.readline()
        rounds = set()
        for number in range(4):
            backup(index, tmp_path / "backup")
            restore(tmp_path / "backup", tmp_path / f"restored{number}")
            states = texts(tmp_path / f"restored{number}")
            assert len(states) == 6
            (round_,) = {text.split()[1] for text in states.values()}
            rounds.add(round_)
            before = writer.stdout.readline()
            assert before, "the writer went on"
    finally:
        writer.kill()
        writer.wait()
    assert len(rounds) > 1


def test_the_second_backup_copies_only_what_is_new(index: Path, tmp_path: Path):
    first = backup(index, tmp_path / "b")
    assert first.copied_files == first.files == 4  # catalog, codebook, segment, its words
    again = backup(index, tmp_path / "b")
    assert (again.files, again.copied_files) == (4, 1)
    with Engine.open(index) as engine:
        engine.add([Document(uri="test:c", text="Rivers flow to the sea.")])
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "b" / "segments").iterdir()}
    third = backup(index, tmp_path / "b")
    assert third.documents == 3
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp
    named = Manifest.read(tmp_path / "b")
    assert named is not None
    there = {
        path.relative_to(tmp_path / "b").as_posix()
        for path in (tmp_path / "b").rglob("*")
        if path.is_file()
    }
    assert there - {MANIFEST, "backup.lock"} == set(named.by_path)


def test_restoring_in_place_is_seen_by_open_engines(index: Path, tmp_path: Path):
    backup(index, tmp_path / "b")
    with Engine.open(index) as reader:
        for n in range(3):
            with Engine.open(index) as engine:
                engine.add([Document(uri="test:a", text=f"Lakes stay {n}.")])
                engine.delete([Document(uri="test:b", text="").id])
        assert found(reader, "lakes") == ["Lakes stay 2."]
        before = reader.status().generation
        with pytest.raises(BackupError, match="--replace"):
            restore(tmp_path / "b", index)
        report = restore(tmp_path / "b", index, replace=True)
        assert report.documents == 2
        assert set(found(reader, "rivers sea")) == {"Rivers flow.", "Sea."}
        assert reader.status().generation > before, "a number of a commit is never used again"
        reader.add([Document(uri="test:d", text="Ponds.")])
        assert "Ponds." in found(reader, "ponds")
    assert texts(index) == {"test:a": "Rivers flow.", "test:b": "Sea.", "test:d": "Ponds."}


def test_a_damaged_backup_is_refused_and_nothing_is_changed(index: Path, tmp_path: Path):
    backup(index, tmp_path / "b")
    manifest = Manifest.read(tmp_path / "b")
    assert manifest is not None
    for file in manifest.files:
        path = tmp_path / "b" / file.path
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BackupError, match="checksum differs"):
            restore(tmp_path / "b", tmp_path / "new")
        assert not (tmp_path / "new").exists()
        path.write_bytes(data)
    damaged = next(file for file in manifest.files if file.path.startswith("segments"))
    path = tmp_path / "b" / damaged.path
    path.write_bytes(bytes(damaged.bytes))
    backup(index, tmp_path / "b", verify=True)
    restore(tmp_path / "b", tmp_path / "new")
    assert texts(tmp_path / "new") == texts(index)


@pytest.mark.parametrize("files", ["*.seg", "*.lex"])
def test_a_damaged_index_does_not_replace_a_good_backup(index: Path, tmp_path: Path, files: str):
    backup(index, tmp_path / "b")
    with Engine.open(index) as engine:
        engine.add([Document(uri="test:c", text="Rivers flow to the sea, mostly.")])
    newest = max((index / "segments").glob(files), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[70] ^= 1
    newest.write_bytes(data)
    with pytest.raises(IndexCorruptError, match="stays as it was"):
        backup(index, tmp_path / "b")
    restore(tmp_path / "b", tmp_path / "new")
    assert len(texts(tmp_path / "new")) == 2


def test_a_backup_deletes_what_a_killed_one_left(index: Path, tmp_path: Path):
    backup(index, tmp_path / "b")
    (tmp_path / "b" / "manifest.json.0123.tmp").write_text("{")
    backup(index, tmp_path / "b")
    assert not list((tmp_path / "b").glob("*.tmp"))


def test_over_a_destroyed_catalog(index: Path, tmp_path: Path):
    backup(index, tmp_path / "b")
    wanted = texts(index)
    (index / "catalog.sqlite").write_bytes(b"nothing of a database" * 1000)
    restore(tmp_path / "b", index, replace=True)
    assert texts(index) == wanted
    assert not check(index).damage


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a name that leads out", {"path": "segments/../../../x.seg"}),
        ("an absolute path", {"path": "/etc/passwd"}),
        ("another kind", {"kind": "other"}),
        ("a later version", {"version": 2}),
    ],
)
def test_a_manifest_from_elsewhere(index: Path, tmp_path: Path, name: str, content: dict):
    backup(index, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_text())
    if "path" in content:
        manifest["files"][-1] |= content
    else:
        manifest |= content
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(manifest))
    for action in (
        lambda: restore(tmp_path / "b", tmp_path / "n"),
        lambda: backup(index, tmp_path / "b"),
    ):
        with pytest.raises(BackupError, match=r"manifest\.json isn't"):
            action()
    assert not (tmp_path / "n").exists()


def test_where_no_backup_can_be(index: Path, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    for place in (tmp_path / "notes", index, index / "inside"):
        with pytest.raises(BackupError):
            backup(index, place)
    with pytest.raises(BackupError, match="no backup in"):
        restore(tmp_path / "notes", tmp_path / "n")
    with pytest.raises(IndexNotFoundError):
        backup(tmp_path / "none", tmp_path / "b")
    backup(index, tmp_path / "b")
    with pytest.raises(IndexCorruptError, match="isn't an index"):
        restore(tmp_path / "b", tmp_path / "notes")
    with acquire(index), pytest.raises(IndexLockedError):
        restore(tmp_path / "b", index, replace=True)


def test_an_index_with_other_settings_is_not_replaced(index: Path, tmp_path: Path):
    backup(index, tmp_path / "b")
    with Engine.open(tmp_path / "other", create=True, dim=64) as engine:
        engine.add([Document(uri="test:z", text="Zebras.")])
    with pytest.raises(IndexMismatchError, match="another directory"):
        restore(tmp_path / "b", tmp_path / "other", replace=True)
    assert texts(tmp_path / "other") == {"test:z": "Zebras."}


# Ends itself at the n-th of its calls that change files or the database.
KILLED = """
import os, signal, sys
from pathlib import Path
from rag_tools.maintenance import backup as module

verb, source, target, fatal = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

WATCHED = {"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir"}
sys.addaudithook(lambda event, arguments: event in WATCHED and step())
fsync = os.fsync
os.fsync = lambda descriptor: (step(), fsync(descriptor), step())
if verb == "backup":
    module.backup(source, target)
else:
    module.restore(source, target, replace=True)
print(steps)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")
@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_killed_at_any_step_the_old_state_or_the_new_one_is_there(
    index: Path, tmp_path: Path, verb: str
):
    old = texts(index)
    backup(index, tmp_path / "old")
    with Engine.open(index) as engine:
        engine.add([Document(uri="test:c", text="Rivers flow to the sea, mostly.")])
    new = texts(index)
    source, target = (index, tmp_path / "old") if verb == "backup" else (tmp_path / "old", index)

    def run(fatal: int) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(target, tmp_path / "copy")
        arguments = [verb, source, tmp_path / "copy", fatal]
        return subprocess.run(
            [sys.executable, "-c", KILLED, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )

    done = run(0)
    assert done.returncode == 0, done.stderr
    total = int(done.stdout)
    seen = []
    for fatal in range(1, total + 1, max(1, total // 6)):
        assert run(fatal).returncode == -9
        if verb == "backup":
            shutil.rmtree(tmp_path / "from", ignore_errors=True)
            restore(tmp_path / "copy", tmp_path / "from")
            seen.append(texts(tmp_path / "from"))
        else:
            seen.append(texts(tmp_path / "copy"))
        assert seen[-1] in (old, new), fatal
    assert len(seen) > 4


def test_a_disk_without_room_leaves_the_old_backup(index: Path, tmp_path: Path):
    if os.name != "posix":
        pytest.skip("limits of POSIX")
    backup(index, tmp_path / "b")
    before = texts(index)
    with Engine.open(index) as engine:
        engine.add([Document(uri="test:c", text="Rivers flow to the sea. " * 2000)])
    program = (
        "import resource, sys; from pathlib import Path;"
        "from rag_tools.maintenance.backup import backup;"
        "from rag_tools.errors import IndexAccessError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));\n"
        "try: backup(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except IndexAccessError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(index), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "can't be used" in done.stdout, done
    restore(tmp_path / "b", tmp_path / "new")
    assert texts(tmp_path / "new") == before
