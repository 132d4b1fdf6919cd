"""The LlamaIndex adapters: its pipelines, and the engine's own answers."""

from __future__ import annotations

import asyncio
import copy
import pickle
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameworks import QUESTIONS, ROOT, storm
from rag_tools import Engine
from rag_tools.errors import (
    ConfigurationError,
    IndexNotFoundError,
    InvalidQueryError,
    ServerError,
)
from serving import served

pytest.importorskip("llama_index.core")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
    MockLLM,
)
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import (
    Document,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    QueryBundle,
    TextNode,
)
from llama_index.core.tools import QueryEngineTool

from llama_index_rag_tools import (
    CitedResponse,
    RagToolsIndex,
    RagToolsReranker,
    RagToolsRetriever,
    RetrievedNode,
    SpanCitationQueryEngine,
)


@pytest.fixture(scope="module")
def retriever(index_dir: Path) -> Iterator[RagToolsRetriever]:
    with Engine.open(index_dir) as engine:
        yield RagToolsRetriever(engine, k=4)


@pytest.fixture(scope="module")
def remote(index_dir: Path) -> Iterator[RagToolsRetriever]:
    with served(index_dir) as url:
        retriever = RagToolsRetriever(url, k=4)
        yield retriever
        retriever.engine.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RagToolsIndex]:
    index = RagToolsIndex(tmp_path / "index")
    yield index
    index.engine.close()


@pytest.mark.parametrize("question", QUESTIONS)
def test_nodes_are_the_hits_of_the_engine(retriever: RagToolsRetriever, question: str):
    results = retriever.engine.search(question, limit=4)
    hits = results.results
    nodes = retriever.retrieve(question)
    assert [found.node.node_id for found in nodes] == [hit.id for hit in hits]
    for found, hit in zip(nodes, hits, strict=True):
        node = found.node
        assert isinstance(node, TextNode)
        assert found.score == hit.score
        assert node.text == hit.text
        assert (node.start_char_idx, node.end_char_idx) == (hit.start, hit.end)
        assert node.metadata == {
            **hit.metadata,
            "source": hit.uri,
            "title": hit.title,
            "heading": hit.heading or "",
            "url": hit.url,
            "document_sha256": hit.document_sha256,
            "citations": [citation.model_dump(mode="json") for citation in hit.citations],
            "also_in": [copy.model_dump(mode="json") for copy in hit.also_in],
            "flags": [flag.model_dump(mode="json") for flag in hit.flags],
            "confidence": results.confidence,
        }


def test_offsets_and_citations_hold_against_the_source(
    retriever: RagToolsRetriever, indexed_corpus: Path
):
    for found in RagToolsRetriever(retriever.engine, filter={"path": "*.txt"}).retrieve("tides"):
        node = found.node
        source = (indexed_corpus / node.metadata["path"]).read_bytes().decode("utf-8")
        assert source[node.start_char_idx : node.end_char_idx] == node.text
        for citation in node.metadata["citations"]:
            assert source[citation["start"] : citation["end"]] == citation["quote"]
            assert retriever.engine.verify(citation).status == "exact"


def test_the_source_of_a_node_is_its_document(retriever: RagToolsRetriever):
    for found in retriever.retrieve(QUESTIONS[0]):
        source = found.node.relationships[NodeRelationship.SOURCE]
        document = retriever.engine.document(source.node_id)
        assert (source.node_type, source.hash) == (ObjectType.DOCUMENT, document.sha256)
        assert found.node.ref_doc_id == document.id


def test_the_model_and_the_embedding_read_no_span_metadata(retriever: RagToolsRetriever):
    node = retriever.retrieve(QUESTIONS[0])[0].node
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        text = node.get_content(mode)
        assert "title: Boiling water\nheading: Boiling water\n" in text
        for hidden in ("sha256", "citations", "file://"):
            assert hidden not in text
    assert node.get_content() == node.text


def test_ids_are_the_same_in_another_process_of_reading(
    retriever: RagToolsRetriever, index_dir: Path
):
    other = RagToolsRetriever(index_dir, k=4)
    assert [found.node.node_id for found in other.retrieve(QUESTIONS[2])] == [
        found.node.node_id for found in retriever.retrieve(QUESTIONS[2])
    ]
    other.engine.close()


def test_the_filter_restricts(retriever: RagToolsRetriever):
    filtered = RagToolsRetriever(retriever.engine, filter={"path": ["bees.rst", "bread.html"]})
    assert {found.node.metadata["path"] for found in filtered.retrieve("water")} == {
        "bees.rst",
        "bread.html",
    }


