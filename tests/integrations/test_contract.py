"""One query through every door: the same ids, scores and spans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest

from frameworks import QUESTIONS
from rag_tools import Engine
from rag_tools.client import Client
from serving import RAG_TOOLS, served

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

from langchain_rag_tools import RagToolsRetriever as LangChainRetriever
from langchain_rag_tools import RagToolsVectorStore, search_tool
from llama_index_rag_tools import RagToolsIndex
from llama_index_rag_tools import RagToolsRetriever as LlamaIndexRetriever

LIMIT = 4
Filter = Mapping[str, str] | None
Search = Callable[[str, Filter], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def engine(index_dir: Path) -> Iterator[Engine]:
    with Engine.open(index_dir) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(index_dir: Path) -> Iterator[str]:
    with served(index_dir) as url:
        yield url


def command_line(index: Path) -> Search:
    def search(query: str, filter: Filter) -> list[dict[str, Any]]:
        filters = [f"--filter={field}={value}" for field, value in (filter or {}).items()]
        printed = subprocess.run(
            [*RAG_TOOLS, "search", query, "--index", index, "--json", f"--limit={LIMIT}", *filters],
            capture_output=True,
            check=True,
        ).stdout
        return json.loads(printed)["results"]

    return search


def protocol(server: mcp.StdioServerParameters | str) -> Search:
    """Return a search by the official client, which knows nothing of ours."""

    def search(query: str, filter: Filter) -> list[dict[str, Any]]:
        async def ask() -> mcp.types.CallToolResult:
            async with mcp.Client(server) as client:
                arguments = {"query": query, "limit": LIMIT, "max_chars": 100_000}
                return await client.call_tool(
                    "search", arguments | {"filter": filter, "detail": "full"}
                )

        return anyio.run(ask).structured_content["results"]

    return search


def langchain(index: Any) -> Search:
    def search(query: str, filter: Filter) -> list[dict[str, Any]]:
        retriever = LangChainRetriever(index=index, k=LIMIT)
        return _passages(retriever.invoke(query, filter=filter))

    return search


def _passages(documents: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": document.id,
            "text": document.page_content,
            "start": document.metadata["start_index"],
            "end": document.metadata["end_index"],
            **document.metadata,
        }
        for document in documents
    ]


def langchain_tool(index: Any) -> Search:
    def search(query: str, filter: Filter) -> list[dict[str, Any]]:
        tool = search_tool(LangChainRetriever(index=index, k=LIMIT, filter=filter))
        call = {"type": "tool_call", "id": "1", "name": "search", "args": {"query": query}}
        return _passages(tool.invoke(call).artifact)

    return search


def llama_index(index: Any) -> Search:
    def search(query: str, filter: Filter) -> list[dict[str, Any]]:
        retriever = LlamaIndexRetriever(index, k=LIMIT, filter=filter)
        return [
            {
                "id": found.node.node_id,
                "document_id": found.node.ref_doc_id,
                "text": found.node.get_content(),
                "score": found.score,
                "start": found.node.start_char_idx,
                "end": found.node.end_char_idx,
                **found.node.metadata,
            }
            for found in retriever.retrieve(query)
        ]

    return search


DOORS = [
    "command line",
    "MCP over stdio",
    "MCP over HTTP",
    "client",
    "LangChain",
    "LangChain, served",
    "LangChain's tool, served",
    "LlamaIndex",
    "LlamaIndex, served",
]
SAME = ("id", "document_id", "document_sha256", "score", "text", "start", "end", "url", "citations")


@pytest.fixture(scope="module")
def doors(engine: Engine, index_dir: Path, url: str) -> Iterator[dict[str, Search]]:
    stdio = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "rag_tools_mcp", "--index", str(index_dir)],
        env=dict(os.environ),
    )
    with Client(url) as client:
        yield {
            "command line": command_line(index_dir),
            "MCP over stdio": protocol(stdio),
            "MCP over HTTP": protocol(url),
            "client": lambda query, filter: json.loads(
                client.search(query, limit=LIMIT, filter=filter).model_dump_json()
            )["results"],
            "LangChain": langchain(engine),
            "LangChain, served": langchain(client),
            "LangChain's tool, served": langchain_tool(client),
            "LlamaIndex": llama_index(engine),
            "LlamaIndex, served": llama_index(client),
        }


@pytest.mark.parametrize("filter", [None, {"path": "*.md"}], ids=["all", "filtered"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_what_the_engine_finds(
    doors: dict[str, Search], engine: Engine, door: str, filter: Filter
):
    for query in QUESTIONS[:2]:
        found = engine.search(query, limit=LIMIT, filter=filter).model_dump(mode="json")["results"]
        assert found
        given = [{key: hit[key] for key in SAME} for hit in doors[door](query, filter)]
        assert given == [{key: hit[key] for key in SAME} for hit in found]


def test_what_one_framework_adds_the_others_find(tmp_path: Path):
    store = RagToolsVectorStore(tmp_path / "index")
    store.add_texts(
        ["Tea is brewed at 95 °C. 🍵"], [{"source": "https://example.com/tea"}], ids=["t"]
    )
    index = RagToolsIndex(store.engine)
    (node,) = index.as_retriever().retrieve("how hot is tea?")
    (document,) = LangChainRetriever(index=index.engine).invoke("how hot is tea?")
    (printed,) = command_line(tmp_path / "index")("how hot is tea?", None)
    assert node.node.node_id == document.id == printed["id"]
    assert node.score == document.metadata["score"] == printed["score"]
    assert node.node.metadata["citations"] == document.metadata["citations"] == printed["citations"]
    index.delete_ref_doc("t")
    assert store.similarity_search("tea") == []
    store.engine.close()


@pytest.mark.parametrize(
    ("imported", "missing"),
    [
        ("rag_tools.engine, rag_tools.rerank, rag_tools.cli.main, rag_tools.client", "both"),
        ("langchain_rag_tools", "llama_index"),
        ("llama_index_rag_tools", "langchain_core"),
    ],
)
def test_each_adapter_needs_its_own_framework_only(imported: str, missing: str):
    frameworks = ["langchain_core", "llama_index"] if missing == "both" else [missing]
    program = (
        "import sys\n"
        f"for name in {frameworks}: sys.modules[name] = None  # cannot be imported\n"
        f"import {imported}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
