"""Running a training: from a checkpoint and examples to a better checkpoint.

The loop is sentence-transformers' trainer; here is what it is given, what is frozen, and what is
written. The loss is `rag_tools.train.loss`, the settings are `rag_tools.train.config`.
"""

from __future__ import annotations

import copy
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets import disable_progress_bars as hide_progress
from numpy.typing import NDArray
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from rag_tools.encode.checkpoint import BUNDLED, Checkpoint
from rag_tools.encode.export import export
from rag_tools.encode.restore import restore
from rag_tools.errors import CheckpointError, ConfigurationError
from rag_tools.train.check import MEAN, Check
from rag_tools.train.collate import Collator
from rag_tools.train.config import Settings, read_run, write_run
from rag_tools.train.kind import kind
from rag_tools.train.leakage import Evaluations
from rag_tools.train.loss import Loss
from rag_tools.train.pairs import Collection, Example, plan_batches, sample_passages
from rag_tools.train.precision import in_bf16
from rag_tools.train.project import project
from rag_tools.train.teacher import load_teacher

RUN_FILE = "training.toml"
LOG_FILE = "log.jsonl"
STATES = "states"
BASE = "base"

Report = Callable[[Mapping[str, float]], None]
"""Called with the step and what was measured there."""


def train(
    data: Sequence[Collection],
    base: str | Path | None,
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    report: Report = lambda _: None,
) -> Checkpoint | None:
    """Train a checkpoint.

    Parameters
    ----------
    data
        What to train on.
    base
        Directory or Hub id of a checkpoint in sentence-transformers' multi-vector layout, or of a
        sentence embedding model, which is given a projection first. None is the bundled one, its
        weights restored from int8.
    out
        Directory to write: the checkpoint, ``training.toml`` with all a run depends on,
        ``log.jsonl`` and ``states/``, from which a run can be resumed.
    settings
        See there.
    resume
        Go on from the last state in `out`.
    report
        Called every ten steps and after every check.

    Returns
    -------
    The checkpoint, exported; None if the run was interrupted and can be resumed.

    Raises
    ------
    ConfigurationError
        If there is a run in `out` and `resume` isn't set, or another run than this one, or nothing
        to train on.
    CheckpointError, DatasetError
        If the base, a teacher, or a folder of evaluation data can't be read.
    """
    examples, n_left_out = _chosen(data, settings)
    if not examples:
        raise ConfigurationError("there is no example to train on")
    _open_run(out, settings, str(base or BUNDLED.name), data, resume=resume)
    report({"step": 0, "examples": len(examples), "left out": n_left_out})
    torch.manual_seed(settings.seed)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    teachers = [load_teacher(name, bf16=settings.bf16) for name in settings.teachers]
    model = _load(base, examples, out / BASE, dim=max(settings.dims))
    original = copy.deepcopy(model).requires_grad_(False).eval()
    freeze(model, settings.trainable_layers, settings.dropout)
    stop = _Stop()
    trainer = _Trainer(
        model=model,
        args=_arguments(out, settings, model),
        train_dataset=_plan(examples, settings, original),
        loss=Loss(model, original, settings),
        data_collator=Collator(model, examples, settings, teachers),
        evaluator=_check(settings),
        callbacks=[_Log(out / LOG_FILE, report), stop],
    )
    trainer.remove_callback(PrinterCallback)
    last = get_last_checkpoint(str(out / STATES)) if resume else None
    if settings.dev and last is None:
        trainer.evaluate()
    with stop.on_interrupt():
        trainer.train(resume_from_checkpoint=last)
    if stop.asked:
        return None
    trainer.model.save_pretrained(str(out), create_model_card=False)
    return export(out, out)


def freeze(model: MultiVectorEncoder, trainable_layers: int, dropout: float) -> None:
    """Leave gradients to the last layers of the encoder and to every module after it.

    Nothing is kept for a backward pass through what is frozen.
    """
    encoder = model[0]
    layers = _layers(encoder)
    if trainable_layers > len(layers):
        raise ConfigurationError(
            f"trainable_layers={trainable_layers}: the encoder has {len(layers)}"
        )
    trained = layers[len(layers) - trainable_layers :]
    encoder.requires_grad_(False)
    trained.requires_grad_(True)
    for part, rate in ((model, 0.0), (trained, dropout)):
        for module in part.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = rate


def _layers(encoder: torch.nn.Module) -> torch.nn.ModuleList:
    count = encoder.config.num_hidden_layers
    for module in encoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise CheckpointError(f"the layers of a {type(encoder.model).__name__} weren't found")


def _load(
    base: str | Path | None, examples: Sequence[Example], made: Path, *, dim: int
) -> MultiVectorEncoder:
    """Return what to start from; `made` is where it is kept if it must be made first."""
    if (made / "modules.json").is_file():  # of the run that is resumed
        return MultiVectorEncoder(str(made))
    if base is None:
        restore(BUNDLED, made)
        return MultiVectorEncoder(str(made))
    try:
        if kind(base) == "late-interaction":
            return MultiVectorEncoder(str(base))
        return project(base, sample_passages(examples, 4000), made, dim=dim)
    except Exception as error:  # half a dozen libraries take part, each with errors of its own
        raise CheckpointError(f"The checkpoint {str(base)!r} can't be loaded: {error}") from error


