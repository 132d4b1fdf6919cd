"""The client of a server: what the engine returns, from threads and event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rag_tools.client
from frameworks import QUESTIONS, storm
from rag_tools.client import Client, open_index, open_to_write
from rag_tools.engine import Engine
from rag_tools.errors import ConfigurationError, InvalidQueryError, ServerError
from rag_tools.types import Document, SearchResults
from serving import RAG_TOOLS, served, serving


@pytest.fixture(scope="module")
def url(index_dir: Path) -> Iterator[str]:
    with served(index_dir) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("filter", [None, {"path": ["*.md", "*.txt"]}])
async def test_every_method_returns_what_the_engines_does(
    client: Client, engine: Engine, question: str, filter: dict[str, list[str]] | None
):
    found = engine.search(question, limit=3, filter=filter)
    assert client.search(question, limit=3, filter=filter) == found
    assert await client.asearch(question, limit=3, filter=filter) == found
    cited = engine.cite(question, limit=2, filter=filter)
    assert client.cite(question, limit=2, filter=filter) == cited
    assert await client.acite(question, limit=2, filter=filter) == cited
    for citation in cited.citations:
        verified = engine.verify(citation)
        assert client.verify(citation) == verified
        assert await client.averify(citation.model_dump(mode="json")) == verified
    assert client.status() == await client.astatus() == engine.status()


async def test_documents_and_passages_are_fetched_whole(client: Client, engine: Engine):
    hit = engine.search(QUESTIONS[0]).results[0]
    for id in (hit.id, hit.document_id):
        assert client.fetch(id) == engine.fetch(id)
        assert await client.afetch(id, start=3, end=9) == engine.fetch(id, start=3, end=9)


def test_what_takes_several_answers_is_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = "".join(f'Lighthouse {n} is "{n * 7}" metres high. ⛵\n' for n in range(100))
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add([Document(uri="test:towers", text=text), Document(uri="x", text="x" * 9_000)])
        found = engine.search("lighthouse", limit=7)
        blob = engine.search("x", filter={"title": "x"}, limit=1).results[0]
        assert len(blob.text) > 2_000
        document = found.results[0].document_id
        with served(tmp_path / "index") as url, Client(url) as client:
            monkeypatch.setattr(rag_tools.client, "_MAX_CHARS", 1_500)
            for id in (document, blob.id):
                assert client.fetch(id) == engine.fetch(id)
            part = {"start": 9, "end": len(text) - 9}
            assert client.fetch(document, **part) == engine.fetch(document, **part)
            longest = max(len(hit.model_dump_json()) for hit in found.results)
            monkeypatch.setattr(rag_tools.client, "_MAX_CHARS", longest + 300)
            assert client.search("lighthouse", limit=7) == found
            monkeypatch.undo()
            monkeypatch.setattr(rag_tools.client, "_PAGE", 2)
            assert client.search("lighthouse", limit=7) == found


def test_threads_and_event_loops_share_a_client(client: Client, engine: Engine):
    expected = {question: engine.search(question) for question in QUESTIONS}

    async def ask() -> list[object]:
        return await asyncio.gather(*(client.asearch(question) for question in QUESTIONS))

    with ThreadPoolExecutor(4) as threads:
        loops = [threads.submit(asyncio.run, ask()) for _ in range(2)]
        alone = list(threads.map(client.search, QUESTIONS))
        assert alone == list(expected.values())
        assert all(loop.result() == alone for loop in loops)


async def test_200_calls_at_once_are_right_and_leave_the_event_loop_free(
    client: Client, engine: Engine
):
    expected = {question: engine.search(question) for question in QUESTIONS}
    answers, turns = await storm(client.asearch, 200)
    for n, found in enumerate(answers):
        assert found == expected[QUESTIONS[n % len(QUESTIONS)]]
    assert turns > 10  # hundreds on an idle machine


async def test_a_call_that_is_cancelled_harms_no_other(client: Client, engine: Engine):
    calls = [asyncio.create_task(client.asearch(QUESTIONS[0])) for _ in range(12)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in answers[::2])
    assert all(each == engine.search(QUESTIONS[0]) for each in answers[1::2])


async def test_what_a_busy_server_refuses_is_asked_again(
    index_dir: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "rag-tools.toml"
    config.write_text('[http]\naddress = "127.0.0.1:0"\n[http.limits]\ncalls = 1\n')
    command = [*RAG_TOOLS, "serve", "--index", str(index_dir), "--config", str(config)]
    with serving(command) as url, Client(url) as client:
        answers = await asyncio.gather(*(client.asearch(question) for question in QUESTIONS))
        assert answers == [engine.search(question) for question in QUESTIONS]
        monkeypatch.setattr(rag_tools.client, "_PATIENCE", 0)
        answers = await asyncio.gather(
            *(client.asearch(question) for question in QUESTIONS), return_exceptions=True
        )
        refused = [each for each in answers if isinstance(each, ServerError)]
        assert 0 < len(refused) < len(QUESTIONS)
        assert all("busy" in str(each) for each in refused)


async def test_closing_ends_the_calls_that_are_under_way(url: str):
    client = Client(url)
    calls = [asyncio.create_task(client.asearch(QUESTIONS[0])) for _ in range(40)]
    await asyncio.sleep(0.01)
    await asyncio.to_thread(client.close)
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, SearchResults | asyncio.CancelledError | ServerError)


def test_what_the_server_refuses_is_raised_in_its_words(client: Client):
    with pytest.raises(ServerError, match="the query is empty"):
        client.search(" ")
    with pytest.raises(ServerError, match="nowhere"):
        client.fetch("nowhere")
    with pytest.raises(ServerError, match="quote: Field required"):
        client.verify({"document_id": "a"})
    for limit in (0, 1_001):
        with pytest.raises(InvalidQueryError, match=f"limit is {limit}"):
            client.search("tides", limit=limit)


def test_a_server_that_is_not_there(url: str):
    for address in ("http://127.0.0.1:1/mcp", url.replace("/mcp", "/elsewhere"), "http://[::1"):
        with pytest.raises(ServerError) as error:
            Client(address)
        assert address in str(error.value)


def test_a_server_that_comes_back_is_found_again(index_dir: Path, engine: Engine):
    found = engine.search("tides")
    with served(index_dir) as url:
        client = Client(url)
        assert client.search("tides") == found
    with pytest.raises(ServerError, match="can't be reached"):
        client.search("tides")
    address = url.removeprefix("http://").removesuffix("/mcp")
    with serving([*RAG_TOOLS, "serve", "--index", str(index_dir), "--http", address]):
        assert client.search("tides") == found
    client.close()


def test_tokens_and_collections(index_dir: Path, tmp_path: Path, engine: Engine):
    Engine.open(tmp_path / "empty", create=True).close()
    secret = tmp_path / "token"
    secret.write_text("a-long-enough-secret-for-a-test-1234567890")
    indexes = ["--index", f"full={index_dir}", "--index", f"empty={tmp_path / 'empty'}"]
    with serving(
        [*RAG_TOOLS, "serve", *indexes, "--http", "127.0.0.1:0", "--token-file", str(secret)]
    ) as url:
        for token in (None, "wrong"):
            with pytest.raises(ServerError, match=f"{url}: no valid token"):
                Client(url, token=token)
        token = secret.read_text()
        with Client(url, token=token, collection="full") as full:
            assert full.search("tides") == engine.search("tides")
            assert full.status().documents == engine.status().documents
        with Client(url, token=token, collection="empty") as empty:
            assert empty.search("tides").results == ()
            assert empty.status().documents == 0
        with Client(url, token=token) as unnamed:
            for ask in (lambda: unnamed.search("tides"), unnamed.status):
                with pytest.raises(ServerError, match="full, empty"):
                    ask()


def test_a_name_or_an_address_is_opened(index_dir: Path, url: str, engine: Engine):
    with open_index(url) as client:
        assert isinstance(client, Client)
        assert open_index(client) is client
    with open_index(str(index_dir)) as opened:
        assert isinstance(opened, Engine)
        assert opened.directory == index_dir
    assert open_index(engine) is open_to_write(engine) is engine


def test_a_server_is_not_written_to(url: str, client: Client, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index in (url, client):
        with pytest.raises(ConfigurationError, match=f"{url} is a server, which can only be read"):
            open_to_write(index)
    assert list(tmp_path.iterdir()) == []


def test_a_program_ends_though_its_client_is_open(url: str):
    program = f"from rag_tools.client import Client; Client({url!r}).status()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("missing", ["mcp", "httpx2"])
def test_a_client_without_its_dependencies_names_the_package_that_is_missing(missing: str):
    program = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None  # cannot be imported\n"
        "import rag_tools\n"
        "try: rag_tools.Client('http://127.0.0.1:9/mcp')\n"
        "except rag_tools.ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"a client needs the package {missing}" in done.stdout
    assert "pip install rag-tools" in done.stdout


def test_a_directory_is_opened_without_the_protocol():
    program = (
        "import sys, rag_tools.client;sys.exit(bool({'mcp', 'httpx2', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
