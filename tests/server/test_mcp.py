from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, Tool

from rag_tools.cli.output import as_json
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.types import Citation, Document
from rag_tools.wire.results import NOTICE
from rag_tools_mcp import pages
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build

TOOLS = ["search", "fetch", "cite", "verify", "check_answer", "list_documents", "status"]


def server(index: Path) -> StdioServerParameters:
    arguments = ["-m", "rag_tools_mcp", "--index", str(index)]
    return StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))


class Agent:
    """The official client, connected to a server process of its own."""

    def __init__(self, client: Client, portal: BlockingPortal) -> None:
        self.client, self.portal = client, portal

    def tools(self) -> dict[str, Tool]:
        return {tool.name: tool for tool in self.portal.call(self.client.list_tools).tools}

    def raw(self, tool: str, **arguments: Any) -> CallToolResult:
        return self.portal.call(self.client.call_tool, tool, arguments)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self.raw(tool, **arguments)
        assert not result.is_error, result.content
        (item,) = result.content
        assert json.loads(item.text) == result.structured_content
        return result.structured_content

    def error(self, tool: str, **arguments: Any) -> str:
        result = self.raw(tool, **arguments)
        assert result.is_error
        assert result.structured_content is None
        (item,) = result.content
        return item.text


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[..., Agent]]:
    with start_blocking_portal() as portal:
        open_clients = []

        def connect(index: Path, **options: Any) -> Agent:
            client = portal.wrap_async_context_manager(Client(server(index), **options))
            open_clients.append(client)
            return Agent(client.__enter__(), portal)

        yield connect
        for client in reversed(open_clients):
            client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def agent(connect: Callable[..., Agent], index_dir: Path) -> Agent:
    return connect(index_dir)