async def test_200_calls_at_once_are_right_and_leave_the_event_loop_free(
    retriever: RagToolsRetriever,
):
    expected = {question: retriever.retrieve(question) for question in QUESTIONS}
    answers, turns = await storm(retriever.aretrieve, 200)
    for n, nodes in enumerate(answers):
        assert nodes == expected[QUESTIONS[n % len(QUESTIONS)]]
    assert turns > 10  # hundreds on an idle machine


async def test_200_calls_at_once_of_a_server_leave_the_event_loop_free(
    remote: RagToolsRetriever, retriever: RagToolsRetriever
):
    expected = {question: retriever.retrieve(question) for question in QUESTIONS}
    answers, turns = await storm(remote.aretrieve, 200)
    for n, nodes in enumerate(answers):
        assert nodes == expected[QUESTIONS[n % len(QUESTIONS)]]
    assert turns > 10


async def test_a_server_gives_the_nodes_of_its_index(
    remote: RagToolsRetriever, retriever: RagToolsRetriever
):
    for question in QUESTIONS:
        nodes = retriever.retrieve(question)
        assert remote.retrieve(question) == nodes
        assert await remote.aretrieve(question) == nodes
    with pytest.raises(ServerError, match="the query is empty"):
        remote.retrieve(" ")


def test_changing_a_node_changes_no_later_one(retriever: RagToolsRetriever):
    before = retriever.retrieve(QUESTIONS[0])
    for found in retriever.retrieve(QUESTIONS[0]):
        found.node.metadata["path"] = "elsewhere"
        found.node.excluded_llm_metadata_keys.clear()
    assert retriever.retrieve(QUESTIONS[0]) == before


def test_bad_input_raises_what_the_engine_raises(retriever: RagToolsRetriever, tmp_path: Path):
    with pytest.raises(IndexNotFoundError, match="no index at"):
        RagToolsRetriever(tmp_path)
    with pytest.raises(InvalidQueryError, match="empty"):
        retriever.retrieve(" ")
    with pytest.raises(InvalidQueryError, match="limit 0"):
        RagToolsRetriever(retriever.engine, k=0).retrieve("tides")


# --- pipelines -----------------------------------------------------------------------------------


async def test_a_query_engine_answers_from_the_cited_text(retriever: RagToolsRetriever):
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    response = engine.query(QUESTIONS[0])
    assert "boils at about 87 °C" in str(response)
    assert "sha256" not in str(response)
    assert response.source_nodes == retriever.retrieve(QUESTIONS[0])
    assert str(await engine.aquery(QUESTIONS[0])) == str(response)


async def test_the_reranker_orders_nodes_and_adds_quotes():
    nodes = [
        NodeWithScore(node=TextNode(text="Bread is baked.", metadata={"by": "a"}), score=0.9),
        NodeWithScore(
            node=TextNode(id_="tides", text="Some say so. Tides come twice a day. Others differ."),
            score=0.1,
        ),
    ]
    given = [found.model_copy(deep=True) for found in nodes]
    question = "how often do tides come?"
    (best,) = RagToolsReranker(top_n=1).postprocess_nodes(nodes, query_str=question)
    assert nodes == given
    assert best.node.node_id == "tides"
    quote = best.node.metadata["quotes"][0]
    assert quote["quote"] == "Tides come twice a day."
    assert best.node.text[quote["start"] : quote["end"]] == quote["quote"]
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert best.node.get_content(mode) == nodes[1].node.get_content(mode)
    both = await RagToolsReranker().apostprocess_nodes(nodes, query_str=question)
    assert both[0] == best
    assert both[0].score > both[1].score
    assert both[1].node.metadata["by"] == "a"


def test_the_reranker_needs_a_query():
    with pytest.raises(InvalidQueryError, match="query_str or query_bundle"):
        RagToolsReranker().postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])


@pytest.mark.parametrize("where", ["retriever", "remote"])
async def test_an_agent_asks_the_query_engine(where: str, request: pytest.FixtureRequest):
    query_engine = SpanCitationQueryEngine.from_args(
        None, retriever=request.getfixturevalue(where), llm=Scripted(text="At about 87 °C [1].")
    )
    call = ToolCallBlock(
        tool_call_id="1", tool_name="documents", tool_kwargs={"input": QUESTIONS[0]}
    )
    script = [
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage(role="assistant", content="It boils at about 87 °C."),
    ]
    agent = FunctionAgent(
        tools=[QueryEngineTool.from_defaults(query_engine, name="documents", description="Ask.")],
        llm=MockFunctionCallingLLM(response_generator=lambda *_, **__: script.pop(0)),
    )
    answer = await agent.run(QUESTIONS[0])
    assert str(answer) == "It boils at about 87 °C."
    (called,) = answer.tool_calls
    cited = called.tool_output.raw_output
    assert "boils at about 87 °C" in cited.citations[1].quote


