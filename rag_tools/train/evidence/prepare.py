"""Making the examples of a run of the evidence model from its sources."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import ConfigurationError
from rag_tools.train.evidence.config import EvidenceSettings, Source
from rag_tools.train.evidence.documents import from_documents
from rag_tools.train.evidence.examples import Example, read_examples, write_examples
from rag_tools.train.evidence.public import from_claims, from_commands, from_evidence, from_pairs
from rag_tools.train.leakage import Evaluations

EXAMPLES_FILE = "examples.jsonl.gz"

_READERS = {
    "pairs": from_pairs,
    "evidence": from_evidence,
    "claims": from_claims,
    "commands": from_commands,
}


def prepare(settings: EvidenceSettings, out: Path) -> Counter[str]:
    """Make the examples of a run and write them to `out`; return how many each source gave.

    What is there already from the same settings is kept.

    Raises
    ------
    ConfigurationError
        If a source has nothing, or `out` has examples of other settings.
    """
    file = out / EXAMPLES_FILE
    digest = _digest(settings)
    mark = out / f"{EXAMPLES_FILE}.sha256"
    if file.is_file() and mark.is_file():
        if mark.read_text(encoding="utf-8").strip() != digest:
            raise ConfigurationError(
                f"{out} has examples made with other sources or another seed: name another folder"
            )
        return Counter(each.source for each in read_examples(file))
    out.mkdir(parents=True, exist_ok=True)
    evaluations = Evaluations([Path(folder) for folder in settings.exclude])
    made: list[Example] = []
    with ProcessPoolExecutor(settings.workers) as pool:
        read = pool.map(_read, settings.sources, repeat(settings.seed))
        for source, found in zip(settings.sources, read, strict=True):
            if not found:
                raise ConfigurationError(f"{source.path} gives no example of kind {source.kind!r}")
            made += [each for each in found if each.query.strip() and not _leaks(each, evaluations)]
    random.Random(settings.seed).shuffle(made)
    write_examples(file, made)
    mark.write_text(digest + "\n", encoding="utf-8")
    return Counter(each.source for each in made)


def _read(source: Source, seed: int) -> list[Example]:
    if source.kind == "documents":
        encoder = Encoder(load_checkpoint(None), threads=1)
        return list(from_documents(Path(source.path), encoder, source.most, seed))
    return list(_READERS[source.kind](Path(source.path), source.most, seed))


def _leaks(example: Example, evaluations: Evaluations) -> bool:
    return evaluations.holds(example.query) or any(
        evaluations.holds(read.text) for read in example.passages
    )


def _digest(settings: EvidenceSettings) -> str:
    told = settings.model_dump_json(include={"sources", "exclude", "seed"})
    return hashlib.sha256(told.encode()).hexdigest()
