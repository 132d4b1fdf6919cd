"""The engine's contracts: spans, ids, sync, snapshots, refusals. Real files, the real encoder."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_tools import Document, Engine, sources
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.errors import (
    CheckpointError,
    IndexCorruptError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
    IndexVersionError,
    InvalidQueryError,
    NotFoundError,
)
from rag_tools.index.arrayfile import FORMAT_VERSION
from rag_tools.ingest import reading
from rag_tools.ingest.worker import Worker

OPEN_FILES = Path("/proc/self/fd")


def answer(engine, query, **options):
    return engine.search(query, **options).results[0]


def check_citations(engine, results):
    """Every promise about a citation, for every citation of some hits."""
    n = 0
    for hit in results:
        document = engine.fetch(hit.document_id)
        assert document.text[hit.start : hit.end] == hit.text
        assert engine.fetch(hit.id).text == hit.text
        digest = hashlib.sha256(document.text.encode("utf-8")).hexdigest()
        for citation in hit.citations:
            n += 1
            assert document.text[citation.start : citation.end] == citation.quote
            assert hit.start <= citation.start < citation.end <= hit.end
            assert citation.document_sha256 == digest
            assert citation.url
            assert document.text[: citation.start].endswith(citation.prefix)
            assert document.text[citation.end :].startswith(citation.suffix)
            assert engine.verify(citation).status == "exact"
    return n


# -- search, fetch, cite -------------------------------------------------------------------------


def test_a_question_finds_its_sentence(engine):
    hit = answer(engine, "At what temperature does water boil on a high mountain?")
    assert hit.title == "Boiling water"
    assert "87 °C" in hit.citations[0].quote
    assert hit.citations[0].heading == "Boiling water > In the mountains"
    first, last = hit.citations[0].lines
    assert "#L" in hit.citations[0].url and f"L{first}" in hit.citations[0].url
    assert 8 <= first <= last <= 13


def test_every_citation_of_many_questions_keeps_the_contract(engine):
    total = 0
    for query in ["high tides", "merge sort", "yeast", "parrot", "bees in winter", "kettle steam"]:
        results = engine.search(query, limit=20).results
        assert [hit.score for hit in results] == sorted((h.score for h in results), reverse=True)
        total += check_citations(engine, results)
    assert total > 20


def test_no_quote_is_given_twice(tmp_path):
    text = "\n".join(f"Sentence number {n} is about the tides of sea {n % 7}." for n in range(200))
    with Engine.open(tmp_path, create=True, passage_tokens=64) as engine:
        engine.add([Document(uri="test:long", text=text)])
        results = engine.search("tides of sea 3", limit=20).results
        spans = sorted((c.start, c.end) for hit in results for c in hit.citations)
        assert len(results) == 20
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_search_is_the_same_every_time(engine, index_dir):
    first = engine.search("why are there two tides a day").model_dump_json()
    assert engine.search("why are there two tides a day").model_dump_json() == first
    with Engine.open(index_dir) as other:
        assert other.search("why are there two tides a day").model_dump_json() == first


@pytest.mark.parametrize(
    "options", [{}, {"limit": 3, "explain": True}, {"filter": {"path": "*.md"}}]
)
def test_a_batch_finds_what_its_queries_find_one_by_one(engine, options):
    queries = ["high tides", "yeast", "bees in winter", "", "high tides", "x" * 5000] * 3
    with pytest.raises(InvalidQueryError, match="empty"):
        engine.search_batch(queries)
    queries = [query for query in queries if query]
    for quality in ("fast", "exact"):
        expected = [engine.search(query, quality=quality, **options) for query in queries]
        assert engine.search_batch(queries, quality=quality, **options) == expected
    assert engine.search_batch([]) == []


def test_a_batch_uses_one_thread_for_each_query(engine, monkeypatch):
    from rag_tools.index import dispatch, kernels

    monkeypatch.setenv("RAG_TOOLS_THREADS", "3")
    seen = []
    counted = kernels.thread_count
    monkeypatch.setattr(kernels, "thread_count", lambda: seen.append(counted()) or seen[-1])
    if dispatch.kernel_name() != "numpy":
        engine.search_batch(["tides", "yeast"])
        assert set(seen) == {1}
        seen.clear()
        engine.search("tides")
        assert set(seen) == {3}


def test_what_only_clustering_needs_is_not_loaded_by_a_search(index_dir):
    program = (
        "import sys; from pathlib import Path; from rag_tools import Engine;"
        "engine = Engine.open(Path(sys.argv[1])); assert engine.search('boiling water').results;"
        "print({'faiss'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(index_dir)]
    output = subprocess.run(command, capture_output=True, check=True)
    assert output.stdout.strip() == b"set()"


def test_a_small_index_is_searched_whole_at_any_quality(engine):
    for query in ("tides", "why does bread rise"):
        found = [engine.search(query, quality=quality) for quality in ("fast", "exact")]
        assert found == [engine.search(query)] * 2
        cited = [engine.cite(query, quality=quality) for quality in ("fast", "exact")]
        assert cited == [engine.cite(query)] * 2
    with pytest.raises(InvalidQueryError, match="'best': choose fast, balanced, exact"):
        engine.search("tides", quality="best")


POLICY = "Backups of the ledger are kept for ninety days, then they are shredded by the vault team."


def _found(engine, query, **options):
    return [
        (hit.document_id, [copy.id.partition(":")[0] for copy in hit.also_in])
        for hit in engine.search(query, **options).results
    ]


@pytest.fixture
def copies(tmp_path):
    """Five documents of the same words, one in other white space, and three others."""
    texts = {f"copy{n}": POLICY for n in range(4)}
    texts["folded"] = POLICY.replace(" ", "\n  ")
    texts |= {
        "other": "Backups of the ledger can be asked for at the vault.",
        "changed": POLICY.replace("ninety", "sixty"),
        "third": "The vault opens at nine.",
    }
    with Engine.open(tmp_path / "copies", create=True) as engine:
        engine.add(
            Document(uri=f"test:{id}", id=id, title="Ledger", text=text)
            for id, text in texts.items()
        )
        yield engine


def test_one_text_in_many_files_is_one_hit_that_names_the_others(copies):
    found = _found(copies, "how long are backups of the ledger kept?", limit=4)
    assert sorted(id for id, _ in found) == ["changed", "copy0", "other", "third"]
    others = dict(found)
    assert others.pop("copy0") == ["copy1", "copy2", "copy3", "folded"]
    assert not any(others.values())


def test_hits_are_filled_up_and_fewer_are_the_first_of_more(copies):
    query = "how long are backups of the ledger kept?"
    every = _found(copies, query, limit=20)
    assert len(every) == 4
    for limit in (1, 2, 3):
        assert _found(copies, query, limit=limit) == every[:limit]
    assert _found(copies, query, limit=2, cite=False) == every[:2]


def test_a_filter_leaves_out_the_copies_it_leaves_out(copies):
    found = _found(copies, "backups", filter={"document_id": ["copy2", "copy3", "third"]})
    assert found == [("copy2", ["copy3"]), ("third", [])]


def test_a_copy_can_be_fetched_and_opened(copies):
    (copy, *_) = next(
        hit.also_in for hit in copies.search("backups of the ledger kept").results if hit.also_in
    )
    fetched = copies.fetch(copy.id)
    assert fetched.text == POLICY
    assert copy.url == fetched.url


def test_very_many_copies_do_not_push_the_others_out(tmp_path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add(
            Document(uri=f"test:{n}", id=f"{n:03}", title="Ledger", text=POLICY) for n in range(150)
        )
        engine.add([Document(uri="test:x", id="x", text="The vault opens at nine.")])
        (first, others), (second, none) = _found(engine, "backups of the ledger", limit=2)
        assert (first, second, none) == ("000", "x", [])
        assert others == [f"{n:03}" for n in range(1, 11)]


def test_fewer_hits_are_the_first_of_more_even_where_many_tie(tmp_path):
    with Engine.open(tmp_path, create=True) as engine:
        # To the encoder these are one text; as names may differ, they aren't duplicates.
        words = ["tides", "turn", "twice", "every", "single", "day"]
        texts = [
            " ".join(word.title() if n >> i & 1 else word for i, word in enumerate(words)) + "."
            for n in range(40)
        ]
        engine.add(
            Document(uri=f"test:{n}", title="Tides", text=text) for n, text in enumerate(texts)
        )
        ids = [hit.id for hit in engine.search("tides", limit=40).results]
        assert ids == sorted(ids) and len(set(ids)) == 40
        for limit in (1, 7, 39):
            assert [hit.id for hit in engine.search("tides", limit=limit).results] == ids[:limit]


def test_a_quote_from_code_is_of_one_function_and_names_it(tmp_path):
    source = tmp_path / "engine.go"
    source.write_text(
        'package main\n\nimport "fmt"\n\ntype Engine struct { rpm int }\n'
        "func (e *Engine) Start(key string) error { fmt.Println(key); return nil }\n"
        'func main() { fmt.Println("go") }\n'
    )
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([source])
        best = answer(engine, "start the engine with a key").citations[0]
        assert best.quote.startswith("func (e *Engine) Start")
        assert best.heading == "Engine > Start"
        assert best.lines == (6, 6)


def test_json_has_the_agreed_fields(engine):
    data = json.loads(engine.search("bees").model_dump_json())
    assert set(data) == {"query", "results", "confidence", "low_confidence", "facets"}
    hit = data["results"][0]
    assert {"id", "document_id", "title", "url", "score", "text", "start", "end", "citations"} <= (
        set(hit)
    )
    assert {
        "document_id", "document_sha256", "start", "end", "quote", "prefix", "suffix", "url",
        "lines", "page", "heading", "score",
    } <= set(hit["citations"][0])  # fmt: skip


def test_explain_aligns_query_tokens_with_quoted_tokens(engine):
    query = "honeybee waggle distance"
    citation = answer(engine, query, explain=True).citations[0]
    document = engine.fetch(citation.document_id)
    edges = {
        query[e.query_start : e.query_end]: document.text[e.start : e.end].lower()
        for e in citation.alignment
    }
    assert edges["distance"] == "distance"
    assert answer(engine, query).citations[0].alignment is None


def test_cite_returns_quotes_in_order_of_evidence(engine):
    support = engine.cite("A starter contains lactic acid bacteria.", limit=3)
    assert "lactic acid" in support.citations[0].quote
    assert len(support.citations) <= 3
    scores = [citation.score for citation in support.citations]
    assert scores == sorted(scores, reverse=True)


def test_fetch_by_range_and_unknown_ids(engine):
    id = answer(engine, "tides").document_id
    whole = engine.fetch(id)
    part = engine.fetch(id, start=4, end=8)
    assert part.text == whole.text[4:8]
    assert part.metadata["start"] == 4 and part.metadata["total_characters"] == len(whole.text)
    assert whole.url.startswith("file:///")
    with pytest.raises(NotFoundError, match="'nothing'"):
        engine.fetch("nothing")
    with pytest.raises(NotFoundError):
        engine.fetch("nothing:0-5")
    with pytest.raises(InvalidQueryError, match="isn't within"):
        engine.fetch(id, start=0, end=10**9)


@pytest.mark.parametrize("query", ["", " \n", "\0"])
def test_a_blank_query_is_refused_or_finds_something_harmless(engine, query):
    if query.strip():
        assert engine.search(query)
    else:
        with pytest.raises(InvalidQueryError, match="empty"):
            engine.search(query)


@pytest.mark.parametrize("query", ['"', "AND OR NOT", "a* NEAR(b c)", "💡" * 50, "x" * 5000, "-:^"])
def test_no_query_is_syntax(engine, query):
    assert engine.search(query).results


def test_filters_are_applied_before_ranking(engine):
    titles = {hit.title for hit in engine.search("water", limit=20).results}
    assert len(titles) > 2
    only = engine.search("water", filter={"path": "*.rst"}, limit=20).results
    assert {hit.title for hit in only} == {"Bees"}
    ids = [hit.document_id for hit in only]
    assert engine.search("water", filter={"document_id": ids[:1]}).results
    assert engine.search("water", filter={"title": ["Bees", "Bread"]}, limit=20).results
    assert not engine.search("water", filter={"title": "None such"}).results
    with pytest.raises(InvalidQueryError, match="filter field"):
        engine.search("water", filter={"a'b": 1})
    with pytest.raises(InvalidQueryError, match="isn't a string"):
        engine.search("water", filter={"a": None})


PATHS = ["blog/[slug]/page.md", "blog/s/page.md", "[2023] plan?.md", "a*b.md", "aXb.md"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        # The class in it matches another path too.
        ("blog/[slug]/page.md", {"blog/[slug]/page.md", "blog/s/page.md"}),
        ("./blog/[slug]/page.md", {"blog/[slug]/page.md", "blog/s/page.md"}),
        ("[2023] plan?.md", {"[2023] plan?.md"}),
        ("aXb.md", {"aXb.md"}),
        ("a*b.md", {"a*b.md", "aXb.md"}),
        ("a?b.md", {"a*b.md", "aXb.md"}),
        ("blog/*", {"blog/[slug]/page.md", "blog/s/page.md"}),
        ("blog/[slug]/*", {"blog/[slug]/page.md", "blog/s/page.md"}),
        ("blog/[[]slug]/*", {"blog/[slug]/page.md"}),
        ("[2023]*", {"[2023] plan?.md"}),
        (["[2023] plan?.md", "aXb.md"], {"[2023] plan?.md", "aXb.md"}),
        ("[", set()),
    ],
)
def test_a_path_finds_itself_and_globs_find_others(path_engine, wanted, found):
    results = path_engine.search("rivers", filter={"path": wanted}).results
    assert {hit.metadata["path"] for hit in results} == found


@pytest.fixture(scope="module")
def path_engine(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("paths"), create=True) as engine:
        engine.add(
            Document(uri=f"test:{path}", text=f"Fact {n} on rivers.", metadata={"path": path})
            for n, path in enumerate(PATHS)
        )
        yield engine


def test_metadata_of_added_documents_can_be_filtered_on(tmp_path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add(
            Document(uri=f"test:{n}", text=f"Fact {n} on rivers.", metadata={"n": n, "tags": tags})
            for n, tags in enumerate([["a"], ["a", "b"], ["c"]])
        )
        assert [h.document_id for h in engine.search("rivers", filter={"n": 1}).results] == [
            Document(uri="test:1", text="").id
        ]
        assert len(engine.search("rivers", filter={"tags": "a"}).results) == 2
        assert len(engine.search("rivers", filter={"tags": ["b", "c"], "n": [0, 2]}).results) == 1


# -- add, delete, identity -----------------------------------------------------------------------

NASTY = st.text(
    st.one_of(
        st.sampled_from("\0\r\n\t \u0301\u200d🏔️👩‍👩‍👧ßİ한中\u202eא\u2028\x85.,;#*-_`"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=400,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("scratch") / "i", create=True) as engine:
        yield engine


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(NASTY, min_size=1, max_size=3), query=NASTY.filter(str.strip))
def test_any_text_keeps_the_span_contract(scratch, texts, query):
    documents = [Document(uri=f"test:{n}", text=text) for n, text in enumerate(texts)]
    scratch.add(documents)
    for document in documents:
        fetched = scratch.fetch(document.id)
        assert fetched.text == document.text
        assert fetched.metadata["document_sha256"] == document.sha256
    check_citations(scratch, scratch.search(query, limit=10).results)


def test_documents_are_listed_once_each_while_others_come_and_go(tmp_path):
    def named(number):
        return Document(uri=f"test:{number:03}", id=f"{number:03}", text="é" * number, title="T")

    with Engine.open(tmp_path, create=True) as engine:
        engine.add(named(number) for number in range(0, 100, 2))
        listing = engine.documents()
        first = [next(listing) for _ in range(20)]
        assert [entry.characters for entry in first] == list(range(0, 40, 2))
        engine.delete(["002", "080"])
        engine.add([named(1), named(81)])
        rest = [entry.id for entry in listing]
        expected = [f"{number:03}" for number in (*range(40, 80, 2), 81, *range(82, 100, 2))]
        assert rest == expected
        assert [entry.id for entry in engine.documents(after="094")] == ["096", "098"]
        assert [entry.id for entry in engine.documents(filter={"document_id": "081"})] == ["081"]
        with pytest.raises(InvalidQueryError):  # before the first is asked for
            engine.documents(filter={"a;b": 1})
        assert engine.document_ids("00", limit=3) == ("000", "001", "004")
        assert engine.document_ids("t", limit=2) == ("000", "001")


def test_ids_survive_updates_and_other_changes(tmp_path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow."), Document(uri="test:b", text="B.")])
        before = answer(engine, "rivers flow").id
        for n in range(30):  # enough commits for a compaction
            engine.add([Document(uri="test:b", text=f"Version {n} of the other text.")])
        assert answer(engine, "rivers flow").id == before
        status = engine.status()
        assert status.documents == 2 and status.passages == 2
        assert status.segments <= 9
        engine.delete([Document(uri="test:a", text="").id])
        assert engine.delete(["unknown"]) == 0
        assert all(hit.id != before for hit in engine.search("rivers flow").results)


def test_an_empty_document_is_kept_without_passages(tmp_path):
    with Engine.open(tmp_path, create=True) as engine:
        (id,) = engine.add([Document(uri="test:empty", text="")])
        assert engine.fetch(id).text == ""
        assert engine.status().passages == 0
        assert engine.search("anything").results == ()


def test_a_codebook_grows_in_the_middle_of_a_document(tmp_path, monkeypatch):
    monkeypatch.setattr("rag_tools.writer._SEGMENT_PASSAGES", 2)
    monkeypatch.setattr("rag_tools.writer._QUEUE_PASSAGES", 2)
    with Engine.open(tmp_path, create=True, passage_tokens=32) as engine:
        engine.add([Document(uri="test:tiny", text="The moon.")])
        animals = ["lions", "eels", "owls", "newts", "crabs", "bees", "mice", "toads", "seals"]
        text = "\n\n".join(
            f"Here the book says a few words about {animal}, and how {animal} find their food."
            for animal in animals
        )
        engine.add([Document(uri="test:large", text=text)])
        assert engine.status().passages > 6
        for animal in animals:
            assert animal in answer(engine, f"{animal} food").text
        assert answer(engine, "moon").text == "The moon."
        check_citations(engine, engine.search("food", limit=50).results)


def test_compaction_moves_no_more_at_once_than_fits_into_memory(tmp_path, monkeypatch):
    with Engine.open(tmp_path, create=True) as engine:
        documents = [
            Document(uri=f"test:{n}-{part}", text=f"Lake {n} is deep in part {part}.")
            for n in range(9)
            for part in range(4)
        ]
        for n in range(9):
            engine.add(documents[4 * n : 4 * n + 4])
            if n == 0:
                tokens = engine.status().tokens
                monkeypatch.setattr("rag_tools.compaction.FULL_TOKENS", 3 * tokens)
        before = passage_ids(engine)
        assert 3 <= engine.status().segments <= 8
        assert len(before) == len(documents)
        engine.delete([document.id for document in documents[::2]])
        status = engine.status()
        assert status.tombstones == 0 and status.passages == len(documents) // 2
        sizes = [
            tokens
            for (tokens,) in sqlite3.connect(tmp_path / FILE_NAME).execute(
                "SELECT tokens FROM segment"
            )
        ]
        assert max(sizes) <= 3 * tokens
        assert passage_ids(engine) < before
        check_citations(engine, engine.search("lake", limit=50).results)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {1, 2}, b"bytes"])
def test_metadata_that_is_not_json_is_refused_before_anything_is_written(value):
    with pytest.raises(ValueError, match="can't be stored as JSON"):
        Document(uri="test:a", text="", metadata={"value": value})


# -- sync ----------------------------------------------------------------------------------------


def passage_ids(engine):
    return {hit.id for hit in engine.search("the", limit=1000).results}


def test_sync_does_only_what_is_needed(tmp_path, corpus_dir):
    with Engine.open(tmp_path / "i", create=True) as engine:
        first = engine.sync([corpus_dir])
        assert len(first.added) == 6 and first.encoded_passages == engine.status().passages
        second = engine.sync([corpus_dir])
        assert (second.encoded_passages, second.unchanged) == (0, 6)
        assert not (second.added or second.updated or second.removed)
        before = passage_ids(engine)
        ids = {hit.title: hit.document_id for hit in engine.search("the", limit=1000).results}

        (corpus_dir / "tides.txt").write_text("The tide is high but I am holding on.\n")
        (corpus_dir / "bees.rst").unlink()
        (corpus_dir / "new.md").write_text("# New\n\nSomething new.\n")
        third = engine.sync()
        assert third.updated == (ids["tides.txt"],)
        assert third.removed == (ids["Bees"],)
        assert len(third.added) == 1 and third.unchanged == 4
        changed = {*third.added, *third.updated, *third.removed}
        keep = {id for id in before if id.split(":")[0] not in changed}
        assert keep and keep <= passage_ids(engine)
        assert answer(engine, "tide holding on").document_id == ids["tides.txt"]
        check_citations(engine, engine.search("tide", limit=20).results)


def test_a_touched_file_costs_a_hash_and_a_same_size_edit_is_seen(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    file = source / "a.txt"
    file.write_text("The first version.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([source])
        os.utime(file, ns=(10**18, 10**18))
        assert engine.sync().unchanged == 1
        stamp = file.stat()
        file.write_text("The other version.")  # same length
        assert len(engine.sync().updated) == 1
        assert stamp.st_size == file.stat().st_size
        file.write_text("The third version.")  # at once: the clock may not have ticked
        assert len(engine.sync().updated) == 1


def test_a_file_that_breaks_is_reported_and_its_last_good_version_stays(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "a.html").write_text("<p>Herons stand in the reeds.")
    (source / "b.txt").write_text("Cranes fly in a wedge.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([source])
        (source / "a.html").unlink()
        (source / "a.html").mkdir()  # now a folder: gone as a file
        (source / "b.txt").write_bytes(bytes(range(256)) * 40)
        report = engine.sync()
        assert [skipped.path for skipped in report.skipped] == [str((source / "b.txt").resolve())]
        assert len(report.removed) == 1
        assert "wedge" in answer(engine, "cranes").text


def test_a_parser_that_fails_unexpectedly_costs_one_file(tmp_path, monkeypatch):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "a.md").write_text("Herons stand in the reeds.")
    (source / "b.txt").write_text("Cranes fly in a wedge.")

    def fail(data, *, uri, name):
        raise RecursionError("too deep")

    monkeypatch.setattr("rag_tools.ingest.markdown.load_markdown", fail)
    with Engine.open(tmp_path / "i", create=True) as engine:
        report = engine.sync([source])
        assert len(report.added) == 1
        assert "a.md: can't be parsed (RecursionError: too deep)" in report.skipped[0].reason


def test_sync_of_what_never_was_is_reported(tmp_path):
    with Engine.open(tmp_path / "i", create=True) as engine:
        report = engine.sync([tmp_path / "nowhere"])
        assert report.skipped[0].reason == "no such file or folder"
        (tmp_path / "one.txt").write_text("One file.")
        assert len(engine.sync([tmp_path / "one.txt"]).added) == 1
        (tmp_path / "one.txt").unlink()
        assert len(engine.sync([tmp_path / "one.txt"]).removed) == 1


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode elsewhere")
def test_a_file_name_that_is_not_unicode_is_indexed(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / os.fsdecode(b"caf\xe9.txt")).write_text("The bar is open at night.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        assert len(engine.sync([source]).added) == 1
        citation = answer(engine, "bar open").citations[0]
        assert citation.url.endswith("caf%E9.txt#L1")
        assert engine.verify(citation).status == "exact"
        assert engine.sync().unchanged == 1
        (source / os.fsdecode(b"caf\xe9.txt")).unlink()
        assert len(engine.sync().removed) == 1


def test_a_program_without_a_suffix_is_left_out_but_an_explicit_one_is_an_error(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "program").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    (source / "README").write_text("Read me first.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        report = engine.sync([source])
        assert (len(report.added), report.unsupported, report.skipped) == (1, 1, ())
        report = engine.sync([source / "program"])
        assert len(report.skipped) == 1 and not report.unsupported


def test_a_folder_that_vanished_with_its_drive_stays_indexed(tmp_path):
    source = tmp_path / "drive" / "docs"
    source.mkdir(parents=True)
    (source / "a.txt").write_text("Rivers flow.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([source])
        (tmp_path / "drive").rename(tmp_path / "unplugged")
        report = engine.sync()
        assert report.skipped and not report.removed
        (tmp_path / "unplugged").rename(tmp_path / "drive")
        assert engine.sync().unchanged == 1
        (source / "a.txt").unlink()
        source.rmdir()
        assert len(engine.sync().removed) == 1
        again = engine.sync()  # forgotten: nothing to report for ever after
        assert not again.removed and not again.skipped
        assert engine.status().roots == ()


def test_roots_keep_to_themselves(tmp_path):
    outer, inner = tmp_path / "a", tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (outer / "x.txt").write_text("Outer.")
    (inner / "y.txt").write_text("Inner.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([inner])
        assert len(engine.sync([outer], exclude=["b/"]).added) == 1
        assert engine.status().documents == 2
        assert engine.sync().unchanged == 2  # each root with its own options


def test_a_root_inside_another_is_synced_once_and_keeps_its_options(tmp_path):
    outer, inner = tmp_path / "a", tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (outer / "x.txt").write_text("Outer.")
    (inner / "y.txt").write_text("Inner.")
    (inner / "z.txt").write_text("Left out.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        assert len(engine.sync([outer]).added) == 3
        assert len(engine.sync([inner], exclude=["z.txt"]).removed) == 1
        for paths in ((), [outer], [outer, outer], [inner, outer]):
            exclude = ["z.txt"] if inner in paths else []
            report = engine.sync(paths, exclude=exclude)
            assert (report.encoded_passages, report.unchanged, report.removed) == (0, 2, ())
        (inner / "y.txt").write_text("Inner, changed.")
        assert len(engine.sync([outer]).updated) == 1
        inner.rename(tmp_path / "elsewhere")
        assert len(engine.sync([outer]).removed) == 1
        assert engine.sync([outer]).skipped == ()
    (tmp_path / "elsewhere").rename(inner)
    with Engine.open(tmp_path / "j", create=True) as engine:
        assert len(engine.sync([outer, inner]).added) == 3


@pytest.mark.parametrize("segment_passages", [2, 100])
def test_interrupted_sync_keeps_what_was_finished(tmp_path, monkeypatch, segment_passages):
    source = tmp_path / "docs"
    source.mkdir()
    for n in range(9):
        (source / f"{n}.txt").write_text(f"Document {n} is about lake number {n}. " * (8 * n))
    monkeypatch.setattr("rag_tools.writer._SEGMENT_PASSAGES", segment_passages)
    monkeypatch.setattr("rag_tools.writer._QUEUE_PASSAGES", 2)

    def interrupt(stage, done, total):
        if stage == "index" and done > total / 2:
            raise KeyboardInterrupt

    with Engine.open(tmp_path / "i", create=True) as engine:
        with pytest.raises(KeyboardInterrupt):
            engine.sync([source], progress=interrupt)
        kept = engine.status().documents
        assert 1 <= kept < 9
        check_citations(engine, engine.search("lake", limit=50).results)
        report = engine.sync([source])
        assert len(report.added) == 9 - kept and report.unchanged == kept
        check_citations(engine, engine.search("lake", limit=50).results)


def test_a_url_template_makes_every_link(tmp_path, corpus_dir):
    template = "https://example.com/{relative_path}#L{first_line}"
    with Engine.open(tmp_path / "i", create=True) as engine:
        with pytest.raises(InvalidQueryError, match="nonsense"):
            engine.sync([corpus_dir], url_template="{nonsense}")
        engine.sync([corpus_dir], url_template=template)
        hit = answer(engine, "two high tides a day")
        assert hit.url == "https://example.com/tides.txt#L1"
        assert hit.citations[0].url == "https://example.com/tides.txt#L3"
        assert engine.verify(hit.citations[0]).citation.url == hit.citations[0].url
        assert engine.sync(url_template="").encoded_passages == 0
        assert answer(engine, "two high tides a day").url.startswith("file:///")


# -- verify --------------------------------------------------------------------------------------


def test_verify_reads_a_changed_source_once(tmp_path, monkeypatch):
    source = tmp_path / "notes.md"
    source.write_text("The kettle boils at noon. The cat sleeps.")
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([source])
        (citation,) = engine.search("When does the kettle boil?", limit=1).results[0].citations[:1]
        source.write_text("It rains. The kettle boils at noon. The cat sleeps.")
        opened, open_file = [], reading._open

        def counted(path, flags):
            opened.append(Path(path))
            return open_file(path, flags)

        monkeypatch.setattr(reading, "_open", counted)
        assert engine.verify(citation).status == "moved"
        assert opened == [source.resolve()]


def test_verify_reads_the_source_itself(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    file = source / "a.txt"
    file.write_text("Rivers flow to the sea. Lakes stay.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([source])
        citation = answer(engine, "rivers flow").citations[0]
        assert engine.verify(citation).status == "exact"
        file.write_text("Preface. " + file.read_text())  # not synced
        moved = engine.verify(citation)
        assert (moved.status, moved.checked) == ("moved", "source")
        assert moved.citation.start == citation.start + 9
        file.write_text("Nothing of the kind.")
        assert engine.verify(citation).status == "stale"
        file.unlink()
        gone = engine.verify(citation)  # out of reach: the indexed text still has it
        assert (gone.status, gone.checked) == ("exact", "index")
        engine.sync()
        assert engine.verify(citation).status == "missing"


def test_verify_parses_a_changed_source_within_the_limits_of_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = tmp_path / "docs" / "page.html"
    page.parent.mkdir()
    page.write_text("<p>The bridge was painted in May.</p>", encoding="utf-8")
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([page.parent])
        (hit,) = engine.search("bridge").results
        page.write_text("<p>It was painted twice. The bridge was painted in May.</p>", "utf-8")
        assert engine.verify(hit.citations[0]).checked == "source"
        monkeypatch.setattr(sources, "Worker", functools.partial(Worker, timeout=1e-6))
    with Engine.open(tmp_path / "index") as engine:
        # Too little time for any parser: as if the source were out of reach.
        found = engine.verify(hit.citations[0])
        assert (found.status, found.checked) == ("exact", "index")
        monkeypatch.setattr(sources, "DEFAULT_MAX_BYTES", 8)
        page.write_bytes(b"x" * 100_000)
        assert engine.verify(hit.citations[0]).checked == "index"


def test_a_renamed_file_verifies_as_moved(tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "a.txt").write_text("Rivers flow to the sea.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([source])
        citation = answer(engine, "rivers").citations[0]
        (source / "a.txt").rename(source / "b.txt")
        engine.sync()
        verification = engine.verify(json.loads(citation.model_dump_json()))
        assert verification.status == "moved"
        assert verification.citation.url.split("#")[0].endswith("b.txt")


def test_a_forged_quote_is_missing(engine):
    citation = answer(engine, "rivers").citations[0]
    forged = citation.model_copy(update={"quote": "The author guarantees it."})
    assert engine.verify(forged).status == "missing"


# -- opening -------------------------------------------------------------------------------------


def test_no_index(tmp_path):
    with pytest.raises(IndexNotFoundError, match="rag-tools index"):
        Engine.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(IndexCorruptError, match=r"thesis\.doc"):
        Engine.open(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]
    with pytest.raises(IndexCorruptError, match="is a file"):
        Engine.open(tmp_path / "thesis.doc", create=True)


def test_a_root_out_of_reach_is_reported_and_stays_indexed(tmp_path, monkeypatch):
    folder = tmp_path / "closed" / "notes"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("Rivers flow.")
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.sync([folder])
        exists = Path.exists

        def refuse(path, **options):
            if path == folder.resolve():
                raise PermissionError(13, "Permission denied", str(path))
            return exists(path, **options)

        monkeypatch.setattr(Path, "exists", refuse)
        report = engine.sync()
        assert [(s.path, s.reason) for s in report.skipped] == [
            (str(folder.resolve()), "Permission denied")
        ]
        assert engine.status().documents == 1


def test_a_passage_size_that_cannot_be_leaves_no_index_behind(tmp_path):
    for size in (0, -1, 5, 10**6):
        with pytest.raises(InvalidQueryError, match=str(size)):
            Engine.open(tmp_path / "i", create=True, passage_tokens=size)
    assert not (tmp_path / "i").exists()


def damage_garbage(directory):
    (directory / FILE_NAME).write_bytes(b"not a database" * 100)


def damage_pages(directory):
    data = bytearray((directory / FILE_NAME).read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)  # all pages but the first
    (directory / FILE_NAME).write_bytes(data)


def damage_foreign(directory):
    connection = sqlite3.connect(directory / FILE_NAME)
    connection.execute("PRAGMA application_id = 1")
    connection.close()


def damage_newer(directory):
    connection = sqlite3.connect(directory / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()


def damage_segment(directory):
    (path,) = (directory / "segments").glob("*.seg")
    path.write_bytes(path.read_bytes()[:-1])


def damage_missing_segment(directory):
    (path,) = (directory / "segments").glob("*.seg")
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (damage_garbage, IndexCorruptError, "can't be opened"),
        (damage_pages, IndexCorruptError, "index again"),
        (damage_foreign, IndexCorruptError, "another program"),
        (damage_newer, IndexVersionError, "upgrade"),
        (damage_segment, IndexCorruptError, "truncated"),
        (damage_missing_segment, IndexCorruptError, "missing"),
    ],
)
def test_a_damaged_index_is_refused_and_not_touched(tmp_path, damage, error, words):
    directory = tmp_path / "i"
    with Engine.open(directory, create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow.")])
    damage(directory)
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    for create in (False, True):
        with pytest.raises(error, match=words), Engine.open(directory, create=create) as engine:
            engine.search("rivers")
    after = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    assert before.items() <= after.items()


def test_an_index_that_cannot_be_written_can_be_read(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow.")])
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    before = {path.name for path in (tmp_path / "i").iterdir()}
    with Engine.open(tmp_path / "i") as engine:
        assert answer(engine, "rivers").text == "Rivers flow."
    assert {path.name for path in (tmp_path / "i").iterdir()} == before


def test_an_index_that_only_another_can_write_is_read_beside_its_writer(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "i", create=True) as writer:
        writer.add([Document(uri="test:a", text="Rivers flow.")])
        monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
        with Engine.open(tmp_path / "i") as reader:
            assert answer(reader, "rivers").text == "Rivers flow."
            monkeypatch.undo()
            writer.add([Document(uri="test:a", text="Rivers freeze.")])
            assert writer.status().documents == 1  # keeps the log of commits open
            monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
            assert answer(reader, "rivers").text == "Rivers freeze."


def test_an_index_whose_making_was_cut_short_is_made_again(tmp_path):
    for name in ("segments", "codebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "catalog.new").write_bytes(b"SQLite format 3\0 cut short")
    with Engine.open(tmp_path, create=True) as engine:
        assert engine.status().documents == 0
    assert not (tmp_path / "catalog.new").exists()


def test_other_settings_than_the_index_was_made_with_are_refused(tmp_path):
    with Engine.open(tmp_path / "i", create=True, passage_tokens=100):
        pass
    with pytest.raises(IndexMismatchError, match="100"):
        Engine.open(tmp_path / "i", passage_tokens=200)
    with pytest.raises(CheckpointError):
        Engine.open(tmp_path / "j", create=True, checkpoint=tmp_path / "no-such-checkpoint")
    assert not (tmp_path / "j").exists()
    with pytest.raises(InvalidQueryError, match="3 tokens"):
        Engine.open(tmp_path / "j", create=True, passage_tokens=3)


def test_the_environment_names_the_default_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Engine.open(create=True):
        assert (tmp_path / ".rag-tools" / FILE_NAME).exists()
    monkeypatch.setenv("RAG_TOOLS_INDEX", str(tmp_path / "other"))
    with pytest.raises(IndexNotFoundError, match="other"):
        Engine.open()


def test_an_index_replaced_while_open_is_noticed(tmp_path):
    directory = tmp_path / "i"
    with Engine.open(directory, create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow.")])
    with Engine.open(directory) as reader:
        assert answer(reader, "rivers") and not reader.replaced
        shutil.rmtree(directory)
        assert reader.replaced
        with pytest.raises(IndexMismatchError, match="open it again"):
            reader.search("rivers")
        with Engine.open(directory, create=True) as engine:
            engine.add([Document(uri="test:b", text="Lakes stay.")])
        with pytest.raises(IndexMismatchError, match="open it again"):
            reader.search("rivers")


@pytest.mark.parametrize("folder", ["segments", "codebooks"])
def test_check_finds_a_flipped_bit(tmp_path, folder):
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow.")])
        engine.check()
        (path,) = (tmp_path / "i" / folder).glob("*.seg" if folder == "segments" else "*.cb")
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
        with pytest.raises(IndexCorruptError, match=path.name):
            engine.check()


# -- one writer, many readers --------------------------------------------------------------------


def hold_the_lock(directory, ready, release):
    from rag_tools.locking import acquire

    with acquire(directory):
        ready.set()
        release.wait(30)


def test_a_second_writer_is_told(tmp_path):
    directory = tmp_path / "i"
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    with Engine.open(directory, create=True) as engine:
        process = context.Process(target=hold_the_lock, args=(directory, ready, release))
        process.start()
        assert ready.wait(30)
        try:
            with pytest.raises(IndexLockedError, match="another process"):
                engine.add([Document(uri="test:a", text="x")])
            assert engine.search("anything").results == ()  # readers don't wait
        finally:
            release.set()
            process.join(30)
        engine.add([Document(uri="test:a", text="x")])


def test_threads_of_one_engine_take_turns_writing(tmp_path):
    with Engine.open(tmp_path / "i", create=True) as engine:
        with ThreadPoolExecutor(4) as pool:
            added = [
                pool.submit(engine.add, [Document(uri=f"test:{i}", text=f"Number {i}.")])
                for i in range(8)
            ]
            ids = [id for each in added for id in each.result()]
            assert sorted(entry.id for entry in engine.documents()) == sorted(ids)
            assert sum(pool.map(lambda id: engine.delete([id]), ids)) == 8
        assert engine.status().documents == 0


def test_a_write_within_a_write_is_refused_and_waits_for_nobody(tmp_path):
    with Engine.open(tmp_path / "i", create=True) as engine:

        def documents():
            yield Document(uri="test:a", text="One.")
            engine.add([Document(uri="test:b", text="Two.")])

        with pytest.raises(IndexLockedError):
            engine.add(documents())
        engine.add([Document(uri="test:c", text="Three.")])


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="counts open files by /proc")
def test_threads_that_come_and_go_leave_no_files_open(engine):
    def search():
        engine.search("bees")

    def count():
        return len(list(OPEN_FILES.iterdir()))

    search()
    before = count()
    for _ in range(20):
        thread = threading.Thread(target=search)
        thread.start()
        thread.join()
    assert count() <= before + 3


def test_readers_see_whole_commits_while_a_writer_works(tmp_path):
    """Every version of the document says its number three times: no search may see a mixture."""
    directory = tmp_path / "i"

    def version(n):
        return Document(uri="test:a", text=f"Edition {n}. Edition {n} again. Edition {n} ends.")

    problems = []
    with Engine.open(directory, create=True) as writer, Engine.open(directory) as reader:
        writer.add([version(0)])
        done = threading.Event()

        def read():
            while not done.is_set():
                try:
                    hit = answer(reader, "edition")
                    numbers = {word for word in hit.text.replace(".", "").split() if word.isdigit()}
                    if len(numbers) != 1 or reader.status().documents != 1:
                        problems.append(hit.text)
                except Exception as error:
                    problems.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(1, 25):
            writer.add([version(n)])
        done.set()
        for thread in threads:
            thread.join()
        assert not problems
        assert "24" in answer(reader, "edition").text


def test_a_search_without_citations_ranks_the_same(engine):
    cited, bare = (engine.search("kitten", limit=3, cite=cite) for cite in (True, False))
    assert [hit.id for hit in bare.results] == [hit.id for hit in cited.results]
    assert [hit.score for hit in bare.results] == [hit.score for hit in cited.results]
    assert any(hit.citations for hit in cited.results)
    assert not any(hit.citations for hit in bare.results)
    assert bare.confidence is None
    assert engine.search_batch(["kitten"], limit=3, cite=False) == [bare]
