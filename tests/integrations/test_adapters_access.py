"""Retrievers of a framework find what their principal may read, and stores label what they add."""

from __future__ import annotations

import pickle

import pytest

from hiding import QUERIES, TEXTS, make_base, make_pair
from rag_tools import AccessError, ConfigurationError, Engine, Principal, open_index

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import Document as LlamaDocument

import langchain_rag_tools
import llama_index_rag_tools

ANA = Principal(user="ana", groups=["ops"])
SECRETS = {name: ("board",) for name in ("note01", "note03", "note05", "note07", "note08")}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    base = make_base(folder / "base")
    return make_pair(base, folder / "pair", SECRETS, ANA, default_deny=False)[:2]


@pytest.mark.parametrize(
    ("retriever", "ask"),
    [
        (langchain_rag_tools.RagToolsRetriever, lambda it, query: it.invoke(query)),
        (llama_index_rag_tools.RagToolsRetriever, lambda it, query: it.retrieve(query)),
    ],
)
def test_a_retriever_finds_what_its_principal_may_read(pair, retriever, ask):
    def told(index, principal=None):
        made = (
            retriever(index, principal=principal)
            if not keywords
            else retriever(index=index, principal=principal)
        )
        kept = pickle.loads(pickle.dumps(made))
        with made.engine, kept.engine:
            found = [[each.model_dump() for each in ask(made, query)] for query in QUERIES]
            assert [[each.model_dump() for each in ask(kept, query)] for query in QUERIES] == found
        return found

    keywords = retriever is langchain_rag_tools.RagToolsRetriever
    seen, without = told(pair[0], ANA), told(pair[1], ANA)
    assert seen == without
    assert "412,000" not in str(seen) and "412,000" in str(told(pair[0]))


def test_a_principal_is_not_widened(pair):
    with Engine.open(pair[0]) as engine:
        seen = langchain_rag_tools.RagToolsRetriever(index=engine.as_(ANA))
        assert "412,000" not in str(seen.invoke(QUERIES[2]))
        with pytest.raises(AccessError):
            open_index(engine.as_(ANA), Principal(groups=["board"]))
    with pytest.raises(ConfigurationError, match="token"):
        open_index("http://127.0.0.1:1/mcp", ANA)


def test_what_a_store_adds_has_its_labels(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as engine:
        store = langchain_rag_tools.RagToolsVectorStore(engine, labels=["board"])
        store.add_documents([LangChainDocument(id="a", page_content=TEXTS["note03"])])
        index = llama_index_rag_tools.RagToolsIndex(engine, labels=["board", "ops"])
        documents = [LlamaDocument(id_="b", text=TEXTS["note05"])]
        assert index.refresh_ref_docs(documents) == [True]
        assert index.refresh_ref_docs(documents) == [False]
        assert engine.document("a").labels == ("board",)
        assert engine.document("b").labels == ("board", "ops")
        found = index.as_retriever(principal=ANA).retrieve("water")
        assert {each.node.ref_doc_id for each in found} == {"b"}
        unlabelled = llama_index_rag_tools.RagToolsIndex(engine)
        assert unlabelled.refresh_ref_docs(documents) == [True], "the labels are another version"
