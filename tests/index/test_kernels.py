"""Every kernel this machine can run, against the NumPy reference and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codes import random_codes
from rag_tools.errors import ConfigurationError
from rag_tools.index import cells, dispatch, kernels, maxsim
from rag_tools.index.codebook import Codebook
from rag_tools.index.residual import ResidualCodec, pack
from rag_tools.index.segment import Segment, Tokens, write_segment

NATIVE = [name for name in dispatch.kernel_names() if name != "numpy"]

if not NATIVE:
    pytest.skip("installed without the native kernels", allow_module_level=True)

use = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def random_codebook(rng, *, dim, bits, n_centroids=40, scale=1.0):
    """A codebook that no data made: any int8 value, steps that differ by dimension."""
    values = rng.integers(-127, 128, (2, 16)).astype(np.int8)
    steps = (rng.uniform(1e-6, 2e-5, dim) * scale).astype(np.float32)
    return Codebook(
        rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8),
        (rng.uniform(0.2, 1, n_centroids) * scale / 127 / np.sqrt(dim)).astype(np.float32),
        np.arange(n_centroids, dtype=np.int32),
        ResidualCodec(bits, values, steps),
    )


def random_segment(rng, path, sizes, codebook, *, codes=None, gains=None):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(offsets[-1])
    centroids = rng.integers(0, len(codebook), n).astype(np.int32)
    if codes is None:
        codes = random_codes(rng, n, codebook.dim, codebook.codec.bits)
    if gains is None:
        gains = rng.integers(0, 256, n).astype(np.uint8)
    norms = rng.uniform(0.5, 2, n).astype(np.float32)
    spans = np.zeros((n, 2), np.int32)
    packed = pack(codes, codebook.codec.bits)
    write_segment(path, [Tokens(offsets, centroids, packed, gains, norms, spans, None)], codebook)
    return Segment(path, codebook)


def worst_error(segment, vectors):
    """How far rounding the query to 16 bits, and sums of floats, can move a similarity."""
    codebook = segment.codebook
    folded = np.abs(vectors * codebook.codec.steps).max() / 16256 / 2
    residual = folded * 127 * codebook.dim * float(segment.gains.max())
    whole = np.abs(vectors).max() / 16256 / 2
    centroid = whole * np.abs(codebook.centroids).sum(axis=1).max()
    norm = float(segment.inverse_norms.max())
    largest = np.abs(segment.vectors(0, segment.n_tokens)).sum(axis=1).max()
    return (residual + centroid) * norm + 1e-6 * largest * np.abs(vectors).max() + 1e-9


def maxsim_of(segment, vectors, weights, positions):
    """Every passage's score: nothing is left out when as many are wanted as there are."""
    places = np.stack([np.zeros(len(positions), np.int64), positions], axis=1)
    return refined([segment], vectors, weights, places, limit=max(1, len(places)))


def refined(segments, vectors, weights, places, *, limit, priors=None, slack=0.0):
    priors = np.zeros(len(places)) if priors is None else priors
    return kernels.refine(segments, vectors, weights, places, priors, limit=limit, slack=slack)


