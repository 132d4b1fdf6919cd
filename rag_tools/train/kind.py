"""What kind of model a directory or a Hub repository holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["cross-encoder", "late-interaction", "dense"]


def kind(name: str | Path) -> Kind:
    """Tell from a model's metadata how it scores a passage.

    Parameters
    ----------
    name
        Directory, or Hub id; of that the metadata is downloaded.
    """
    directory = Path(name)
    if not directory.is_dir():
        from huggingface_hub import snapshot_download

        directory = Path(snapshot_download(str(name), allow_patterns=["*.json"]))
    architectures = " ".join(_read(directory / "config.json").get("architectures") or ())
    if "ForSequenceClassification" in architectures:
        return "cross-encoder"
    saved_as = _read(directory / "config_sentence_transformers.json").get("model_type")
    if saved_as in ("MultiVectorEncoder", "ColBERT") or "HF_ColBERT" in architectures:
        return "late-interaction"
    return "dense"


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
