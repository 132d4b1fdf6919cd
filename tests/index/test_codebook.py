"""The codebook: clustering, assignment and codes in NumPy and natively, growth, parts."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.errors import IndexCorruptError
from rag_tools.index import codebook as module
from rag_tools.index import dispatch
from rag_tools.index.codebook import Codebook, wanted_centroids
from rag_tools.index.kmeans import kmeans
from rag_tools.index.residual import ResidualCodec
from rag_tools.index.segment import compress

NATIVE = [name for name in dispatch.kernel_names() if name != "numpy"]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def tokens_of(rng, n, *, dim=32, vocabulary=20, senses=6, skew=2.0):
    """Embeddings that scatter around a few directions of each token; some tokens are frequent."""
    directions = unit(np.random.default_rng(99).normal(size=(vocabulary, senses, dim)))
    token_ids = (vocabulary * rng.random(n) ** skew).astype(np.int32)
    centers = directions[token_ids, rng.integers(0, senses, n)]
    return unit(centers + 0.4 * rng.normal(size=(n, dim)) / np.sqrt(dim)), token_ids


def energy(codebook, vectors, token_ids):
    residuals = vectors - codebook.centroids[codebook.assign(vectors, token_ids)]
    return float((residuals**2).sum(axis=1).mean())


@pytest.fixture(scope="module")
def trained():
    vectors, token_ids = tokens_of(np.random.default_rng(0), 6000)
    return Codebook.train(vectors, token_ids), vectors, token_ids


# -- clustering ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dispatch.kernel_names())
def test_clustering_depends_on_the_seed_and_not_on_threads(monkeypatch, trained, name):
    _, vectors, token_ids = trained
    arriving, arriving_ids = other_senses(np.random.default_rng(1), 6000)
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)

    def clustered(threads, seed=0):
        monkeypatch.setenv("RAG_TOOLS_THREADS", threads)
        codebook = Codebook.train(vectors, token_ids, seed=seed)
        grown = codebook.grow(arriving, arriving_ids, n_tokens=12_000, seed=seed)
        assert len(grown) > len(codebook)
        return grown.quantized.tobytes(), grown.scales.tobytes(), grown.token_ids.tobytes()

    expected = clustered("1")
    assert clustered("1") == expected
    assert clustered("2") == expected
    assert clustered("5") == expected
    assert clustered("2", seed=1) != expected


def test_new_centroids_go_where_points_are_badly_off():
    """One token, one centroid, and a second for a tenth of the points, which are far from it."""
    rng = np.random.default_rng(0)
    near, far = unit(rng.normal(size=(2, 1, 32)))
    made = unit(near + 0.2 * rng.normal(size=(900, 32)) / np.sqrt(32))
    missed = unit(far + 0.2 * rng.normal(size=(100, 32)) / np.sqrt(32))
    codebook = Codebook.train(made[:1], np.zeros(1, np.int32))
    points = np.concatenate([made, missed])
    (centroid,) = kmeans(points, points @ codebook.centroids[0], 1, seed=0)
    assert centroid @ far[0] > 0.9
    assert np.linalg.norm(centroid) == pytest.approx(1, abs=1e-5)


def test_faiss_prints_nothing_and_leaves_its_threads_to_others(capfd, trained):
    _, vectors, token_ids = trained
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        codebook = Codebook.train(vectors, token_ids)
        codebook.grow(*other_senses(np.random.default_rng(1), 300), n_tokens=10**9)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
    assert capfd.readouterr() == ("", "")


def test_faiss_is_always_given_a_cluster_that_it_can_split(monkeypatch):
    """It fills an empty one from one that weighs more than 1; old versions search without end.

    Here most points weigh next to nothing: a text repeated a thousand times, and a few others.
    """
    given = []
    train = faiss.Kmeans.train

    def recorded(self, points, weights):
        given.append((weights.sum() / len(points), len(points) / self.k))
        return train(self, points, weights=weights)

    monkeypatch.setattr(faiss.Kmeans, "train", recorded)
    rng = np.random.default_rng(0)
    repeated = np.tile(unit(rng.normal(size=(1, 32))), (1000, 1))
    token_ids = np.zeros(1000, np.int32)
    codebook = Codebook.train(repeated, token_ids)
    for n_others in (1, 10, 100):
        vectors = np.concatenate([repeated[n_others:], unit(rng.normal(size=(n_others, 32)))])
        for seed in range(5):
            grown = codebook.grow(vectors, token_ids, n_tokens=2000, seed=seed)
            assert len(grown) > len(codebook)
            assert energy(grown, vectors, token_ids) < energy(codebook, vectors, token_ids)
    weights, points = zip(*given, strict=True)
    assert len(given) >= 15
    assert weights == pytest.approx([1] * len(given), rel=1e-3)
    assert min(points) >= 8


# -- native against NumPy ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("bits", [4, 2, 1])
@pytest.mark.parametrize("dim", [1, 30, 96, 128])
def test_native_compression_is_that_of_numpy(monkeypatch, name, bits, dim):
    rng = np.random.default_rng(dim)
    vectors, token_ids = tokens_of(rng, 3000, dim=dim)
    half = vectors.astype(np.float16)
    codebook = Codebook.train(half, token_ids, bits=bits)
    monkeypatch.setenv("RAG_TOOLS_KERNEL", "numpy")
    expected = codebook.assign(half, token_ids)
    by_numpy = codebook.encode(half, expected)
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    assigned = codebook.assign(half, token_ids)
    assert np.array_equal(codebook.token_ids[assigned], token_ids)
    gained = np.einsum("ij,ij->i", vectors, codebook.centroids[assigned])
    best = np.einsum("ij,ij->i", vectors, codebook.centroids[expected])
    assert (gained > best - 2e-5).all()
    for got, wanted in zip(codebook.encode(half, expected), by_numpy, strict=True):
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)


@pytest.mark.skipif(not NATIVE, reason="installed without the native kernels")
@given(bits=st.sampled_from([4, 2, 1]), dim=st.integers(1, 40), seed=st.integers(0, 99))
def test_native_codes_of_any_numbers_are_those_of_numpy(bits, dim, seed):
    """Zero, the same everywhere, tiny, far outside, infinite and not numbers at all."""
    rng = np.random.default_rng(seed)
    codec = ResidualCodec.train(rng.uniform(0.1, 1, (9, dim)).astype(np.float32), bits)
    codebook = Codebook(
        np.zeros((1, dim), np.int8), np.ones(1, np.float32), np.zeros(1, np.int32), codec
    )
    special = np.array([0, -0.0, 1e-45, 1, -1, 3e38, np.inf, -np.inf, np.nan], np.float32)
    vectors = rng.choice(special[: rng.integers(1, len(special) + 1)], (17, dim))
    nearest = np.zeros(17, np.int32)
    with np.errstate(all="ignore"):
        expected = codebook._encode(vectors, nearest)
    for got, wanted in zip(codebook._encode_natively(vectors, nearest), expected, strict=True):
        assert np.array_equal(got, wanted, equal_nan=got.dtype == np.float32)


@pytest.mark.parametrize("name", dispatch.kernel_names())
def test_compression_does_not_depend_on_threads(monkeypatch, trained, name):
    codebook, vectors, token_ids = trained
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    monkeypatch.setattr(module, "_CHUNK", 700)
    found = []
    for threads in ("1", "5"):
        monkeypatch.setenv("RAG_TOOLS_THREADS", threads)
        assigned = codebook.assign(vectors, token_ids)
        found.append((assigned, *codebook.encode(vectors, assigned)))
    for one, five in zip(*found, strict=True):
        assert np.array_equal(one, five)


@pytest.mark.parametrize("name", NATIVE)
def test_ties_and_tokens_with_many_centroids(monkeypatch, name):
    """More centroids than are compared at a time; equal ones go to the first."""
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(3)
    rows = np.tile(rng.integers(-127, 128, (700, 16)), (2, 1)).astype(np.int8)
    owners = np.tile(np.array([5, 3], np.int32), 700)
    codec = ResidualCodec.train(rng.normal(size=(100, 16)).astype(np.float32), 4)
    codebook = Codebook(rows, np.full(1400, 0.01, np.float32), owners, codec)
    vectors = unit(rng.normal(size=(300, 16)))
    token_ids = np.where(rng.random(300) < 0.5, 3, 5).astype(np.int32)
    similarity = vectors @ codebook.centroids.T
    similarity[owners[None, :] != token_ids[:, None]] = -np.inf
    assigned = codebook.assign(vectors, token_ids)
    assert (assigned < 700).all()  # the second half is the same again
    assert np.allclose(similarity[np.arange(300), assigned], similarity.max(axis=1), atol=2e-5)


def test_the_native_code_refuses_what_points_elsewhere(trained):
    if not NATIVE:
        pytest.skip("installed without the native kernels")
    codebook, vectors, token_ids = trained
    with pytest.raises(IndexError, match="centroid isn't in the codebook"):
        codebook._encode_natively(vectors[:1], np.array([len(codebook)], np.int32))
    with pytest.raises(ValueError, match="differ in dimensions"):
        codebook._assign_natively(vectors[:, :8].copy(), token_ids)
    with pytest.raises(IndexError, match="an id is too large"):
        dispatch.native.postings(np.array([0, 7], np.int32), np.array([0, 2]), 7)
    with pytest.raises(IndexError, match="tokens aren't there"):
        dispatch.native.postings(np.array([0, 7], np.int32), np.array([0, 3]), 8)


def test_no_tokens_compress_to_nothing(trained):
    codebook, vectors, token_ids = trained
    none = np.zeros((0, 2), np.int32)
    tokens = compress(codebook, vectors[:0], token_ids[:0], none, np.zeros(1, np.int64), None)
    assert len(tokens.centroids) == len(tokens.codes) == len(tokens.inverse_norms) == 0


# -- growth --------------------------------------------------------------------------------------


def other_senses(rng, n):
    """Embeddings of the same tokens in a corpus that uses them otherwise."""
    vectors, token_ids = tokens_of(rng, n)
    return unit(np.roll(vectors, 7, axis=1)), token_ids


def test_a_grown_codebook_keeps_its_centroids_and_fits_what_arrives(trained):
    codebook, vectors, token_ids = trained
    arriving, arriving_ids = other_senses(np.random.default_rng(1), 6000)
    grown = codebook.grow(arriving, arriving_ids, n_tokens=12_000)
    n = len(codebook)
    assert np.array_equal(grown.quantized[:n], codebook.quantized)
    assert np.array_equal(grown.scales[:n], codebook.scales)
    assert np.array_equal(grown.token_ids[:n], codebook.token_ids)
    assert grown.codec is codebook.codec
    extra = len(grown) - len(np.unique(grown.token_ids))
    assert wanted_centroids(6000) < extra <= wanted_centroids(12_000)
    assert energy(grown, arriving, arriving_ids) < 0.7 * energy(codebook, arriving, arriving_ids)
    assert energy(grown, vectors, token_ids) <= energy(codebook, vectors, token_ids)


def test_what_was_compressed_before_growth_restores_to_the_same_bits(trained):
    codebook, vectors, token_ids = trained
    assigned = codebook.assign(vectors, token_ids)
    stored = assigned, *codebook.encode(vectors, assigned)
    grown = codebook.grow(*other_senses(np.random.default_rng(1), 3000), n_tokens=9000)
    assert np.array_equal(grown.decode(*stored), codebook.decode(*stored))


def test_growth_serves_unseen_tokens_and_otherwise_waits_until_it_is_due(trained):
    codebook, vectors, token_ids = trained
    assert codebook.grow(vectors[:500], token_ids[:500], n_tokens=1000) is codebook
    unseen = np.full(5, 1000, np.int32)
    with pytest.raises(KeyError, match="token 1000"):
        codebook.assign(vectors[:5], unseen)
    grown = codebook.grow(vectors[:5], unseen, n_tokens=1000)
    assert grown.token_ids[len(codebook) :].tolist() == [1000]
    assert (grown.assign(vectors[:5], unseen) == len(codebook)).all()


def test_a_small_batch_gets_few_centroids_however_many_are_due(trained):
    codebook, vectors, token_ids = trained
    grown = codebook.grow(vectors[:300], token_ids[:300], n_tokens=10**9)
    assert len(grown) - len(codebook) <= 300 // 8


def test_a_codebook_that_was_clustered_otherwise_opens_and_grows(tmp_path):
    """Nothing in its file says how; an index outlives the k-means that made it."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-127, 128, (60, 32)).astype(np.int8)
    scales = (1 / np.linalg.norm(rows, axis=1)).astype(np.float32)
    owners = np.repeat(np.arange(20), 3).astype(np.int32)
    codec = ResidualCodec.train(rng.normal(size=(100, 32)).astype(np.float32), 4)
    Codebook(rows, scales, owners, codec).write(tmp_path / "0")
    codebook = Codebook.read([tmp_path / "0"])
    vectors, token_ids = tokens_of(rng, 6000)
    grown = codebook.grow(vectors, token_ids, n_tokens=6000)
    assert np.array_equal(grown.quantized[:60], rows)
    assert len(grown) - len(np.unique(owners)) <= wanted_centroids(6000)
    assert energy(grown, vectors, token_ids) < 0.5 * energy(codebook, vectors, token_ids)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_codebook_of_next_to_nothing(n):
    vectors, token_ids = tokens_of(np.random.default_rng(n), n)
    codebook = Codebook.train(vectors, token_ids)
    assert set(codebook.token_ids) == set(token_ids)
    assigned = codebook.assign(vectors, token_ids)
    restored = codebook.decode(assigned, *codebook.encode(vectors, assigned))
    assert np.allclose(np.linalg.norm(restored, axis=1), 1, atol=1e-3)
    grown = codebook.grow(vectors, token_ids, n_tokens=10**9)
    assert len(grown) - len(codebook) <= n // 8


