"""The LangChain adapters: its standard suites, its pipelines, and the engine's own answers."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameworks import QUESTIONS, ROOT, storm
from rag_tools import Engine
from rag_tools.client import Client
from rag_tools.errors import (
    ConfigurationError,
    IndexNotFoundError,
    InvalidQueryError,
    ServerError,
)
from rag_tools.wire.compact import HIT
from rag_tools.wire.ids import ShortIds, resolve
from serving import served

pytest.importorskip("langchain")
pytest.importorskip("langchain_tests")

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.language_models import FakeMessagesListChatModel, ParrotFakeChatModel
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_tests.integration_tests import (
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_rag_tools import (
    RagToolsReranker,
    RagToolsRetriever,
    RagToolsVectorStore,
    annotate,
    numbered_quotes,
    search_tool,
)


@pytest.fixture(scope="module")
def retriever(index_dir: Path) -> Iterator[RagToolsRetriever]:
    with Engine.open(index_dir) as engine:
        yield RagToolsRetriever(index=engine)


@pytest.fixture(scope="module")
def url(index_dir: Path) -> Iterator[str]:
    with served(index_dir) as url:
        yield url


@pytest.fixture(scope="module")
def remote(url: str) -> Iterator[RagToolsRetriever]:
    retriever = RagToolsRetriever(index=url)
    yield retriever
    retriever.engine.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RagToolsVectorStore]:
    store = RagToolsVectorStore(tmp_path / "store")
    yield store
    store.engine.close()


# --- the standard suites -------------------------------------------------------------------------


class TestRetrieverStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, index_dir: Path) -> None:
        self.index = index_dir

    @property
    def retriever_constructor(self) -> type[RagToolsRetriever]:
        return RagToolsRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return QUESTIONS[0]


class TestServedRetrieverStandard(TestRetrieverStandard):
    @pytest.fixture(autouse=True)
    def _index(self, url: str) -> Iterator[None]:
        with Client(url) as self.index:
            yield


class TestVectorStoreStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store: RagToolsVectorStore) -> RagToolsVectorStore:
        return store


class _ToolUnderTest:
    @pytest.fixture(autouse=True)
    def _retriever(self, retriever: RagToolsRetriever) -> None:
        self.retriever = retriever

    @property
    def tool_constructor(self) -> Any:
        return search_tool(self.retriever)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": QUESTIONS[0]}


class TestToolStandardUnit(_ToolUnderTest, ToolsUnitTests):
    pass


class TestToolStandardIntegration(_ToolUnderTest, ToolsIntegrationTests):
    pass


# --- the retriever -------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_documents_are_the_hits_of_the_engine(retriever: RagToolsRetriever, question: str):
    found = retriever.engine.search(question, limit=4)
    hits = found.results
    documents = retriever.invoke(question, k=4)
    assert [document.id for document in documents] == [hit.id for hit in hits]
    for document, hit in zip(documents, hits, strict=True):
        assert document.page_content == hit.text
        assert document.metadata == {
            **hit.metadata,
            "source": hit.uri,
            "title": hit.title,
            "heading": hit.heading,
            "url": hit.url,
            "score": hit.score,
            "document_id": hit.document_id,
            "document_sha256": hit.document_sha256,
            "start_index": hit.start,
            "end_index": hit.end,
            "citations": [citation.model_dump(mode="json") for citation in hit.citations],
            "also_in": [copy.model_dump(mode="json") for copy in hit.also_in],
            "flags": [flag.model_dump(mode="json") for flag in hit.flags],
            "confidence": found.confidence,
        }


def test_offsets_and_citations_hold_against_the_source(
    retriever: RagToolsRetriever, indexed_corpus: Path
):
    for document in retriever.invoke("tides", filter={"path": "*.txt"}):
        source = (indexed_corpus / document.metadata["path"]).read_bytes().decode("utf-8")
        assert document.metadata["source"] == (indexed_corpus / document.metadata["path"]).as_uri()
        start, end = document.metadata["start_index"], document.metadata["end_index"]
        assert source[start:end] == document.page_content
        for citation in document.metadata["citations"]:
            assert source[citation["start"] : citation["end"]] == citation["quote"]
            assert retriever.engine.verify(citation).status == "exact"


def test_k_and_filter_of_a_call_replace_those_of_the_retriever(retriever: RagToolsRetriever):
    few = RagToolsRetriever(index=retriever.engine, k=1, filter={"path": "bees.rst"})
    (own,) = few.invoke("water")
    assert own.metadata["path"] == "bees.rst"
    given = few.invoke("water", k=2, filter={"path": ["kettle.md", "bread.html"]})
    assert len(given) == 2
    assert {document.metadata["path"] for document in given} <= {"kettle.md", "bread.html"}


async def test_the_asynchronous_path_gives_the_same(retriever: RagToolsRetriever):
    filter = {"path": "*.md"}
    documents = await retriever.ainvoke(QUESTIONS[0], k=2, filter=filter)
    assert documents == retriever.invoke(QUESTIONS[0], k=2, filter=filter)


async def test_200_calls_at_once_are_right_and_leave_the_event_loop_free(
    retriever: RagToolsRetriever,
):
    expected = {question: retriever.invoke(question) for question in QUESTIONS}
    answers, turns = await storm(retriever.ainvoke, 200)
    for n, documents in enumerate(answers):
        assert documents == expected[QUESTIONS[n % len(QUESTIONS)]]
    assert turns > 10  # hundreds on an idle machine


async def test_200_calls_at_once_of_a_server_leave_the_event_loop_free(
    remote: RagToolsRetriever, retriever: RagToolsRetriever
):
    expected = {question: retriever.invoke(question) for question in QUESTIONS}
    answers, turns = await storm(remote.ainvoke, 200)
    for n, documents in enumerate(answers):
        assert documents == expected[QUESTIONS[n % len(QUESTIONS)]]
    assert turns > 10


async def test_a_server_gives_the_documents_of_its_index(
    remote: RagToolsRetriever, retriever: RagToolsRetriever
):
    for question in QUESTIONS:
        documents = retriever.invoke(question, k=3, filter={"path": "*.*"})
        assert remote.invoke(question, k=3, filter={"path": "*.*"}) == documents
        assert await remote.ainvoke(question, k=3, filter={"path": "*.*"}) == documents
    citation = documents[0].metadata["citations"][0]
    assert remote.engine.verify(citation) == retriever.engine.verify(citation)
    with pytest.raises(ServerError, match="the query is empty"):
        await remote.ainvoke(" ")


def test_changing_a_document_changes_no_later_one(retriever: RagToolsRetriever):
    before = retriever.invoke(QUESTIONS[0])
    for document in retriever.invoke(QUESTIONS[0]):
        document.metadata["path"] = "elsewhere"
        document.metadata["citations"].clear()
    assert retriever.invoke(QUESTIONS[0]) == before


def test_bad_input_raises_what_the_engine_raises(retriever: RagToolsRetriever, tmp_path: Path):
    with pytest.raises(IndexNotFoundError, match="no index at"):
        RagToolsRetriever(index=tmp_path)
    with pytest.raises(InvalidQueryError, match="empty"):
        retriever.invoke(" ")
    with pytest.raises(InvalidQueryError, match="limit 0"):
        retriever.invoke("tides", k=0)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        RagToolsRetriever(index=retriever.engine, k=0)
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("tides", top_k=3)


def test_a_trace_names_the_retriever(retriever: RagToolsRetriever):
    seen: list[dict[str, Any]] = []

    class Tracer(BaseCallbackHandler):
        def on_retriever_start(self, *args: Any, metadata: Any = None, **kwargs: Any) -> None:
            seen.append(metadata)

    retriever.invoke("tides", config={"callbacks": [Tracer()], "metadata": {"user": "u"}})
    (metadata,) = seen
    assert metadata["ls_retriever_name"] == "rag_tools"
    assert metadata["ls_vector_store_provider"] == "rag_tools"
    assert metadata["user"] == "u"


def test_a_chain_can_configure_k(retriever: RagToolsRetriever):
    chain = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert len(chain.invoke("water", config={"configurable": {"k": 2}})) == 2


# --- pipelines -----------------------------------------------------------------------------------


async def test_a_retrieval_chain_shows_the_model_the_cited_text(retriever: RagToolsRetriever):
    def quotes(documents: list[Document]) -> str:
        return "\n".join(document.metadata["citations"][0]["quote"] for document in documents)

    chain = (
        {
            "sources": RagToolsRetriever(index=retriever.engine, k=1) | quotes,
            "question": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_template("{sources}\n{question}")
        | ParrotFakeChatModel()
        | StrOutputParser()
    )
    assert "boils at about 87 °C" in chain.invoke(QUESTIONS[0])
    assert await chain.ainvoke(QUESTIONS[0]) == chain.invoke(QUESTIONS[0])


@pytest.mark.parametrize("where", ["retriever", "remote"])
async def test_an_agent_reads_the_compact_form_and_its_ids_are_annotated(
    where: str, request: pytest.FixtureRequest, engine: Engine
):
    retriever = request.getfixturevalue(where)
    tool = search_tool(RagToolsRetriever(index=retriever.engine, k=2))
    call = {"name": "search", "args": {"query": QUESTIONS[1]}, "id": "call-1"}
    model = FakeMessagesListChatModel(
        responses=[
            AIMessage("", tool_calls=[call]),
            AIMessage("Because the sea bulges on both sides."),
        ]
    )
    messages: list[Any] = [HumanMessage(QUESTIONS[1])]
    while (answer := await model.ainvoke(messages)).tool_calls:
        messages += [answer, *[await tool.ainvoke(call) for call in answer.tool_calls]]
    found = messages[-1]
    assert isinstance(found, ToolMessage)
    searched = retriever.engine.search(QUESTIONS[1], limit=2)
    read = json.loads(found.content)
    assert len(found.content) < 2 * HIT + 50 < len(searched.model_dump_json())
    assert found.artifact == retriever.invoke(QUESTIONS[1], k=2)
    shown = [each for hit in read["results"] for each in hit["citations"]]
    known = [each for document in found.artifact for each in document.metadata["citations"]]
    assert shown
    for citation in shown:
        place = resolve(engine, citation["id"])
        assert place.intact
        assert place.text == citation["quote"]
        text = f"🏔️ So it says [{citation['id']}]."
        (block,) = annotate(text, found.artifact).content_blocks
        (annotation,) = block["annotations"]
        assert text[annotation["start_index"] : annotation["end_index"]] == f"[{citation['id']}]"
        assert annotation["cited_text"].startswith(citation["quote"])
        assert annotation["extras"]["id"] == citation["id"]
        assert annotation["extras"]["citation"] in known
        assert retriever.engine.verify(annotation["extras"]["citation"]).status == "exact"


def test_an_id_of_no_quote_is_marked_as_unknown(retriever: RagToolsRetriever):
    documents = retriever.invoke(QUESTIONS[0], k=2)
    quote = documents[0].metadata["citations"][0]
    id = ShortIds(None).of(quote["document_id"], quote["start"], quote["quote"])
    wrong = id[:-1] + ("a" if id[-1] != "a" else "b")
    (block,) = annotate(f"First [{wrong}]. Then [1] and [{id}].", documents).content_blocks
    unknown, number, known = block["annotations"]
    assert unknown["value"]["error"] == f"no quote has the id {wrong}"
    assert number["cited_text"] == known["cited_text"] == quote["quote"]


def test_what_the_agent_reads_is_limited(retriever: RagToolsRetriever):
    call = {"type": "tool_call", "id": "1", "name": "search", "args": {"query": QUESTIONS[0]}}
    found = search_tool(retriever, max_chars=1_000).invoke(call)
    read = json.loads(found.content)
    assert len(found.content) <= 1_000
    assert read["left_out"] == len(found.artifact) - len(read["results"]) > 0
    assert "next_cursor" not in read


class ScriptedModel(FakeMessagesListChatModel):
    """Says what it was told to, whatever tools it is given."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        assert [tool.name for tool in tools] == ["search"]
        return self