def test_starting_imports_only_what_the_protocol_needs():
    program = (
        "import sys, rag_tools_mcp.server;"
        "print({'numpy', 'onnxruntime', 'faiss', 'rag_tools.engine'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert output.stdout.strip() == b"set()"


def test_tools_are_described_and_read_only(agent: Agent):
    tools = agent.tools()
    assert list(tools) == TOOLS
    for tool in tools.values():
        assert tool.description
        assert "\n" not in tool.description
        assert tool.input_schema["additionalProperties"] is False
        assert all(
            argument.get("description") for argument in tool.input_schema["properties"].values()
        )
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is False
        # Small enough to stand in every request of an agent.
        assert len(tool.model_dump_json(include={"name", "description", "input_schema"})) < 1_600
    assert tools["search"].input_schema["required"] == ["query"]
    assert tools["fetch"].input_schema["required"] == ["id"]


# What a model chooses can't be tested without one. What can: that our own ranking finds, from the
# name and description alone, the tool that a request is about. It punishes descriptions that leave
# out what people call a thing, and those that fit several tools.
REQUESTS = [
    ("What do the documents say about indentation?", "search"),
    ("What do my notes say about sourdough?", "search"),
    ("Find passages about deadlines in my documents.", "search"),
    ("Search for what was said about the budget.", "search"),
    ("Read the whole text of this document.", "fetch"),
    ("Show me the full document with this id.", "fetch"),
    ("Continue reading the long document after character 50,000.", "fetch"),
    ("Find evidence that supports this claim.", "cite"),
    ("Which quotes bear on the statement that water boils at 100 degrees?", "cite"),
    ("Back up this claim with a quote.", "cite"),
    ("Check that this quote is still in the source.", "verify"),
    ("Is this citation still exact or has the text moved?", "verify"),
    ("Are these quotes stale?", "verify"),
    ("Which documents are there?", "list_documents"),
    ("List all documents with their titles.", "list_documents"),
    ("What files are in the collection?", "list_documents"),
    ("How many documents and passages does the index hold?", "status"),
    ("How was the index built?", "status"),
    ("Which folders are indexed?", "status"),
    ("I changed a file: update the index.", "sync"),
    ("A file was deleted; bring the index up to date.", "sync"),
]


def test_a_request_leads_to_the_tool_that_it_is_about(tmp_path: Path):
    async def listed() -> list[Tool]:
        async with Client(build(Collections({"a": tmp_path}), writable=[tmp_path])) as client:
            return (await client.list_tools()).tools

    with Engine.open(tmp_path, create=True) as engine:
        engine.add(
            Document(uri=tool.name, title=tool.name.replace("_", " "), text=tool.description or "")
            for tool in anyio.run(listed)
        )
        chosen = {asked: engine.search(asked, limit=1).results[0].uri for asked, _ in REQUESTS}
    assert chosen == dict(REQUESTS)


def test_search_returns_what_the_command_line_returns(agent: Agent, engine: Engine):
    page = agent.call("search", query="two high tides a day", detail="full")
    extra = {key: page.pop(key) for key in ("left_out", "shortened", "next_cursor", "notice")}
    assert page == json.loads(as_json(engine.search("two high tides a day")))
    assert extra == {"left_out": 0, "shortened": 0, "next_cursor": None, "notice": NOTICE}
    for hit in page["results"]:
        assert hit["id"]
        assert hit["title"]
        assert hit["url"].startswith("file:///")


def test_the_same_call_gives_the_same_bytes(agent: Agent):
    first, second = (agent.raw("search", query="wild yeast").content[0].text for _ in range(2))
    assert first == second


def test_every_citation_stands_in_the_fetched_document(agent: Agent):
    hits = agent.call("search", query="boiling water in the mountains", detail="full")["results"]
    citations = [citation for hit in hits for citation in hit["citations"]]
    claim = "Water boils at 100 degrees at sea level."
    citations += agent.call("cite", claim=claim, detail="full")["citations"]
    assert citations
    for citation in citations:
        document = agent.call("fetch", id=citation["document_id"])
        assert set(document) == {"id", "title", "text", "url", "metadata"}
        assert document["url"]
        text = document["text"]
        assert text[citation["start"] : citation["end"]] == citation["quote"]
        assert hashlib.sha256(text.encode()).hexdigest() == citation["document_sha256"]


def test_fetch_takes_the_id_of_a_result_and_a_range(agent: Agent):
    (hit,) = agent.call("search", query="waggle dance of the bees", limit=1, detail="full")[
        "results"
    ]
    passage = agent.call("fetch", id=hit["id"])
    assert passage["text"] == hit["text"]
    part = agent.call("fetch", id=hit["document_id"], start=hit["start"], end=hit["start"] + 10)
    assert part["text"] == hit["text"][:10]
    assert part["metadata"]["start"] == hit["start"]
    assert part["metadata"]["next_start"] == part["metadata"]["end"] == hit["start"] + 10


def test_verify_one_and_several(agent: Agent):
    claim = "Bees shiver to keep the queen warm."
    citation, *_ = agent.call("cite", claim=claim, detail="full")["citations"]
    (one,) = agent.call("verify", citation=citation, detail="full")["verifications"]
    assert one["status"] == "exact"
    assert Citation(**one["citation"]).quote == citation["quote"]
    # An agent may pass on no more than what identifies the quote.
    short = {field: citation[field] for field in ("document_id", "quote")}
    false = {**short, "quote": "Bees wear small coats."}
    both = agent.call("verify", citations=[short, false], detail="full")["verifications"]
    assert both[0]["status"] in ("exact", "moved")
    assert both[0]["citation"]["start"] == citation["start"]
    assert both[1]["status"] in ("stale", "missing")
    assert "either" in agent.error("verify")
    assert "either" in agent.error("verify", citation=short, citations=[short])
    assert "document_id" in agent.error("verify", citation={"quote": "words"})
    assert "start" in agent.error("verify", citation={**citation, "start": -1})


def test_status(agent: Agent, engine: Engine):
    expected = {"name": "default", "status": json.loads(as_json(engine.status())), "error": None}
    assert agent.call("status") == {"collections": [expected], "left_out": 0, "shortened": 0}


def test_the_longest_passages_fit_into_pages(tmp_path: Path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add([Document(uri="test:blob", text="x" * 50_000)])
        found = engine.search("x" * 500)
    assert max(len(citation.quote) for citation in found.results[0].citations) > 5_000
    shown = 0
    while shown < len(found.results):
        shown += len(pages.search_page(found, skip=shown, limit=9, max_chars=24_000).results)


def test_filters(agent: Agent):
    paths = {"path": ["*.md", "*.html"]}
    hits = agent.call("search", query="water", filter=paths, detail="full")["results"]
    assert {Path(hit["url"].partition("#")[0]).name for hit in hits} == {"kettle.md", "bread.html"}


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {}, "query: Field required"),
        ("search", {"query": "q", "limt": 3}, "unknown argument limt. search takes query, limit"),
        ("search", {"query": "q", "limit": 0}, "limit"),
        ("search", {"query": "q", "limit": 10**9}, "limit"),
        ("search", {"query": "q", "max_chars": 1}, "max_chars"),
        ("search", {"query": "q", "cursor": "nonsense"}, "next_cursor"),
        ("search", {"query": "q", "cursor": "²"}, "next_cursor"),
        ("search", {"query": "  "}, ""),
        ("search", {"query": ["q"]}, "query"),
        ("cite", {"claim": "c", "filter": "nonsense"}, "filter"),
        ("fetch", {"id": "no-such-document"}, "no-such-document"),
        ("fetch", {"id": "x", "start": -1}, "start"),
        ("status", {"verbose": True}, "unknown argument verbose"),
        ("nonsense", {}, "nonsense"),
    ],
)
def test_errors_say_what_is_wrong(agent: Agent, tool: str, arguments: dict, says: str):
    message = agent.error(tool, **arguments)
    assert says in message
    assert message.strip()
    assert "\n" not in message
    assert "pydantic" not in message
    assert "Traceback" not in message


