"""Queries that say one thing over and over."""

from __future__ import annotations

import numpy as np
import pytest

from rag_tools import Document, Engine
from rag_tools.encode.recurring import without_recurring_lines
from rag_tools.index import lexical

NAMES = ["cart", "stock", "label", "token", "queue", "price"]
PYTHON = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/{name}.py", line {n}, in {name}_of\n    {name} = find(order, "{name}")\n'
    for n, name in enumerate(NAMES)
)
TRACES = {
    "python": PYTHON,
    "java": "".join(
        f"\tat org.shop.{name}.Find.run(Find.java:{n})\n" for n, name in enumerate(NAMES)
    ),
    "node": "".join(f"    at {name} (/app/{name}.js:{n}:7)\n" for n, name in enumerate(NAMES)),
    "anonymous": "".join(f"    at /app/{name}.js:{n}:7\n" for n, name in enumerate(NAMES)),
    "gdb": "".join(
        f"#{n}  0x00007f in {name} (n=1) at {name}.c:7\n" for n, name in enumerate(NAMES)
    ),
    "ruby": "".join(f"\tfrom app/{name}.rb:{n}:in `{name}'\n" for n, name in enumerate(NAMES)),
    "go": "".join(f"\t/app/{name}.go:{n} +0x1d\n" for n, name in enumerate(NAMES)),
    "log": "".join(f"10:0{n}:17 WARN  retry {n} of 9\n" for n in range(6)),
}
ERROR = "QuorumSplitFault: replica 7 left"


@pytest.mark.parametrize("language", TRACES)
def test_what_recurs_is_blank_and_the_rest_stays_in_its_place(language):
    for query in (TRACES[language] + ERROR, f"{ERROR}\n{TRACES[language]}"):
        kept = without_recurring_lines(query)
        assert len(kept) == len(query)
        assert kept.split() == ERROR.split()
        assert kept.index(ERROR) == query.index(ERROR)


@pytest.mark.parametrize(
    "query",
    [
        "how long are backups kept?",
        "- apples\n- pears\n- plums\n- figs\n- quinces\nwhich is sour?",
        "at noon\nat one\nat two\nat three\nwhen is lunch?",
        "a\na\na\nb",
        "\n\n\n\n\nb",
        "",
    ],
)
def test_other_queries_stay_as_they_are(query):
    assert without_recurring_lines(query) == query


def test_if_all_recurs_the_first_stays():
    assert without_recurring_lines(TRACES["java"]).split() == [
        "at",
        "org.shop.cart.Find.run(Find.java:0)",
    ]
    assert without_recurring_lines("again\n" * 5).split() == ["again"]


def test_the_error_at_the_end_of_a_stack_trace_is_what_is_asked_for(tmp_path):
    documents = {
        "fault": "A QuorumSplitFault means that each half of the cluster has a leader.",
        "find": "Find looks for the price of each label in the cart, the stock and the queue.",
        "token": "The token of an order is in the app. A cart has a queue and a stock.",
    }
    with Engine.open(tmp_path, create=True) as engine:
        engine.add(Document(uri=f"t:{id}", id=id, text=text) for id, text in documents.items())
        for query in (PYTHON * 6 + ERROR, ERROR + "\n" + TRACES["java"] * 6):
            found = engine.search(query, explain=True).results
            assert found[0].document_id == "fault"
            edges = [edge for cited in found[0].citations for edge in cited.alignment or ()]
            asked = {query[edge.query_start : edge.query_end] for edge in edges}
            assert asked and all(part in ERROR for part in asked)


def test_of_many_words_bm25_looks_for_the_rarest():
    common = [f"common{n}" for n in range(100)]
    stored = lexical.in_memory([" ".join(common)] * 20 + ["A zygote fails."])
    words = [*common, *(f"missing{n}" for n in range(100)), "zygote"]
    assert lexical.listed(stored, words, limit=1)[0][0] == 20


def test_an_identifier_is_a_term_as_a_whole():
    texts = ["part 7-0923 of 12", "part 0923-7 of 12", "12 of 7 parts, 0923"]
    stored = lexical.in_memory(texts)
    empty = np.zeros((0, 2), np.int32)
    for query, first in (("7-0923", 0), ("0923-7", 1)):
        terms = lexical.telling_words(query, empty, np.zeros(0, np.int64), 3)
        assert lexical.listed(stored, terms, limit=1)[0][0] == first
    prose = lexical.telling_words("well-known and/or v1.2", empty, np.zeros(0, np.int64), 3)
    assert prose == ["well", "known", "and", "or", "v1", "2", "v1.2"]