# --- the query engine that cites -----------------------------------------------------------------


class Scripted(CustomLLM):
    """Says `text`, a word at a time if it is streamed, whatever the prompt; keeps the prompts."""

    text: str
    prompts: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.prompts.append(prompt)
        return CompletionResponse(text=self.text)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        self.prompts.append(prompt)
        words = self.text.split(" ")
        for n, word in enumerate(words):
            delta = word if n == 0 else f" {word}"
            yield CompletionResponse(text=" ".join(words[: n + 1]), delta=delta)


ANSWER = "It boils at about 87 °C [1], [2, 99]; see `a[3]`."


def check(response: Any, retriever: RagToolsRetriever) -> None:
    """Check the answer `ANSWER` to the first question."""
    quotes = [
        citation
        for hit in retriever.engine.search(QUESTIONS[0], limit=4).results
        for citation in hit.citations
    ]
    assert isinstance(response, CitedResponse)
    assert str(response) == ANSWER
    assert response.citations == {1: quotes[0], 2: quotes[1]}
    assert response.unknown == (99,)
    assert len(response.source_nodes) == len(quotes) > 2
    for found, quote in zip(response.source_nodes, quotes, strict=True):
        node = found.node
        source = retriever.engine.fetch(quote.document_id).text
        assert source[node.start_char_idx : node.end_char_idx] == node.text == quote.quote
        assert node.metadata["citations"] == [quote.model_dump(mode="json")]
        assert node.ref_doc_id == quote.document_id
        assert retriever.engine.verify(node.metadata["citations"][0]).status == "exact"


@pytest.mark.parametrize("where", ["retriever", "remote"])
@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE])
async def test_numbers_in_the_answer_are_quotes_with_spans(
    where: str, mode: ResponseMode, request: pytest.FixtureRequest
):
    retriever = request.getfixturevalue(where)
    llm = Scripted(text=ANSWER)
    engine = SpanCitationQueryEngine.from_args(
        None, retriever=retriever, llm=llm, response_mode=mode
    )
    assert isinstance(engine, CitationQueryEngine)
    response = engine.query(QUESTIONS[0])
    check(response, retriever)
    check(await engine.aquery(QUESTIONS[0]), retriever)
    shown = "".join(llm.prompts)
    for number, found in enumerate(response.source_nodes, 1):
        assert f"Source {number}:\n{found.node.text.strip()}" in shown
    assert "sha256" not in shown


async def test_a_streamed_answer_cites_when_it_is_complete(retriever: RagToolsRetriever):
    engine = SpanCitationQueryEngine.from_args(
        None, retriever=retriever, llm=Scripted(text=ANSWER), streaming=True
    )
    streamed = engine.query(QUESTIONS[0])
    pieces = iter(streamed.response_gen)
    assert next(pieces) == "It"
    assert len(streamed.source_nodes) > 2
    check(streamed.get_response(), retriever)
    check(streamed.get_response(), retriever)
    assert str(streamed) == ANSWER
    assert str(engine.query(QUESTIONS[0])) == ANSWER

    streamed = await engine.aquery(QUESTIONS[0])
    written = [piece async for piece in streamed.async_response_gen()]
    assert len(written) > 3
    assert "".join(written) == ANSWER
    check(await streamed.get_response(), retriever)
    check(await (await engine.aquery(QUESTIONS[0])).get_response(), retriever)


def test_synthesizing_from_nodes_cites_as_well(retriever: RagToolsRetriever):
    engine = SpanCitationQueryEngine(retriever, llm=Scripted(text=ANSWER))
    query = QueryBundle(QUESTIONS[0])
    check(engine.synthesize(query, engine.retrieve(query)), retriever)


def test_nothing_found_cites_nothing(retriever: RagToolsRetriever):
    nothing = RagToolsRetriever(retriever.engine, filter={"path": "nowhere"})
    response = SpanCitationQueryEngine(nothing, llm=Scripted(text=ANSWER)).query("tides")
    assert isinstance(response, CitedResponse)
    assert (response.citations, response.source_nodes) == ({}, [])