def test_pages_are_bounded_and_follow_one_another(agent: Agent):
    whole = agent.call("search", query="water", detail="full", max_chars=10**6)
    assert len(whole["results"]) >= 5
    longest = max(len(json.dumps(hit, ensure_ascii=False)) for hit in whole["results"])
    bound = max(1_000, 2 * longest)
    gathered, cursor = [], None
    for _ in whole["results"]:
        result = agent.raw("search", query="water", detail="full", max_chars=bound, cursor=cursor)
        assert len(result.content[0].text) <= bound
        page = result.structured_content
        assert page["results"]
        gathered += page["results"]
        cursor = page["next_cursor"]
        assert (page["left_out"] > 0) <= (cursor is not None)
        if cursor is None:
            break
    assert gathered == whole["results"]


def test_a_passage_that_cannot_fit_says_how_much_it_needs(engine: Engine):
    found = engine.search("water", limit=1)
    with pytest.raises(InvalidQueryError, match=r"max_chars=(\d+)") as error:
        pages.search_page(found, skip=0, limit=1, max_chars=100)
    needed = int(str(error.value).split("max_chars=")[1].split()[0])
    page = pages.search_page(found, skip=0, limit=1, max_chars=needed)
    assert len(page.results) == 1
    assert len(pages.tool_result(page).content[0].text) <= needed


def test_long_documents_are_read_in_parts(connect: Callable[..., Agent], tmp_path: Path):
    # Characters of JSON: a line end takes two, a control character six.
    whole = 'Quoth the raven:\n\x01"Nevermore." 🐦\\\n' * 200
    with Engine.open(tmp_path / "index", create=True) as engine:
        (document,) = engine.add([Document(uri="test:raven", text=whole)])
    agent = connect(tmp_path / "index")
    text, start = "", 0
    while start is not None:
        result = agent.raw("fetch", id=document, start=start, max_chars=1_000)
        assert 900 < len(result.content[0].text) <= 1_000 or start > len(whole) - 1_000
        part = result.structured_content
        assert part["metadata"]["total_characters"] == len(whole)
        text += part["text"]
        start = part["metadata"].get("next_start")
    assert text == whole
    assert agent.call("fetch", id=document, start=len(text))["text"] == ""
    assert "range" in agent.error("fetch", id=document, start=len(text) + 1)
    # A passage that is cut says where its document goes on.
    passage = agent.call("fetch", id=f"{document}:100-4000", max_chars=1_000)
    assert passage["metadata"]["start"] == 100
    assert passage["metadata"]["next_start"] == passage["metadata"]["end"] < 4000
    assert "next_start" not in agent.call("fetch", id=f"{document}:100-200")["metadata"]


