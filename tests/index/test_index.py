"""The binary index: container, codec, codebook, segments, stages; against slow exact references."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codes import random_codes
from rag_tools.errors import IndexCorruptError, IndexVersionError
from rag_tools.index.arrayfile import (
    FORMAT_VERSION,
    OLDEST_VERSION,
    ArrayFile,
    open_atomically,
    write_arrays,
)
from rag_tools.index.codebook import Codebook
from rag_tools.index.maxsim import maxsim, similarities
from rag_tools.index.residual import ResidualCodec, deinterleave, interleave, pack, parts, unpack
from rag_tools.index.search import EFFORTS, Effort, Query, Signals, search, weigh
from rag_tools.index.segment import Segment, compress, write_segment
from rag_tools.index.snapshot import Selection, Snapshot

DIM = 32
NOTHING = (np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
PLAIN = Signals(idf=0, pooled=0, lexical=0)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def make_passages(rng, n_passages, *, vocabulary=50, dim=DIM):
    """Passages whose token embeddings scatter around one direction per token."""
    directions = unit(rng.normal(size=(vocabulary, dim)))
    sizes = rng.integers(1, 40, n_passages)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    token_ids = rng.integers(0, vocabulary, offsets[-1]).astype(np.int32)
    noise = 0.6 * rng.normal(size=(len(token_ids), dim)) / np.sqrt(dim)
    vectors = unit(directions[token_ids] + noise)
    starts = np.concatenate([np.cumsum(rng.integers(0, 7, size)) for size in sizes])
    spans = np.stack([starts, starts + rng.integers(0, 400, len(starts))], axis=1).astype(np.int32)
    pooled = unit(rng.normal(size=(n_passages, 24)))
    return vectors, token_ids, spans, offsets, pooled


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    rng = np.random.default_rng(7)
    vectors, token_ids, spans, offsets, pooled = make_passages(rng, 300)
    codebook = Codebook.train(vectors, token_ids, bits=4)
    path = tmp_path_factory.mktemp("segment") / "a.seg"
    write_segment(path, [compress(codebook, vectors, token_ids, spans, offsets, pooled)], codebook)
    return Segment(path, codebook), vectors, token_ids, spans, offsets, pooled


def snapshot_of(*segments):
    return Snapshot(
        1,
        segments[0].codebook,
        dict(enumerate(segments)),
        {id: np.ones(len(segment), np.bool_) for id, segment in enumerate(segments)},
    )


def query_of(rng, vectors, n=6, lexical=NOTHING):
    rows = unit(vectors[rng.integers(0, len(vectors), n)] + 0.05 * rng.normal(size=(n, DIM)))
    return Query(rows, np.full(n, 1 / n, np.float32), unit(rng.normal(size=24)), lexical)


def some_of(rng, snapshot, share):
    bitmaps = {id: live & (rng.random(len(live)) < share) for id, live in snapshot.live.items()}
    return Selection(snapshot.segments, bitmaps)


# -- container -----------------------------------------------------------------------------------


def test_arrays_round_trip_bit_for_bit(tmp_path):
    arrays = {
        "a": np.arange(7, dtype=np.uint16),
        "empty": np.zeros((0, 3), np.float32),
        "big endian": np.arange(5, dtype=">i8"),
    }
    write_arrays(tmp_path / "x", "test", {"n": 1}, arrays)
    file = ArrayFile(tmp_path / "x", "test")
    assert (tmp_path / "x").stat().st_size == file.size
    assert file.meta == {"n": 1}
    for name, array in arrays.items():
        assert np.array_equal(file[name], array)
        assert file[name].ctypes.data % 64 == 0 or array.size == 0
    file.check()


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda data: data[:-1], IndexCorruptError, "truncated"),
        (lambda data: b"", IndexCorruptError, "empty"),
        (lambda data: b"PK" + data[2:], IndexCorruptError, "isn't a rag-tools file"),
        (lambda data: data[:-5] + b"?" + data[-4:], IndexCorruptError, "header is damaged"),
        (
            lambda data: data[:8] + struct.pack("<I", FORMAT_VERSION + 1) + data[12:],
            IndexVersionError,
            "upgrade",
        ),
        (
            lambda data: data[:8] + struct.pack("<I", OLDEST_VERSION - 1) + data[12:],
            IndexVersionError,
            "index again",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage, error, words):
    path = tmp_path / "x"
    write_arrays(path, "test", {}, {"a": np.arange(100)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=words) as caught:
        ArrayFile(path, "test")
    assert str(path) in str(caught.value)


def test_a_flipped_bit_in_an_array_is_found_by_check(tmp_path):
    path = tmp_path / "x"
    write_arrays(path, "test", {}, {"a": np.arange(100)})
    data = bytearray(path.read_bytes())
    data[64 + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexCorruptError, match="'a' is damaged"):
        ArrayFile(path, "test").check()


def test_a_missing_file_and_a_file_of_another_kind(tmp_path):
    with pytest.raises(IndexCorruptError, match="missing"):
        ArrayFile(tmp_path / "x", "test")
    write_arrays(tmp_path / "x", "codebook", {}, {})
    with pytest.raises(IndexCorruptError, match="not a segment file"):
        ArrayFile(tmp_path / "x", "segment")


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    with pytest.raises(OSError, match="disk full"), open_atomically(path) as file:
        file.write(b"half of the new")
        raise OSError("disk full")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


# -- codec ---------------------------------------------------------------------------------------


@given(
    bits=st.sampled_from([4, 2, 1]),
    n_tokens=st.integers(0, 40),
    dim=st.integers(1, 140),
    seed=st.integers(0, 99),
)
def test_pack_and_unpack_are_inverse(bits, n_tokens, dim, seed):
    codes = random_codes(np.random.default_rng(seed), n_tokens, dim, bits)
    packed = pack(codes, bits)
    assert np.array_equal(unpack(packed, bits, dim), codes)
    assert np.array_equal(deinterleave(interleave(packed))[:n_tokens], packed)


@pytest.mark.parametrize(
    ("bits", "dim", "leading"),
    [(4, 128, 0), (2, 128, 32), (2, 96, 24), (2, 100, 24), (2, 31, 0), (1, 128, 32), (1, 96, 16)],
)
def test_pack_puts_each_code_where_the_format_says(bits, dim, leading):
    codes = random_codes(np.random.default_rng(0), 16, dim, bits)
    packed = interleave(pack(codes, bits))
    groups = 0
    for first, last, width in ((0, leading, 2 * bits), (leading, dim, bits)):
        per_byte = 8 // width
        for at in range(first, last):
            group, rest = divmod(at - first, 4 * per_byte)
            index, j = divmod(rest, 4)
            for token in range(16):
                byte = packed[0, groups + group, 4 * token + j]
                assert (byte >> (width * index)) & ((1 << width) - 1) == codes[token, at]
        groups += -(-(last - first) // (4 * per_byte))
    assert packed.shape == (1, groups, 64)


def test_two_bits_take_forty_bytes_of_128_dimensions():
    for bits, size in ((4, 64), (2, 40), (1, 20)):
        assert pack(np.zeros((1, 128), np.uint8), bits).size == size


@pytest.mark.parametrize("bits", [4, 2, 1])
def test_codec_error_is_near_that_of_the_best_scalar_quantiser(bits):
    """Max (1960) gives 0.0095, 0.1175 and 0.3634 for a normal distribution.

    For residuals of any length: the codec has been trained on others.
    """
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 3, 64)
    codec = ResidualCodec.train((rng.normal(size=(5000, 64)) * spread).astype(np.float32), bits)
    shapes = (rng.normal(size=(5000, 64)) * spread).astype(np.float32)
    lengths = np.exp(rng.normal(size=(5000, 1))).astype(np.float32)
    restored = codec.decode(codec.encode(shapes * lengths))
    restored *= np.linalg.norm(shapes / spread, axis=1, keepdims=True) / (46 * 8)
    restored *= (spread / codec.steps).mean()
    left = (shapes - restored).var(axis=0) / shapes.var(axis=0)
    for part in parts(64, bits):
        assert (left[part.dims] < {4: 0.012, 2: 0.13, 1: 0.38}[part.bits]).all()


@pytest.mark.parametrize("bits", [4, 2, 1])
def test_no_other_gain_brings_what_is_stored_closer_to_the_embedding(bits):
    rng = np.random.default_rng(bits)
    vectors, token_ids, *_ = make_passages(rng, 20)
    codebook = Codebook.train(vectors, token_ids, bits=bits)
    centroids = codebook.assign(vectors, token_ids)
    codes, gains, inverse_norms = codebook.encode(vectors, centroids)

    def cosines(gains):
        restored = codebook.decode(centroids, codes, gains, inverse_norms)
        return (unit(restored) * vectors).sum(axis=1)

    best = cosines(gains)
    assert len(np.unique(gains)) > 20
    for step in (-9, -1, 1, 9):
        others = np.clip(gains.astype(int) + step, 0, 255).astype(np.uint8)
        assert (cosines(others) <= best + 1e-6).all()
    stored = codebook.decode(centroids, codes, gains, inverse_norms)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)


def test_a_token_that_is_its_own_centroid_is_restored_whatever_the_bits():
    vectors = unit(np.random.default_rng(0).normal(size=(30, DIM)))
    token_ids = np.arange(30, dtype=np.int32)
    for bits in (4, 2, 1):
        codebook = Codebook.train(vectors, token_ids, bits=bits)
        centroids = codebook.assign(vectors, token_ids)
        restored = codebook.decode(centroids, *codebook.encode(vectors, centroids))
        assert np.abs(restored - vectors).max() < 0.005


# -- codebook ------------------------------------------------------------------------------------


def test_training_is_deterministic_and_centroids_belong_to_their_tokens(built):
    _, vectors, token_ids, *_ = built
    first = Codebook.train(vectors, token_ids)
    second = Codebook.train(vectors, token_ids)
    assert np.array_equal(first.quantized, second.quantized)
    assert np.array_equal(first.token_ids, second.token_ids)
    assigned = first.assign(vectors, token_ids)
    assert np.array_equal(first.token_ids[assigned], token_ids)


def test_assignment_is_the_nearest_centroid_of_the_token(built):
    segment, vectors, token_ids, *_ = built
    codebook = segment.codebook
    assigned = codebook.assign(vectors[:200], token_ids[:200])
    for vector, token, got in zip(vectors[:200], token_ids[:200], assigned, strict=True):
        own = np.flatnonzero(codebook.token_ids == token)
        best = max(float(vector @ codebook.centroids[row]) for row in own)
        assert float(vector @ codebook.centroids[got]) == pytest.approx(best, abs=1e-6)


# -- segment -------------------------------------------------------------------------------------


def test_a_segment_restores_unit_vectors_and_exact_spans(built):
    segment, vectors, _, spans, offsets, pooled = built
    restored = segment.vectors(0, segment.n_tokens)
    assert np.allclose(np.linalg.norm(restored, axis=1), 1, atol=2e-3)
    assert np.einsum("ij,ij->i", restored, vectors).mean() > 0.995
    for position in (0, 17, len(segment) - 1):
        first, last = offsets[position : position + 2]
        assert np.array_equal(segment.spans(position), spans[first:last])
        assert np.array_equal(segment.vectors(int(first), int(last)), restored[first:last])
    rows, scales = segment.pooled
    assert np.allclose(rows * scales[:, None], pooled, atol=3e-3)


def test_postings_and_document_frequencies_match_a_count_by_hand(built):
    segment, vectors, token_ids, _, offsets, _ = built
    assigned = segment.codebook.assign(vectors, token_ids)
    for at in range(0, len(segment.cells), 7):
        cell = segment.cells[at]
        expected = [p for p in range(len(segment)) if cell in assigned[offsets[p] : offsets[p + 1]]]
        start, end = segment.cell_offsets[at : at + 2]
        assert segment.cell_passages[start:end].tolist() == expected
    for token, count in zip(*segment.document_frequencies, strict=True):
        holds = [token in token_ids[offsets[p] : offsets[p + 1]] for p in range(len(segment))]
        assert sum(holds) == count


def test_merging_segments_changes_no_code(built, tmp_path):
    segment, *_ = built
    odd, even = np.arange(1, len(segment), 2), np.arange(0, len(segment), 2)
    write_segment(tmp_path / "m", [segment.tokens(odd), segment.tokens(even)], segment.codebook)
    copy = Segment(tmp_path / "m", segment.codebook)
    for position, original in enumerate([*odd, *even]):
        low, high = (int(x) for x in copy.token_offsets[position : position + 2])
        first, last = (int(x) for x in segment.token_offsets[original : original + 2])
        assert np.array_equal(copy.vectors(low, high), segment.vectors(first, last))
        assert np.array_equal(copy.spans(position), segment.spans(original))
    assert np.array_equal(copy.pooled[0][0], segment.pooled[0][1])


# -- search --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.01, 0.3, 1.0]))
def test_maxsim_matches_the_definition(built, seed, share):
    segment, vectors, *_ = built
    rng = np.random.default_rng(seed)
    query = query_of(rng, vectors)
    positions = np.flatnonzero(rng.random(len(segment)) < share)
    got = maxsim(segment, query.vectors, query.weights, positions)
    for position, score in zip(positions, got, strict=True):
        grid = similarities(segment, query.vectors, int(position))
        expected = sum(w * max(row) for w, row in zip(query.weights, grid, strict=True))
        assert score == pytest.approx(expected, abs=1e-5)


def brute_force(snapshot, query, selection, limit, signals):
    found = []
    for id, segment in snapshot.segments.items():
        for position in np.flatnonzero(selection.bitmaps[id]):
            grid = similarities(segment, query.vectors, int(position))
            score = float(query.weights @ grid.max(axis=1))
            rows, scales = segment.pooled
            score += signals.pooled * float(rows[position] @ query.pooled * scales[position])
            for place, bm25 in zip(*query.lexical, strict=True):
                if tuple(place) == (id, position):
                    score += signals.lexical * float(bm25 / (bm25 + 40))
            found.append((-round(score, 6), id, int(position)))
    return [(id, position) for _, id, position in sorted(found)[:limit]]


@pytest.mark.parametrize("signals", [PLAIN, Signals(idf=0, pooled=0.4, lexical=0.3)])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_search_is_exact_on_a_small_selection(built, signals, share):
    segment, vectors, *_ = built
    snapshot = snapshot_of(segment, segment)
    rng = np.random.default_rng(3)
    for _ in range(10):
        places = np.stack([rng.integers(0, 2, 30), rng.permutation(300)[:30]], axis=1)
        query = query_of(rng, vectors, lexical=(places, rng.uniform(1, 20, 30).astype(np.float32)))
        selection = some_of(rng, snapshot, share)
        got = search(snapshot, query, selection, limit=10, signals=signals)
        expected = brute_force(snapshot, query, selection, 10, signals)
        assert [(match.segment, match.position) for match in got[:10]] == expected
        assert {match.score for match in got[10:]} <= {match.score for match in got[9:10]}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05])
def test_gather_finds_what_a_scan_finds_and_respects_the_selection(built, share):
    segment, vectors, *_ = built
    snapshot = snapshot_of(segment, segment)
    rng = np.random.default_rng(5)
    recalled = 0
    for _ in range(20):
        query = query_of(rng, vectors)
        selection = some_of(rng, snapshot, share)
        narrow = Effort(scanned=0, reach=16, refined=60)
        got = search(snapshot, query, selection, limit=5, signals=PLAIN, effort=narrow)
        assert all(selection.bitmaps[match.segment][match.position] for match in got)
        best = brute_force(snapshot, query, selection, 5, PLAIN)
        assert len(got) >= 5
        recalled += len({(match.segment, match.position) for match in got} & set(best))
    assert recalled >= 0.95 * 20 * 5


def test_what_bm25_lists_reaches_refine(built):
    segment, vectors, *_ = built
    snapshot = snapshot_of(segment, segment)
    rng = np.random.default_rng(6)
    signals = Signals(idf=0, pooled=0, lexical=5.0)
    narrow = Effort(scanned=0, reach=1, refined=1)
    for _ in range(10):
        place = np.array([[rng.integers(2), rng.integers(300)]])
        query = query_of(rng, vectors, lexical=(place, np.array([30], np.float32)))
        got = search(snapshot, query, snapshot.everything, limit=1, signals=signals, effort=narrow)
        assert (got[0].segment, got[0].position) == tuple(place[0])


def test_as_many_are_found_as_there_are(built):
    """Also when gather has met fewer, and however little effort is asked for."""
    segment, vectors, *_ = built
    snapshot = snapshot_of(segment, segment)
    query = query_of(np.random.default_rng(7), vectors)
    for effort in (*EFFORTS.values(), Effort(scanned=0, reach=1, refined=1)):
        for limit in (599, 600, 5000):
            got = search(
                snapshot, query, snapshot.everything, limit=limit, signals=PLAIN, effort=effort
            )
            assert len({(match.segment, match.position) for match in got}) >= min(limit, 600)
            assert [match.score for match in got] == sorted(
                (match.score for match in got), reverse=True
            )


def test_a_selection_counts_its_passages_and_tokens(built):
    segment, *_ = built
    snapshot = snapshot_of(segment, segment)
    selection = some_of(np.random.default_rng(8), snapshot, 0.3)
    places = selection.places()
    assert len(places) == selection.n_passages
    sizes = np.diff(segment.token_offsets)
    assert selection.n_tokens == sizes[places[:, 1]].sum()
    assert snapshot.everything.n_tokens == 2 * segment.n_tokens


def test_nothing_selected_finds_nothing(built):
    segment, vectors, *_ = built
    snapshot = snapshot_of(segment)
    query = query_of(np.random.default_rng(0), vectors)
    none = Selection(snapshot.segments, {0: np.zeros(len(segment), np.bool_)})
    assert search(snapshot, query, none, limit=5, signals=PLAIN) == []
    empty = Snapshot(0, None, {}, {})
    assert search(empty, query, empty.everything, limit=5, signals=PLAIN) == []


def test_rare_tokens_weigh_more(built):
    segment, _, _token_ids, *_ = built
    snapshot = snapshot_of(segment)
    tokens, counts = segment.document_frequencies
    common, rare = tokens[np.argmax(counts)], 9999
    frequencies = snapshot.document_frequencies(np.array([common, rare], np.int32))
    weights = weigh(frequencies, snapshot.n_passages, exponent=0.5)
    assert weights[1] > weights[0] > 0
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weigh(frequencies, snapshot.n_passages, exponent=0), 0.5)


def test_bm25_counts_more_the_more_pieces_words_are_in():
    signals = Signals(lexical=0.4)
    assert signals.adapted(0.0) == signals.adapted(1.25) == signals
    assert signals.adapted(1.65).lexical == pytest.approx(0.8)
    assert signals.adapted(40.0) == replace(signals, lexical=4.0)
    assert PLAIN.adapted(40.0) == PLAIN
