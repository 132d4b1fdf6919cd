"""A passage that was encoded once isn't encoded again; what is deleted is gone from the catalog."""

from __future__ import annotations

import random
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools import Document, Engine
from rag_tools.carrying import Wanted, assign
from rag_tools.catalog.rows import Address, EncodedRow, worded
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.encode.encoder import Encoder
from rag_tools.types import Passage

WORDS = [
    "harbour",
    "lantern",
    "gravel",
    "meadow",
    "copper",
    "violin",
    "thunder",
    "marble",
    "candle",
    "orchard",
    "saddle",
    "granite",
    "feather",
    "anchor",
    "willow",
    "kettle",
    "barrel",
    "prairie",
    "compass",
    "glacier",
]


@pytest.fixture
def encoded(monkeypatch):
    """The texts of the passages that were encoded."""
    texts = []
    encode = Encoder.encode_passage

    def counting(self, text, context=""):
        texts.append(text)
        return encode(self, text, context)

    monkeypatch.setattr(Encoder, "encode_passage", counting)
    return texts


@pytest.fixture
def index(tmp_path):
    with Engine.open(tmp_path / "index", create=True, passage_tokens=40) as engine:
        yield engine


def sentences(seed, n):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=9)).capitalize() + f" {seed} {i}.\n" for i in range(n)]


def check(engine, texts):
    """Every passage's stored spans are those of a fresh encoding, and cite verbatim."""
    encoder = engine._opened.encoder
    assert {id: engine.document(id).text for id in engine.versions().keys} == texts
    with engine._opened.reader.view() as view:
        seen = 0
        for id, segment in view.snapshot.segments.items():
            for position in np.flatnonzero(view.snapshot.live[id]).tolist():
                row = view.catalog.passage_at(id, position)
                document = view.catalog.document(row.document)
                text = document.text[row.passage.start : row.passage.end]
                fresh = encoder.encode_passage(text, " > ".join(row.passage.path))
                # Titles only move what is ahead of the text.
                own = segment.spans(position)
                assert own[own[:, 1] > 0].tolist() == fresh.spans[fresh.spans[:, 1] > 0].tolist()
                seen += 1
        assert seen == view.catalog.counts().passages
    for text in texts.values():
        line = text.splitlines()[0]
        for hit in engine.search(line, limit=3).results:
            for citation in hit.citations:
                source = texts[citation.document_id]
                assert source[citation.start : citation.end] == citation.quote
        # Of passages that are alike, one is listed.
        assert any(line in hit.text for hit in engine.search(line, limit=20).results)
    engine.check()


