"""The settings of a training run: their defaults, their file, and what they were made of."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag_tools.errors import ConfigurationError


class Weights(BaseModel):
    """Weights of the terms of the loss, see `rag_tools.train.loss`; 0 leaves a term out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distill: float = Field(1.0, ge=0)
    contrastive: float = Field(0.5, ge=0)
    evidence: float = Field(0.1, ge=0)
    anchor: float = Field(0.5, ge=0)
    pooled_anchor: float = Field(0.5, ge=0)


class Settings(BaseModel):
    """Every value that changes the result of a run, and a few that change its speed.

    Attributes
    ----------
    seed
        Seed of the random choices: batches, drawn negatives and dropout.
    steps
        Number of updates of the weights.
    batch_size
        Number of queries in a batch, which all come from one source.
    negatives
        Number of negatives drawn from a mined tuple each time it is used; fewer if it has fewer.
    source_power
        A source of n pairs gives batches in proportion to n ** source_power: 1 draws every pair
        equally often, 0 every source.
    near
        Share of a batch that is drawn from the neighbourhood of its first query, so that its
        passages are hard to tell apart (topic-aware sampling, Hofstätter et al. 2021,
        arXiv 2104.06967); the rest comes from anywhere in the source. Neighbours are those of the
        base.
    query_tokens, passage_tokens
        Maximum length in training; longer texts are cut. The checkpoint's own limits don't
        change.
    trainable_layers
        Number of layers of the encoder, counted from the last, that are trained together with the
        projection. The embeddings aren't trained.
    learning_rate, projection_learning_rate
        Highest learning rates: of the encoder's layers, and of everything after them.
    warmup
        Share of the steps in which the rates rise to their highest values. Afterwards they fall as
        `decay` says.
    max_gradient
        Maximum norm of the gradients; larger ones are clipped.
    dropout
        Dropout rate of the trained layers.
    weights
        Weights of the terms of the loss.
    idf, pooled
        Of the student's score, as in `rag_tools.index.search.Signals`: the exponent of the inverse
        document frequency that weights the query's tokens, and the weight of the cosine of the
        pooled vectors. Document frequencies are counted in the positives of a source.
    teachers
        Models that score every query of a batch against all its passages as the run goes on, see
        `rag_tools.train.teacher.load_teacher`. If there are any, scores in the tuples are ignored.
    teacher_weight
        Weight of their mean score, which is added to the score of the base.
    teacher_temperature, student_temperature, temperature, evidence_temperature
        Divisors of the scores before a softmax: of the teacher's, of the student's in
        distillation, in the contrastive term and in the evidence term. The student's scores have
        the range of a cosine.
    dims, dim_weights
        Numbers of leading dimensions at which every term but the anchors is computed, and the
        weight of each.
    chunk
        Number of passages that are encoded together. They are sorted by length first, so that
        little padding is needed.
    check_every
        Number of steps after which the state is saved and checked on `dev`.
    exclude
        Folders of evaluation data. Examples that nearly repeat one of its texts are left out, see
        `rag_tools.train.leakage`.
    dev
        Folders in BEIR or SQuAD layout. The state that has the best mean nDCG@10 is kept.
    dev_queries, dev_documents
        Number of queries and documents that are drawn from each data set for a check. The
        documents include the relevant ones.
    bf16
        Whether the encoder computes in bfloat16; None: if the processor supports it.
    threads
        Number of threads on a CPU; None: torch decides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    steps: int = Field(2000, ge=1)
    batch_size: int = Field(32, ge=1)
    negatives: int = Field(4, ge=0)
    source_power: float = Field(0.5, ge=0, le=1)
    near: float = Field(0.0, ge=0, le=1)
    query_tokens: int = Field(64, ge=4)
    passage_tokens: int = Field(256, ge=4)
    trainable_layers: int = Field(2, ge=0)
    learning_rate: float = Field(1e-5, gt=0)
    projection_learning_rate: float = Field(2e-4, gt=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    decay: Literal["linear", "cosine"] = "linear"
    max_gradient: float = Field(1.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    idf: float = Field(0.5, ge=0)
    pooled: float = Field(0.7, ge=0)
    teachers: tuple[str, ...] = ()
    teacher_weight: float = Field(3.0, gt=0)
    teacher_temperature: float = Field(1.0, gt=0)
    student_temperature: float = Field(0.05, gt=0)
    temperature: float = Field(0.05, gt=0)
    evidence_temperature: float = Field(0.05, gt=0)
    dims: tuple[int, ...] = (128, 96, 64)
    dim_weights: tuple[float, ...] = (1.0, 0.5, 0.5)
    chunk: int = Field(16, ge=1)
    check_every: int = Field(200, ge=1)
    exclude: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    dev_queries: int = Field(200, ge=1)
    dev_documents: int = Field(1000, ge=1)
    bf16: bool | None = None
    threads: int | None = Field(None, ge=1)
    weights: Weights = Weights()

    @model_validator(mode="after")
    def _dims_have_weights(self) -> Settings:
        if not self.dims or len(self.dims) != len(self.dim_weights):
            raise ValueError(f"dims {self.dims} need as many dim_weights, not {self.dim_weights}")
        return self


def load_settings(file: Path | None, assignments: Sequence[str] = ()) -> Settings:
    """Read settings from a file, and let assignments override it.

    Parameters
    ----------
    file
        TOML with any of the fields of `Settings`. A file written by `write_run` can be used too:
        its entries about the data are ignored.
    assignments
        ``NAME=VALUE`` with a value in TOML, such as ``steps=500`` or ``weights.anchor=1.0``.

    Raises
    ------
    ConfigurationError
        If the file can't be read, or there is no such setting or value.
    """
    values = {} if file is None else _read(file)
    for name in ("base", "data"):
        values.pop(name, None)
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = None
        if not equals or parsed is None:
            raise ConfigurationError(f"{assignment!r} isn't NAME=VALUE with a value in TOML")
        table, dot, key = name.strip().rpartition(".")
        (values.setdefault(table, {}) if dot else values)[key] = parsed
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise ConfigurationError(f"training setting {where}: {first['msg']}") from None


def write_run(file: Path, settings: Settings, base: str, data: Sequence[Mapping[str, str]]) -> None:
    """Write everything that a run depends on to `file`.

    Parameters
    ----------
    base
        The checkpoint it starts from.
    data
        Each collection's ``path`` and ``sha256``.
    """
    values = settings.model_dump(mode="json", exclude_none=True)
    document = {"base": base, **values, "data": list(data)}
    file.write_text(tomlkit.dumps(document), encoding="utf-8", newline="\n")


def read_run(file: Path) -> tuple[Settings, str, list[str]]:
    """Return the settings, the base and the data's hashes that `write_run` wrote."""
    values = _read(file)
    return load_settings(file), values["base"], [item["sha256"] for item in values["data"]]


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read as TOML: {error}") from None
