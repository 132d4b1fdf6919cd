"""Queries that wait for the encoder go in one run, and come out the same as alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from rag_tools.aio import offload, take_turns
from rag_tools.encode.batch import Batch
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build

QUESTIONS = [
    "what is the waggle dance?",
    "how far is the meadow",
    "bees",
    "where do the foragers of a hive learn which flowers are worth the flight at dawn?",
    "what is the waggle dance?",
    "who",
]
TIMEOUT = 30  # of what would otherwise hang


class Held:
    """A session whose first run waits to be let go; it notes the shapes of all."""

    def __init__(self, encoder: Encoder) -> None:
        self.session: Any = encoder._model
        self.shapes: list[tuple[int, int]] = []
        self.running, self.go = threading.Event(), threading.Event()

    def run(self, inputs: dict[str, Any]) -> Any:
        first = not self.shapes
        self.shapes.append(inputs["input_ids"].shape)
        if first:
            self.running.set()
            assert self.go.wait(TIMEOUT)
        return self.session.run(inputs)

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.shapes)


@pytest.fixture(scope="module")
def plain() -> Encoder:
    return Encoder(load_checkpoint())


@pytest.fixture
def encoder(plain: Encoder, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    monkeypatch.setattr(plain, "_model", Held(plain))
    return plain


@pytest.fixture
def held(encoder: Encoder) -> Iterator[Held]:
    session: Any = encoder._model
    yield session
    session.go.set()


def bytes_of(embeddings: Embeddings) -> tuple[bytes, ...]:
    assert embeddings.pooled is not None
    arrays = (embeddings.vectors, embeddings.token_ids, embeddings.spans, embeddings.pooled)
    return tuple(array.tobytes() for array in arrays)


async def begun(held: Held) -> None:
    """Wait until the first run has begun."""
    assert await asyncio.to_thread(held.running.wait, TIMEOUT)


async def settled() -> None:
    """Let every task go as far as it can without a thread."""
    for _ in range(20):
        await asyncio.sleep(0)


async def encode(batch: Batch, text: str) -> Embeddings:
    with batch.join(text) as waiting:
        return await offload(waiting.embeddings)


def on_one_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run an event loop that offloads to one thread, as a worker of a server with a core does."""

    async def run() -> Any:
        take_turns(anyio.CapacityLimiter(1))
        return await asyncio.wait_for(work, TIMEOUT)

    return asyncio.run(run())


def test_those_that_wait_make_one_batch(encoder: Encoder, held: Held):
    async def run() -> list[Embeddings]:
        batch = Batch(encoder)
        first = asyncio.create_task(encode(batch, "bees"))
        await begun(held)
        assert held.shapes == [(1, 4)]  # nobody to wait for
        others = [asyncio.create_task(encode(batch, text)) for text in QUESTIONS]
        await settled()
        assert len(batch) == len(QUESTIONS)
        held.go.set()
        found = await asyncio.gather(first, *others)
        assert len(batch) == 0
        return found

    found = on_one_thread(run())
    assert sorted(held.shapes[1:]) == [(1, 8), (1, 24), (2, 4), (2, 12)]
    for text, embeddings in zip(["bees", *QUESTIONS], found, strict=True):
        assert bytes_of(embeddings) == bytes_of(encoder.encode_query(text))


def test_an_error_stays_with_its_query(encoder: Encoder, held: Held, monkeypatch):
    encode_queries = encoder.encode_queries

    def fragile(texts: list[str]) -> list[Embeddings]:
        if "bad" in texts:
            raise MemoryError("too much")
        return encode_queries(texts)

    monkeypatch.setattr(encoder, "encode_queries", fragile)

    async def run() -> list[Any]:
        batch = Batch(encoder)
        first = asyncio.create_task(encode(batch, "bees"))
        await begun(held)
        texts = ["one", "bad", "two", "bad"]
        others = [asyncio.create_task(encode(batch, text)) for text in texts]
        await settled()
        held.go.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    one, bad, two, worse = on_one_thread(run())
    assert [str(bad), str(worse)] == ["too much"] * 2
    assert bytes_of(one) == bytes_of(encoder.encode_query("one"))
    assert bytes_of(two) == bytes_of(encoder.encode_query("two"))


def test_a_query_that_is_cancelled_leaves_the_batch(encoder: Encoder, held: Held):
    async def run() -> list[Any]:
        batch = Batch(encoder)
        first = asyncio.create_task(encode(batch, "bees"))
        await begun(held)
        tasks = [asyncio.create_task(encode(batch, text)) for text in ("a", "b", "c", "d")]
        await settled()
        tasks[0].cancel()  # it would have been the next to get a thread
        tasks[2].cancel()
        await settled()
        assert tasks[0].cancelled()
        assert tasks[2].cancelled()
        held.go.set()
        return await asyncio.gather(first, tasks[1], tasks[3])

    found = on_one_thread(run())
    assert held.shapes == [(1, 4), (2, 4)]
    for text, embeddings in zip(("bees", "b", "d"), found, strict=True):
        assert bytes_of(embeddings) == bytes_of(encoder.encode_query(text))


