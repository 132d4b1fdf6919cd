"""Token embeddings of real documents, saved once, so that every engine indexes the same.

    python benchmarks/peers/embed.py DATA OUT [--queries N]

DATA is a folder of corpora: those in BEIR or SQuAD layout, and those that are a ``corpus.jsonl``
alone. Passages are made as `Engine` makes them. Queries are drawn from every corpus that has any.
OUT gets one file for every `PART` passages, so what an interrupted run wrote is kept, and
``queries.npz``; `embeddings` reads them.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from embeddings import QUERIES

from rag_tools.creation import DEFAULT_PASSAGE_TOKENS
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.evaluate.dataset import Dataset, find, read
from rag_tools.ingest.chunk import chunk, context
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Document

PART = 4096  # passages of one file


def main(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    out: Path,
    queries: Annotated[int, typer.Option(help="Drawn from each corpus.")] = 100,
) -> None:
    """Encode every corpus of DATA."""
    out.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(load_checkpoint())
    datasets = list(_datasets(data))
    texts = _passages(encoder, data, datasets)
    for number in range(sys.maxsize):
        batch = list(islice(texts, PART))
        if not batch:
            break
        path = out / f"part-{number:03}.npz"
        if not path.exists():
            _save(path, encoder.encode_passages(batch))
        print(f"{number * PART + len(batch)} passages", file=sys.stderr)
    drawn = [query for dataset in datasets for query in _draw(dataset, queries)]
    _save(out / QUERIES, (encoder.encode_query(query) for query in drawn))


def _datasets(data: Path) -> Iterator[Dataset]:
    sources, left_out = find(data)
    for folder in left_out:
        print(f"no queries: {folder}", file=sys.stderr)
    # One language: the checkpoint knows English.
    yield from (read(source) for source in sources if "xquad" not in source.name)


def _passages(encoder: Encoder, data: Path, datasets: list[Dataset]) -> Iterator[tuple[str, str]]:
    for document in _documents(data, datasets):
        for passage in chunk(document, encoder, passage_tokens=DEFAULT_PASSAGE_TOKENS):
            titled = [part for part in (document.title, *passage.path) if part]
            yield document.text[passage.start : passage.end], context(titled)


def _documents(data: Path, datasets: list[Dataset]) -> Iterator[Document]:
    for dataset in datasets:
        for id, text in dataset.corpus.items():
            yield Document(uri=f"test:{dataset.name}/{id}", text=text, title="")
    for path in sorted(data.glob("*/corpus.jsonl")):
        if not (path.parent / "queries.jsonl").exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                name = row["_id"]
                yield load_bytes(row["text"].encode(), name=name, uri=f"test:{name}")


def _draw(dataset: Dataset, n: int) -> list[str]:
    ids = sorted(dataset.queries)
    random.Random(0).shuffle(ids)
    return [dataset.queries[id] for id in ids[:n]]


def _save(path: Path, encoded: Iterable[Embeddings]) -> None:
    items = list(encoded)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(
            file,
            vectors=np.concatenate([item.vectors for item in items]).astype(
                np.float32 if path.name == QUERIES else np.float16
            ),
            token_ids=np.concatenate([item.token_ids for item in items]),
            spans=np.concatenate([item.spans for item in items]),
            sizes=np.array([len(item) for item in items]),
            pooled=np.stack([item.pooled for item in items if item.pooled is not None]),
        )
    temporary.replace(path)


if __name__ == "__main__":
    typer.run(main)