def test_an_edit_encodes_the_passages_around_it_only(index, encoded, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    lines = sentences(1, 400)
    (folder / "a.txt").write_text("".join(lines), encoding="utf-8")
    report = index.sync([folder])
    assert report.encoded_passages == len(encoded) > 120
    for at, line in ((200, "Changed.\n"), (0, "Ahead of all.\n"), (399, "At the end.\n")):
        lines[at] = line
        (folder / "a.txt").write_text("".join(lines), encoding="utf-8")
        encoded.clear()
        report = index.sync([folder])
        assert 1 <= len(encoded) == report.encoded_passages <= 5
        assert any(line in text for text in encoded)
    (id,) = index.versions().keys
    check(index, {id: "".join(lines)})


def test_a_rename_a_move_and_a_copy_encode_nothing(index, encoded, tmp_path):
    folder = tmp_path / "notes"
    (folder / "in").mkdir(parents=True)
    (folder / "a.md").write_text("# Guide\n\n" + "".join(sentences(1, 60)), encoding="utf-8")
    index.sync([folder])
    segments = index.status().segments
    encoded.clear()
    (folder / "a.md").rename(folder / "b.md")
    assert index.sync([folder]).encoded_passages == 0
    assert index.status().segments == segments and index.status().tombstones == 0
    (folder / "b.md").rename(folder / "in" / "c.md")
    assert index.sync([folder]).encoded_passages == 0
    shutil.copy(folder / "in" / "c.md", folder / "d.md")
    shutil.copy(folder / "in" / "c.md", folder / "e.md")
    assert index.sync([folder]).encoded_passages == 0
    assert encoded == []
    status = index.status()
    assert status.documents == 3 and status.passages % 3 == 0
    text = (folder / "d.md").read_text(encoding="utf-8")
    check(index, dict.fromkeys(index.versions().keys, text))


def test_passages_that_are_alike_are_encoded_once_in_one_batch(index, encoded):
    text = "".join(sentences(1, 20))
    documents = [Document(uri=f"test:{i}", title="Same", text=text) for i in range(4)]
    index.add(documents)
    assert len(encoded) == len(set(encoded)) == index.status().passages // 4


def test_a_deleted_document_that_is_back_encodes_nothing(index, encoded):
    keep = Document(uri="test:keep", text="".join(sentences(1, 60)))
    gone = Document(uri="test:gone", text="".join(sentences(2, 10)))
    index.add([keep, gone])
    index.delete([gone.id])
    assert index.status().tombstones > 0
    encoded.clear()
    index.add([gone])
    assert encoded == [] and index.status().tombstones == 0
    check(index, {keep.id: keep.text, gone.id: gone.text})


def test_another_title_is_another_context(index, encoded):
    text = "".join(sentences(1, 3))
    index.add([Document(uri="test:a", title="One", text=text)])
    encoded.clear()
    index.add([Document(uri="test:a", title="Two", text=text)])
    assert encoded


def test_what_moves_between_documents_is_carried_over(index, encoded):
    one, two = ("".join(sentences(n, 10)) for n in (1, 2))
    index.add([Document(uri="test:a", id="a", title="T", text=one)])
    index.add([Document(uri="test:b", id="b", title="T", text=two)])
    encoded.clear()
    swapped = {"a": two, "b": one}
    index.add(Document(uri=f"test:{id}", id=id, title="T", text=swapped[id]) for id in swapped)
    assert encoded == [] and index.status().tombstones == 0
    check(index, swapped)


def test_compaction_keeps_what_was_encoded(index, encoded, monkeypatch):
    texts = {f"d{i}": "".join(sentences(i, 8)) for i in range(12)}
    for id, text in texts.items():  # a segment each
        index.add([Document(uri=f"test:{id}", id=id, title="T", text=text)])
    assert index.status().segments < 12
    encoded.clear()
    index.add(Document(uri=f"test:x{id}", id=f"x{id}", title="T", text=texts[id]) for id in texts)
    assert encoded == []
    check(index, texts | {f"x{id}": text for id, text in texts.items()})


edits = st.lists(
    st.tuples(
        st.sampled_from(["edit", "delete", "copy", "rename", "join"]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=6, deadline=None)
@given(batches=st.lists(edits, min_size=1, max_size=3))
def test_spans_are_verbatim_after_any_edits(tmp_path_factory, batches):
    texts = {f"d{i}": "".join(sentences(i, 6)) for i in range(4)}
    directory = tmp_path_factory.mktemp("i")
    with Engine.open(directory, create=True, passage_tokens=40) as engine:
        engine.add(Document(uri=f"t:{id}", id=id, title="", text=t) for id, t in texts.items())
        for batch in batches:
            before = dict(texts)
            for kind, a, b, at in batch:
                names = sorted(texts)
                if not names:
                    break
                one, two = names[a % len(names)], names[b % len(names)]
                lines = texts[one].splitlines(keepends=True)
                if kind == "edit":
                    lines.insert(at % (len(lines) + 1), f"🦉 Inserted {at}.\n")
                    texts[one] = "".join(lines)
                elif kind == "delete":
                    del texts[one]
                elif kind == "copy":
                    texts[f"{one}c"] = texts[one]
                elif kind == "rename":
                    texts[f"{one}r"] = texts.pop(one)
                else:
                    texts[one] += texts[two]
            with engine._indexer.session(None) as writer:  # one commit, as `sync` makes
                for id in before.keys() - texts.keys():
                    writer.delete(id)
                for id in sorted(texts):
                    if before.get(id) != texts[id]:
                        document = Document(uri=f"t:{id}", id=id, title="", text=texts[id])
                        writer.put(writer.prepare(document))
            check(engine, texts)


class Nothing:
    """A catalog without tombstones, which has seen everything at one address."""

    def dead_addresses(self, encoded, *, limit):
        return []

    def address_of(self, encoded):
        return Address(99, 0)


keys = st.sampled_from([b"a", b"b", b"c"])
names = st.sampled_from(["x", "y"])
paths = st.sampled_from([(), ("P",)])


@given(
    wanted=st.lists(st.tuples(names, paths, keys), max_size=8),
    rows=st.lists(st.tuples(names, paths, keys), max_size=8),
    fresh=st.dictionaries(keys, st.just(Address(7, 0)), max_size=1),
)
def test_no_two_passages_have_one_place(wanted, rows, fresh):
    freed = {"x": [], "y": []}
    for n, (id, path, key) in enumerate(rows):
        freed[id].append(EncodedRow(n, key, path, Address(1, n)))
    asked = [
        Wanted(id, Passage(n, n + 1, path), key, 1) for n, (id, path, key) in enumerate(wanted)
    ]
    sources = assign(asked, freed, fresh, Nothing(), lambda address: 1)
    assert len(sources) == len(wanted)
    own = [source.address for source in sources if not source.copied]
    assert len(own) == len(set(own))
    by_address = {row.address: (id, row) for id, some in freed.items() for row in some}
    for (_, path, key), source in zip(wanted, sources, strict=True):
        if source.row is not None:
            _, row = by_address[source.address]
            assert (row.key, row.encoded, row.path) == (source.row, key, path)
        elif source.address in by_address:
            assert by_address[source.address][1].encoded == key
        # Copied only where all that was freed has been taken.
        if source.copied:
            assert all(
                row.address in own for some in freed.values() for row in some if row.encoded == key
            )


def test_embeddings_without_their_words_are_copied():
    row = EncodedRow(1, b"a", ("P",), Address(1, 0))
    wanted = [Wanted("x", Passage(0, 1, ()), b"a", 2)]  # of another path, which is looked up too
    assert assign(wanted, {"x": [row]}, {}, Nothing(), lambda address: 1)[0].copied
    assert not assign(wanted, {"x": [row]}, {}, Nothing(), lambda address: 2)[0].copied


def test_words_are_those_of_the_heading_path_that_a_passage_has_now(index, encoded):
    """The encoder sees the same of a title and no path as of a path that is the title."""
    text = "Fill it with water.\n"
    titled = Document(uri="test:a", id="a", title="Kettle", text=text)
    index.add([titled])
    index.delete(["a"])
    index.add([Document(uri="test:b", id="b", title="Kettle", text=f"# Kettle\n\n{text}")])
    index.add([titled])
    with index._opened.reader.view() as view:
        for id, segment in view.snapshot.segments.items():
            for position in np.flatnonzero(view.snapshot.live[id]).tolist():
                row = view.catalog.passage_at(id, position)
                document = view.catalog.document(row.document)
                words = worded(document, row.passage)
                assert view.snapshot.postings[id].digests[position] == words.digest
            assert len(view.snapshot.postings[id]) == len(segment)


# -- deleted text --------------------------------------------------------------------------------

SECRET = "zyxoprenaline"  # its stem is "zyxoprenalin"


def files_with(directory, word):
    """The files of the catalog that hold most of a word: FTS5 leaves out what two words share."""
    return [
        p.name for p in directory.glob(f"{FILE_NAME}*") if word[2:11].encode() in p.read_bytes()
    ]


@pytest.mark.parametrize("way", ["delete", "edit"])
@pytest.mark.parametrize("others", [1, 40])
def test_deleted_words_are_gone_from_the_catalog(tmp_path, way, others):
    directory = tmp_path / "i"
    filler = [Document(uri=f"test:{i}", text="".join(sentences(i, 2))) for i in range(others)]
    secret = Document(uri="test:s", id="s", title=SECRET, text=f"The dose of {SECRET} is 3 mg.\n")
    with Engine.open(directory, create=True) as engine, Engine.open(directory) as reader:
        engine.add([*filler, secret])
        assert reader.search(SECRET, limit=1).results[0].document_id == "s"
        assert files_with(directory, SECRET)
        if way == "delete":
            engine.delete(["s"])
        else:
            engine.add([Document(uri="test:s", id="s", title="None", text="There is no dose.\n")])
        # The reader's connection is open: SQLite doesn't remove the log by itself.
        assert files_with(directory, SECRET) == []
        assert (directory / f"{FILE_NAME}-wal").stat().st_size == 0
        assert reader.search("dose", limit=3).results
    connection = sqlite3.connect(directory / FILE_NAME)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