def test_nodes_without_citations_are_refused(retriever: RagToolsRetriever):
    engine = SpanCitationQueryEngine(retriever, llm=MockLLM())
    other = NodeWithScore(node=TextNode(id_="other", text="Tea."))
    with pytest.raises(ValueError, match="node other has no citations"):
        engine.synthesize(QueryBundle("tea"), [other])


# --- the index -----------------------------------------------------------------------------------


def notes(*texts: str) -> list[Document]:
    return [Document(id_=f"note-{n}", text=text) for n, text in enumerate(texts)]


def found(index: RagToolsIndex, query: str = "tea") -> dict[str, str]:
    return {
        each.node.ref_doc_id: each.node.get_content()
        for each in index.as_retriever().retrieve(query)
    }


async def test_documents_are_inserted_updated_and_deleted(index: RagToolsIndex):
    index.insert(notes("Tea is brewed.")[0])
    await index.ainsert(Document(id_="other", text="Water boils."))
    assert found(index) == {"note-0": "Tea is brewed.", "other": "Water boils."}
    index.update_ref_doc(notes("Tea is drawn.")[0])
    await index.aupdate_ref_doc(Document(id_="other", text="Water freezes."))
    assert found(index) == {"note-0": "Tea is drawn.", "other": "Water freezes."}
    index.delete_ref_doc("note-0", delete_from_docstore=True)
    index.delete_ref_doc("never-there")
    assert found(index) == {"other": "Water freezes."}
    await index.adelete_ref_doc("other")
    assert found(index) == {}


async def test_refreshing_writes_what_changed_and_nothing_else(index: RagToolsIndex):
    assert index.refresh_ref_docs(notes("Tea.", "Milk.")) == [True, True]
    ids = {each.node.node_id for each in index.as_retriever().retrieve("tea")}
    generation = index.engine.status().generation
    assert index.refresh_ref_docs(notes("Tea.", "Milk.")) == [False, False]
    assert index.engine.status().generation == generation
    assert await index.arefresh_ref_docs(notes("Tea.", "Oat milk.", "Sugar.")) == [
        False,
        True,
        True,
    ]
    assert found(index) == {"note-0": "Tea.", "note-1": "Oat milk.", "note-2": "Sugar."}
    assert ids & {each.node.node_id for each in index.as_retriever().retrieve("tea")}
    changed = notes("Tea.")[0]
    changed.metadata["hot"] = True
    assert index.refresh([changed]) == [True]
    assert index.refresh_ref_docs([changed]) == [False]


def test_the_index_outlives_the_process_that_made_it(tmp_path: Path):
    made = RagToolsIndex.from_documents(notes("Tea is brewed.", "Water boils."), index=tmp_path)
    before = found(made)
    made.engine.close()
    opened = RagToolsIndex(str(tmp_path))
    assert found(opened) == before == {"note-0": "Tea is brewed.", "note-1": "Water boils."}
    assert opened.refresh_ref_docs(notes("Tea is brewed.")) == [False]
    opened.engine.close()


def test_a_long_document_is_found_in_passages_that_cite_it(index: RagToolsIndex):
    lines = [f"The {n}th lighthouse is {n * 7} metres high." for n in range(80)]
    metadata = {
        "file_path": "towers.txt",
        "file_name": "Towers",
        "tags": ["tall"],
        "secret": "hush",
    }
    index.insert(
        Document(
            id_="towers",
            text="\n".join(lines),
            metadata=metadata,
            excluded_llm_metadata_keys=["secret"],
        )
    )
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("how high is the 40th lighthouse?")
    node = best.node
    assert "\n".join(lines)[node.start_char_idx : node.end_char_idx] == node.text
    assert node.node_id == f"towers:{node.start_char_idx}-{node.end_char_idx}"
    assert node.ref_doc_id == "towers"
    assert metadata.items() <= node.metadata.items()
    assert node.metadata["title"] == "Towers"
    assert node.metadata["source"] == Path("towers.txt").absolute().as_uri()
    assert node.metadata["citations"][0]["quote"].startswith(lines[40])
    assert "hush" not in node.get_content(MetadataMode.LLM)
    assert "excluded_llm_metadata_keys" not in node.metadata


