"""Queries, claims and answers have a limit, wherever they come from, and a message that says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mcp import Client

from asking import run
from rag_tools.cite import heatmap
from rag_tools.cite.claims import MAX_NESTING, cited_answer, draft
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.limits import MAX_ANSWER, MAX_QUERY
from rag_tools.rerank import Reranker
from rag_tools.types import Aligned, Citation, Support

LONG = "why do the tides come twice " * 400
JUST = LONG[:MAX_QUERY]


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, text: engine.search(text),
        lambda engine, text: asyncio.run(engine.asearch(text)),
        lambda engine, text: engine.search_batch(["tides", text]),
        lambda engine, text: engine.cite(text),
        lambda engine, text: asyncio.run(engine.aio.cite(text, then=lambda found: found)),
        lambda engine, text: engine.cite_answer(f"See. {text}."),
        lambda _, text: Reranker().rank(text, ["tides"]),
    ],
    ids=["search", "asearch", "search_batch", "cite", "aio.cite", "cite_answer", "rerank"],
)
def test_a_query_that_is_too_long_is_refused_with_both_lengths(engine: Engine, ask):
    with pytest.raises(InvalidQueryError, match=r"11,2\d\d characters, and the limit is 8,000"):
        ask(engine, LONG)


def test_a_query_of_the_limit_is_answered(engine: Engine):
    assert engine.search(JUST, limit=1).results
    assert engine.cite(JUST, limit=1).citations


def test_an_answer_has_a_limit_of_its_own(engine: Engine):
    sentence = "Tides come twice a day. "
    longer = sentence * (2 * MAX_QUERY // len(sentence))
    quoting = f'As they say, "{FOUND}" {longer}'
    assert engine.verify_answer(quoting).verifications[0].status in ("exact", "moved")
    too_long = sentence * (MAX_ANSWER // len(sentence) + 1)
    for check in (engine.cite_answer, engine.verify_answer):
        with pytest.raises(InvalidQueryError, match=rf"{len(too_long):,} characters.*100,000"):
            check(too_long)


FOUND = "The sea bulges on both sides, and the Earth turns beneath the bulges."


def test_a_statement_that_is_too_long_is_named_before_anything_is_asked():
    def cite(claim: str) -> Support:
        raise AssertionError(claim)

    answer = f"Water boils on mountains. Whales {'sing and ' * 1_000} dive."
    with pytest.raises(InvalidQueryError, match=r"statement that starts with 'Whales sing and"):
        cited_answer(answer, cite)


def test_a_long_quotation_is_looked_for_by_its_beginning(tmp_path: Path):
    from rag_tools import Document

    text = "".join(
        f"Clause {n} of the treaty names the port of number {n * 7}.\n" for n in range(400)
    )
    assert len(text) > 2 * MAX_QUERY
    with Engine.open(tmp_path, create=True) as engine:
        engine.add([Document(uri="test:treaty", text=text), Document(uri="test:x", text="Other.")])
        (found,) = engine.verify_answer(f"```text\n{text}```\n").verifications
    assert found.status in ("exact", "moved")


@pytest.mark.parametrize(("tool", "argument"), [("search", "query"), ("cite", "claim")])
def test_tools_declare_the_limit_and_name_both_lengths(index_dir: Path, tool: str, argument: str):
    async def ask(client: Client) -> None:
        schemas = {each.name: each.input_schema for each in (await client.list_tools()).tools}
        assert schemas[tool]["properties"][argument]["maxLength"] == MAX_QUERY
        answer = await client.call_tool(tool, {argument: LONG})
        assert answer.is_error
        assert (
            f"{argument} has {len(LONG):,} characters; the limit is 8,000" in answer.content[0].text
        )
        assert not (await client.call_tool(tool, {argument: JUST, "max_chars": 40_000})).is_error

    run({"default": index_dir}, ask)


def test_the_profile_of_chatgpt_has_the_limit_too(index_dir: Path):
    async def ask(client: Client) -> None:
        (search, _) = (await client.list_tools()).tools
        assert search.input_schema["properties"]["query"]["maxLength"] == MAX_QUERY
        assert (await client.call_tool("search", {"query": LONG})).is_error

    run({"default": index_dir}, ask, profile="openai")


@pytest.mark.parametrize("command", [["search"], ["cite"], ["explain"]])
def test_the_command_line_refuses_in_one_line(index_dir: Path, command: list[str]):
    done = subprocess.run(
        [sys.executable, "-m", "rag_tools.cli.main", *command, LONG, "--index", str(index_dir)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"the query has {len(LONG):,} characters, and the limit is 8,000" in done.stderr


def test_the_picture_of_a_long_query_takes_time_in_proportion():
    def seconds(words: int) -> float:
        query = " ".join(f"word{n:05}" for n in range(words))
        edges = [
            Aligned(query_start=at, query_end=at + 9, start=at, end=at + 9, similarity=0.5)
            for at in range(0, len(query), 10)
        ]
        cited = Citation(
            document_id="a",
            document_sha256="b",
            start=0,
            end=len(query),
            quote=query,
            alignment=tuple(edges),
        )
        return min(_spent(lambda: heatmap.citations(query, [cited])) for _ in range(3))

    assert seconds(4_000) < 24 * seconds(500)  # 8 times the words; with every word 40 times


def test_brackets_in_brackets_are_refused_soon():
    for deep in (3, MAX_NESTING - 1):
        assert draft("Seas [1" + "[1" * (deep - 1) + "]" * deep + " rise.") == "Seas rise."
    answer = "[1" * 20_000 + "]" * 20_000
    started = time.process_time()
    with pytest.raises(InvalidQueryError, match="brackets"):
        draft(answer)
    assert time.process_time() - started < 5  # each level was a look at all: more than a minute


def _spent(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
