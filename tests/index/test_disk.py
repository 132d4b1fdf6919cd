"""A disk that is full, or a permission that is missing, is called that, and nothing is lost.

The means are real ones: a small file system, a limit on files, permissions, SQLite's own errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.disk import failures_named
from rag_tools.errors import IndexAccessError, IndexCorruptError, IndexLockedError

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and limits")


def rag_tools(
    *arguments: str | Path, before: Callable[[], None] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run the command line after `before`, which may give up rights."""
    done = subprocess.run(
        [sys.executable, "-m", "rag_tools.cli.main", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=before,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "delete" not in done.stderr, done.stderr
    return done


PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def bound_by_permissions() -> None:
    """Give up root's right to pass over permissions, once a program is run; others have none."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


permissions = pytest.mark.skipif(
    os.name != "posix" or (os.geteuid() == 0 and sys.platform != "linux"),
    reason="permissions bind nobody here",
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that any user can reach and write, with a text to index."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rag-tools-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "notes").mkdir()
        (folder / "notes" / "rivers.txt").write_text("Rivers flow to the sea.")
        yield folder
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o777)


@pytest.fixture
def index(folder: Path) -> Path:
    """An index that any user can read and write."""
    with Engine.open(folder / "index", create=True) as engine:
        engine.sync([folder / "notes"])
    for path in [folder / "index", *(folder / "index").rglob("*")]:
        path.chmod(0o777)
    return folder / "index"


def still_good(index: Path) -> None:
    for path in [index, *index.rglob("*")]:
        path.chmod(0o777)
    with Engine.open(index) as engine:
        engine.check()
        assert engine.search("rivers").results[0].text == "Rivers flow to the sea."


def failed(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    for words in says:
        assert words in line, line


# -- the whole program ---------------------------------------------------------------------------


@posix
def test_a_file_that_may_not_grow_ends_indexing_and_harms_nothing(folder: Path, index: Path):
    import resource

    (folder / "notes" / "lakes.txt").write_text("Lakes stay. " * 4_000)
    limit = 200_000
    done = rag_tools(
        "index",
        folder / "notes",
        "--index",
        index,
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    failed(done, str(index), "ulimit -f")
    still_good(index)
    assert rag_tools("index", folder / "notes", "--index", index).returncode == 0
    with Engine.open(index) as engine:
        assert engine.status().documents == 2


@posix
def test_a_new_index_where_no_file_may_grow(folder: Path):
    import resource

    done = rag_tools(
        "index",
        folder / "notes",
        "--index",
        folder / "new",
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000)),
    )
    failed(done, str(folder / "new"), "can't be used")
    assert rag_tools("index", folder / "notes", "--index", folder / "new").returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=1m,mode=777", "none", str(disk)]
    if not mount or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_called_full_and_indexing_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path
):
    (tmp_path / "rivers.txt").write_text("Rivers flow to the sea.")
    index = small_disk / "index"
    assert rag_tools("index", tmp_path / "rivers.txt", "--index", index).returncode == 0
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    (tmp_path / "lakes.txt").write_text("Lakes stay where they are, mostly. " * 2_000)
    for _ in range(2):
        failed(rag_tools("index", tmp_path / "lakes.txt", "--index", index), "disk is full")
        done = rag_tools("search", "rivers", "--index", index)
        if done.returncode:  # SQLite can need room to read: then it says so
            failed(done, "full")
    ballast.unlink()
    still_good(index)
    (tmp_path / "lakes.txt").write_text("Lakes stay where they are.")
    assert rag_tools("index", tmp_path / "lakes.txt", "--index", index).returncode == 0
    with Engine.open(index) as engine:
        assert engine.status().documents == 2


def test_output_that_cannot_be_written_is_one_line(index: Path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for options in (["--json"], []):
            done = rag_tools("search", "rivers", "--index", index, *options, stdout=full)
            failed(done, "No space left on device", "free some space")
    finally:
        os.close(full)


@permissions
@pytest.mark.parametrize(
    ("close", "command", "says"),
    [
        (lambda index: index.chmod(0o000), ["search", "rivers"], "ermission"),
        (lambda index: index.chmod(0o555), ["index", "NOTES"], "make it writable"),
        (lambda index: index.parent.chmod(0o000), ["search", "rivers"], "ermission"),
        (lambda index: (index / FILE_NAME).chmod(0o000), ["search", "rivers"], "access"),
        (lambda index: _close(index / "segments"), ["search", "rivers"], "ermission"),
        (lambda index: _close(index / "codebooks"), ["search", "rivers"], "ermission"),
        (lambda index: (index / "segments").chmod(0o555), ["index", "NOTES"], "ermission"),
        (lambda index: (index / "writer.lock").chmod(0o000), ["index", "NOTES"], "ermission"),
    ],
    ids=["index", "write", "parent", "catalog", "segment", "codebook", "new segment", "lock"],
)
def test_a_missing_permission_is_one_line(
    folder: Path, index: Path, close: Callable[[Path], None], command: list[str], says: str
):
    (folder / "notes" / "lakes.txt").write_text("Lakes stay.")
    notes = folder / "notes"
    arguments = [str(notes) if word == "NOTES" else word for word in command]
    close(index)
    done = rag_tools(*arguments, "--index", index, before=bound_by_permissions)
    folder.chmod(0o777)
    index.chmod(0o777)
    failed(done, str(index), says)
    still_good(index)


def _close(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o000)


@permissions
def test_an_index_that_may_only_be_read_is_read(index: Path):
    for path in [index, *index.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = rag_tools("search", "rivers", "--index", index, before=bound_by_permissions)
    assert done.returncode == 0, done.stderr
    assert "Rivers flow" in done.stdout


@permissions
def test_a_folder_where_no_index_can_be_made(folder: Path):
    parent = folder / "parent"
    parent.mkdir(mode=0o555)
    for place in (parent / "index", parent / "deeper" / "index"):
        done = rag_tools("index", folder / "notes", "--index", place, before=bound_by_permissions)
        failed(done, str(place), "permission is missing")
    assert list(parent.iterdir()) == []


# -- what stands where something else should -----------------------------------------------------


def test_a_file_on_the_way_to_the_index(folder: Path):
    done = rag_tools(
        "index", folder / "notes", "--index", folder / "notes" / "rivers.txt" / "index"
    )
    failed(done, "Not a directory", "name another directory")


def test_a_folder_in_place_of_a_file_is_damage(index: Path):
    (segment,) = (index / "segments").glob("*.seg")
    segment.unlink()
    segment.mkdir()
    with pytest.raises(IndexCorruptError, match="is a folder"):
        Engine.open(index)
    (index / FILE_NAME).unlink()
    (index / FILE_NAME).mkdir()
    for create in (False, True):
        with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite is no file"):
            Engine.open(index, create=create)


# -- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (sqlite3.SQLITE_CORRUPT, IndexCorruptError, "delete .* and index again"),
        (sqlite3.SQLITE_NOTADB, IndexCorruptError, "delete .* and index again"),
        (sqlite3.SQLITE_FULL, IndexAccessError, "disk is full"),
        (sqlite3.SQLITE_IOERR, IndexAccessError, "look at the disk"),
        (sqlite3.SQLITE_IOERR_WRITE, IndexAccessError, "look at the disk"),
        (sqlite3.SQLITE_READONLY, IndexAccessError, "can't be written"),
        (sqlite3.SQLITE_CANTOPEN, IndexAccessError, "access"),
        (sqlite3.SQLITE_BUSY, IndexLockedError, "another process"),
    ],
)
def test_errors_of_sqlite_by_their_code(code: int, kind: type[Exception], says: str):
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    with pytest.raises(kind, match=says) as raised, failures_named(Path("place")):
        raise error
    assert "place" in str(raised.value)
    assert "as SQLite says it" in str(raised.value)
    assert raised.value.__cause__ is error


def test_what_says_nothing_of_the_disk_stays_what_it_is():
    mistake = sqlite3.ProgrammingError("Cannot operate on a closed database.")
    with pytest.raises(sqlite3.ProgrammingError), failures_named(Path("place")):
        raise mistake
    with pytest.raises(sqlite3.OperationalError, match="no such table"):  # noqa: SIM117
        with failures_named(Path("place")):
            sqlite3.connect(":memory:").execute("SELECT * FROM missing")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "permission is missing"),
        (errno.EROFS, "make it writable"),
        (errno.EIO, "look at the disk"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_errors_of_the_system_by_their_number(number: int, says: str):
    with pytest.raises(IndexAccessError, match=says), failures_named(Path("place")):
        raise OSError(number, os.strerror(number), "place/file")


def test_files_of_the_callers_own_are_not_the_indexs(tmp_path: Path):
    def documents() -> Iterator[Document]:
        yield Document(uri="test:a", text=(tmp_path / "missing.txt").read_text())

    with (
        Engine.open(tmp_path / "index", create=True) as engine,
        pytest.raises(FileNotFoundError, match=r"missing\.txt"),
    ):
        engine.add(documents())


def test_a_catalog_that_cannot_grow_keeps_the_last_commit_and_says_full(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 3")
    with (
        pytest.raises(IndexAccessError, match="free some space"),
        failures_named(tmp_path),
        CatalogWriter(connection).transaction(),
    ):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
