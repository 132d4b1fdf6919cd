"""Retrieval quality on data sets in BEIR or SQuAD layout: nDCG@10 and recall, beside BM25.

    python benchmarks/quality.py FOLDER... [--queries N] [--json]

A FOLDER is a data set, or a folder of data sets; folders of other layouts are named and left out.
Every corpus is indexed as a user's documents would be: compressed, and searched by `Engine.search`
with its defaults. Needs the extra ``[evaluate]``.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.evaluate.dataset import Dataset, read_datasets
from rag_tools.evaluate.measures import MEASURES, measure
from rag_tools.evaluate.retrieve import index_dataset, run_bm25, run_engine


def main(
    folders: Annotated[list[Path], typer.Argument(exists=True, file_okay=False)],
    queries: Annotated[int, typer.Option(help="At most so many queries of each, drawn.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure the engine and BM25 on every data set."""
    results = []
    for dataset in _datasets(folders):
        drawn = _draw(dataset, queries)
        print(f"{drawn.name}: {len(drawn.corpus)} documents", file=sys.stderr)
        with tempfile.TemporaryDirectory() as directory, Engine.open(directory, create=True) as e:
            index_dataset(e, drawn)
            runs = {"BM25": run_bm25(drawn), "rag-tools": run_engine(e, drawn)}
        results += [
            {
                "dataset": drawn.name,
                "queries": len(drawn.queries),
                "system": system,
                "measures": measure(drawn.qrels, run),
            }
            for system, run in runs.items()
        ]
    if as_json:
        print(json.dumps(results, indent=2))
        return
    table = Table("data set", "queries", "system", *MEASURES)
    for row in results:
        figures = (f"{row['measures'][name]:.4f}" for name in MEASURES)
        table.add_row(row["dataset"], str(row["queries"]), row["system"], *figures)
    Console().print(table)


def _datasets(folders: list[Path]) -> list[Dataset]:
    found = []
    for folder in folders:
        try:
            found += read_datasets(folder)
        except InvalidQueryError:
            for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
                try:
                    found += read_datasets(inner)
                except InvalidQueryError as error:
                    print(f"left out: {error}", file=sys.stderr)
    return found


def _draw(dataset: Dataset, n: int) -> Dataset:
    ids = sorted(dataset.queries)
    random.Random(0).shuffle(ids)
    kept = set(ids[:n])
    return replace(
        dataset,
        queries={id: text for id, text in dataset.queries.items() if id in kept},
        qrels={id: grades for id, grades in dataset.qrels.items() if id in kept},
    )


if __name__ == "__main__":
    typer.run(main)
