"""Over MCP and HTTP: to a caller, documents that they may not read don't exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp.client.subscriptions import ResourcesListChanged
from mcp.types import ResourceTemplateReference
from pydantic import ValidationError

from asking import call, run
from hiding import CLAIMS, PRINCIPALS, QUERIES, TEXTS, documents, labelled, make_base, make_pair
from rag_tools import Client as RagToolsClient
from rag_tools import Document, Engine
from rag_tools.errors import ServerError
from rag_tools.types import Principal
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.resources import TEMPLATE, document_uri
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import Token
from serving import RAG_TOOLS, serving

ANA = Principal(user="ana", groups=["ops"])
SECRETS = {name: ("board",) for name in ("note01", "note03", "note05", "note07", "note08")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("access") / "base")


async def doors(client: Client) -> dict[str, Any]:
    """What a caller can learn through a server, by the door."""
    told: dict[str, Any] = {}

    async def note(door: str, tool: str, **arguments: Any) -> Any:
        result = await client.call_tool(tool, arguments)
        told[door] = result.model_dump(exclude={"meta"})
        return result.structured_content

    for query in QUERIES:
        await note(f"search {query}", "search", query=query)
    cursor: str | None = None
    for page in range(4):
        given = {} if cursor is None else {"cursor": cursor}
        found = await note(
            f"page {page}", "search", query=QUERIES[0], limit=2, detail="full", **given
        )
        if (cursor := found["next_cursor"]) is None:
            break
    await note("cite", "cite", claim=CLAIMS[1], detail="full")
    await note("check", "check_answer", draft=" ".join(CLAIMS))
    citations = [
        {"document_id": name, "quote": text.splitlines()[2][:20]} for name, text in TEXTS.items()
    ]
    await note("verify", "verify", citations=citations, detail="full")
    short = [f"{name}:{text.index('.')}-{len(text)}:aaaa" for name, text in TEXTS.items()]
    await note("verify ids", "verify", ids=short)
    for name in TEXTS:
        for id in (name, f"{name}:0-9", f"{name}:0-9:aaaa"):
            await note(f"fetch {id}", "fetch", id=id)
        try:
            read = await client.read_resource(document_uri("default", name))
            told[f"read {name}"] = [each.text for each in read.contents]
        except MCPError as error:
            told[f"read {name}"] = (error.error.code, error.error.message)
    cursor = ""
    for page in range(4):
        found = await note(f"list {page}", "list_documents", limit=3, cursor=cursor)
        if (cursor := found["next_cursor"]) is None:
            break
    status = await call(client, "status")
    for each in status["collections"]:
        each["status"]["index"] = ""
    told["status"] = status
    template = ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)
    for typed in ("", "note0", "note03", "pay", "of the board"):
        completed = await client.complete(template, {"name": "id", "value": typed})
        told[f"complete {typed}"] = completed.completion
    told["resources"] = (await client.list_resources()).resources
    return told


def seen_by(principal: Principal | None, index: Path) -> dict[str, Any]:
    told: dict[str, Any] = {}

    async def ask(client: Client) -> None:
        told.update(await doors(client))

    run({"default": index}, ask, identified=lambda: principal)
    return told


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(dict.fromkeys(TEXTS, ()) | SECRETS, ANA, False)
@given(labelled(), PRINCIPALS, st.booleans())
def test_no_door_of_a_server_tells_of_what_may_not_be_read(
    base, tmp_path, labels, principal, default_deny
):
    one, other, hidden = make_pair(
        base, tmp_path / "pair", labels, principal, default_deny=default_deny
    )
    here, there = seen_by(principal, one), seen_by(principal, other)
    for door, told in here.items():
        assert told == there[door], door
    for name in TEXTS:
        assert here[f"fetch {name}"]["is_error"] == (name in hidden)


def test_subscribers_hear_nothing_of_documents_that_they_may_not_read(base, tmp_path):
    index = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)[0]
    names = ["note03", "note04"]
    kettle = document_uri("default", "note04")

    async def ask() -> None:
        server = build(Collections({"default": index}), identified=lambda: ANA)
        async with (
            Client(server) as client,
            client.listen(
                resources_list_changed=True,
                resource_subscriptions=[document_uri("default", name) for name in names],
            ) as news,
        ):
            with Engine.open(index) as engine:
                changed = [
                    Document(uri=f"notes:{name}", id=name, text="Changed.\n", labels=each)
                    for name, each in (("note03", ["board"]), ("new", ["board"]))
                ]
                engine.add(changed)
                engine.delete(["note05"])
                with anyio.move_on_after(1.5):  # longer than it takes to look three times
                    pytest.fail(f"heard {await anext(news)}")
                kept = [Document(uri="notes:note04", id="note04", text="Changed.\n")]
                engine.add(kept)
                with anyio.fail_after(30):
                    assert (await anext(news)).uri == kettle
                # To this caller, a document that is no longer theirs is gone.
                engine.add([kept[0].model_copy(update={"labels": ("board",)})])
                with anyio.fail_after(30):
                    heard = [await anext(news), await anext(news)]
                assert ResourcesListChanged() in heard

    anyio.run(ask)


def test_a_token_says_who_its_bearer_is(base, tmp_path):
    index = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)[0]
    tokens = {"owner": "reads_all = true", "director": 'groups = ["board"]', "guest": ""}
    config = f"""
        allow_write = [{json.dumps(str(tmp_path))}]
        [collections]
        default = {json.dumps(str(index))}
        [http]
        address = "127.0.0.1:0"
        """
    for name, who in tokens.items():
        file = tmp_path / f"{name}.token"
        file.write_text(f"the token of the {name}")
        config += f"""
        [[http.tokens]]
        name = "{name}"
        scopes = ["read", "write"]
        file = {json.dumps(str(file))}
        {who}
        """
    (tmp_path / "server.toml").write_text(config)
    with serving([*RAG_TOOLS, "serve", "--config", str(tmp_path / "server.toml")]) as url:
        found: dict[str, set[str]] = {}
        for name in tokens:
            with RagToolsClient(url, token=f"the token of the {name}") as client:
                hits = client.search("salary of the director", limit=10).results
                found[name] = {hit.document_id for hit in hits}
                if name == "guest":
                    with pytest.raises(ServerError, match="no document or passage has the id"):
                        client.fetch("note03")
                else:
                    assert "412,000" in client.fetch("note03").text
            answer = httpx.get(
                url.replace("/mcp", "/metrics"),
                headers={"Authorization": f"Bearer the token of the {name}"},
            )
            assert answer.status_code == (200 if name == "owner" else 403)
    assert found["owner"] == found["director"] > found["guest"]
    assert found["guest"].isdisjoint(SECRETS)


def test_what_a_token_can_say_is_checked():
    assert Token(name="a", env="A").principal == Principal()
    assert Token(name="a", env="A", user="ana", groups=["ops"]).principal == ANA
    assert Token(name="a", env="A", reads_all=True).principal is None
    for wrong in ({"groups": ["user:bo"]}, {"user": "a\nb"}, {"reads_all": True, "user": "ana"}):
        with pytest.raises(ValidationError):
            Token(name="a", env="A", **wrong)


def test_a_bearer_who_reads_some_documents_syncs_without_a_list_of_files(base, tmp_path):
    index = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)[0]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "merger.md").write_text("---\naccess: [7, board\n---\nThe merger is on.\n")
    (folder / "tides.md").write_text("---\naccess: [board]\n---\nTwo tides a day.\n")

    async def ask(client: Client) -> None:
        report = await call(client, "sync", paths=[str(folder)])
        assert (report["added"], report["skipped"]) == (1, [])
        assert "tides" not in json.dumps(await call(client, "list_documents"))

    run({"default": index}, ask, identified=lambda: ANA, writable=[folder])
    with Engine.open(index) as engine:
        assert engine.status().documents == len(documents({})) + 1
