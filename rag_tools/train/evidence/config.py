"""The settings of a run of the evidence model and their file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag_tools.errors import ConfigurationError


class Source(BaseModel):
    """Data that examples are made from.

    Attributes
    ----------
    kind
        ``pairs``, ``evidence``, ``claims``, ``commands``: see `rag_tools.train.evidence.public`.
        ``documents``: a folder, see `rag_tools.train.evidence.documents`.
    path
        A file or a folder; relative to the configuration file.
    most
        Maximum number of examples of each collection in it: of a source of pairs, or of a folder
        of documents.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pairs", "evidence", "claims", "commands", "documents"]
    path: str
    most: int = Field(1000, ge=1)


class LossWeights(BaseModel):
    """Weights of the terms of the loss, see `rag_tools.train.evidence.loss`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: float = Field(1.0, ge=0)
    relevance: float = Field(0.5, ge=0)
    answers: float = Field(0.5, ge=0)
    claims: float = Field(1.0, ge=0)


class EvidenceSettings(BaseModel):
    """Every value that changes the result of a run.

    Attributes
    ----------
    sources
        Data that examples are made from.
    exclude
        Folders of evaluation data. Examples that nearly repeat one of its texts are left out.
    start
        Weights that the run starts from: ``delta.safetensors`` of an earlier run on the same base.
        Empty: the base itself.
    seed
        Seed of the random choice of examples and of their order.
    pairs
        Number of pairs of question and passage to train on. When all examples are used, they are
        used again.
    batch_pairs
        Approximate number of pairs in a batch.
    max_tokens
        Maximum length of a pair; longer ones are cut.
    learning_rate, head_learning_rate
        Highest learning rates: of the encoder's layers, and of the new layers.
    warmup, cooldown
        Shares of the run in which the rates rise and fall linearly. In between they stay the same.
    frozen
        Number of lower layers that aren't trained. The embeddings never are.
    max_gradient
        Maximum norm of the gradients; larger ones are clipped.
    weights
        Weights of the terms of the loss.
    check_every
        Number of pairs after which the model is checked on the development sets.
    save_every
        Seconds after which the state is saved.
    squad, qed, candidates
        Development sets: folders that `rag_tools.evaluate.evidence` reads, and a file of examples
        with scores of token embeddings, see `rag_tools.train.evidence.check`. Empty ones are left
        out.
    dev_questions
        Number of questions of each.
    dev_claims
        Share of the claims that isn't trained on but used for the checks.
    workers
        Number of processes that share a batch, each on one thread. They make a small model faster
        than threads do, which wait for each other at every product, above all on a busy machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Source, ...]
    exclude: tuple[str, ...] = ()
    start: str = ""
    seed: int = 0
    pairs: int = Field(30_000, ge=1)
    batch_pairs: int = Field(24, ge=2)
    max_tokens: int = Field(192, ge=136)
    learning_rate: float = Field(1e-4, gt=0)
    head_learning_rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    cooldown: float = Field(0.4, ge=0, le=1)
    frozen: int = Field(2, ge=0)
    max_gradient: float = Field(1.0, gt=0)
    weights: LossWeights = LossWeights()
    check_every: int = Field(3000, ge=1)
    save_every: int = Field(180, ge=1)
    squad: str = ""
    qed: str = ""
    candidates: str = ""
    dev_questions: int = Field(150, ge=1)
    dev_claims: float = Field(0.01, ge=0, lt=1)
    workers: int = Field(1, ge=1)


def load_evidence_settings(file: Path) -> EvidenceSettings:
    """Read settings from TOML; relative paths in it are relative to the file.

    Raises
    ------
    ConfigurationError
        If the file can't be read, or there is no such setting or value.
    """
    try:
        settings = EvidenceSettings.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} can't be read as TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise ConfigurationError(f"training setting {where} in {file}: {first['msg']}") from None

    def found(path: str) -> str:
        return str((file.parent / path).resolve()) if path else ""

    return settings.model_copy(
        update={
            "sources": tuple(
                each.model_copy(update={"path": found(each.path)}) for each in settings.sources
            ),
            "exclude": tuple(map(found, settings.exclude)),
            "start": found(settings.start),
            "squad": found(settings.squad),
            "qed": found(settings.qed),
            "candidates": found(settings.candidates),
        }
    )
