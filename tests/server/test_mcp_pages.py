"""No document keeps others from being seen: what is long in an entry is cut, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mcp import Client

from asking import call, run
from rag_tools import Document, Engine
from rag_tools.types import Block, Skipped, Span, SyncReport
from rag_tools.wire.fitting import LABEL
from rag_tools_mcp import pages

WORDS = "The pelican of the harbour dives for herring at dawn. "
LONG = "Pelican and herring " * 1_600  # 32,000 characters


def document(name: str, **fields) -> Document:
    text = fields.pop("text", f"{WORDS}{name} was seen there.")
    return Document(uri=fields.pop("uri", f"test:{name}"), text=text, **fields)


def headed(name: str) -> Document:
    text = f"{LONG}\n\n{WORDS}{name}"
    blocks = (
        Block("heading", 0, len(LONG) + 2, (LONG,)),
        Block("paragraph", len(LONG) + 2, len(text), (LONG,)),
    )
    return document(name, text=text, blocks=blocks)


GIANTS = {
    "title": lambda: document("giant", title=LONG),
    "heading": lambda: headed("giant"),
    "metadata": lambda: document("giant", metadata={"note": LONG}),
    "address": lambda: document("giant", uri=f"test:{LONG.replace(' ', '-')}"),
    "text": lambda: document("giant", text="herring-pelican" * 4_000),
    "controls": lambda: document("giant", title="\x01" * 20_000),
}


@pytest.fixture(scope="module", params=GIANTS)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six documents of which one is a giant, whose id comes first."""
    directory = tmp_path_factory.mktemp("index")
    giant = GIANTS[request.param]().model_copy(update={"id": "0"})
    others = [document(f"Number {n}").model_copy(update={"id": f"{n}"}) for n in range(1, 6)]
    with Engine.open(directory, create=True, passage_tokens=60) as engine:
        engine.add([giant, *others])
    return directory


@pytest.mark.parametrize("max_chars", [2_500, 24_000])
def test_every_document_is_found_and_listed(index: Path, max_chars: int):
    with Engine.open(index) as engine:
        text = {id: engine.document(id).text for id in map(str, range(6))}

    async def ask(client: Client) -> None:
        for tool, field, key, given in (
            (
                "search",
                "results",
                "document_id",
                {"query": "herring pelican", "limit": 30, "detail": "full"},
            ),
            ("list_documents", "documents", "id", {"limit": 200}),
        ):
            seen, cursor = set(), None
            for _ in range(200):
                arguments = {**given, "max_chars": max_chars, "cursor": cursor}
                result = await client.call_tool(tool, arguments)
                assert not result.is_error, result.content[0].text
                assert len(result.content[0].text) <= max_chars
                page = result.structured_content
                assert page[field] or not page["next_cursor"], "0 of N"
                for entry in page[field]:
                    seen.add(entry[key])
                    if tool == "search":
                        span = Span(entry["start"], entry["end"])
                        assert span.of(text[entry["document_id"]]) == entry["text"]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert seen == set(text), tool

    run({"default": index}, ask)


def test_other_tools_answer_too(index: Path):
    async def ask(client: Client) -> None:
        page = await call(client, "cite", claim="The pelican dives for herring.", max_chars=2_500)
        assert page["citations"]
        for id in ("0", "3"):
            page = await call(client, "fetch", id=id, max_chars=3_000)
            assert page["text"]
            assert len(json.dumps(page, ensure_ascii=False)) < 3_500
        found = await call(
            client, "search", query="herring pelican", detail="full", max_chars=400_000
        )
        citations = [cited for hit in found["results"] for cited in hit["citations"]]
        page = await call(client, "verify", citations=citations[:5], max_chars=2_500)
        assert page["verifications"]

    run({"default": index}, ask)

    async def ask_as_chatgpt(client: Client) -> None:
        page = await call(client, "search", query="herring pelican")
        assert all(len(result["title"]) <= LABEL for result in page["results"])

    run({"default": index}, ask_as_chatgpt, profile="openai")


def test_a_long_title_leaves_room_for_the_others(tmp_path: Path):
    with Engine.open(tmp_path, create=True) as engine:
        # As an index has it that was made before titles were cut when they are read.
        engine.add(document(f"n{n}").model_copy(update={"title": f"{n} {LONG}"}) for n in range(7))

    async def ask(client: Client) -> None:
        page = await call(client, "list_documents")
        assert len(page["documents"]) == page["shortened"] == 7
        page = await call(client, "search", query="pelican", detail="full")
        assert len(page["results"]) == page["shortened"] == 7
        assert all(hit["title"].endswith("…") for hit in page["results"])
        assert all(WORDS.strip() in hit["text"] for hit in page["results"])

    run({"default": tmp_path}, ask)


def test_what_is_skipped_is_told_however_long_the_reason():
    report = SyncReport(skipped=(Skipped(path="p" * 50_000, reason="r" * 50_000),) * 3)
    page = pages.sync_page(report, max_chars=2_000)
    assert (len(page.skipped), page.left_out) == (1, 2)
    assert len(pages.tool_result(page).content[0].text) <= 2_000


def test_an_index_of_many_folders_tells_its_status(tmp_path: Path):
    for n in range(60):
        (tmp_path / f"folder-with-a-rather-long-name-{n:03}").mkdir()
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([each for each in tmp_path.iterdir() if each.name != "index"])

    async def ask(client: Client) -> None:
        (found,) = (await call(client, "status", max_chars=2_000))["collections"]
        assert 0 < len(found["status"]["roots"]) < 60
        (found,) = (await call(client, "status"))["collections"]
        assert len(found["status"]["roots"]) == 60

    run({"default": tmp_path / "index"}, ask)
