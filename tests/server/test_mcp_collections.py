from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from asking import call, run
from rag_tools.engine import Engine
from rag_tools.errors import ConfigurationError, NotFoundError
from rag_tools.types import Document
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.resources import TEMPLATE, document_uri
from rag_tools_mcp.server import build

SECRET = "salaries"


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    folder = tmp_path_factory.mktemp("collections")
    texts = {
        "recipes": "Knead the dough for ten minutes, then let it rise.",
        "letters": "The ferry to the island leaves at noon.",
        SECRET: "The director of the circus earns a fortune.",
    }
    for name, text in texts.items():
        with Engine.open(folder / name, create=True) as engine:
            engine.add([Document(uri=f"test:{name}/one two", id=f"{name}/1", text=text)])
    return {name: folder / name for name in texts}


async def error(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


def test_a_collection_is_an_argument_only_where_there_are_several(directories):
    async def several(client: Client) -> None:
        for tool in (await client.list_tools()).tools:
            has = "collection" in tool.input_schema["properties"]
            assert has == (tool.name != "status"), tool.name

    async def one(client: Client) -> None:
        for tool in (await client.list_tools()).tools:
            assert "collection" not in tool.input_schema["properties"]
        assert "unknown argument" in await error(
            client, "search", query="dough", collection="recipes"
        )
        assert (await call(client, "search", query="dough"))["results"]

    run(directories, several)
    run({"recipes": directories["recipes"]}, one)


def test_each_tool_asks_the_collection_it_is_told(directories):
    async def ask(client: Client) -> None:
        hits = await call(client, "search", query="leave", collection="letters", detail="full")
        assert [hit["document_id"] for hit in hits["results"]] == ["letters/1"]
        cited = await call(
            client, "cite", claim="Dough rises.", collection="recipes", detail="full"
        )
        assert {each["document_id"] for each in cited["citations"]} == {"recipes/1"}
        (listed,) = (await call(client, "list_documents", collection=SECRET))["documents"]
        assert listed["id"] == f"{SECRET}/1"
        assert (await call(client, "fetch", id="letters/1", collection="letters"))["text"]
        assert "letters/1" in await error(client, "fetch", id="letters/1", collection="recipes")
        citation = cited["citations"][0]
        for collection, status in (("recipes", "exact"), ("letters", "missing")):
            (found,) = (await call(client, "verify", citation=citation, collection=collection))[
                "verifications"
            ]
            assert found["status"] == status
        statuses = (await call(client, "status"))["collections"]
        assert [each["name"] for each in statuses] == list(directories)
        page = await call(client, "status", max_chars=1_000)
        assert page["collections"] == statuses[: 3 - page["left_out"]]
        assert page["left_out"] > 0
        message = await error(client, "search", query="dough")
        assert all(name in message for name in directories)
        assert "nonsense" in await error(client, "search", query="dough", collection="nonsense")

    run(directories, ask)


def test_what_a_caller_may_not_see_does_not_exist(directories):
    seen: list[str] = []

    async def ask(client: Client) -> None:
        def note(value: Any) -> None:
            seen.append(value if isinstance(value, str) else value.model_dump_json())

        for tool in ("search", "cite", "fetch", "verify", "list_documents"):
            given: dict[str, Any] = {
                "search": {"query": "fortune"},
                "cite": {"claim": "The director earns a fortune."},
                "fetch": {"id": f"{SECRET}/1"},
                "verify": {"citation": {"document_id": f"{SECRET}/1", "quote": "earns a fortune"}},
                "list_documents": {},
            }[tool]
            hidden = await error(client, tool, **given, collection=SECRET)
            absent = await error(client, tool, **given, collection="nonsense")
            # Word for word what is said of a collection that isn't there at all.
            assert hidden.replace(SECRET, "nonsense") == absent
            assert SECRET not in hidden.replace(f"no collection '{SECRET}'", "")
            note(await error(client, tool, **given))
            note(await client.call_tool(tool, {**given, "collection": "letters"}))
        note(await client.call_tool("status", {}))
        note(await client.list_tools())
        note(await client.list_resources())
        note(await client.list_resource_templates())
        note(await client.list_prompts())
        template = ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)
        prompt = PromptReference(type="ref/prompt", name="answer_with_citations")
        for reference in (template, prompt):
            found = await client.complete(reference, {"name": "collection", "value": ""})
            assert found.completion.values == ["recipes", "letters"]
        for value in ("", "s", SECRET):
            argument = {"name": "id", "value": value}
            found = await client.complete(
                template, argument, context_arguments={"collection": SECRET}
            )
            assert found.completion.values == []
            note(await client.complete(template, argument))
        with pytest.raises(MCPError) as hidden:
            await client.read_resource(document_uri(SECRET, f"{SECRET}/1"))
        with pytest.raises(MCPError) as absent:
            await client.read_resource(document_uri("nonsense", f"{SECRET}/1"))
        assert str(hidden.value).replace(SECRET, "nonsense") == str(absent.value)

    run(directories, ask, frozenset({"recipes", "letters"}))
    for text in seen:
        assert "circus" not in text
        assert f"test:{SECRET}" not in text
        assert f'"{SECRET}"' not in text