@pytest.mark.parametrize("where", ["retriever", "remote"])
async def test_an_agent_of_langchain_calls_the_tool_and_its_answer_is_annotated(
    where: str, request: pytest.FixtureRequest
):
    retriever = request.getfixturevalue(where)
    call = {"name": "search", "args": {"query": QUESTIONS[0]}, "id": "call-1"}
    model = ScriptedModel(
        responses=[AIMessage("", tool_calls=[call]), AIMessage("At about 87 °C [1].")]
    )
    agent = create_agent(model, [search_tool(retriever)])
    turns = await agent.ainvoke({"messages": [HumanMessage(QUESTIONS[0])]})
    *_, found, answer = turns["messages"]
    assert isinstance(found, ToolMessage)
    (block,) = annotate(answer, found.artifact).content_blocks
    (citation,) = block["annotations"]
    assert "boils at about 87 °C" in citation["cited_text"]
    assert retriever.engine.verify(citation["extras"]["citation"]).status == "exact"


@pytest.mark.parametrize("where", ["retriever", "remote"])
async def test_an_agent_is_told_what_was_wrong_with_its_query(
    where: str, request: pytest.FixtureRequest
):
    tool = search_tool(request.getfixturevalue(where))
    call = {"type": "tool_call", "id": "1", "name": "search"}
    assert (await tool.ainvoke({**call, "args": {"query": ""}})).status == "error"
    blank = tool.invoke({**call, "args": {"query": " "}})
    assert blank.status == "error"
    assert "the query is empty" in blank.content
    unknown = tool.invoke({**call, "args": {"query": "tides", "filter": {}}})
    assert unknown.status == "error"