def test_equal_embeddings_leave_nothing_to_cluster():
    vectors = np.tile(unit(np.ones((1, 32))), (500, 1))
    codebook = Codebook.train(vectors, np.zeros(500, np.int32))
    assigned = codebook.assign(vectors, np.zeros(500, np.int32))
    restored = codebook.decode(assigned, *codebook.encode(vectors, assigned))
    assert np.allclose(restored, vectors, atol=1e-2)


def test_progress_rises_to_its_total():
    told = []
    codebook = Codebook.train(
        *tokens_of(np.random.default_rng(0), 3000), progress=lambda *news: told.append(news)
    )
    stages, done, totals = zip(*told, strict=True)
    assert set(stages) == {"cluster"} and set(totals) == {len(codebook)}
    assert list(done) == sorted(done) and done[-1] == len(codebook)


def test_parts_are_one_codebook_and_a_missing_one_is_noticed(trained, tmp_path):
    codebook, *_ = trained
    grown = codebook.grow(*other_senses(np.random.default_rng(1), 3000), n_tokens=9000)
    codebook.write(tmp_path / "0")
    grown.write(tmp_path / "1", first=len(codebook))
    read = Codebook.read([tmp_path / "0", tmp_path / "1"])
    assert np.array_equal(read.centroids, grown.centroids)
    assert np.array_equal(read.token_ids, grown.token_ids)
    with pytest.raises(IndexCorruptError, match="part of the codebook is missing"):
        Codebook.read([tmp_path / "1"])
