"""A writer killed at every step leaves the last commit, whole; the next writer goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rag_tools import Document, Engine
from rag_tools.index.arrayfile import ArrayFile

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")

# The writer below counts the events of Python's audit hooks that change files or the database,
# and kills itself, without any clean-up, at the one it was told.
WRITER = """
import os, signal, sys
from rag_tools import Document, Engine
from rag_tools.writer import Writer

directory, fatal = sys.argv[1], int(sys.argv[2])
engine = Engine.open(directory)
engine.warm()
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

WATCHED = {"os.rename", "os.remove", "os.truncate"}
sys.addaudithook(lambda event, arguments: event in WATCHED and step())
schema = sys.modules["rag_tools.catalog.schema"]
connect = schema.connect

def traced(directory, *, write=False):
    connection = connect(directory, write=write)
    if write:
        connection.set_trace_callback(step)
    return connection

schema.connect = traced
fsync = os.fsync
os.fsync = lambda descriptor: (step(), fsync(descriptor), step())
engine.add([Document(uri="test:a", text="New rivers flow."), Document(uri="test:c", text="Added.")])
engine.delete([Document(uri="test:b", text="").id])
print(steps)
"""

OLD = {"test:a": "Old rivers flow.", "test:b": "Lakes stay."}
MIDDLE = {**OLD, "test:a": "New rivers flow.", "test:c": "Added."}
NEW = {uri: text for uri, text in MIDDLE.items() if uri != "test:b"}


def contents(engine):
    """What every way of reading says is in the index."""
    uris = {Document(uri=uri, text="").id: uri for uri in NEW | OLD}
    hits = engine.search("rivers lakes added", limit=10).results
    found = {uris[hit.document_id]: hit.text for hit in hits}
    for hit in hits:
        assert engine.fetch(hit.document_id).text == hit.text
    assert engine.status().documents == len(found)
    return found


def start(directory, fatal):
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(directory), str(fatal)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def directory(tmp_path):
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.add(Document(uri=uri, text=text) for uri, text in OLD.items())
        for n in range(6):  # one segment short of a compaction
            engine.add([Document(uri=f"test:x{n}", text=f"Extra {n}.")])
        engine.delete([Document(uri=f"test:x{n}", text="").id for n in range(6)])
    return tmp_path / "i"


def test_a_writer_killed_at_any_step_leaves_a_commit(directory, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    total = int(start(copy, 0).stdout)
    assert total > 40
    seen = []
    for fatal in range(1, total + 1, max(1, total // 30)):
        shutil.rmtree(copy)
        shutil.copytree(directory, copy)
        assert start(copy, fatal).returncode == -9
        with Engine.open(copy) as engine:
            state = contents(engine)
            assert state in (OLD, MIDDLE, NEW), f"killed at step {fatal}"
            seen.append(state)
            engine.add([Document(uri="test:d", text="After the crash, lakes.")])
            assert engine.search("after the crash").results[0].text == "After the crash, lakes."
        listed = {path.name for path in copy.rglob("*.seg")}
        with Engine.open(copy) as engine:
            assert len(listed) == engine.status().segments  # litter was swept
        for path in copy.rglob("*.seg"):
            ArrayFile(path, "segment").check()
        assert not list(copy.rglob("*.tmp"))
    assert OLD in seen and NEW in seen and MIDDLE in seen