# --- answers that cite ---------------------------------------------------------------------------


def test_numbers_become_annotations_with_the_span_in_the_source(
    retriever: RagToolsRetriever, indexed_corpus: Path
):
    documents = retriever.invoke(QUESTIONS[0], k=2)
    quotes = [each for document in documents for each in document.metadata["citations"]]
    listed = numbered_quotes(documents)
    for number, quote in enumerate(quotes, 1):
        assert f"[{number}] {quote['quote']}\n    {quote['url']}" in listed
    text = "🏔️ Cooler [1]. Elsewhere [2, 9], not `a[1]`."
    answer = AIMessage(text, id="a", usage_metadata=None)
    message = annotate(answer, documents)
    assert answer.content == text
    assert (message.id, message.text) == ("a", text)
    (block,) = message.content_blocks
    first, second, unknown = block["annotations"]
    for number, annotation in enumerate((first, second), 1):
        quote = quotes[number - 1]
        assert annotation["type"] == "citation"
        assert annotation["cited_text"] == quote["quote"]
        assert annotation["url"] == quote["url"]
        assert annotation["extras"] == {"number": number, "citation": quote}
        path = indexed_corpus / documents[0].metadata["path"]
        source = path.read_bytes().decode("utf-8")
        assert source[quote["start"] : quote["end"]] == annotation["cited_text"]
    assert first["title"] == documents[0].metadata["title"]
    assert text[first["start_index"] : first["end_index"]] == "[1]"
    assert text[second["start_index"] : second["end_index"]] == "[2, 9]"
    assert unknown["type"] == "non_standard_annotation"
    assert unknown["value"]["number"] == 9
    assert unknown["value"]["error"] == "no quote has the number 9"
    assert annotate(text, documents).content == message.content