sizes_strategy = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@use
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=sizes_strategy,
    dim=st.sampled_from([1, 3, 20, 32, 64, 96, 128, 130]),
    bits=st.sampled_from([4, 2, 1]),
    n=st.integers(1, 70),
    scale=st.sampled_from([1.0, 1e-4, 1e4]),
)
@example(seed=0, sizes=[1] * 12, dim=128, bits=4, n=32, scale=1.0)
@example(seed=1, sizes=[15, 1, 1, 16, 17, 33], dim=96, bits=2, n=70, scale=1.0)
@example(seed=2, sizes=[5], dim=20, bits=1, n=1, scale=1e4)
@example(seed=3, sizes=[40] * 6, dim=1024, bits=4, n=16, scale=1.0)
def test_scores_are_the_references_up_to_rounding(
    tmp_path, monkeypatch, seed, sizes, dim, bits, n, scale
):
    rng = np.random.default_rng(seed)
    segment = random_segment(
        rng, tmp_path / "s", sizes, random_codebook(rng, dim=dim, bits=bits, scale=scale)
    )
    vectors = unit(rng.normal(size=(n, dim)))
    weights = rng.uniform(0, 1, n).astype(np.float32)
    weights /= weights.sum()
    positions = np.flatnonzero(rng.random(len(sizes)) < rng.choice([0.1, 0.5, 1.0]))
    error = worst_error(segment, vectors)
    expected = maxsim.maxsim(segment, vectors, weights, positions)
    grid = maxsim.similarities(segment, vectors, len(sizes) - 1)
    table = cells.centroid_scores(segment.codebook, vectors)
    got = []
    for name in NATIVE:
        monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
        got.append(
            (
                maxsim_of(segment, vectors, weights, positions),
                kernels.similarities(segment, vectors, len(sizes) - 1),
                kernels.centroid_scores(segment.codebook, vectors),
            )
        )
        for ours, theirs in zip(got[-1], (expected, grid, table), strict=True):
            assert ours.dtype == np.float32
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max(initial=0) <= error, name
    for other in got[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(got[0], other, strict=True))


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("code", ["lowest", "highest", "alternating"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_do_not_overflow(tmp_path, monkeypatch, name, code, sign):
    """Every product at its extreme, in the most dimensions there can be."""
    rng = np.random.default_rng(0)
    dim = 1024
    values = np.linspace(-127, 127, 16).round().astype(np.int8)
    ones = np.ones(dim, np.float32)
    codebook = Codebook(
        np.full((1, dim), sign * 127, np.int8),
        np.ones(1, np.float32),
        np.zeros(1, np.int32),
        ResidualCodec(4, np.stack([values, values]), ones),
    )
    codes = np.zeros((20, dim), np.uint8)
    codes[{"lowest": slice(0), "highest": slice(None), "alternating": slice(0, None, 2)}[code]] = 15
    gains = np.full(20, 255, np.uint8)
    segment = random_segment(rng, tmp_path / "s", [3, 17], codebook, codes=codes, gains=gains)
    vectors = np.stack([ones, -ones, np.where(np.arange(dim) % 2, 1, -1).astype(np.float32)])
    weights = np.full(3, 1 / 3, np.float32)
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    # In 64 bits: what sums of opposite signs lose in 32 differs by processor.
    exact = vectors.astype(np.float64)
    got = kernels.similarities(segment, vectors, 1)
    assert np.allclose(got, maxsim.similarities(segment, exact, 1), rtol=1e-5, atol=1e-2)
    both = np.arange(2)
    assert np.allclose(
        maxsim_of(segment, vectors, weights, both),
        maxsim.maxsim(segment, exact, weights, both),
        rtol=1e-5,
        atol=1e-2,
    )


@pytest.mark.parametrize("name", NATIVE)
def test_a_score_depends_on_nothing_but_query_and_passage(tmp_path, monkeypatch, name):
    """Not on its neighbours, its place in a block, the candidates beside it or the threads."""
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(1)
    codebook = random_codebook(rng, dim=128, bits=4, n_centroids=5000)
    sizes = rng.integers(1, 400, 1200)
    segment = random_segment(rng, tmp_path / "s", sizes, codebook)
    vectors = unit(rng.normal(size=(70, 128)))
    weights = np.full(70, 1 / 70, np.float32)
    everything = np.arange(len(sizes))
    # As much work as makes it start threads.
    assert segment.n_tokens * 80 * 128 > 2e9
    monkeypatch.setenv("RAG_TOOLS_THREADS", "5")
    scores = maxsim_of(segment, vectors, weights, everything)
    monkeypatch.setenv("RAG_TOOLS_THREADS", "1")
    assert np.array_equal(scores, maxsim_of(segment, vectors, weights, everything))
    some = np.sort(rng.permutation(len(sizes))[:40])
    assert np.array_equal(scores[some], maxsim_of(segment, vectors, weights, some))
    for position in some[:5]:
        alone = maxsim_of(segment, vectors, weights, np.array([position]))
        assert alone[0] == scores[position]
        grid = kernels.similarities(segment, vectors, int(position))
        assert weights @ grid.max(axis=1) == pytest.approx(scores[position], rel=1e-5)
    # A merged segment has the same tokens at other places of their blocks.
    write_segment(tmp_path / "m", [segment.tokens(some)], codebook)
    merged = maxsim_of(Segment(tmp_path / "m", codebook), vectors, weights, np.arange(40))
    assert np.array_equal(scores[some], merged)


@pytest.mark.parametrize("name", NATIVE)
def test_no_positions_and_a_zero_query(tmp_path, monkeypatch, name):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(2)
    segment = random_segment(rng, tmp_path / "s", [9, 9], random_codebook(rng, dim=32, bits=4))
    vectors, weights = np.zeros((3, 32), np.float32), np.full(3, 1 / 3, np.float32)
    assert len(maxsim_of(segment, vectors, weights, np.zeros(0, np.intp))) == 0
    assert maxsim_of(segment, vectors, weights, np.arange(2)).tolist() == [0, 0]


@pytest.mark.parametrize("name", NATIVE)
def test_centroids_past_16_bits(tmp_path, monkeypatch, name):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(3)
    codebook = random_codebook(rng, dim=32, bits=4, n_centroids=70_000)
    segment = random_segment(rng, tmp_path / "s", [30] * 20, codebook)
    assert segment.centroids.dtype == np.uint32
    vectors, weights = unit(rng.normal(size=(5, 32))), np.full(5, 0.2, np.float32)
    positions = np.arange(20)
    expected = maxsim.maxsim(segment, vectors, weights, positions)
    got = maxsim_of(segment, vectors, weights, positions)
    assert np.abs(got - expected).max() <= worst_error(segment, vectors)


@use
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 40), min_size=20, max_size=60),
    bits=st.sampled_from([4, 2, 1]),
    n=st.integers(1, 50),
    limit=st.sampled_from([1, 2, 10, 100]),
    alike=st.sampled_from([0.0, 0.3, 1.0]),
    spread=st.sampled_from([0.0, 1e-7, 1e-3, 0.3]),
    scale=st.sampled_from([1.0, 1e-4, 1e4]),
)
@example(seed=0, sizes=[16] * 40, bits=4, n=32, limit=10, alike=1.0, spread=0.0, scale=1.0)
@example(seed=1, sizes=[5] * 60, bits=4, n=8, limit=1, alike=0.0, spread=0.3, scale=1.0)
def test_refine_leaves_out_only_what_cannot_be_among_the_best(
    tmp_path, monkeypatch, seed, sizes, bits, n, limit, alike, spread, scale
):
    """Equal passages, near ties, all kinds of priors, two segments: the best are always there."""
    rng = np.random.default_rng(seed)
    codebook = random_codebook(rng, dim=96, bits=bits, scale=scale)
    whole = random_segment(rng, tmp_path / "w", sizes, codebook)
    # Some passages appear again and again, here and in the other segment.
    drawn = rng.integers(0, len(sizes), len(sizes))
    drawn = np.where(rng.random(len(sizes)) < alike, drawn[0], drawn)
    write_segment(tmp_path / "d", [whole.tokens(drawn[[at]]) for at in range(len(drawn))], codebook)
    segments = [whole, Segment(tmp_path / "d", codebook)]
    places = np.array([(number, at) for number in (0, 1) for at in range(len(sizes))])
    places = places[rng.random(len(places)) < 0.8]
    vectors = unit(rng.normal(size=(n, 96)))
    weights = rng.uniform(-0.2, 1, n).astype(np.float32)
    priors = spread * scale * rng.normal(size=len(places))
    for name in NATIVE:
        monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
        every = refined(segments, vectors, weights, places, limit=len(places) or 1)
        sums = every + priors
        got = refined(segments, vectors, weights, places, limit=limit, priors=priors, slack=1e-6)
        scored = got > -np.inf
        assert np.array_equal(got[scored], every[scored])
        if limit < len(places):
            least = np.partition(sums, -limit)[-limit]
            assert scored[sums >= least - 1e-6].all()