async def test_query_engines_of_the_index(index: RagToolsIndex):
    index.insert_nodes(notes("Tea is brewed.", "Water boils."))
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1)
    assert len(engine.query("tea").source_nodes) == 1
    cited = SpanCitationQueryEngine.from_args(
        index, llm=Scripted(text="It is brewed [1]."), similarity_top_k=1
    )
    assert (await cited.aquery("tea")).citations[1].quote == "Tea is brewed."
    filtered = index.as_retriever(filter={"document_id": "note-1"}).retrieve("tea")
    assert [each.node.ref_doc_id for each in filtered] == ["note-1"]
    assert "Water boils." in str(index.as_chat_engine(llm=MockLLM(), chat_mode="context").chat("?"))


async def test_inserting_from_several_tasks_loses_nothing(index: RagToolsIndex):
    await asyncio.gather(*(index.ainsert(note) for note in notes(*map(str, range(6)))))
    assert index.engine.status().documents == 6


def test_what_the_index_does_not_do_is_refused(
    index: RagToolsIndex, tmp_path: Path, remote: RagToolsRetriever
):
    (part,) = SentenceSplitter().get_nodes_from_documents(notes("Tea."))
    with pytest.raises(ValueError, match="part of document note-0"):
        index.insert_nodes([part])
    with pytest.raises(ValueError, match="divides documents itself"):
        RagToolsIndex.from_documents(
            notes("Tea."), transformations=[SentenceSplitter()], index=tmp_path / "other"
        )
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="JSON"):
        index.insert(Document(text="Tea.", metadata={"when": object()}))
    with pytest.raises(ConfigurationError, match="can only be read"):
        RagToolsIndex(remote.engine)
    with pytest.raises(ConfigurationError, match="can only be read"):
        RagToolsIndex("http://127.0.0.1:1/mcp")
    assert index.engine.status().documents == 0


# --- the example ----------------------------------------------------------------------------------


def test_the_example_cites(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RAG_TOOLS_INDEX", str(index_dir))
    monkeypatch.setattr(sys, "argv", ["llama_index_rag.py", QUESTIONS[0]])
    runpy.run_path(str(ROOT / "examples" / "llama_index_rag.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "[1] On the summit of a mountain" in printed
    assert "kettle.md#L" in printed


# --- what a query adds takes no part in comparisons ----------------------------------------------


class _Fusion(QueryFusionRetriever):
    def _get_queries(self, query: str) -> list[QueryBundle]:
        return [QueryBundle("how often does the tide come in?"), QueryBundle("tides")]


@pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "simple"])
def test_fusion_recognises_a_passage_that_several_questions_find(
    retriever: RagToolsRetriever, mode: str
):
    fusion = _Fusion(
        [retriever], llm=MockLLM(), num_queries=3, mode=mode, similarity_top_k=30, use_async=False
    )
    found = fusion.retrieve("two high tides a day")
    ids = [each.node.node_id for each in found]
    assert len(ids) == len(set(ids))
    if mode == "reciprocal_rerank":
        assert found[0].score == pytest.approx(3 / 60)


def test_a_hash_is_that_of_the_passage(retriever: RagToolsRetriever):
    one, *_ = retriever.retrieve("two high tides a day")
    other = next(
        each for each in retriever.retrieve("tides") if each.node.node_id == one.node.node_id
    )
    assert one.node.hash == other.node.hash
    assert one.node.metadata["citations"] != other.node.metadata["citations"]
    for change in ({"text": "?"}, {"metadata": {**one.node.metadata, "title": "?"}}):
        changed = RetrievedNode(**{**one.node.dict(), **change})
        assert changed.hash != one.node.hash
    assert TextNode.from_dict(one.node.to_dict()).metadata == one.node.metadata


def test_a_reranked_node_keeps_its_hash():
    node = TextNode(text="Tea is hot. Ice is cold.", metadata={"by": "a"})
    found = RagToolsReranker().postprocess_nodes([NodeWithScore(node=node)], query_str="hot tea")
    assert found[0].node.hash == node.hash
    assert found[0].node.metadata["quotes"]
    assert found[0].node.node_id == node.node_id
    assert found[0].node.get_content() == node.get_content()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_retrievers_and_rerankers_are_copied_and_pickled(index_dir: Path, copied: Any):
    made = RagToolsRetriever(index_dir, k=2)
    again = copied(made)
    expected = made.retrieve("tides")
    made.engine.close()
    assert again.retrieve("tides") == expected
    again.engine.close()
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Bread is baked.", "Tea.")]
    reranker = RagToolsReranker(top_n=1)
    one, other = (
        each.postprocess_nodes(nodes, query_str="bread") for each in (reranker, copied(reranker))
    )
    assert [each.node.text for each in one] == [each.node.text for each in other]