def test_blocks_and_annotations_that_were_there_stay(retriever: RagToolsRetriever):
    documents = retriever.invoke(QUESTIONS[0], k=1)
    answer = AIMessage(
        [
            {"type": "thinking", "thinking": "look [1]", "signature": "s"},
            {"type": "text", "text": "It boils [1].", "citations": [{"type": "own"}]},
            {"type": "text", "text": "At 87 °C [1]."},
            {"type": "tool_use", "name": "search", "input": {}, "id": "call"},
        ],
        tool_calls=[{"name": "search", "args": {}, "id": "call"}],
        response_metadata={"model_provider": "anthropic", "model": "m"},
    )
    message = annotate(answer, documents)
    assert [block["type"] for block in message.content_blocks] == [
        "reasoning",
        "text",
        "text",
        "tool_call",
    ]
    assert message.content_blocks[0] == answer.content_blocks[0]
    assert message.tool_calls == answer.tool_calls
    assert message.response_metadata["model"] == "m"
    _, one, two, _ = message.content_blocks
    assert one["annotations"][:1] == answer.content_blocks[1]["annotations"]
    assert [len(block["annotations"]) for block in (one, two)] == [2, 1]
    # The message goes through JSON, as checkpoints of agents send it.
    assert AIMessage.model_validate_json(message.model_dump_json()) == message


