"""Texts that give instructions to a model, and harmless ones that look like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_FILE = Path(__file__).parents[1] / "data" / "instructions" / "examples.jsonl"


class Example(NamedTuple):
    """A text, its language, what it tries or where it could be from, and whether to flag it."""

    language: str
    technique: str
    flagged: bool
    text: str


def examples() -> list[Example]:
    """Return all examples, in order."""
    return [Example(**json.loads(line)) for line in _FILE.read_text("utf-8").splitlines()]