def test_concurrent_calls_do_not_disturb_one_another(agent: Agent):
    queries = ["tides", "bees", "bread", "sorting", "boiling", "moon", "yeast", "parrot"] * 2
    alone = [agent.call("search", query=query) for query in queries]
    together: list[Any] = [None] * len(queries)

    async def ask(position: int) -> None:
        result = await agent.client.call_tool("search", {"query": queries[position]})
        together[position] = result.structured_content

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            for position in range(len(queries)):
                tasks.start_soon(ask, position)

    agent.portal.call(ask_all)
    assert together == alone


def test_progress_is_reported_to_who_asks(agent: Agent):
    citations = agent.call("cite", claim="Bees dance.", limit=3)["citations"]
    seen: list[tuple[float, float | None]] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        assert message
        seen.append((progress, total))

    async def verify() -> None:
        await agent.client.call_tool("verify", {"citations": citations}, progress_callback=follow)

    agent.portal.call(verify)
    assert seen == [(0, None), *((done, len(citations)) for done in range(1, len(citations) + 1))]


def test_clients_of_the_older_protocol(connect: Callable[..., Agent], index_dir: Path):
    agent = connect(index_dir, mode="legacy")
    assert list(agent.tools()) == TOOLS
    assert agent.call("search", query="tides")["results"]


def test_an_index_made_and_changed_while_the_server_runs(
    connect: Callable[..., Agent], corpus_dir: Path, tmp_path: Path
):
    index = tmp_path / "index"
    agent = connect(index)
    assert list(agent.tools()) == TOOLS
    message = agent.error("search", query="tides")
    assert str(index) in message
    assert "rag-tools index" in message
    command = [sys.executable, "-m", "rag_tools.cli.main", "index", "--index", str(index)]
    subprocess.run([*command, str(corpus_dir)], check=True, capture_output=True)
    assert agent.call("search", query="tides")["results"]
    (corpus_dir / "lava.txt").write_text("Basaltic lava is hotter than rhyolitic lava.")
    subprocess.run([*command, str(corpus_dir)], check=True, capture_output=True)
    found = agent.call("search", query="hot lava", limit=1, detail="full")
    assert "lava" in found["results"][0]["text"]
    shutil.rmtree(index)
    assert "rag-tools index" in agent.error("search", query="tides")
    (corpus_dir / "lava.txt").write_text("Obsidian is glass.")
    subprocess.run([*command, str(corpus_dir)], check=True, capture_output=True)
    found = agent.call("search", query="obsidian", limit=1, detail="full")
    assert "glass" in found["results"][0]["text"]


MESSAGES = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": "tides 🌊"}},
    },
    {
        "jsonrpc": "2.0",
        "id": 4,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"nonsense": 1}},
    },
]


@pytest.mark.parametrize("missing", [False, True], ids=["index", "no index"])
def test_standard_output_holds_only_the_protocol(index_dir: Path, tmp_path: Path, missing: bool):
    index = tmp_path / "missing" if missing else index_dir
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_tools.cli.main", "serve", "--index", str(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    answers = {}
    process.stdin.write(b"not JSON at all\n")
    for message in MESSAGES:
        process.stdin.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
        process.stdin.flush()
        while message.get("id") not in (None, *answers):
            answer = json.loads(process.stdout.readline().decode("utf-8"))
            assert answer["jsonrpc"] == "2.0"
            answers[answer.get("id")] = answer
    # The end of the input ends the server, without another word.
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    assert process.stdout.read() == b""
    assert b"Traceback" not in process.stderr.read()
    assert answers[1]["result"]["serverInfo"]["name"] == "rag-tools"
    assert answers[3]["result"]["isError"] is missing
    assert answers[4]["result"]["isError"] is True


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_quietly(index_dir: Path, number: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_tools_mcp", "--index", str(index_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(MESSAGES[0]).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == -number
    assert b"Traceback" not in stderr