def test_what_has_no_citations_is_refused():
    for use in (numbered_quotes, lambda documents: annotate("[1]", documents)):
        with pytest.raises(ValueError, match="document other has no citations"):
            use([Document("Tea.", id="other")])


# --- the vector store ----------------------------------------------------------------------------


def test_index_keeps_the_store_in_step(store: RagToolsVectorStore):
    records = InMemoryRecordManager("notes")

    def run(cleanup: Any, *pages: tuple[str, str]) -> dict[str, int]:
        documents = [Document(text, metadata={"source": source}) for source, text in pages]
        done = index(
            documents,
            records,
            store,
            cleanup=cleanup,
            source_id_key="source",
            key_encoder="sha256",
        )
        return {key.removeprefix("num_"): count for key, count in done.items() if count}

    def texts() -> set[str]:
        return {document.page_content for document in store.similarity_search("tea", k=10)}

    tea, water, milk = ("a", "Tea is brewed."), ("b", "Water boils."), ("c", "Milk is heated.")
    assert run("incremental", tea, water, milk) == {"added": 3}
    ids = {document.page_content: document.id for document in store.similarity_search("tea")}
    assert run("incremental", tea, water, milk) == {"skipped": 3}
    assert run("incremental", ("a", "Tea is drawn.")) == {"added": 1, "deleted": 1}
    assert texts() == {"Tea is drawn.", "Water boils.", "Milk is heated."}
    assert run("full", ("a", "Tea is drawn."), water) == {"skipped": 2, "deleted": 1}
    assert texts() == {"Tea is drawn.", "Water boils."}
    kept = {document.page_content: document.id for document in store.similarity_search("tea")}
    assert kept["Water boils."] == ids["Water boils."]


def test_a_long_document_comes_back_as_passages_that_can_be_cited(store: RagToolsVectorStore):
    lines = [
        f"Chapter {n} says that the {n}th lighthouse is {n * 7} metres high." for n in range(80)
    ]
    text = "\n".join(lines)
    metadata = {"source": "https://example.com/book", "start": "mine", "tags": ["tall"]}
    assert store.add_documents([Document(text, id="book", metadata=metadata)]) == ["book"]
    (found,) = store.similarity_search("how high is the 40th lighthouse?", k=1)
    start = found.metadata["start_index"]
    assert found.id == f"book:{start}-{start + len(found.page_content)}"
    assert text[start : start + len(found.page_content)] == found.page_content != text
    assert found.metadata == {**metadata, "start_index": start}
    assert store.get_by_ids([found.id, "book"]) == [
        found,
        Document(text, id="book", metadata=metadata),
    ]
    (cited,) = RagToolsRetriever(index=store.engine, k=1).invoke("how high is the 40th lighthouse?")
    citation = cited.metadata["citations"][0]
    assert citation["quote"] == lines[40]
    assert citation["url"].startswith("https://example.com/book#:~:text=Chapter%2040")


def test_the_url_of_a_document_from_a_file_names_no_line_it_may_not_have(
    store: RagToolsVectorStore,
):
    store.add_documents([Document("Second half.", metadata={"source": "file:///notes/a.txt"})])
    (found,) = RagToolsRetriever(index=store.engine).invoke("half")
    assert found.metadata["citations"][0]["url"] == "file:///notes/a.txt"


