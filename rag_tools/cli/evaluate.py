"""The command `eval`: measuring retrieval or citations on data sets.

`show` prints the results for a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_tools.cli import options
from rag_tools.cli.output import complain, console, write_json

if TYPE_CHECKING:
    from rag_tools.evaluate.systems import Measured, Plan


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            exists=True,
            help="Folder in BEIR layout, SQuAD file, folder of SQuAD files, or folder of these. "
            "With --citations: in the layout of Chroma's chunking evaluation, SQuAD, QED or WiCE.",
        ),
    ],
    citations: Annotated[
        bool,
        typer.Option(
            "--citations", help="Measure citations, on questions whose evidence is known."
        ),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(help="Use qrels/SPLIT.tsv. Default: test, or the only split there is."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Directory or Hugging Face name of the ColBERT checkpoint to measure. "
            "Default: the bundled one."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Compare with this checkpoint, query by query."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Checkpoint whose pooled vectors are the dense baseline. Default: the checkpoint "
            "that is measured.",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--float", help="Score every passage on unquantised embeddings, without an index."
        ),
    ] = False,
    maxsim: Annotated[
        bool,
        typer.Option(
            "--maxsim", help="Use MaxSim alone: no other signal, all query tokens weighted equally."
        ),
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(help="Bits per dimension: 4, 2 or 1.", show_default="4"),
    ] = None,
    dim: Annotated[
        int | None, typer.Option(help="Dimensions per token.", show_default="all")
    ] = None,
    quality: Annotated[
        options.Quality | None,
        typer.Option(help="How thorough the searches are.", show_default="balanced"),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            "--questions",
            min=1,
            help="Maximum number of queries to draw from each data set.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed for drawing queries, intervals and tests.")
    ] = 0,
    json: options.JsonOption = False,
) -> None:
    """Measure retrieval on data sets and compare it with BM25, dense vectors or a checkpoint."""
    if citations:
        if any((split, against, base, exact, maxsim, bits, dim, quality, seed)):
            raise typer.BadParameter("--citations takes --checkpoint, --questions and --json only")
        _measure_citations(data, checkpoint, queries, json=json)
        return
    if exact and (bits is not None or quality is not None):
        raise typer.BadParameter("--float has no index: leave out --bits and --quality")
    from rag_tools.cli import show
    from rag_tools.creation import DEFAULT_BITS
    from rag_tools.encode.checkpoint import load_checkpoint
    from rag_tools.evaluate import report
    from rag_tools.evaluate.systems import Plan
    from rag_tools.index.search import Signals

    plan = Plan(
        checkpoint=load_checkpoint(checkpoint),
        against=None if against is None else load_checkpoint(against),
        base=None if base is None else load_checkpoint(base),
        exact=exact,
        bits=DEFAULT_BITS if bits is None else bits,
        dim=dim,
        quality=quality or "balanced",
        signals=Signals(idf=0, pooled=0, lexical=0) if maxsim else Signals(),
    )
    measured = list(_measured(data, split, plan, queries=queries, seed=seed))
    evaluation = report.summarise(data.resolve().name, measured, plan, seed=seed)
    if json:
        write_json(evaluation)
    else:
        show.evaluation(evaluation, console())


def _measured(
    data: Path, split: str | None, plan: Plan, *, queries: int | None, seed: int
) -> Iterator[Measured]:
    """Measure every data set in a folder; report each, and its notes, on standard error."""
    from rag_tools.cli import show
    from rag_tools.evaluate import dataset
    from rag_tools.evaluate.systems import measure_systems

    sources, left_out = dataset.find(data)
    for folder in left_out:
        complain(f"left out, neither BEIR nor SQuAD: {folder}")
    for source in sources:
        found = dataset.read(source, split=split).draw(queries, seed=seed)
        complain(f"{found.name}: {len(found.corpus)} documents, {len(found.queries)} queries")
        for note in found.notes:
            complain(f"{found.name}: {note}")
        with show.progress() as progress:
            yield measure_systems(found, plan, progress=progress)


def _measure_citations(
    data: Path, checkpoint: str | None, questions: int | None, *, json: bool
) -> None:
    """Measure the citations on every set in `data`; report each on standard error."""
    from rag_tools.cli import show
    from rag_tools.evaluate.citation_report import CitationReports
    from rag_tools.evaluate.citations import evaluate_citations
    from rag_tools.evaluate.evidence import read_evidence

    reports = []
    for evidence in read_evidence(data):
        drawn = evidence.draw(questions)
        complain(f"{evidence.name}: {len(drawn.questions)} of {len(evidence.questions)} questions")
        with show.progress() as progress:
            reports.append(evaluate_citations(drawn, checkpoint=checkpoint, progress=progress))
    if json:
        write_json(reports[0] if len(reports) == 1 else CitationReports(datasets=tuple(reports)))
    else:
        for report in reports:
            show.citation_report(report, console())
