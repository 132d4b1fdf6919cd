"""Restoring the weights of a checkpoint that has only its int8 file, to train it further.

The bundled checkpoint has no others, for its size. The export and the quantisation that this takes
back are `rag_tools.encode.export` and `rag_tools.encode.quantise`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

from rag_tools.encode.checkpoint import MODEL_FILES
from rag_tools.errors import CheckpointError

_Floats = NDArray[np.float32]

# Of the encoder's weights, as `rag_tools.encode.export` wraps the modules of a checkpoint.
_PREFIX = "steps.0.model."


def restore(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint with float32 weights that sentence-transformers loads.

    Parameters
    ----------
    checkpoint
        Directory with an int8 file that `rag_tools.encode.export` made of a BERT.
    out
        Directory to write.

    Raises
    ------
    CheckpointError
        If there is no int8 file.
    """
    weights = {
        name.removeprefix(_PREFIX): values
        for name, values in dequantise(checkpoint / MODEL_FILES[0]).items()
        if name.startswith(_PREFIX)
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    # The metadata last: with it a directory counts as a checkpoint.
    shutil.copytree(checkpoint, out, ignore=shutil.ignore_patterns("onnx"), dirs_exist_ok=True)


def dequantise(int8: Path) -> dict[str, _Floats]:
    """Return the weights from which `rag_tools.encode.quantise.quantise` made a file.

    Each is within half a step of what it was: of 64 from zero to the largest of its output channel,
    smoothing included, and of 127 in the tables. Biases and normalisation come back unchanged.

    Returns
    -------
    By the name of the module's parameter, in PyTorch's orientation. A product whose module can't
    be told, since it has no bias, isn't among them; nor is the projection.

    Raises
    ------
    CheckpointError
        If the file can't be read, or wasn't made by `quantise`.
    """
    try:
        graph = onnx.load(str(int8)).graph
    except Exception as error:  # onnx passes on those of protobuf and of the file system
        raise CheckpointError(f"{str(int8)!r} can't be read: {error}") from error
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weights = {
        name: np.array(values, np.float32)
        for name, values in stored.items()
        if name.endswith((".weight", ".bias"))
    }
    for name, values in stored.items():
        table = name.removesuffix("_quantised")
        if table != name:
            weights[table] = values * stored[f"{table}_scale"]
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    if not products:
        raise CheckpointError(f"{str(int8)!r} wasn't made by `rag-tools export`: no int8 products")
    for node in products:
        quantised, weight, _, scales, _, *bias = node.input
        shrink = stored[f"{quantised.removesuffix('_quantised')}_shrink"]
        if bias:
            values = stored[weight] * stored[scales] * shrink[:, None]
            weights[f"{bias[1].removesuffix('bias')}weight"] = np.ascontiguousarray(values.T)
    return weights
