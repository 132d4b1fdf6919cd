"""The settings of a run of the evidence model and their file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag_tools.errors import ConfigurationError


class Source(BaseModel):
    """Data to make examples of.

    Attributes
    ----------
    kind
        ``pairs``, ``evidence``, ``claims``, ``commands``: see `rag_tools.train.evidence.public`.
        ``documents``: a folder, see `rag_tools.train.evidence.documents`.
    path
        A file or a folder; relative to the configuration file.
    most
        Examples of each collection in it: a source of pairs, a folder of documents.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pairs", "evidence", "claims", "commands", "documents"]
    path: str
    most: int = Field(1000, ge=1)


class LossWeights(BaseModel):
    """What each term of the loss counts; see `rag_tools.train.evidence.loss`."""

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
        What examples are made of.
    exclude
        Folders of evaluation data: examples that nearly repeat a text there are left out.
    seed
        Of the examples that are drawn and of their order.
    pairs
        Question and passage pairs to train on; examples come again when they are used up.
    batch_pairs
        Pairs of a batch, about.
    max_tokens
        Of a pair; a longer one is cut.
    learning_rate, head_learning_rate
        Peaks: of the encoder's layers and of what is new.
    warmup, cooldown
        Shares of the run in which the rates rise and fall linearly; between they stay.
    frozen
        Lower layers that aren't trained; the embeddings never are.
    max_gradient
        Norm that gradients are clipped to.
    weights
        Of the loss's terms.
    check_every
        Pairs between two checks on the development sets.
    save_every
        Seconds between two saved states.
    squad, qed, candidates
        Development sets: folders that `rag_tools.evaluate.evidence` reads, and a file of examples
        with token-vector scores, see `rag_tools.train.evidence.check`. Empty: left out.
    dev_questions
        How many questions of each.
    dev_claims
        Share of the claims that is kept from training and measured on.
    workers
        Processes that share a batch, each on one thread. Small models gain more by them than by
        threads, which wait for each other at every product, above all on a busy machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Source, ...]
    exclude: tuple[str, ...] = ()
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
            "squad": found(settings.squad),
            "qed": found(settings.qed),
            "candidates": found(settings.candidates),
        }
    )
