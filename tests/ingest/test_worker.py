"""Parsing in a worker process: deadlines, crashes, memory, and what becomes of the process."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.load import load_bytes
from rag_tools.ingest.worker import Worker, _Answers

PAGE = b"<title>Reeds</title><h1>Herons</h1><p>Herons stand in the <b>reeds</b>."
# libxml2 compares each attribute with those before: the time grows with the square.
SLOW_PAGE = b"<p " + b" ".join(b"a%d" % n for n in range(150_000)) + b">slow</p>"

linux = pytest.mark.skipif(sys.platform != "linux", reason="as the documentation says")


def process_of(worker: Worker) -> subprocess.Popen[bytes]:
    assert worker._process is not None
    return worker._process


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that haven't ended."""
    task = Path(f"/proc/{pid}/task")
    return [int(child) for path in task.glob("*/children") for child in path.read_text().split()]


def wait_until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it didn't happen in time"
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_worker_loads_what_the_loader_does_and_is_used_again():
    code = "class Käfer:\n    def f(self): ...\n".encode()
    with Worker() as worker:
        found = worker.load(PAGE, name="a.html", uri="memory:a")
        assert found == load_bytes(PAGE, name="a.html", uri="memory:a")
        first = process_of(worker)
        found = worker.load(code, name="b.py", uri="memory:b")
        assert found == load_bytes(code, name="b.py", uri="memory:b")
        assert process_of(worker) is first
    assert first.poll() is not None


def test_small_text_starts_no_process():
    with Worker() as worker:
        for name in ("a.txt", "a.md", "a.rst", "a.csv", "README"):
            worker.load(b"Herons stand.", name=name, uri="memory:a")
        assert worker._process is None


def test_errors_keep_their_kind_and_message():
    with Worker() as worker:
        with pytest.raises(UnreadableFileError, match=r"a\.docx: damaged or not a Word document"):
            worker.load(b"nothing", name="a.docx", uri="memory:a")
        with pytest.raises(UnsupportedFormatError, match=r"no loader for \.xyz"):
            worker.load(b"nothing", name="a.xyz", uri="memory:a")


def test_a_deadline_ends_the_document_and_the_next_one_is_read():
    with Worker(timeout=1) as worker:
        worker.load(PAGE, name="a.html", uri="memory:a")
        first = process_of(worker)
        started = time.monotonic()
        with pytest.raises(UnreadableFileError, match=r"slow\.html: not parsed within 1 seconds"):
            worker.load(SLOW_PAGE, name="slow.html", uri="memory:slow")
        assert time.monotonic() - started < 10
        assert first.poll() is not None
        assert worker.load(PAGE, name="a.html", uri="memory:a").title == "Reeds"


CRASH = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
import rag_tools.ingest.worker as worker
load = worker.load_bytes
def crash(data, *, name, uri):
    return os.abort() if name == "b.html" else load(data, name=name, uri=uri)
worker.load_bytes = crash
worker.main()
"""


def test_a_crash_costs_the_document_and_the_next_one_is_read(monkeypatch):
    monkeypatch.setattr("rag_tools.ingest.worker._COMMAND", CRASH)
    with Worker() as worker:
        worker.load(PAGE, name="a.html", uri="memory:a")
        with pytest.raises(UnreadableFileError, match=r"b\.html: the parser crashed"):
            worker.load(PAGE, name="b.html", uri="memory:b")
        assert worker.load(PAGE, name="a.html", uri="memory:a").title == "Reeds"


@linux
def test_too_much_memory_costs_the_document(monkeypatch):
    bomb = b"<pre>" + b"<i>x</i>" * 4_000_000
    limit = "import rag_tools.ingest.worker as w; w.MAX_MEMORY = 2**29; w.main()"
    command = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); {limit}"
    monkeypatch.setattr("rag_tools.ingest.worker._COMMAND", command)
    with Worker() as worker:
        with pytest.raises(UnreadableFileError, match=r"b\.html"):
            worker.load(bomb, name="b.html", uri="memory:b")
        assert worker.load(PAGE, name="a.html", uri="memory:a").title == "Reeds"


def test_sync_reports_a_slow_file_and_indexes_the_rest(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "a.html").write_bytes(PAGE)
    (source / "slow.html").write_bytes(SLOW_PAGE)
    (source / "b.txt").write_text("Cranes fly in a wedge.")
    with Engine.open(tmp_path / "index", create=True) as engine:
        report = engine.sync([source], document_timeout=1)
        assert len(report.added) == 2
        (skipped,) = report.skipped
        assert skipped.path.endswith("slow.html")
        assert "slow.html: not parsed within 1 seconds" in skipped.reason


def test_without_an_interpreter_files_are_read_all_the_same(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with Worker() as worker:
        assert worker.load(PAGE, name="a.html", uri="memory:a").title == "Reeds"


def test_a_script_without_a_main_guard_runs_once_and_its_output_is_its_own(tmp_path):
    (tmp_path / "page.html").write_bytes(PAGE)
    # A module of this name in the working directory must not take the place of the real one.
    (tmp_path / "queue.py").write_text("raise SystemExit('imported')")
    script = tmp_path / "scripts" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from rag_tools import Engine\n"
        "print('running')\n"
        "engine = Engine.open('index', create=True)\n"
        "print(len(engine.sync(['page.html']).added))\n"
    )
    for command in ([str(script)], ["-P", "-c", script.read_text()], ["-P", "-"]):
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            input=script.read_text(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout in ("running\n1\n", "running\n0\n")  # 0: unchanged since the first run


def indexing(tmp_path: Path) -> tuple[subprocess.Popen[str], int]:
    """Start indexing a page that takes long; return the process and its worker."""
    (tmp_path / "slow.html").write_bytes(SLOW_PAGE)
    command = "from rag_tools.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "index", "slow.html", "--index", "index"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def busy() -> bool:  # it has used some time, so it is parsing
        return any(ticks(child) > 100 for child in children(process.pid))

    wait_until(busy, 60)
    (worker,) = (child for child in children(process.pid) if ticks(child) > 100)
    return process, worker


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@linux
def test_ctrl_c_ends_everything(tmp_path):
    process, worker = indexing(tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    wait_until(lambda: has_ended(worker))


@linux
def test_the_worker_ends_when_its_parent_is_killed(tmp_path):
    process, worker = indexing(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    wait_until(lambda: has_ended(worker))


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), (Document.__module__, "hashlib.sha256"), ("rag_tools.engine", "Engine")],
)
def test_an_answer_holds_nothing_but_documents(module, name):
    assert _Answers(BytesIO(pickle.dumps(Document(uri="test:a", text="A.")))).load().text == "A."
    # Protocol 4 looks dotted names up attribute by attribute, through whatever a module imports.
    text = b"".join(
        b"\x8c" + bytes([len(part)]) + part for part in (module.encode(), name.encode())
    )
    with pytest.raises(pickle.UnpicklingError, match=name):
        _Answers(BytesIO(b"\x80\x04" + text + b"\x93.")).load()
