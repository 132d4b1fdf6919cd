"""What the first stage finds for everyday questions, as a development set for the evidence model.

    python benchmarks/evidence/candidates.py CORPUS --index FOLDER OUT.jsonl.gz

CORPUS is what ``benchmarks/everyday/fetch.py`` made. For each question of the split ``fit``: the
first five passages, all units of each with their score by token vectors, and which of them are
right by the rules of ``benchmarks/everyday``. For each claim: the first passage and the label.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "everyday"))

from corpus import Text, read
from measure import Split, _of, _opened
from score import holds, quotes

from rag_tools import Engine
from rag_tools.cite.unit_scores import TokenEvidence
from rag_tools.encode.encoder import Encoder
from rag_tools.index.search import weigh
from rag_tools.ingest.chunk import context
from rag_tools.types import Document, Hit, Span
from rag_tools.units import CONTEXT, units

PASSAGES = 5
LABELS = {"true": "entailed", "condition": "neither"}


def main(
    corpus: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(dir_okay=False)],
    index: Annotated[Path, typer.Option(help="Folder for indexes.")],
    split: Annotated[Split, typer.Option(help="Part of the set.")] = Split.fit,
) -> None:
    """Write the file."""
    with _opened(corpus, index) as engine, gzip.open(out, "wt", encoding="utf-8") as file:
        texts: dict[str, Text] = {}
        for kind, name in (("question", "questions"), ("unanswerable",) * 2, ("claim", "claims")):
            for entry in _of(split, read(f"{name}.jsonl")):
                asked = entry.get("question") or entry["claim"]
                found = engine.search(asked, limit=PASSAGES if kind != "claim" else 1).results
                passages = [
                    _passage(engine, asked, hit, entry.get("gold", []), texts) for hit in found
                ]
                record: dict[str, Any] = {"source": kind, "id": entry["id"], "query": asked}
                if kind == "claim":
                    record["label"] = LABELS.get(entry["class"], "contradicted")
                record |= {"kind": entry.get("kind") or entry.get("class"), "passages": passages}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _passage(
    engine: Engine, asked: str, hit: Hit, gold: list[str], texts: dict[str, Text]
) -> dict[str, Any]:
    document = engine.document(hit.document_id)
    located = texts.setdefault(document.id, Text(document.text))
    within = Span(hit.start, hit.end)
    found = [
        unit
        for unit in units(document.text, document.blocks, within)
        if unit.kind not in CONTEXT and document.text[unit.start : unit.end].strip()
    ]
    spans = [_stripped(document.text, Span(unit.start, unit.end)) for unit in found]
    scores = _scores(engine, asked, document, hit, spans)
    path = tuple((hit.heading or "").split(" > ")) if hit.heading else ()
    path = path if path[:1] == (document.title,) else (document.title, *path)
    return {
        "text": hit.text,
        "context": context(path),
        "units": [[span.start - hit.start, span.end - hit.start] for span in spans],
        "gold": [i for i, span in enumerate(spans) if quotes(located, gold, *span)],
        "answers": holds(located, gold, hit.start, hit.end),
        "score": hit.score,
        "scores": [round(float(score), 5) for score in scores],
    }


def _scores(
    engine: Engine, asked: str, document: Document, hit: Hit, spans: list[Span]
) -> list[float]:
    """Return what quotes are chosen by: MaxSim of the unit, its mean, and the passage's score."""
    encoder: Encoder = engine._opened.encoder
    query = encoder.encode_query(asked)
    passage = encoder.encode_passage(hit.text, hit.heading or "")
    with engine._opened.reader.view() as view:
        snapshot = view.snapshot
        weights = weigh(
            snapshot.document_frequencies(query.token_ids), snapshot.n_passages, exponent=0.5
        )
    grid = query.vectors @ passage.vectors.T
    evidence = TokenEvidence.of(passage.spans, grid, weights, None)
    own = [Span(span.start - hit.start, span.end - hit.start) for span in spans]
    held = [span for span in own if evidence.holds(span)]
    scored = dict(zip(held, evidence.scores(held).tolist(), strict=True))
    return [scored.get(span, 0.0) for span in own]


def _stripped(text: str, span: Span) -> Span:
    whole = span.of(text)
    start = span.start + len(whole) - len(whole.lstrip())
    return Span(start, span.start + len(whole.rstrip()))


if __name__ == "__main__":
    typer.run(main)
