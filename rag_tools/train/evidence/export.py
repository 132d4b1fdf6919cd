"""Exporting an evidence model: int8 for reading, and what training changed for tuning on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from rag_tools.encode.export import strip
from rag_tools.encode.quantise import quantise
from rag_tools.errors import CheckpointError
from rag_tools.evidence.layout import MAX_TOKENS
from rag_tools.evidence.model import (
    INPUTS,
    METADATA_FILE,
    MODEL_FILE,
    OUTPUTS,
    TOKENIZER_FILE,
    EvidenceModel,
    Pair,
)
from rag_tools.train.evidence.batches import Collator
from rag_tools.train.evidence.config import EvidenceSettings
from rag_tools.train.evidence.examples import Example, Read, read_examples
from rag_tools.train.evidence.fit import BASE, BEST_FILE
from rag_tools.train.evidence.model import EvidenceNet, load_net, load_weights, origin
from rag_tools.train.evidence.prepare import EXAMPLES_FILE

DELTA_FILE = "delta.safetensors"
"""What training added to the base's weights, and the heads, in float16: some 14 MB."""

_LEAST_AGREEMENT = 0.9
_CALIBRATION = 120  # rows whose activations the ranges are taken from


def export(
    base: Path, weights: Path, out: Path, examples: Sequence[Example], *, frozen: int
) -> EvidenceModel:
    """Write a folder that `rag_tools.evidence.model.EvidenceModel` reads.

    Parameters
    ----------
    base
        The encoder that training started from, with its tokenizer.
    weights
        A state that training kept, or a file of differences that an export wrote.
    out
        The folder.
    examples
        Of all kinds; the ranges of int8 are taken from some of them.
    frozen
        Layers that weren't trained.

    Raises
    ------
    CheckpointError
        If the weights don't fit the base.
    """
    net = load_net(base, frozen, attention="eager").eval()
    original = origin(net)
    trained = load_weights(weights, original)
    net.load_state_dict(trained, strict=False)
    out.mkdir(parents=True, exist_ok=True)
    delta = {name: (trained[name] - values).to(torch.float16) for name, values in original.items()}
    save_file(delta, out / DELTA_FILE)
    if not (out / TOKENIZER_FILE).exists() or not (out / TOKENIZER_FILE).samefile(
        base / TOKENIZER_FILE
    ):
        shutil.copyfile(base / TOKENIZER_FILE, out / TOKENIZER_FILE)
    (out / METADATA_FILE).write_text(
        json.dumps({"max_tokens": MAX_TOKENS, "frozen": frozen}, indent=1) + "\n",
        encoding="utf-8",
    )
    with TemporaryDirectory() as scratch:
        float32 = Path(scratch) / "float32.onnx"
        write_float32(net, float32)
        shutil.copyfile(float32, out / MODEL_FILE)
        pairs = [
            Pair(each.query, read.text, read.context)
            for each in examples[:_CALIBRATION]
            for read in each.passages[:1]
        ]
        quantise(float32, out / MODEL_FILE, list(_shown(EvidenceModel(out, threads=1), pairs)))
    return EvidenceModel(out)


def export_run(settings: EvidenceSettings, out: Path, *, base: Path | None = None) -> Path:
    """Export the best state of a run to the folder ``model`` in it, and return that.

    Raises
    ------
    CheckpointError
        If the run has kept no state, or int8 strays too far from it.
    """
    base = base or out / BASE
    best, folder = out / BEST_FILE, out / "model"
    examples = list(islice(read_examples(out / EXAMPLES_FILE), 4 * _CALIBRATION))
    model = export(base, best, folder, examples, frozen=settings.frozen)
    net = load_net(base, settings.frozen).eval()
    net.load_state_dict(load_weights(best, origin(net)), strict=False)
    found = agreement(net, model, examples[-_CALIBRATION:])
    model.close()
    if found < _LEAST_AGREEMENT:
        raise CheckpointError(f"int8 in {folder} agrees too little with the state: {found:.3f}")
    return folder


def write_float32(net: EvidenceNet, path: Path) -> None:
    """Write the model with free numbers of rows and tokens."""
    example = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    inputs = (example, torch.ones_like(example), torch.zeros_like(example))
    shape = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.DYNAMIC}
    names = ["input_ids", "attention_mask", "segments"]
    assert sorted(names) == list(INPUTS)
    torch.onnx.export(
        net,
        inputs,
        str(path),
        input_names=names,
        output_names=list(OUTPUTS),
        dynamic_shapes=dict.fromkeys(names, shape),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip(path)


def agreement(net: EvidenceNet, model: EvidenceModel, examples: Sequence[Example]) -> float:
    """Return the mean correlation of evidence between float32 and the exported model, by pair."""
    collate = Collator(model.composer)
    found = []
    for each in examples:
        read: Read = each.passages[0]
        batch = collate([Example(each.source, each.query, (read,))])
        with torch.inference_mode():
            evidence = net(*batch.rows).evidence[0].numpy()
        (reading,) = model.read([Pair(each.query, read.text, read.context)])
        assert reading is not None
        first = len(batch.rows.ids[0]) - 1 - len(reading.evidence)
        theirs = evidence[first:-1]
        if len(theirs) == len(reading.evidence) > 2:
            found.append(float(np.corrcoef(theirs, reading.evidence)[0, 1]))
    return float(np.mean(found)) if found else 1.0


def _shown(model: EvidenceModel, pairs: Sequence[Pair]) -> Iterator[dict[str, NDArray[np.int64]]]:
    for pair in pairs:
        yield model.inputs(pair)[0]