@pytest.mark.parametrize("name", [name for name in NATIVE if name in ("avx512vnni", "neon")])
def test_most_passages_never_need_the_whole_query(tmp_path, monkeypatch, name):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(0)
    codebook = random_codebook(rng, dim=96, bits=4, n_centroids=2000)
    segment = random_segment(rng, tmp_path / "s", [3] * 500, codebook)
    vectors = unit(segment.vectors(0, 8))
    places = np.stack([np.zeros(500, np.int64), np.arange(500)], axis=1)
    got = refined([segment], vectors, np.full(8, 1 / 8, np.float32), places, limit=3)
    assert (got > -np.inf).sum() < 50


@use
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 2, 50, 1500, 6000]),
    levels=st.sampled_from([1, 2, 7, 10_000]),
    reach=st.sampled_from([0, 1, 30, 1000, 10**9]),
)
def test_nearest_cells_come_in_order_and_reach_far_enough(seed, n, levels, reach):
    rng = np.random.default_rng(seed)
    similarity = (rng.integers(0, levels, n) / levels * 2 - 1).astype(np.float32)
    sizes = rng.integers(0, 30, n)
    by_hand = np.lexsort((np.arange(n), -similarity))
    reached = np.cumsum(sizes[by_hand]) >= reach
    last = int(np.argmax(reached)) + 1 if reached.any() else n
    assert cells.nearest_cells(similarity, sizes, reach).tolist() == by_hand[:last].tolist()


