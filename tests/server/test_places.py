"""Guests of a server don't learn where files lie on its disk."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from rag_tools_mcp.internals.connection import Addresses
from rag_tools_mcp.places import shortened, without_places
from serving import RAG_TOOLS, serving

GUEST, OWNER = "guest-" + "0" * 20, "owner-" + "1" * 20


@pytest.fixture(scope="module")
def config(index_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    for name, token in (("guest", GUEST), ("owner", OWNER)):
        (folder / name).write_text(token)
    (folder / "server.toml").write_text(
        f"""
        allow_write = [{json.dumps(str(index_dir.parent))}]
        [collections]
        notes = {json.dumps(str(index_dir))}
        gone = {json.dumps(str(index_dir.parent / "gone" / "deeper"))}
        [http]
        address = "127.0.0.1:0"
        limits = {{connections = 40}}
        [[http.tokens]]
        name = "guest"
        file = "guest"
        [[http.tokens]]
        name = "owner"
        file = "owner"
        scopes = ["read", "write"]
        """
    )
    return folder / "server.toml"


@pytest.fixture(scope="module")
def url(config: Path) -> Iterator[str]:
    with serving([*RAG_TOOLS, "serve", "--config", str(config)]) as url:
        yield url


def everything(url: str, token: str) -> str:
    """Return all that the read tools and resources tell a caller, as one text."""
    told: list[str] = []

    async def ask() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx.AsyncClient(headers=headers, timeout=60) as http_client,
            Client(streamable_http_client(url, http_client=http_client)) as client,
        ):
            for tool, arguments in (
                ("search", {"query": "high tides", "detail": "full", "collection": "notes"}),
                (
                    "cite",
                    {"claim": "Two high tides a day.", "detail": "full", "collection": "notes"},
                ),
                ("list_documents", {"collection": "notes"}),
                ("list_documents", {"collection": "gone"}),
                ("fetch", {"id": "none", "collection": "gone"}),
                ("status", {}),
            ):
                told.append((await client.call_tool(tool, arguments)).model_dump_json())
            found = await client.call_tool(
                "search", {"query": "high tides", "detail": "full", "collection": "notes"}
            )
            assert found.structured_content is not None
            (hit, *_) = found.structured_content["results"]
            assert json.loads(found.content[0].text) == found.structured_content
            told.append(
                (
                    await client.call_tool(
                        "fetch", {"id": hit["document_id"], "collection": "notes"}
                    )
                ).model_dump_json()
            )
            try:
                told.append((await client.read_resource("rag-tools://gone/x")).model_dump_json())
            except MCPError as error:
                told.append(str(error))

    anyio.run(ask)
    return "\n".join(told)


def test_a_guest_sees_names_and_the_owner_sees_paths(url: str, index_dir: Path):
    root = str(index_dir.parent.parent)
    assert root in everything(url, OWNER)
    told = everything(url, GUEST)
    assert root not in told
    assert str(index_dir.parent) not in told
    assert "file:///tides.txt#L" in told
    assert "The Moon pulls" in told


def test_the_words_of_documents_stay():
    path = "/srv/team/secret/plan.md"
    result = {
        "structuredContent": {
            "results": [{"uri": f"file://{path}", "text": f"See {path}.", "quote": path}],
            "error": f"can't read {path}: gone",
        },
        "content": [{"type": "text", "text": "PLACE"}],
        "isError": False,
    }
    result["content"][0]["text"] = json.dumps(result["structuredContent"])
    hidden = without_places(result)
    (hit,) = hidden["structuredContent"]["results"]
    assert hit == {"uri": "file:///plan.md", "text": f"See {path}.", "quote": path}
    assert hidden["structuredContent"]["error"] == "can't read plan.md: gone"
    assert json.loads(hidden["content"][0]["text"]) == hidden["structuredContent"]
    document = {"contents": [{"uri": "rag-tools://a/b", "text": json.dumps({"path": path})}]}
    assert without_places(document) == document


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no index at /srv/a/b: run 'rag-tools index PATH'",
            "no index at b: run 'rag-tools index PATH'",
        ),
        (r"D:\team\notes\a.md is gone", "a.md is gone"),
        (r"\\server\share\a.md", "a.md"),
        ("file://server/share/a%20b.md#L3", "file:///a%20b.md#L3"),
        ("https://example.org/a/b#c", "https://example.org/a/b#c"),
        ("1/2 of and/or at 12:30/45", "1/2 of and/or at 12:30/45"),
        ("docs/guide.md", "docs/guide.md"),
    ],
)
def test_what_is_a_place(text: str, shown: str):
    assert shortened(text) == shown


# -- connections ---------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="has one loopback address only")
@pytest.mark.skipif(os.name == "nt", reason="has one loopback address only")
def test_idle_connections_from_one_address_do_not_shut_others_out(url: str):
    host, port = url.removeprefix("http://").removesuffix("/mcp").split(":")
    with ExitStack() as stack:
        closed = 0
        for _ in range(60):  # more than there may be of all
            connection = stack.enter_context(
                socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0))
            )
            connection.settimeout(0.2)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                closed += 1
        assert closed >= 40
        with httpx.Client(timeout=30) as others:
            assert others.get(url.replace("/mcp", "/healthz")).status_code == 200


def test_addresses_are_counted():
    addresses = Addresses(2, ["10.0.0.0/8", "::1"])
    assert [addresses.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert addresses.enter("192.0.2.2")
    addresses.leave("192.0.2.1")
    addresses.leave("192.0.2.1")
    assert addresses.enter("192.0.2.1")
    assert all(addresses.enter("10.1.2.3") and addresses.enter("::1") for _ in range(5))
    assert all(Addresses(1, ["*"]).enter("192.0.2.1") for _ in range(3))