@pytest.mark.parametrize(
    ("metadata", "title"),
    [
        ({"title": "TCP/IP", "source": "notes/net.txt"}, "TCP/IP"),
        ({"source": "https://example.com/net/"}, "net"),
        ({}, ""),
    ],
)
def test_a_document_has_the_title_or_the_name_of_its_source(
    store: RagToolsVectorStore, metadata: dict[str, Any], title: str
):
    (id,) = store.add_documents([Document("Packets are routed.", metadata=metadata)])
    assert store.engine.document(id).title == title


def test_documents_without_an_id_get_one_from_their_content(store: RagToolsVectorStore):
    one, two = Document("Tea."), Document("Tea.", metadata={"source": "b"})
    ids = store.add_documents([one, two])
    assert len(set(ids)) == 2
    assert store.add_texts(["Tea."]) == ids[:1]
    assert store.engine.status().documents == 2


def test_scores_and_filters_are_the_engines(store: RagToolsVectorStore):
    store.add_texts(["Tea.", "Coffee."], [{"hot": True}, {"hot": False}], ids=["tea", "coffee"])
    scored = store.similarity_search_with_score("tea", k=2)
    hits = store.engine.search("tea", limit=2).results
    assert [(document.id, score) for document, score in scored] == [
        (hit.document_id, hit.score) for hit in hits
    ]
    (cold,) = store.as_retriever(search_kwargs={"filter": {"hot": False}}).invoke("tea")
    assert cold.id == "coffee"


async def test_adding_from_several_tasks_at_once_loses_nothing(store: RagToolsVectorStore):
    await asyncio.gather(*(store.aadd_texts([f"Note {n}."], ids=[str(n)]) for n in range(6)))
    assert len(await store.aget_by_ids([str(n) for n in range(6)])) == 6


def test_a_server_is_not_written_to(url: str):
    with pytest.raises(ConfigurationError, match=url):
        RagToolsVectorStore(url)


def test_what_the_store_does_not_do_is_refused(store: RagToolsVectorStore, tmp_path: Path):
    with pytest.raises(ValueError, match="ids is None"):
        store.delete()
    with pytest.raises(TypeError, match="where"):
        store.similarity_search("tea", where={"a": 1})
    with pytest.raises(ValueError, match="shorter"):
        store.add_documents([Document("a"), Document("b")], ids=["1"])
    with pytest.raises(ValueError, match="own checkpoint"):
        RagToolsVectorStore.from_texts(
            ["a"], DeterministicFakeEmbedding(size=2), index=tmp_path / "other"
        )
    assert not (tmp_path / "other").exists()
    made = RagToolsVectorStore.from_texts(["Tea."], index=tmp_path / "other")
    assert made.similarity_search("tea")[0].page_content == "Tea."
    made.engine.close()


# --- the reranker --------------------------------------------------------------------------------


async def test_the_reranker_orders_documents_and_adds_quotes():
    documents = [
        Document("Bread is baked.", metadata={"source": "a"}),
        Document("Some say so. Tides come twice a day. Others differ.", id="tides"),
    ]
    given = [document.model_copy(deep=True) for document in documents]
    reranker = RagToolsReranker(top_n=1)
    (best,) = reranker.compress_documents(documents, "how often do tides come?")
    assert documents == given
    assert (best.id, best.page_content) == ("tides", documents[1].page_content)
    quote = best.metadata["quotes"][0]
    assert quote["quote"] == "Tides come twice a day."
    assert best.page_content[quote["start"] : quote["end"]] == quote["quote"]
    assert await reranker.acompress_documents(documents, "how often do tides come?") == [best]
    both = RagToolsReranker().compress_documents(documents, "how often do tides come?")
    assert [document.metadata["score"] for document in both] == sorted(
        (document.metadata["score"] for document in both), reverse=True
    )
    assert both[1].metadata["source"] == "a"


# --- the example ----------------------------------------------------------------------------------