@use
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=sizes_strategy,
    n_centroids=st.sampled_from([1, 40, 300, 9000]),
    n_segments=st.integers(1, 4),
    n=st.integers(1, 20),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    reach=st.sampled_from([0, 1, 5, 60, 10**6]),
    wanted=st.sampled_from([1, 3, 20, 1000]),
)
@example(seed=0, sizes=[3] * 12, n_centroids=9000, n_segments=3, n=5, share=1.0, reach=1, wanted=20)
def test_gather_is_the_references(
    tmp_path, monkeypatch, seed, sizes, n_centroids, n_segments, n, share, reach, wanted
):
    rng = np.random.default_rng(seed)
    codebook = random_codebook(rng, dim=8, bits=4, n_centroids=n_centroids)
    if rng.random() < 0.3:  # all cells alike
        codebook.quantized[:] = codebook.quantized[0]
        codebook.scales[:] = codebook.scales[0]
    segments = [
        random_segment(rng, tmp_path / str(i), rng.permutation(sizes), codebook)
        for i in range(n_segments)
    ]
    cell_sizes = np.zeros(n_centroids, np.int64)
    for segment in segments:
        cell_sizes[segment.cells] += np.diff(segment.cell_offsets)
    selected = [rng.random(len(sizes)) < share for _ in segments]
    vectors, weights = unit(rng.normal(size=(n, 8))), rng.random(n).astype(np.float32)
    places = np.array([(number, at) for number in range(n_segments) for at in range(len(sizes))])
    boosted = places[rng.random(len(places)) < 0.2]
    boosts = rng.choice([0.0, 0.1, 0.4], len(boosted)).astype(np.float32)
    given = cells.Gathering(
        codebook, vectors, weights, cell_sizes, segments, selected, boosted, boosts, reach, wanted
    )
    for name in NATIVE:
        monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
        similarity = kernels.centroid_scores(codebook, cells.in_bytes(vectors))
        assert kernels.gather(given).tolist() == cells.gather(similarity, given).tolist()


