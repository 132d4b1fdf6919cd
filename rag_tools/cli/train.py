"""The commands that make checkpoints: `train`, `mine`, `average` and `export`."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_tools.cli import exits
from rag_tools.cli.output import complain, write
from rag_tools.errors import ConfigurationError

if TYPE_CHECKING:
    from rag_tools.train.pairs import Collection
    from rag_tools.train.scores import Teacher

Pairs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PAIRS",
        exists=True,
        dir_okay=False,
        help="JSON lines (may be gzipped): pairs of query and passage, or tuples from `mine`.",
        show_default=False,
    ),
]
FromIndex = Annotated[
    Path | None,
    typer.Option(
        "--from-index",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Make pairs from the documents in this index: from headings and their sections, "
        "titles, docstrings and names of functions, and sentences.",
    ),
]
Exclude = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Leave out examples that nearly repeat a text of this evaluation data. Repeatable.",
    ),
]


def train(
    out: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Write the new checkpoint here.")
    ],
    pairs: Pairs = None,
    from_index: FromIndex = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Directory or Hugging Face name of the checkpoint to start from: a "
            "late-interaction checkpoint, or a sentence embedding model. "
            "Default: the bundled one.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="TOML file with settings of the run."
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="One setting, such as steps=500; overrides the file. Repeatable.",
        ),
    ] = None,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            help="Measure on this data during training, and keep the best state. Repeatable.",
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Learn from this model's scores in addition to the base's own: directory or "
            "Hugging Face name of a dense or a late-interaction model. Repeatable: the mean of "
            "several is used.",
        ),
    ] = None,
    exclude: Exclude = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in DIR.")
    ] = False,
) -> None:
    """Train a checkpoint on pairs of query and passage. Can be interrupted and resumed."""
    with _torch():
        from rag_tools.train.config import load_settings
        from rag_tools.train.fit import train as run
    named = {
        "dev": [folder.as_posix() for folder in dev or ()],
        "exclude": [folder.as_posix() for folder in exclude or ()],
        "teachers": teacher or [],
    }
    assignments = [f"{name}={json.dumps(given)}" for name, given in named.items() if given]
    settings = load_settings(config, [*assignments, *(set or ())])
    data = _collections(pairs, from_index)
    checkpoint = run(data, base, out, settings, resume=resume, report=_Reporter(settings.steps))
    if checkpoint is None:
        complain(
            f"interrupted; run the same command with --resume to continue from the state in {out}"
        )
        raise typer.Exit(exits.INTERRUPTED)
    write(f"{out}\n")


def train_evidence(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            exists=True,
            dir_okay=False,
            help="TOML file: what to make examples of, and the settings of the run.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Write examples and states here.")
    ],
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="BERT in Hugging Face's layout to start from. Default: the bundled checkpoint's.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in DIR.")
    ] = False,
    prepare_only: Annotated[
        bool, typer.Option("--prepare", help="Only make the examples, and count them.")
    ] = False,
    export_only: Annotated[
        bool, typer.Option("--export", help="Only export the best state so far.")
    ] = False,
) -> None:
    """Train the evidence model, which reads a question and a passage together; export it."""
    from rag_tools.train.evidence.config import load_evidence_settings
    from rag_tools.train.evidence.prepare import prepare

    settings = load_evidence_settings(config)
    if prepare_only:
        for source, count in sorted(prepare(settings, out).items()):
            write(f"{count:>8,}  {source}\n")
        return
    with _torch():
        from rag_tools.train.evidence.export import export_run
        from rag_tools.train.evidence.fit import train_evidence as run
    if not export_only:
        reporter = _Reporter(settings.pairs, count="pairs")
        run(settings, out, base=base, resume=resume, report=reporter)
    write(f"{export_run(settings, out, base=base)}\n")


def mine(
    pairs: Pairs = None,
    from_index: FromIndex = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="File to write the tuples to; those that it already contains are kept.",
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep the indexes of the passages in this folder, for use in later runs.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The student, which searches for negatives. Default: the bundled checkpoint."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Directory or Hugging Face name of a cross-encoder, a late-interaction or a "
            "dense model that scores passages. Repeatable: the mean of several is used. Default: "
            "the engine's own score.",
        ),
    ] = None,
    negatives: Annotated[
        int, typer.Option(min=1, help="Maximum number of negatives per pair.")
    ] = 16,
    depth: Annotated[
        int,
        typer.Option(
            min=1, help="Draw negatives from this many best passages of the engine and of BM25."
        ),
    ] = 50,
    share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Drop negatives whose score exceeds this share of the positive's score.",
        ),
    ] = 0.95,
    most: Annotated[
        int | None, typer.Option(min=1, help="Draw at most this many pairs from each source.")
    ] = None,
    exclude: Exclude = None,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            help="Only compare the teacher with the student on this data. Repeatable.",
        ),
    ] = None,
) -> None:
    """Find hard negatives for pairs, and have a teacher score them."""
    from rag_tools.cli.show import progress
    from rag_tools.train.mine import Mining
    from rag_tools.train.mine import mine as run
    from rag_tools.train.pairs import draw_examples

    scorer = None
    if teacher:
        with _torch():
            from rag_tools.train.teacher import Ensemble, load_teacher
        scorer = Ensemble([load_teacher(name) for name in teacher])
    if dev:
        if scorer is None:
            raise typer.BadParameter("--dev measures a teacher: name one with --teacher")
        _measure(dev, scorer, checkpoint, depth)
        return
    if out is None:
        raise typer.BadParameter("name a file with --out")
    examples = [each for data in _collections(pairs, from_index) for each in data.examples]
    if exclude:
        from rag_tools.train.leakage import Evaluations

        evaluations = Evaluations(exclude)
        kept = [clean for each in examples if (clean := evaluations.without(each)) is not None]
        complain(f"left out {len(examples) - len(kept)} of {len(examples)} examples")
        examples = kept
    if most is not None:
        examples = draw_examples(examples, most)
    settings = Mining(negatives=negatives, depth=depth, share=share)
    # Windows can't delete mapped files before the last reader is collected.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        progress() as bar,
    ):
        n_tuples = run(
            examples,
            out,
            work or Path(folder),
            settings,
            teacher=scorer,
            checkpoint=checkpoint,
            progress=bar,
        )
    complain(f"{n_tuples} tuples written to {out}")


def average(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT...", help="Directories or Hugging Face names of trained runs."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Write the new checkpoint here.")
    ],
    base: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="The checkpoint that the runs started from."),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(
            min=0, help="Distance from the base, as a multiple of the distance of the mean."
        ),
    ] = 1.0,
) -> None:
    """Average the weights of runs with the same base, which is often better than each run."""
    with _torch():
        from rag_tools.train.average import average as run
    run(checkpoints, out, base=base, scale=scale)
    write(f"{out}\n")


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Directory or Hugging Face name of a ColBERT."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", file_okay=False, help="Directory to write.")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only compare the files in OUT with the source; write nothing."
        ),
    ] = False,
) -> None:
    """Export a checkpoint to ONNX, in float32 and int8, and compare the files with the source."""
    with _torch():
        from rag_tools.encode.export import check as compare
        from rag_tools.encode.export import export as run
    if not check:
        run(checkpoint, out)
    write("file               tokens: mean   worst   pooled: mean   worst\n")
    for found in compare(checkpoint, out):
        pooled = (
            f"{found.pooled_mean:>14.4f}{found.pooled_worst:>8.4f}"
            if found.pooled_mean is not None
            else ""
        )
        write(f"{found.file:<19}{found.token_mean:>12.4f}{found.token_worst:>8.4f}{pooled}\n")


def _collections(pairs: Sequence[Path] | None, index: Path | None) -> list[Collection]:
    from rag_tools.train.pairs import collect, read_examples

    data = [collect(file, read_examples(file)) for file in pairs or ()]
    if index is not None:
        from rag_tools.engine import Engine
        from rag_tools.train.derive import derive

        with Engine.open(index) as engine:
            data.append(collect(index, derive(engine)))
    if not data:
        raise typer.BadParameter("name files of pairs, or an index with --from-index")
    return data


def _measure(folders: Sequence[Path], teacher: Teacher, checkpoint: str | None, depth: int) -> None:
    from rag_tools.encode.checkpoint import load_checkpoint
    from rag_tools.encode.encoder import Encoder
    from rag_tools.evaluate.dataset import find, read
    from rag_tools.train.mine import rerank, run_student

    encoder = Encoder(load_checkpoint(checkpoint))
    write("data set             student  teacher     both   (nDCG@10)\n")
    for source in (source for folder in folders for source in find(folder)[0]):
        dataset = read(source)
        found = rerank(run_student(encoder, dataset), dataset, teacher, depth=depth)
        figures = (found[who] for who in ("student", "teacher", "both"))
        write(f"{dataset.name:<19}{''.join(f'{each:>9.3f}' for each in figures)}\n")


class _Reporter:
    """Writes a line to standard error for each report of a run."""

    def __init__(self, steps: int, count: str = "step") -> None:
        self._steps, self._count = steps, count
        self._last: tuple[float, float] | None = None

    def __call__(self, record: Mapping[str, float]) -> None:
        values = {
            name.removeprefix("eval_"): value
            for name, value in record.items()
            if name not in {*_UNTOLD, self._count}
            and not name.endswith(_UNTOLD_ENDINGS)
            and isinstance(value, int | float)
        }
        if not values:
            return
        step, now = record[self._count], time.monotonic()
        if "loss" in record:
            if self._last is not None and now > self._last[1]:
                values["steps/s"] = (step - self._last[0]) / (now - self._last[1])
            self._last = step, now
        told = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        complain(f"{self._count} {step:.0f} of {self._steps}  {told}")


_UNTOLD = frozenset({"step", "epoch", "learning_rate", "total_flos", "train_loss"})
_UNTOLD_ENDINGS = ("_runtime", "_per_second", "_preparation_time")


@contextmanager
def _torch() -> Iterator[None]:
    """Report what to install if an import fails, and keep the libraries quiet afterwards.

    Raises
    ------
    ConfigurationError
        If a package of the extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this needs the package {error.name}: pip install 'rag-tools[torch,evaluate]'"
        ) from None
    from transformers.utils.logging import disable_progress_bar

    # Progress bars for files that load in an instant, and advice for developers of the exporter.
    disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
