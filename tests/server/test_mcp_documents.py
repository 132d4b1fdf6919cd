"""Listing documents, reading them as resources, and keeping them in step with files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp.types import CallToolResult, PromptReference, ResourceTemplateReference

import asking
from asking import Ask, call
from rag_tools.engine import Engine
from rag_tools.types import Document, document_id
from rag_tools_mcp import resources
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.resources import TEMPLATE, document_uri
from rag_tools_mcp.server import build


def run(index: Path, ask: Ask, **options: Any) -> None:
    asking.run({"default": index}, ask, **options)


def message(result: CallToolResult) -> str:
    assert result.is_error
    return result.content[0].text


# -- list_documents ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("many")
    with Engine.open(directory, create=True) as engine:
        engine.add(
            Document(
                uri=f"test:{number}",
                id=f"{number % 7}-{number:02}",
                title=f"Report {number}",
                text="é" * (number + 1),
                metadata={"parity": ("even", "odd")[number % 2]},
            )
            for number in range(40)
        )
    return directory


def test_documents_are_listed_in_order_of_id_page_by_page(many: Path):
    async def ask(client: Client) -> None:
        whole = await call(client, "list_documents")
        ids = [entry["id"] for entry in whole["documents"]]
        assert ids == sorted(ids)
        assert len(ids) == 40
        assert whole["next_cursor"] is None
        entry = next(entry for entry in whole["documents"] if entry["uri"] == "test:8")
        assert entry == {
            "id": "1-08",
            "title": "Report 8",
            "uri": "test:8",
            "media_type": "text/plain",
            "characters": 9,
            "metadata": {"parity": "even"},
        }
        for bound in ({"limit": 7}, {"limit": 40}, {"max_chars": 1_000}):
            gathered: list[Any] = []
            cursor = None
            while True:
                result = await client.call_tool("list_documents", {**bound, "cursor": cursor})
                assert len(result.content[0].text) <= bound.get("max_chars", 24_000)
                page = result.structured_content
                assert 0 < len(page["documents"]) <= bound.get("limit", 50)
                gathered += page["documents"]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert gathered == whole["documents"]
        odd = await call(client, "list_documents", filter={"parity": "odd"})
        assert {entry["metadata"]["parity"] for entry in odd["documents"]} == {"odd"}
        assert len(odd["documents"]) == 20
        assert "filter" in message(
            await client.call_tool("list_documents", {"filter": {"no;field": 1}})
        )

    run(many, ask)


def test_a_document_that_does_not_fit_is_listed_without_its_metadata(tmp_path: Path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add([Document(uri="test:a", text="a", metadata={"note": "n" * 5_000})])

    async def ask(client: Client) -> None:
        page = await call(client, "list_documents", max_chars=1_000)
        assert [entry["metadata"] for entry in page["documents"]] == [{}]
        assert page["shortened"] == 1
        page = await call(client, "list_documents", max_chars=6_000)
        assert page["documents"][0]["metadata"] == {"note": "n" * 5_000}
        assert page["shortened"] == 0

    run(tmp_path, ask)


def test_results_that_do_not_fit_are_counted(index_dir: Path):
    async def ask(client: Client) -> None:
        full = {"detail": "full"}
        claim = {"claim": "Water boils at 100 degrees.", "limit": 50, **full}
        cited = await call(client, "cite", **claim)
        citations = (await call(client, "search", query="water", **full, max_chars=10**6))[
            "results"
        ]
        citations = [citation for hit in citations for citation in hit["citations"]] * 4
        for tool, arguments, field, given in (
            ("cite", claim, "citations", cited),
            ("verify", {"citations": citations, **full}, "verifications", citations),
            ("verify", {"citations": citations}, "verifications", citations),
        ):
            whole = (await call(client, tool, **arguments, max_chars=10**6))[field]
            result = await client.call_tool(tool, {**arguments, "max_chars": 1_200})
            assert len(result.content[0].text) <= 1_200
            page = result.structured_content
            assert page[field] == whole[: len(page[field])]
            assert page["left_out"] == len(whole) - len(page[field]), given

    run(index_dir, ask)


# -- resources -----------------------------------------------------------------------------------


def test_a_document_is_read_by_its_uri_or_in_part(tmp_path: Path):
    ids = ["https://example.org/a b?c=1&d#é", "/etc/passwd", "../up", "%41", "plain"]
    texts = {id: f"The text of {id}: naïve 🐦." for id in ids}
    with Engine.open(tmp_path, create=True) as engine:
        engine.add(Document(uri=f"test:{id}", id=id, text=text) for id, text in texts.items())

    async def ask(client: Client) -> None:
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == TEMPLATE
        for id, text in texts.items():
            uri = document_uri("default", id)
            (content,) = (await client.read_resource(uri)).contents
            assert content.text == text
            (part,) = (await client.read_resource(f"{uri}?start=4&end=8")).contents
            assert part.text == text[4:8]
            (rest,) = (await client.read_resource(f"{uri}?start=4")).contents
            assert rest.text == text[4:]
        for uri in ("rag://default/document/none", "rag://other/document/plain"):
            with pytest.raises(MCPError) as missing:
                await client.read_resource(uri)
            assert missing.value.error.code == -32602
        with pytest.raises(MCPError, match="must be numbers of characters"):
            await client.read_resource(f"{document_uri('default', 'plain')}?start=one")
        with pytest.raises(MCPError, match="isn't within"):
            await client.read_resource(f"{document_uri('default', 'plain')}?start=4&end=2")
        listed = [resource.uri for resource in (await client.list_resources()).resources]
        assert listed == ["ui://rag-tools/citations.html"]

    run(tmp_path, ask)


def test_a_document_too_large_to_be_read_whole(
    index_dir: Path, indexed_corpus: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resources, "MAX_CHARACTERS", 100)
    uri = document_uri("default", document_id((indexed_corpus / "kettle.md").as_uri()))

    async def ask(client: Client) -> None:
        with pytest.raises(MCPError, match=r"\?start=0&end=100"):
            await client.read_resource(uri)
        (content,) = (await client.read_resource(f"{uri}?start=0&end=100")).contents
        assert len(content.text) == 100

    run(index_dir, ask)


def test_ids_and_collections_are_completed(many: Path):
    async def ask(client: Client) -> None:
        template = ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)

        async def values(name: str, value: str) -> list[str]:
            found = await client.complete(template, {"name": name, "value": value})
            return found.completion.values

        assert await values("collection", "de") == ["default"]
        assert await values("collection", "x") == []
        assert await values("id", "6-") == ["6-06", "6-13", "6-20", "6-27", "6-34"]
        assert await values("id", "report 39") == ["4-39"]
        assert await values("id", "%") == []
        assert len(await values("id", "")) == 40
        assert await values("start", "1") == []
        prompt = PromptReference(type="ref/prompt", name="answer_with_citations")
        found = await client.complete(prompt, {"name": "question", "value": "wh"})
        assert found.completion.values == []

    run(many, ask)


def test_the_prompt_names_the_tools_and_the_question(index_dir: Path):
    async def ask(client: Client) -> None:
        (prompt,) = (await client.list_prompts()).prompts
        assert [(argument.name, argument.required) for argument in prompt.arguments] == [
            ("question", True)
        ]
        question = "Why {do} tides rise?"
        result = await client.get_prompt(prompt.name, {"question": question})
        (said,) = result.messages
        assert question in said.content.text
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"search", "verify"} <= tools & set(said.content.text.split())
        with pytest.raises(MCPError):
            await client.get_prompt(prompt.name, {})

    run(index_dir, ask)


def test_lists_may_be_cached_and_documents_may_not(index_dir: Path):
    async def ask(client: Client) -> None:
        for found in (
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resources(),
            await client.list_resource_templates(),
        ):
            assert found.ttl_ms > 0
            assert found.cache_scope == "private"
        (entry, *_) = (await call(client, "list_documents"))["documents"]
        read = await client.read_resource(document_uri("default", entry["id"]))
        assert read.ttl_ms == 0

    run(index_dir, ask)


# -- sync ----------------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder that is indexed in `tmp_path / "index"`."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "owls.txt").write_text("Owls fly without a sound.", encoding="utf-8")
    (folder / "private.txt").write_text("The password is swordfish.", encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([folder], exclude=["private.txt"])
    return folder


def titles(index: Path) -> set[str]:
    with Engine.open(index) as engine:
        return {entry.title for entry in engine.documents()}


def test_there_is_no_sync_without_folders_to_write(index_dir: Path):
    async def ask(client: Client) -> None:
        assert "sync" not in {tool.name for tool in (await client.list_tools()).tools}
        assert "sync" in message(await client.call_tool("sync", {}))

    run(index_dir, ask)


def test_sync_follows_the_files_and_keeps_the_options_they_were_indexed_with(
    notes: Path, tmp_path: Path
):
    async def ask(client: Client) -> None:
        (tool,) = (tool for tool in (await client.list_tools()).tools if tool.name == "sync")
        assert tool.annotations.read_only_hint is False
        (notes / "eagles.txt").write_text("Eagles see far.", encoding="utf-8")
        found = await call(client, "sync")
        assert (found["added"], found["unchanged"], found["skipped"]) == (1, 1, [])
        (notes / "eagles.txt").unlink()
        # A file inside what is indexed: the folder around it is synced, as it was before.
        found = await call(client, "sync", paths=[str(notes / "private.txt")])
        assert (found["added"], found["removed"]) == (0, 1)
        assert (await call(client, "search", query="owls"))["results"]

    run(tmp_path / "index", ask, writable=[notes])
    assert titles(tmp_path / "index") == {"owls.txt"}


def test_sync_tells_what_it_left_out_and_indexes_no_key_even_if_it_is_named(
    notes: Path, tmp_path: Path
):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.md", "b.png", "c.png", "id_rsa", "d.md"):
        (other / name).write_text("Herons stand still.")
    (other / ".ragignore").write_text("d.md\n")

    async def ask(client: Client) -> None:
        found = await call(client, "sync", paths=[str(other)])
        assert found["added"] == 1
        assert (found["unsupported"], found["unsupported_types"]) == (2, {".png": 2})
        assert (found["sensitive"], found["ignored"]) == (1, 1)

        await call(client, "sync", paths=[str(other / "id_rsa")])

    run(tmp_path / "index", ask, writable=[other])
    assert titles(tmp_path / "index") == {"owls.txt", "a.md"}


def test_sync_indexes_a_new_folder_only_if_it_is_named(notes: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "bats.txt").write_text("Bats hear their way.", encoding="utf-8")

    async def ask(client: Client) -> None:
        said = message(await client.call_tool("sync", {}))
        assert str(other) in said
        found = await call(client, "sync", paths=[str(other)])
        assert found["added"] == 1

    run(tmp_path / "index", ask, writable=[other])
    assert titles(tmp_path / "index") == {"owls.txt", "bats.txt"}


def test_sync_reads_nothing_outside_its_folders(notes: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("The treasure lies under the oak.", encoding="utf-8")
    (tmp_path / "notes-too").mkdir()

    async def ask(client: Client) -> None:
        for path in (
            outside,
            outside / "secret.txt",
            notes / ".." / "outside",
            tmp_path / "notes-too",  # only its name begins like an allowed one
            tmp_path,
            Path("/"),
        ):
            said = message(await client.call_tool("sync", {"paths": [str(path)]}))
            assert str(path) in said
            assert str(notes) in said
        for path in ("", "a\0b", "~nobody-here/x", "x" * 5_000, str(notes) + "/../outside"):
            assert "xecuting" not in message(
                await client.call_tool("sync", {"paths": [str(notes), path]})
            )

    run(tmp_path / "index", ask, writable=[notes])
    assert titles(tmp_path / "index") == {"owls.txt"}


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
def test_sync_follows_no_link_out_of_its_folders(notes: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("The treasure lies under the oak.", encoding="utf-8")
    (outside / "map.txt").write_text("A map of the island.", encoding="utf-8")
    (notes / "folder").symlink_to(outside)
    (notes / "file.txt").symlink_to(outside / "secret.txt")
    (notes / "within.txt").symlink_to(notes / "owls.txt")

    async def ask(client: Client) -> None:
        said = message(await client.call_tool("sync", {"paths": [str(notes / "folder")]}))
        assert "may be indexed" in said
        assert str(outside) not in said
        found = await call(client, "sync")
        assert found["added"] == 0
        assert {Path(each["path"]).name for each in found["skipped"]} == {"folder", "file.txt"}
        assert "secret" not in json.dumps(found)

    run(tmp_path / "index", ask, writable=[notes])
    assert titles(tmp_path / "index") == {"owls.txt"}
    # Whoever may read everything indexes through the links; the tool then leaves that alone.
    with Engine.open(tmp_path / "index") as engine:
        engine.sync([notes], exclude=["private.txt"])
    before = titles(tmp_path / "index")
    assert before == {"owls.txt", "file.txt", "map.txt"}

    async def again(client: Client) -> None:
        assert (await call(client, "sync"))["removed"] == 0

    run(tmp_path / "index", again, writable=[notes])
    assert titles(tmp_path / "index") == before


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
def test_sync_does_not_follow_an_indexed_folder_that_has_become_a_link(tmp_path: Path):
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder, text in ((work / "notes", "Owls fly."), (outside, "The treasure lies here.")):
        folder.mkdir(parents=True)
        (folder / f"{folder.name}.txt").write_text(text, encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([work / "notes"])
    (work / "notes").rename(tmp_path / "elsewhere")
    (work / "notes").symlink_to(outside)

    async def ask(client: Client) -> None:
        assert "before" in message(await client.call_tool("sync", {}))
        said = message(await client.call_tool("sync", {"paths": [str(work / "notes")]}))
        assert "may be indexed" in said
        assert (await call(client, "sync", paths=[str(work)]))["added"] == 0

    run(tmp_path / "index", ask, writable=[work])
    assert "outside.txt" not in titles(tmp_path / "index")


def test_what_a_sync_skipped_is_cut_to_size(notes: Path, tmp_path: Path):
    for number in range(30):
        (notes / f"{number}-{'x' * 60}.json").write_bytes(b"\xff\xfe\x00")
        (notes / f"{number}-{'x' * 60}.pdf").write_bytes(b"no PDF")

    async def ask(client: Client) -> None:
        result = await client.call_tool("sync", {"max_chars": 1_000})
        assert len(result.content[0].text) <= 1_000
        page = result.structured_content
        assert page["skipped"]
        assert len(page["skipped"]) + page["left_out"] >= 30

    run(tmp_path / "index", ask, writable=[notes])


def change_one_and_add_one(notes: Path) -> None:
    (notes / "owls.txt").write_text("Owls turn their heads.", encoding="utf-8")
    (notes / "bats.txt").write_text("Bats hear their way.", encoding="utf-8")


async def hears_of_one_and_of_the_list(news: AsyncIterator[ServerEvent], uri: str) -> None:
    with anyio.fail_after(30):
        first, second = await anext(news), await anext(news)
    assert {first, second} == {ResourceUpdated(uri=uri), ResourcesListChanged()}


def test_subscribers_hear_of_changes(notes: Path, tmp_path: Path):
    owls = document_uri("default", document_id((notes / "owls.txt").as_uri()))

    async def ask(client: Client) -> None:
        async with client.listen(
            resources_list_changed=True, resource_subscriptions=[owls]
        ) as news:
            change_one_and_add_one(notes)
            await call(client, "sync")
            await hears_of_one_and_of_the_list(news, owls)
            (content,) = (await client.read_resource(owls)).contents
            assert content.text == "Owls turn their heads."
            (notes / "bats.txt").write_text("Bats sleep all winter.", encoding="utf-8")
            await call(client, "sync")  # of which nobody wanted to hear
            (notes / "owls.txt").unlink()
            await call(client, "sync")
            await hears_of_one_and_of_the_list(news, owls)

    run(tmp_path / "index", ask, writable=[notes])


def test_subscribers_hear_of_what_another_process_changes(notes: Path, tmp_path: Path):
    """A second worker of the same server, or the command line."""
    owls = document_uri("default", document_id((notes / "owls.txt").as_uri()))
    index = [sys.executable, "-m", "rag_tools.cli.main", "index", str(notes), "--index"]

    async def ask(client: Client) -> None:
        async with client.listen(
            resources_list_changed=True, resource_subscriptions=[owls]
        ) as news:
            change_one_and_add_one(notes)
            await anyio.run_process([*index, str(tmp_path / "index")])
            await hears_of_one_and_of_the_list(news, owls)

    run(tmp_path / "index", ask)


def test_subscribers_hear_nothing_of_what_they_may_not_see(notes: Path, tmp_path: Path):
    names: set[str] = {"open"}
    with Engine.open(tmp_path / "open", create=True):
        pass
    owls = document_uri("hidden", document_id((notes / "owls.txt").as_uri()))

    async def ask() -> None:
        directories = {"hidden": tmp_path / "index", "open": tmp_path / "open"}
        server = build(Collections(directories), writable=[notes], visible=lambda: frozenset(names))
        async with (
            Client(server) as client,
            client.listen(resources_list_changed=True, resource_subscriptions=[owls]) as news,
        ):
            names.add("hidden")
            change_one_and_add_one(notes)
            await call(client, "sync", collection="hidden")
            await call(client, "sync", collection="open", paths=[str(notes)])
            with anyio.fail_after(30):
                assert await anext(news) == ResourcesListChanged()  # of the open one
            with anyio.move_on_after(1.5):  # longer than it takes to look three times
                pytest.fail(f"heard {await anext(news)}")

    anyio.run(ask)


# -- cancellation --------------------------------------------------------------------------------


def stdio(index: Path, writable: Path) -> StdioServerParameters:
    program = (
        "import sys; from pathlib import Path; from rag_tools_mcp.collections import Collections;"
        "from rag_tools_mcp.server import build;"
        "build(Collections({'default': Path(sys.argv[1])}), writable=[Path(sys.argv[2])]).run()"
    )
    arguments = ["-c", program, str(index), str(writable)]
    return StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_cancelled_sync_stops(notes: Path, tmp_path: Path, mode: str):
    for number in range(60):
        text = f"Paragraph about the number {number}.\n\n" * 200
        (notes / f"{number:02}.txt").write_text(text, encoding="utf-8")
    spare = notes / "spare"
    spare.mkdir()
    (spare / "bats.txt").write_text("Bats hear their way.", encoding="utf-8")
    with Engine.open(tmp_path / "index") as engine:
        engine.sync([spare])
    (spare / "bats.txt").write_text("Bats sleep all winter.", encoding="utf-8")

    async def ask() -> None:
        async with Client(stdio(tmp_path / "index", notes), mode=mode) as client:
            seen: list[float] = []

            with anyio.CancelScope() as call_scope:

                async def follow(progress: float, total: float | None, said: str | None) -> None:
                    seen.append(progress)
                    if progress:
                        call_scope.cancel()

                await client.call_tool("sync", {"paths": [str(notes)]}, progress_callback=follow)
            assert call_scope.cancelled_caught
            assert seen == sorted(seen)
            # As long as the first one works, the index is locked.
            with anyio.fail_after(120):
                while (await client.call_tool("sync", {"paths": [str(spare)]})).is_error:
                    await anyio.sleep(0.05)
            listed = await call(client, "list_documents", limit=200)
            assert {entry["title"] for entry in listed["documents"]} == {"owls.txt", "bats.txt"}

    anyio.run(ask)


def test_a_cancelled_call_is_not_answered(notes: Path, tmp_path: Path):
    for number in range(40):
        (notes / f"{number:02}.txt").write_text(f"Number {number}.\n\n" * 300, encoding="utf-8")
    server = stdio(tmp_path / "index", notes)
    process = subprocess.Popen(
        [server.command, *server.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def send(method: str, params: dict[str, Any], id: int | None = None) -> None:
        sent = {"jsonrpc": "2.0", "method": method, "params": params}
        line = json.dumps(sent if id is None else {**sent, "id": id}) + "\n"
        process.stdin.write(line.encode())
        process.stdin.flush()

    def receive() -> dict[str, Any]:
        return json.loads(process.stdout.readline())

    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    send("initialize", {**client, "clientInfo": {"name": "test", "version": "1"}}, 1)
    assert receive()["id"] == 1
    send("notifications/initialized", {})
    send("tools/call", {"name": "sync", "arguments": {}, "_meta": {"progressToken": "p"}}, 2)
    while receive()["params"]["progress"] == 0:
        pass
    send("notifications/cancelled", {"requestId": 2})
    send("tools/call", {"name": "search", "arguments": {"query": "owls"}}, 3)
    answers = []
    while 3 not in answers:
        received = receive()
        if "id" in received:
            answers.append(received["id"])
    process.stdin.close()
    answers += [json.loads(line).get("id") for line in process.stdout]
    assert process.wait(timeout=60) == 0
    assert answers == [3]
    assert titles(tmp_path / "index") == {"owls.txt"}


def test_a_cancelled_verify_checks_no_more_citations(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    started, released = threading.Event(), threading.Event()
    checked = []
    verify = Engine.verify

    def slow(engine: Engine, citation: Any) -> Any:
        checked.append(citation)
        started.set()
        assert released.wait(30)
        time.sleep(0.02)
        return verify(engine, citation)

    monkeypatch.setattr(Engine, "verify", slow)
    citation = {"document_id": "none", "quote": "words"}

    async def ask(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "verify", {"citations": [citation] * 100})
            await anyio.to_thread.run_sync(started.wait)
            tasks.cancel_scope.cancel()
            released.set()
        # The server answers others, and the thread has gone.
        assert (await call(client, "status"))["collections"]

    run(index_dir, ask)
    assert len(checked) < 100