def _chosen(data: Sequence[Collection], settings: Settings) -> tuple[list[Example], int]:
    """Return the examples that leak nothing, and how many others there were."""
    every = [example for collection in data for example in collection.examples]
    if not settings.exclude:
        return every, 0
    evaluations = Evaluations([Path(folder) for folder in settings.exclude])
    kept = [clean for example in every if (clean := evaluations.without(example)) is not None]
    return kept, len(every) - len(kept)


def _plan(examples: Sequence[Example], settings: Settings, base: MultiVectorEncoder) -> Dataset:
    batches = plan_batches(
        [example.source for example in examples],
        steps=settings.steps,
        batch_size=settings.batch_size,
        source_power=settings.source_power,
        seed=settings.seed,
        near=settings.near,
        vectors=_query_vectors(examples, base, settings.bf16) if settings.near else None,
    )
    return Dataset.from_dict({"step": list(range(len(batches))), "examples": batches})


def _query_vectors(
    examples: Sequence[Example], base: MultiVectorEncoder, bf16: bool | None
) -> NDArray[np.float32]:
    """Return the mean of each query's token vectors, ``(n_examples, dim)``, of unit length."""
    queries = sorted({example.query for example in examples})
    with in_bf16(base.device, bf16):
        encoded = base.encode_query(queries, convert_to_numpy=True)
    # A query that is all punctuation has no vectors, and no neighbours.
    sums = np.stack([each.sum(axis=0) for each in encoded])
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    place = {query: number for number, query in enumerate(queries)}
    vectors: NDArray[np.float32] = means[[place[example.query] for example in examples]]
    return vectors


def _check(settings: Settings) -> Check | None:
    if not settings.dev:
        return None
    return Check(settings.dev, queries=settings.dev_queries, documents=settings.dev_documents)


def _arguments(
    out: Path, settings: Settings, model: MultiVectorEncoder
) -> MultiVectorEncoderTrainingArguments:
    checked = bool(settings.dev)
    return MultiVectorEncoderTrainingArguments(
        output_dir=str(out / STATES),
        seed=settings.seed,
        # A row of the data set is a whole batch; see `_plan`.
        num_train_epochs=1,
        per_device_train_batch_size=1,
        batch_sampler=_in_order,
        learning_rate=settings.learning_rate,
        # Everything after the encoder, which is module 0.
        learning_rate_mapping={r"^model\.(?!0\.)": settings.projection_learning_rate},
        lr_scheduler_type=settings.decay,
        warmup_steps=round(settings.warmup * settings.steps),
        max_grad_norm=settings.max_gradient,
        save_strategy="steps",
        save_steps=settings.check_every,
        save_total_limit=2,
        eval_strategy="steps" if checked else "no",
        eval_steps=settings.check_every,
        load_best_model_at_end=checked,
        metric_for_best_model=MEAN if checked else None,
        greater_is_better=True,
        logging_steps=10,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=model.device.type == "cuda",
    )


def _in_order(dataset: Dataset, **_: Any) -> DefaultBatchSampler:  # noqa: ANN401 - its caller's
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=1, drop_last=False)


def _open_run(
    out: Path, settings: Settings, base: str, data: Sequence[Collection], *, resume: bool
) -> None:
    """Write the run's file, or check that the one there is this run's."""
    file = out / RUN_FILE
    if resume:
        if not file.is_file():
            raise ConfigurationError(f"{out} has no run to resume: leave --resume out")
        if read_run(file) != (settings, base, [collection.sha256 for collection in data]):
            raise ConfigurationError(
                f"{file} is of another run: resume with its settings, base and data"
            )
        return
    if file.exists():
        raise ConfigurationError(f"{out} holds a run already: resume it, or name another directory")
    out.mkdir(parents=True, exist_ok=True)
    hashes = [{"path": each.path, "sha256": each.sha256} for each in data]
    write_run(file, settings, base, hashes)


class _Trainer(MultiVectorEncoderTrainer):  # type: ignore[misc] # torch is optional, so untyped here
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Write no model card: it would describe planned steps as data."""


class _Log(TrainerCallback):  # type: ignore[misc] # torch is optional, so untyped here
    """Writes what was measured to a file, one JSON object a line, and reports it."""

    def __init__(self, file: Path, report: Report) -> None:
        self._file = file
        self._report = report

    def on_log(
        self,
        args: Any,  # noqa: ANN401
        state: Any,  # noqa: ANN401
        control: Any,  # noqa: ANN401
        logs: Mapping[str, float],
        **_: Any,  # noqa: ANN401
    ) -> None:
        record = {"step": state.global_step, **logs}
        with self._file.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(json.dumps(record) + "\n")
        self._report(record)


class _Stop(TrainerCallback):  # type: ignore[misc] # torch is optional, so untyped here
    """Ends a run after the step under way when the user interrupts it, its state saved."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, _: int, frame: FrameType | None) -> None:
        if self.asked:  # twice: at once
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(
        self,
        args: Any,  # noqa: ANN401
        state: Any,  # noqa: ANN401
        control: Any,  # noqa: ANN401
        **_: Any,  # noqa: ANN401
    ) -> None:
        if self.asked:
            control.should_save = True
            control.should_training_stop = True


hide_progress()