def test_who_may_see_one_collection_need_not_name_it(directories):
    async def ask(client: Client) -> None:
        (hit,) = (await call(client, "search", query="ferry", detail="full"))["results"]
        assert hit["document_id"] == "letters/1"

    run(directories, ask, frozenset({"letters"}))


def test_who_may_see_nothing_sees_nothing(directories):
    async def ask(client: Client) -> None:
        assert (await call(client, "status"))["collections"] == []
        message = await error(client, "search", query="ferry")
        assert not any(name in message for name in directories)

    run(directories, ask, frozenset())


def test_one_index_that_cannot_be_opened_leaves_the_others(directories, tmp_path: Path):
    async def ask(client: Client) -> None:
        good, bad = (await call(client, "status"))["collections"]
        assert good["status"]["documents"] == 1
        assert good["error"] is None
        assert bad["status"] is None
        assert "rag-tools index" in bad["error"]
        assert (await call(client, "search", query="ferry", collection="letters"))["results"]

    run({"letters": directories["letters"], "gone": tmp_path / "gone"}, ask)


@pytest.mark.parametrize("name", ["", "Notes", "a b", "a/b", "-a", "ü", "a" * 65])
def test_a_name_must_fit_into_a_uri(name: str):
    with pytest.raises(ConfigurationError, match="lower-case"):
        Collections({name: None})


def test_collections_by_themselves(directories):
    collections = Collections(directories)
    assert collections.names == tuple(directories)
    with pytest.raises(NotFoundError, match="recipes, letters, salaries"):
        collections.engine()
    only = collections.only({"letters", "nonsense"})
    assert only.names == ("letters",)
    assert only.engine() is collections.engine("letters")
    with pytest.raises(NotFoundError) as refused:
        only.engine(SECRET)
    assert "recipes" not in str(refused.value)
    collections.close()
    with pytest.raises(ConfigurationError):
        Collections({})


def openai(directories, ask: Callable[[Client], Awaitable[None]]) -> None:
    run({"letters": directories["letters"]}, ask, profile="openai")


def test_the_openai_profile_is_search_and_fetch_alone(directories):
    async def ask(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {name: list(tool.input_schema["properties"]) for name, tool in tools.items()} == {
            "search": ["query"],
            "fetch": ["id"],
        }
        assert (await client.list_resources()).resources == []
        assert (await client.list_resource_templates()).resource_templates == []
        assert (await client.list_prompts()).prompts == []
        result = await client.call_tool("search", {"query": "When does the ferry leave?"})
        found = result.structured_content
        assert json.loads(result.content[0].text) == found
        assert list(found) == ["results"]
        (one,) = found["results"]
        assert list(one) == ["id", "title", "url"]
        assert all(one.values())
        fetched = await call(client, "fetch", id=one["id"])
        assert set(fetched) == {"id", "title", "text", "url", "metadata"}
        assert fetched["id"] == one["id"]
        assert "noon" in fetched["text"]
        whole = await call(client, "fetch", id=fetched["metadata"]["document_id"])
        assert whole["text"] == "The ferry to the island leaves at noon."
        assert "start" in await error(client, "fetch", id=one["id"], start=3)

    openai(directories, ask)


def test_a_long_document_is_read_on_by_id_in_the_openai_profile(tmp_path: Path):
    text = "".join(f"line {number}\n" for number in range(12_000))
    with Engine.open(tmp_path, create=True) as engine:
        (id,) = engine.add([Document(uri="test:long", text=text)])

    async def ask(client: Client) -> None:
        gathered, next_id = "", id
        while next_id:
            part = await call(client, "fetch", id=next_id)
            gathered += part["text"]
            next_id = part["metadata"].get("next_id")
        assert gathered == text

    run({"default": tmp_path}, ask, profile="openai")


def test_the_openai_profile_can_neither_choose_nor_write(directories, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="one index"):
        build(Collections(directories), profile="openai")
    with pytest.raises(ConfigurationError, match="read-only"):
        build(Collections({"a": None}), profile="openai", writable=[tmp_path])