@pytest.mark.parametrize("name", NATIVE)
def test_what_points_outside_the_index_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
    rng = np.random.default_rng(4)
    codebook = random_codebook(rng, dim=32, bits=4)
    segment = random_segment(rng, tmp_path / "s", [9, 9], codebook)
    vectors, weights = unit(rng.normal(size=(3, 32))), np.full(3, 1 / 3, np.float32)
    for position in (-1, 2):
        with pytest.raises(IndexError, match="no passage has this position"):
            maxsim_of(segment, vectors, weights, np.array([position]))
    with pytest.raises(ValueError, match="dimensions"):
        maxsim_of(segment, vectors[:, :31], weights, np.arange(2))
    with pytest.raises(ValueError, match="finite"):
        maxsim_of(segment, vectors * np.float32(np.nan), weights, np.arange(2))
    with pytest.raises(ValueError, match="weight"):
        maxsim_of(segment, vectors, weights[:2], np.arange(2))
    damaged = Segment(tmp_path / "s", codebook)
    damaged.centroids = np.full_like(segment.centroids, len(codebook))
    with pytest.raises(IndexError, match="centroid isn't in the codebook"):
        maxsim_of(damaged, vectors, weights, np.arange(2))
    damaged = Segment(tmp_path / "s", codebook)
    damaged.token_offsets = segment.token_offsets + 1
    with pytest.raises(IndexError, match="tokens aren't in the segment"):
        kernels.similarities(damaged, vectors, 1)
    places = np.array([[1, 0]])
    with pytest.raises(IndexError, match="no segment has this number"):
        refined([segment], vectors, weights, places, limit=1)
    nowhere = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    given = cells.Gathering(
        codebook, vectors, weights, np.ones(40, np.int64), [segment], [np.ones(2, bool)], *nowhere,
        reach=40, wanted=2,
    )  # fmt: skip
    for field, words in [
        ("cell_passages", "names no passage"),
        ("cell_offsets", "posting isn't in the segment"),
    ]:
        damaged = Segment(tmp_path / "s", codebook)
        setattr(damaged, field, getattr(segment, field) + np.uint32(100))
        with pytest.raises(IndexError, match=words):
            kernels.gather(replace(given, segments=[damaged]))
    broken = replace(codebook, scales=np.full_like(codebook.scales, np.nan))
    with pytest.raises(ValueError, match="finite"):
        kernels.gather(replace(given, codebook=broken))


def test_the_environment_chooses_the_kernel_and_the_threads(tmp_path, monkeypatch):
    monkeypatch.delenv("RAG_TOOLS_KERNEL", raising=False)
    assert dispatch.kernel_name() == NATIVE[0]
    assert dispatch.kernel_names()[-2:] == ["scalar", "numpy"]
    for name in dispatch.kernel_names():
        monkeypatch.setenv("RAG_TOOLS_KERNEL", name)
        assert dispatch.kernel_name() == name
    monkeypatch.setenv("RAG_TOOLS_KERNEL", "abacus")
    with pytest.raises(ConfigurationError, match=r"abacus.*scalar, numpy"):
        dispatch.kernel_name()
    monkeypatch.setenv("RAG_TOOLS_KERNEL", "scalar")
    codebook = random_codebook(np.random.default_rng(0), dim=8, bits=4)
    for threads in ("0", "many", "-1"):
        monkeypatch.setenv("RAG_TOOLS_THREADS", threads)
        with pytest.raises(ConfigurationError, match=f"RAG_TOOLS_THREADS={threads}"):
            kernels.centroid_scores(codebook, np.zeros((1, 8), np.float32))


def test_without_the_extension_numpy_runs_and_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("RAG_TOOLS_KERNEL", raising=False)
    monkeypatch.setattr(dispatch, "native", None)
    assert dispatch.kernel_name() == "numpy"
    rng = np.random.default_rng(5)
    segment = random_segment(rng, tmp_path / "s", [9, 9], random_codebook(rng, dim=32, bits=4))
    vectors, weights = unit(rng.normal(size=(3, 32))), np.full(3, 1 / 3, np.float32)
    expected = maxsim.maxsim(segment, vectors, weights, np.arange(2))
    assert np.array_equal(maxsim_of(segment, vectors, weights, np.arange(2)), expected)
    monkeypatch.setenv("RAG_TOOLS_KERNEL", "avx2")
    with pytest.raises(ConfigurationError, match=r"have: numpy$"):
        dispatch.kernel_name()
