"""The LlamaIndex adapters: its pipelines, and the engine's own answers."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frameworks import QUESTIONS, ROOT, run_document, storm

from rag_tools import Engine
from rag_tools.errors import IndexNotFoundError, InvalidQueryError

pytest.importorskip("llama_index.core")

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    TextNode,
)

from llama_index_rag_tools import RagToolsReranker, RagToolsRetriever


@pytest.fixture(scope="module")
def retriever(index_dir: Path) -> Iterator[RagToolsRetriever]:
    with Engine.open(index_dir) as engine:
        yield RagToolsRetriever(engine, k=4)


@pytest.mark.parametrize("question", QUESTIONS)
def test_nodes_are_the_hits_of_the_engine(retriever: RagToolsRetriever, question: str):
    hits = retriever.engine.search(question, limit=4).results
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


# --- documentation -------------------------------------------------------------------------------


def test_the_documentation_runs(
    index_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    defined = run_document("llamaindex.md", index_dir, tmp_path, monkeypatch)
    assert "exact\n" in capsys.readouterr().out
    assert len(defined["response"].source_nodes) == 3
    defined["retriever"].engine.close()


def test_the_example_cites(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RAG_TOOLS_INDEX", str(index_dir))
    monkeypatch.setattr(sys, "argv", ["llama_index_rag.py", QUESTIONS[0]])
    runpy.run_path(str(ROOT / "examples" / "llama_index_rag.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "[1] On the summit of a mountain" in printed
    assert "kettle.md#L" in printed
