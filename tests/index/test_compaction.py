"""What a segment stores comes back, at every number of bits, and stays through compaction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools import Document, Engine
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.errors import IndexMismatchError, InvalidQueryError
from rag_tools.index import segment as module
from rag_tools.index.codebook import Codebook
from rag_tools.index.distortion import Loss, mean
from rag_tools.index.segment import Segment, Tokens, compress, write_segment


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def passages_of(rng, sizes, *, dim=32, vocabulary=30):
    directions = unit(np.random.default_rng(99).normal(size=(vocabulary, dim)))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    token_ids = rng.integers(0, vocabulary, offsets[-1]).astype(np.int32)
    noise = 0.5 * rng.normal(size=(len(token_ids), dim)) / np.sqrt(dim)
    vectors = unit(directions[token_ids] + noise)
    starts = np.concatenate([np.cumsum(rng.integers(0, 9, size)) for size in sizes])
    spans = np.stack([starts, starts + rng.integers(0, 12, len(starts))], axis=1)
    spans[spans[:, 0] == spans[:, 1]] = 0
    return (
        vectors,
        token_ids,
        spans.astype(np.int32),
        offsets,
        unit(rng.normal(size=(len(sizes), 8))),
    )


# -- spans ---------------------------------------------------------------------------------------

span = st.one_of(
    st.just((0, 0)),
    st.tuples(st.integers(0, 300), st.integers(0, 8)),
    st.tuples(st.integers(0, 65_535), st.sampled_from([0, 1, 254, 255, 256, 65_535])),
)


@given(st.lists(st.lists(span, max_size=6), min_size=1, max_size=6))
def test_any_spans_come_back(passages):
    """In order or not, empty or huge, on the borders of what fits a byte."""
    offsets = np.concatenate([[0], np.cumsum([len(passage) for passage in passages])])
    spans = np.array([s for passage in passages for s in passage], np.int32).reshape(-1, 2)
    spans[:, 1] += spans[:, 0]
    steps, lengths, odd = module._encode_spans(spans, offsets)
    listed = np.column_stack([odd, spans[odd]]).astype(np.int64)
    assert np.array_equal(module._decode_spans(steps, lengths, listed, offsets), spans)


def test_ordinary_spans_take_two_bytes_a_token():
    """Words and spaces, after a marker and before one: nothing is listed apart."""
    words = np.cumsum([[0, 4]] + [[n % 7 + 1, n % 7 + 1] for n in range(50)], axis=0)
    spans = np.concatenate([[[0, 0]], words, [[0, 0]]]).astype(np.int32)
    *_, odd = module._encode_spans(np.tile(spans, (3, 1)), len(spans) * np.arange(4))
    assert not len(odd)


# -- merging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 2, 1])
@pytest.mark.parametrize("kernel", ["numpy", None])
def test_a_merge_piece_by_piece_equals_one_of_everything(tmp_path, monkeypatch, bits, kernel):
    if kernel:
        monkeypatch.setenv("RAG_TOOLS_KERNEL", kernel)
    rng = np.random.default_rng(bits)
    batches = [passages_of(rng, rng.integers(1, 40, 60)) for _ in range(3)]
    codebook = Codebook.train(batches[0][0], batches[0][1], bits=bits)
    segments = []
    for n, batch in enumerate(batches):
        write_segment(tmp_path / str(n), [compress(codebook, *batch)], codebook)
        segments.append(Segment(tmp_path / str(n), codebook))
    live = [np.flatnonzero(rng.random(60) < share) for share in (0.5, 1.0, 0.0)]
    monkeypatch.setattr(module, "_RUN_TOKENS", 50)  # about two passages
    runs = [run for s, positions in zip(segments, live, strict=True) for run in s.runs(positions)]
    assert len(runs) > 30
    write_segment(tmp_path / "merged", iter(runs), codebook)
    merged = Segment(tmp_path / "merged", codebook)
    merged.file.check()
    assert len(merged) == sum(map(len, live))
    position = 0
    for segment, positions, (_, token_ids, spans, offsets, _) in zip(
        segments, live, batches, strict=True
    ):
        for old in positions:
            low, high = (int(end) for end in merged.token_offsets[position : position + 2])
            first, last = (int(end) for end in offsets[old : old + 2])
            assert np.array_equal(merged.vectors(low, high), segment.vectors(first, last))
            assert np.array_equal(merged.spans(position), spans[first:last])
            assert np.array_equal(
                codebook.token_ids[merged.centroids[low:high]], token_ids[first:last]
            )
            assert np.array_equal(merged.pooled[0][position], segment.pooled[0][old])
            position += 1
    for at, cell in enumerate(merged.cells):
        held = np.flatnonzero(np.add.reduceat(merged.centroids == cell, merged.token_offsets[:-1]))
        members = merged.cell_passages[merged.cell_offsets[at] : merged.cell_offsets[at + 1]]
        assert np.array_equal(members, held)


def test_the_loss_of_a_merge_is_the_mean_of_its_parts_by_tokens(tmp_path):
    rng = np.random.default_rng(0)
    vectors, token_ids, spans, offsets, pooled = passages_of(rng, [30, 10])
    codebook = Codebook.train(vectors, token_ids)
    tokens = compress(codebook, vectors, token_ids, spans, offsets, pooled)
    half = tokens._replace(loss=Loss(0.5, 0.25))
    write_segment(tmp_path / "a", [half, tokens._replace(loss=None)], codebook)
    first = Segment(tmp_path / "a", codebook)
    assert first.loss == Loss(0.5, 0.25)
    write_segment(tmp_path / "b", [tokens._replace(loss=Loss(1.0, 0.0))], codebook)
    second = Segment(tmp_path / "b", codebook)
    runs = [first.tokens(np.array([0, 2])), second.tokens(np.array([1]))]  # 60 and 10 tokens
    write_segment(tmp_path / "m", runs, codebook)
    assert Segment(tmp_path / "m", codebook).loss == pytest.approx((4 / 7, 1.5 / 7))
    assert mean([]) is None


def test_the_measured_loss_is_what_search_loses(tmp_path):
    rng = np.random.default_rng(0)
    batch = passages_of(rng, rng.integers(5, 40, 150))
    vectors, token_ids, _, offsets, _ = batch
    for bits, least, most in ((4, 0.995, 0.005), (2, 0.97, 0.02), (1, 0.9, 0.05)):
        codebook = Codebook.train(vectors, token_ids, bits=bits)
        tokens = compress(codebook, *batch)
        restored = codebook.decode(
            tokens.centroids, tokens.codes, tokens.gains, tokens.inverse_norms
        )
        cosine = np.einsum("ij,ij->i", vectors, restored).mean()
        # All passages are in the sample.
        assert tokens.loss.cosine == pytest.approx(cosine, abs=1e-5) and cosine > least
        query = vectors[offsets[0] : offsets[1]][:32]
        exact, stored = (
            np.maximum.reduceat(query @ rows.T, offsets[:-1], axis=1).mean(axis=0)
            for rows in (vectors, restored)
        )
        assert 0.3 < tokens.loss.maxsim / np.abs(exact - stored).mean() < 3
        assert tokens.loss.maxsim < most


# -- an index ------------------------------------------------------------------------------------


def stored_vectors(engine):
    """Embeddings by passage id, as they are stored."""

    with engine._opened.reader.view() as view:
        return {
            view.catalog.passage_id(id, int(position)): segment.vectors(
                *map(int, segment.token_offsets[position : position + 2])
            )
            for id, segment in view.snapshot.segments.items()
            for position in np.flatnonzero(view.snapshot.live[id])
        }


@pytest.mark.parametrize(("bits", "dim"), [(4, None), (2, None), (1, None), (4, 96), (2, 64)])
def test_an_index_of_any_bits_and_dimensions_through_compaction(tmp_path, bits, dim, monkeypatch):
    animals = ["lions", "eels", "owls", "newts", "crabs", "bees", "mice", "toads", "seals", "ants"]
    documents = [
        Document(uri=f"test:{animal}", text=f"Where {animal} live, and what {animal} eat.")
        for animal in animals
    ]
    with Engine.open(tmp_path / "i", create=True, bits=bits, dim=dim) as engine:
        monkeypatch.setattr("rag_tools.compaction.MAX_SEGMENTS", 99)
        engine.add(documents[:5])
        engine.add(documents[5:])
        before = stored_vectors(engine)
        assert engine.status().segments == 2
        monkeypatch.setattr("rag_tools.compaction.MAX_SEGMENTS", 1)
        engine.delete([documents[0].id])
        status = engine.status()
        assert status.segments == 1 and status.tombstones == 0
        assert (status.bits, status.dim) == (bits, dim or 128)
        after = stored_vectors(engine)
        assert before.keys() - after.keys() == {
            id for id in before if id.startswith(documents[0].id)
        }
        assert all(np.array_equal(after[id], before[id]) for id in after)
        assert {rows.shape[1] for rows in after.values()} == {dim or 128}
        assert 0.8 < status.cosine <= 1.001 and 0 <= status.maxsim_error < 0.1
        for document in documents[1:]:
            assert engine.search(document.text, limit=1).results[0].text == document.text
    with Engine.open(tmp_path / "i", bits=bits, dim=dim) as engine:
        assert engine.status().bits == bits


def test_bits_and_dimensions_are_fixed_when_the_index_is_made(tmp_path):
    with Engine.open(tmp_path / "i", create=True, bits=2, dim=64) as engine:
        status = engine.status()
        assert (status.cosine, status.maxsim_error) == (None, None)
    with pytest.raises(IndexMismatchError, match="bits 2, not 4"):
        Engine.open(tmp_path / "i", bits=4)
    with pytest.raises(IndexMismatchError, match="dim 64, not 128"):
        Engine.open(tmp_path / "i", create=True, dim=128)
    for wrong, says in (({"bits": 3}, "4, 2, 1"), ({"dim": 129}, "16 to 128"), ({"dim": 0}, "16")):
        with pytest.raises(InvalidQueryError, match=says):
            Engine.open(tmp_path / "j", create=True, **wrong)
    assert not (tmp_path / "j").exists()


def test_parts_of_the_codebook_are_joined_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr("rag_tools.files._MAX_CODEBOOK_PARTS", 3)
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]
    with Engine.open(tmp_path / "i", create=True) as engine:
        text = "The first words of this index are about rivers and hills. " * 40
        engine.add([Document(uri="test:start", text=text)])
        for word in words:
            engine.add([Document(uri=f"test:{word}", text=f"{word} {word}")])
            assert len(list((tmp_path / "i" / "codebooks").iterdir())) <= 3
        for word in words:
            assert engine.search(word, limit=1).results[0].text == f"{word} {word}"


def test_a_run_of_no_passages(tmp_path):
    rng = np.random.default_rng(0)
    batch = passages_of(rng, [5, 6])
    codebook = Codebook.train(batch[0], batch[1])
    write_segment(tmp_path / "a", [compress(codebook, *batch)], codebook)
    segment = Segment(tmp_path / "a", codebook)
    (none,) = segment.runs(np.zeros(0, np.intp))
    assert isinstance(none, Tokens) and len(none.centroids) == 0
    write_segment(tmp_path / "b", [none, *segment.runs(np.arange(2)), none], codebook)
    copy = Segment(tmp_path / "b", codebook)
    assert np.array_equal(copy.vectors(0, 11), segment.vectors(0, 11))


def test_a_commit_looks_at_no_passage_of_the_segments_that_stay(tmp_path, monkeypatch):
    """So that adding a document takes no longer in a large index; it counts tombstones."""
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.add(
            Document(uri=f"test:{n}", id=f"d{n}", text=f"River {n} flows.") for n in range(9)
        )
        looked = []
        live = CatalogWriter.live
        monkeypatch.setattr(
            CatalogWriter, "live", lambda *given: looked.append(given) or live(*given)
        )
        engine.delete(["d0", "d1"])
        engine.add([Document(uri="test:a", text="A lake stays.")])
        assert not looked
        engine.delete(["d2"])  # more than 30 % of the first segment are dead now
        assert len(looked) == 1
        assert engine.status().tombstones == 0
        assert engine.status().documents == 7
