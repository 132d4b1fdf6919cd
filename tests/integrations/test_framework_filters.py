"""The filters of LangChain and LlamaIndex find what those of rag-tools do that they stand for."""

from __future__ import annotations

import pytest

pytest.importorskip("langchain_core", reason="needs the extra [langchain]")
pytest.importorskip("llama_index.core", reason="needs the extra [llamaindex]")

from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import FilterCondition

from langchain_rag_tools import RagToolsRetriever as LangChainRetriever
from langchain_rag_tools.filters import to_filter as of_langchain
from llama_index_rag_tools import RagToolsRetriever as LlamaIndexRetriever
from llama_index_rag_tools.filters import to_filter as of_llama_index
from rag_tools import Document, Engine
from rag_tools.errors import InvalidQueryError


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    metadata = [
        {"year": 2019, "lang": "en", "tags": ["a", "b"], "name": "Sea [1]"},
        {"year": 2020, "lang": "fr", "tags": ["b"], "name": "RIVER*"},
        {"year": 2021, "lang": "en", "name": "river"},
        {"year": 2022, "lang": "de", "tags": ["a"], "name": "lake"},
    ]
    with Engine.open(tmp_path_factory.mktemp("framework") / "i", create=True) as engine:
        engine.add(
            Document(id=f"d{n}", uri=f"test:{n}", title="", text=f"Tea {n}.", metadata=each)
            for n, each in enumerate(metadata)
        )
        yield engine


def where(key: str, operator: FilterOperator, value: object = None) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


F = FilterOperator
CASES = [
    (where("lang", F.EQ, "en"), "02"),
    (where("year", F.GT, 2020), "23"),
    (where("year", F.GTE, 2020), "123"),
    (where("year", F.LT, 2020), "0"),
    (where("year", F.LTE, 2020), "01"),
    (where("lang", F.NE, "en"), "13"),
    (where("lang", F.IN, ["en", "de"]), "023"),
    (where("lang", F.NIN, ["en", "de"]), "1"),
    (where("tags", F.ANY, ["a", "b"]), "013"),
    (where("tags", F.ALL, ["a", "b"]), "0"),
    (where("tags", F.CONTAINS, "b"), "01"),
    (where("tags", F.IS_EMPTY), "2"),
    (where("name", F.TEXT_MATCH, "R*"), "1"),
    (where("name", F.TEXT_MATCH, "[1]"), "0"),
    (where("name", F.TEXT_MATCH_INSENSITIVE, "river"), "12"),
]


@pytest.mark.parametrize(("filter", "expected"), CASES)
def test_every_operator_of_llama_index(engine, filter, expected):
    found = engine.documents(filter=of_llama_index(MetadataFilters(filters=[filter])))
    assert "".join(entry.id[1:] for entry in found) == expected


def test_every_operator_was_tried():
    assert {filter.operator for filter, _ in CASES} == set(FilterOperator)


def test_nested_conditions_of_llama_index(engine):
    english = where("lang", F.EQ, "en")
    either = MetadataFilters(
        filters=[english, where("year", F.GT, 2021)], condition=FilterCondition.OR
    )
    nested = MetadataFilters(filters=[either, where("year", F.LT, 2022)])
    retriever = LlamaIndexRetriever(engine, filter=nested)
    assert sorted(each.node.ref_doc_id for each in retriever.retrieve("tea")) == ["d0", "d2"]
    neither = MetadataFilters(filters=either.filters, condition=FilterCondition.NOT)
    retriever = LlamaIndexRetriever(engine, filter=neither)
    assert [each.node.ref_doc_id for each in retriever.retrieve("tea")] == ["d1"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"lang": {"$eq": "en"}}, "02"),
        ({"lang": "en", "year": {"$gte": 2020}}, "2"),
        ({"year": {"$gt": 2019, "$lt": 2022}}, "12"),
        ({"year": {"$between": [2020, 2021]}}, "12"),
        ({"lang": {"$ne": "en"}}, "13"),
        ({"lang": {"$in": ["fr", "de"]}}, "13"),
        ({"lang": {"$nin": ["fr", "de"]}}, "02"),
        ({"tags": {"$exists": False}}, "2"),
        ({"name": {"$like": "%ver"}}, "2"),
        ({"name": {"$like": "l_k_"}}, "3"),
        ({"year": {"$not": {"$lte": 2020}}}, "23"),
        ({"$or": [{"year": 2019}, {"$and": [{"lang": "en"}, {"year": {"$gte": 2021}}]}]}, "02"),
        ({"$not": {"lang": "en"}}, "13"),
        ({"year": {"<=": 2020}, "not": {"lang": "fr"}}, "0"),
    ],
)
def test_the_operators_of_langchain(engine, filter, expected):
    found = LangChainRetriever(index=engine, filter=filter).invoke("tea")
    assert "".join(sorted(each.metadata["document_id"][1:] for each in found)) == expected


def test_what_cannot_be_translated_is_named():
    with pytest.raises(InvalidQueryError, match=r"\$regex"):
        of_langchain({"name": {"$regex": "a+"}})
    with pytest.raises(InvalidQueryError, match=r"lang.*list"):
        of_llama_index(MetadataFilters(filters=[where("lang", F.IN, "en")]))