def test_a_query_that_is_cancelled_while_it_is_encoded_leaves_the_others_theirs(
    encoder: Encoder, held: Held
):
    async def run() -> list[Embeddings]:
        batch = Batch(encoder)
        tasks = [asyncio.create_task(encode(batch, text)) for text in ("a", "b", "c")]
        await begun(held)
        assert held.shapes == [(3, 4)]
        tasks[0].cancel()
        other = asyncio.create_task(encode(batch, "who"))
        await settled()
        held.go.set()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        return await asyncio.gather(*tasks[1:], other)

    for text, embeddings in zip(("b", "c", "who"), on_one_thread(run()), strict=True):
        assert bytes_of(embeddings) == bytes_of(encoder.encode_query(text))


def test_threads_and_event_loops_share_a_batch(encoder: Encoder, held: Held):
    held.go.set()
    batch = Batch(encoder)
    found: dict[int, list[Embeddings]] = {}

    async def run() -> list[Embeddings]:
        return await asyncio.gather(*(encode(batch, text) for text in QUESTIONS * 5))

    threads = [
        threading.Thread(target=lambda i=i: found.update({i: asyncio.run(run())}))  # type: ignore[misc]
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(batch) == 0
    assert held.rows == 4 * 5 * len(QUESTIONS)
    expected = [bytes_of(encoder.encode_query(text)) for text in QUESTIONS * 5]
    assert [[bytes_of(each) for each in found[i]] for i in range(4)] == [expected] * 4


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Engine], Held]]:
    """Return what holds an engine's first run."""
    sessions = []

    def holding(engine: Engine) -> Held:
        engine.warm()
        encoder = engine._opened.encoder
        session = Held(encoder)
        monkeypatch.setattr(encoder, "_model", session)
        sessions.append(session)
        return session

    yield holding
    for session in sessions:
        session.go.set()


def test_searches_at_once_find_what_they_find_alone(engine: Engine, hold):
    alone = [engine.search(text) for text in QUESTIONS]
    held = hold(engine)

    async def run() -> list[Any]:
        first = asyncio.create_task(engine.asearch("bees"))
        await begun(held)
        others = [asyncio.create_task(engine.asearch(text)) for text in QUESTIONS]
        await settled()
        held.go.set()
        with pytest.raises(InvalidQueryError, match="empty"):
            await engine.asearch(" ")
        with pytest.raises(InvalidQueryError, match="Unicode"):
            await engine.asearch("\ud800")
        await first
        return await asyncio.gather(*others)

    assert on_one_thread(run()) == alone
    assert len(held.shapes) == 5 < held.rows == 1 + len(QUESTIONS)


def test_a_batch_of_searches_is_encoded_together(engine: Engine, hold):
    alone = [engine.search(text) for text in QUESTIONS]
    held = hold(engine)
    held.go.set()
    assert engine.search_batch(QUESTIONS) == alone
    assert sorted(held.shapes) == [(1, 8), (1, 24), (2, 4), (2, 12)]
    assert engine.search_batch([]) == []


def test_claims_and_searches_of_a_server_are_encoded_together(index_dir: Path, hold):
    collections = Collections({"notes": index_dir})

    async def ask(client: Any, texts: list[str]) -> list[Any]:
        calls = [client.call_tool("search", {"query": text}) for text in texts]
        calls += [client.call_tool("cite", {"claim": text}) for text in texts]
        return await asyncio.gather(*calls)

    async def run() -> None:
        async with Client(build(collections)) as client:
            alone = [
                await client.call_tool(tool, {argument: text})
                for tool, argument in (("search", "query"), ("cite", "claim"))
                for text in QUESTIONS
            ]
            held = hold(collections.engine())
            first = asyncio.create_task(client.call_tool("search", {"query": "bees"}))
            await begun(held)
            others = asyncio.create_task(ask(client, QUESTIONS))
            batch = collections.engine()._opened.batch
            assert batch is not None
            while len(batch) < 2 * len(QUESTIONS):
                await asyncio.sleep(0.001)
            blank = await client.call_tool("search", {"query": " "})
            assert blank.is_error
            held.go.set()
            assert not (await first).is_error
            assert [each.structured_content for each in await others] == [
                each.structured_content for each in alone
            ]
            assert sorted(held.shapes[1:]) == [(2, 8), (2, 24), (4, 4), (4, 12)]

    on_one_thread(run())