def test_the_example_cites(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RAG_TOOLS_INDEX", str(index_dir))
    monkeypatch.setattr(sys, "argv", ["langchain_rag.py", QUESTIONS[0]])
    runpy.run_path(str(ROOT / "examples" / "langchain_rag.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "[1] On the summit of a mountain" in printed
    assert "kettle.md#L" in printed


# --- what a query adds takes no part in comparisons ----------------------------------------------


def test_a_passage_that_several_questions_find_is_one_document(retriever: RagToolsRetriever):
    asked = ("two high tides a day", "how often does the tide come in?", "tides")
    found = [document for query in asked for document in retriever.invoke(query, k=3)]
    # As MultiQueryRetriever has it.
    distinct = [each for n, each in enumerate(found) if each not in found[:n]]
    assert len(distinct) == len({each.id for each in found}) == len(set(found)) < len(found)
    one, other = (
        next(each for each in retriever.invoke(query) if each.id == found[0].id)
        for query in asked[:2]
    )
    assert one == other
    assert one.metadata["citations"] != other.metadata["citations"]
    # What belongs to the passage is compared, with plain documents too.
    assert one == Document(**dict(one))
    assert Document(**dict(one)) == one
    for change in (
        {"page_content": "?"},
        {"id": "?"},
        {"metadata": {**one.metadata, "title": "?"}},
    ):
        assert one != one.model_copy(update=change)


def test_a_retrieved_document_is_serialised_as_a_document(retriever: RagToolsRetriever):
    document = retriever.invoke("tides", k=1)[0]
    read = loads(dumps(document), allowed_objects=[Document])
    assert type(read) is Document
    assert read == document
    assert read.metadata == document.metadata


def test_reranked_documents_stay_the_same_whatever_the_question():
    document = Document("Tea is hot. Ice is cold.", id="a", metadata={"source": "s"})
    reranker = RagToolsReranker()
    (hot,), (cold,) = (reranker.compress_documents([document], q) for q in ("hot tea", "cold ice"))
    assert hot == cold == document
    assert hot.metadata["quotes"] != cold.metadata["quotes"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_retrievers_and_rerankers_are_copied_and_pickled(index_dir: Path, url: str, copied: Any):
    for where in (index_dir, str(index_dir), url):
        made = RagToolsRetriever(index=where, k=2)
        again = copied(made)
        assert again.engine is not made.engine
        expected = made.invoke("tides")
        made.engine.close()
        assert again.invoke("tides") == expected
        again.engine.close()
    with RagToolsVectorStore(index_dir).engine as engine:
        again = copied(RagToolsVectorStore(engine))
        assert again.similarity_search("tides", k=1)
        again.engine.close()
    documents = [Document("Bread is baked."), Document("Tea.")]
    reranker = RagToolsReranker(top_n=1)
    assert copied(reranker).compress_documents(documents, "bread") == (
        reranker.compress_documents(documents, "bread")
    )


def test_a_store_has_a_threshold_and_says_what_it_has_not(store: RagToolsVectorStore):
    texts = ["The ferry leaves at noon.", "Bread is baked in an oven.", "Bees dance."]
    store.add_texts(texts)
    scored = store.similarity_search_with_relevance_scores("when does the ferry leave?", k=3)
    assert scored[0][0].page_content == texts[0]
    assert all(0 <= score <= 1 for _, score in scored)
    best, second, *_ = (score for _, score in scored)
    assert best > second
    asked = store.as_retriever(
        search_type="similarity_score_threshold",
        search_kwargs={"score_threshold": (best + second) / 2, "k": 3},
    )
    for found in (
        asked.invoke("when does the ferry leave?"),
        asyncio.run(asked.ainvoke("when does the ferry leave?")),
    ):
        assert [document.page_content for document in found] == texts[:1]
    with pytest.raises(NotImplementedError, match="search_type='similarity'"):
        store.as_retriever(search_type="mmr").invoke("ferry")
    with pytest.raises(NotImplementedError, match="similarity_search"):
        store.similarity_search_by_vector([0.0])
