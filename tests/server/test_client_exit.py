"""Programs that read a server end by themselves, whatever they closed, and say nothing more."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_tools.client import Client
from rag_tools.errors import ServerError
from serving import served

SECONDS = 60  # an import of the frameworks takes some on a busy machine

USED = "from rag_tools.client import Client\nclient = Client(URL)\nclient.search('tides')\n"
PROGRAMS = {
    "not closed": f"{USED}print('done')",
    "closed": f"{USED}client.close()\nclient.close()\nprint('done')",
    "with": (
        "from rag_tools.client import Client\n"
        "with Client(URL) as client:\n    client.search('tides')\nprint('done')"
    ),
    "many": (
        "from rag_tools.client import Client\n"
        "clients = [Client(URL) for _ in range(12)]\n"
        "for client in clients:\n    client.search('tides')\n"
        "clients[3].close()\nprint('done')"
    ),
    "by name": USED.replace("URL", "URL.replace('127.0.0.1', 'localhost')") + "print('done')",
    "in the middle of calls": (
        "import asyncio\n"
        f"{USED}"
        "async def ask():\n"
        "    calls = [asyncio.create_task(client.asearch('tides')) for _ in range(40)]\n"
        "    await asyncio.sleep(0.02)\n"
        "    print('done', flush=True)\n"
        "    return calls\n"
        "asyncio.run(ask())"
    ),
    "on another thread": (
        "import threading\n"
        "def work():\n"
        "    from rag_tools.client import Client\n"
        "    global client\n"
        "    client = Client(URL)\n"
        "    client.search('tides')\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\nthread.join()\nprint('done')"
    ),
    "LangChain": (
        "from langchain_rag_tools import RagToolsRetriever\n"
        "retriever = RagToolsRetriever(index=URL)\n"
        "assert retriever.invoke('tides')\nprint('done')"
    ),
    "LlamaIndex": (
        "from llama_index_rag_tools import RagToolsRetriever\n"
        "retriever = RagToolsRetriever(URL)\n"
        "assert retriever.retrieve('tides')\nprint('done')"
    ),
}


@pytest.fixture(scope="module")
def url(index_dir: Path) -> Iterator[str]:
    with served(index_dir) as url:
        yield url


def start(url: str, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program.replace("URL", repr(url))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def end(running: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return running.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        out, err = running.communicate()
        raise AssertionError(f"still running, having printed {out!r} and {err!r}") from None


@pytest.fixture(scope="module")
def running(url: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All programs, side by side."""
    programs = {name: start(url, program) for name, program in PROGRAMS.items()}
    yield programs
    for each in programs.values():
        if each.poll() is None:
            each.kill()
        each.communicate()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends(running: dict[str, subprocess.Popen[str]], name: str):
    out, err = end(running[name])
    # A call that is cancelled as it begins leaves the SDK with a coroutine that it doesn't run.
    said = [line for line in err.splitlines() if "RuntimeWarning: " not in line]
    assert (out, said) == ("done\n", [])
    assert running[name].returncode == 0


@pytest.mark.parametrize(
    ("failure", "code"), [("raise ValueError('mine')", 1), ("import sys; sys.exit(7)", 7)]
)
def test_a_program_that_fails_ends_as_it_failed(url: str, failure: str, code: int):
    running = start(url, f"{USED}{failure}")
    _, err = end(running)
    assert running.returncode == code
    assert err.count("Traceback") == (code == 1)


def test_a_client_that_nobody_has_any_more_ends_its_thread(url: str):
    def threads() -> int:
        gc.collect()
        return sum(each.name == "rag-tools-client" for each in threading.enumerate())

    before = threads()
    clients = [Client(url) for _ in range(3)]
    assert clients[0].search("tides").results
    assert threads() == before + 3
    del clients
    deadline = time.monotonic() + 20
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threads() == before


def test_a_closed_client_says_so(url: str):
    with Client(url) as client:
        assert client.search("tides").results
    closed = re.escape(f"the client of {url} is closed: make a new one")
    with pytest.raises(ServerError, match=closed):
        client.search("tides")


def test_a_server_that_is_not_there_leaves_no_thread():
    before = threading.active_count()
    with pytest.raises(ServerError, match="can't be reached"):
        Client("http://127.0.0.1:1/mcp")
    assert threading.active_count() <= before
