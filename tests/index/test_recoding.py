"""Training the codebook anew: recall recovers after a shift of topic, and nothing else changes."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from rag_tools import Document, Engine
from rag_tools.index.codebook import Codebook
from rag_tools.index.recoding import drift, recoded, retrained
from rag_tools.index.search import Effort, Query, Signals, search
from rag_tools.index.segment import Segment, compress, write_segment
from rag_tools.index.snapshot import Snapshot
from rag_tools.maintenance.space import compact

DIM, VOCABULARY, TOKENS, SENSES = 32, 40, 16, 24
QUICK = Effort(scanned=0, reach=4, refined=40)  # as a search of a large index looks at few passages


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def passages(topic: int, number: int):
    """Embeddings of passages, whose tokens mean something else in each topic."""
    base = unit(np.random.default_rng(5).normal(size=(VOCABULARY, 1, DIM)))
    rng = np.random.default_rng(topic)
    meanings = unit(base + 0.8 * unit(rng.normal(size=(VOCABULARY, SENSES, DIM))))
    token_ids = (VOCABULARY * rng.random((number, TOKENS)) ** 1.5).astype(np.int32)
    subject = rng.integers(0, SENSES, (number, 1))
    any_sense = rng.integers(0, SENSES, (number, TOKENS))
    sense = np.where(rng.random((number, TOKENS)) < 0.5, subject, any_sense)
    noise = 0.5 * unit(rng.normal(size=(number, TOKENS, DIM)))
    return unit(meanings[token_ids, sense] + noise), token_ids


def flat(made):
    return made[0].reshape(-1, DIM), made[1].reshape(-1)


def written(folder: Path, codebook: Codebook, made) -> Segment:
    vectors, token_ids = flat(made)
    spans = np.tile(np.array([[0, 1]], np.int32), (len(token_ids), 1))
    offsets = np.arange(0, len(token_ids) + 1, TOKENS)
    path = folder / f"{uuid.uuid4().hex}.seg"
    write_segment(path, [compress(codebook, vectors, token_ids, spans, offsets, None)], codebook)
    return Segment(path, codebook)


def recall(segments: list[Segment], vectors) -> float:
    """Recall@10 of a quick search against MaxSim on the embeddings as they were."""
    rng = np.random.default_rng(1)
    numbered = dict(enumerate(segments, 1))
    live = {id: np.ones(len(segment), np.bool_) for id, segment in numbered.items()}
    snapshot = Snapshot(1, segments[0].codebook, numbered, live)
    starts = dict(zip(numbered, np.cumsum([0, *map(len, segments)]), strict=False))
    nothing = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    found = 0
    for _ in range(60):
        asked = vectors[rng.integers(len(vectors))][rng.permutation(TOKENS)[:8]]
        asked = unit(asked + 0.7 * unit(rng.normal(size=asked.shape)))
        exact = np.einsum("qd,ptd->pqt", asked, vectors).max(axis=2).sum(axis=1)
        query = Query(asked, np.full(8, 1 / 8, np.float32), None, nothing)
        matches = search(
            snapshot,
            query,
            snapshot.everything,
            limit=10,
            signals=Signals(pooled=0, lexical=0),
            effort=QUICK,
        )
        best = {int(starts[match.segment]) + match.position for match in matches}
        found += len(best & set(np.argsort(-exact)[:10].tolist()))
    return found / 600


def test_recall_recovers_after_a_shift_of_topic(tmp_path: Path):
    """Measured when written, and at three times the size: 0.21 before, 0.58 afterwards."""
    before = passages(1, 2500)
    codebook = Codebook.train(*flat(before))
    assert drift(codebook, {1: written(tmp_path, codebook, before)}) == pytest.approx(1, abs=0.1)
    # The documents of the first topic go, those of another come, as many as there were: the
    # codebook has as many centroids as such an index wants, and none of them for these.
    after = passages(2, 2500)
    grown = codebook.grow(*flat(after), n_tokens=after[1].size)
    segments = [
        written(tmp_path, grown, (after[0][part], after[1][part]))
        for part in np.array_split(np.arange(2500), 3)
    ]
    was = drift(grown, dict(enumerate(segments)))
    assert was is not None and was > 2
    stored = [(segment, np.arange(len(segment))) for segment in segments]
    new = retrained(grown, stored)
    anew = []
    for segment, live in stored:
        path = tmp_path / f"{uuid.uuid4().hex}.seg"
        write_segment(path, recoded(grown, new, segment.runs(live)), new)
        anew.append(Segment(path, new))
        assert (anew[-1].token_ids() == segment.token_ids()).all()
        assert (anew[-1].spans(0) == segment.spans(0)).all()
        # Coding twice costs precision, which is counted.
        restored = anew[-1].vectors(0, anew[-1].n_tokens)
        exact = after[0].reshape(-1, DIM)[: len(restored)] if segment is segments[0] else None
        if exact is not None:
            assert anew[-1].loss is not None
            measured = float(np.einsum("ij,ij->i", exact, restored).mean())
            assert anew[-1].loss.cosine == pytest.approx(measured, abs=0.002)
    assert drift(new, dict(enumerate(anew))) == pytest.approx(1, abs=0.1)
    lost, regained = recall(segments, after[0]), recall(anew, after[0])
    fresh = Codebook.train(*flat(after))
    best = recall([written(tmp_path, fresh, after)], after[0])
    assert lost < best - 0.2
    assert regained > best - 0.1


def test_an_index_is_read_while_its_codebook_is_trained_anew(tmp_path: Path):
    texts = [
        f"Note {at}. The ferry of pier {at} leaves at noon, the bus at one." for at in range(30)
    ]
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add(
            [Document(uri=f"memo:{at}", id=f"d{at}", text=text) for at, text in enumerate(texts)]
        )
        engine.add([Document(uri="memo:other", id="other", text="Bees dance on the comb.")])
        engine.delete(["d7"])
        with engine._opened.reader.view() as view:  # one that began before
            old = view.snapshot
            assert engine.status().drift is not None
            compact(engine.directory, recluster=True)
            assert view.snapshot is old
            assert all(segment.vectors(0, 1).shape for segment in old.segments.values())
        found = engine.search("when does the ferry of pier 12 leave?", limit=3).results
        assert found[0].document_id == "d12"
        assert found[0].citations[0].quote in texts[12]
        engine.check()
        # What is added afterwards is coded by the new codebook.
        engine.add([Document(uri="memo:more", id="more", text="The tram leaves at two.")])
        assert engine.search("tram", limit=1).results[0].document_id == "more"
        engine.check()
        assert engine.status().tombstones == 0


def test_an_empty_index_has_nothing_to_train_on(tmp_path: Path):
    with Engine.open(tmp_path / "index", create=True) as engine:
        compact(engine.directory, recluster=True)
        assert engine.status().drift is None
