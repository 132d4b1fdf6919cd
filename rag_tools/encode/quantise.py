"""Quantising an exported model to int8: which parts, how, and what that costs.

Everything that a run would have to find out of its inputs is fixed in advance, so that a row of a
batch comes out the same whatever the other rows are. The float32 model is made by
`rag_tools.encode.export`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Inputs = Mapping[str, NDArray[np.int64]]
"""The inputs of one run of the model: ``input_ids`` and ``attention_mask``."""

_Array = NDArray[Any]
_Floats = NDArray[np.float32]

# Migration strength (Xiao et al., equation 4). Mean cosine to float32 of the bundled model's tokens
# with 0.6 0.9935, 0.65 0.9949, 0.7 0.9958, 0.75 0.9961, 0.8 0.9960; but of text in Arabic, which it
# hardly knows, with 0.7 0.971, 0.75 0.962, 0.8 0.953.
_ALPHA = 0.7

# 7 of the 8 bits. On processors with AVX2 but no VNNI, products of unsigned activations and signed
# weights are added in pairs in 16 bits: 255 · 127 · 2 saturates and spoils the result, 255 · 64 · 2
# fits. They cost 0.0015 of cosine and no time, and are safe everywhere.
_LARGEST_WEIGHT = 64

_SMALLEST = 1e-6  # a channel that is always zero still needs a factor


class _Observed(NamedTuple):
    """Smallest and largest values of an activation's channels, shape ``(n_channels,)``, float32."""

    lowest: _Floats
    highest: _Floats


def quantise(float32: Path, int8: Path, calibration: Iterable[Inputs]) -> None:
    """Quantise a model's weights and the activations they are multiplied by.

    Weights are signed, per output channel, in 7 bits; embedding tables per column in 8; the
    projection, which is the last product, stays in float32. The activations are smoothed: what
    makes some of their channels a hundred times larger than others is moved into the weights
    (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438, section 4). Their ranges are constants, those
    seen in `calibration`.

    Measured on the bundled model with 79 passages of 116 tokens on average, of sets that it wasn't
    calibrated on, and CPU time on one thread with AVX-512 VNNI over that of float32:

    ===============================================  ======  ======  ======  ====
    mean cosine to float32                           tokens   worst  pooled  time
    ===============================================  ======  ======  ======  ====
    `quantize_dynamic`: ranges found as it runs      0.9907   0.946  0.9933  0.49
    constant ranges, not smoothed                    0.9901   0.920  0.9931  0.43
    constant ranges, smoothed: chosen                0.9958   0.968  0.9964  0.43
    the same, one scale for a table                  0.9948   0.975  0.9956  0.44
    the same, weights in 8 bits                      0.9973   0.988  0.9980  0.44
    ===============================================  ======  ======  ======  ====

    Each product is one node, ``com.microsoft.MatMulIntegerToFloat``: ONNX Runtime makes it of the
    standard operators by itself as long as ranges aren't constant, and without it a passage takes
    a quarter more.

    Parameters
    ----------
    float32, int8
        Path of the model to read, and of the file to write.
    calibration
        Inputs of the model for some texts; see `rag_tools.encode.samples`.
    """
    model = onnx.load(str(float32))
    graph = model.graph
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    products = _products(graph, weights)
    observed = _observe(model, list(products), calibration)
    edit = _Edit(graph, weights)
    for activation, nodes in products.items():
        _quantise_products(edit, activation, nodes, observed[activation])
    for node in graph.node:
        if node.op_type == "Gather" and weights.get(node.input[0], np.empty(0)).ndim == 2:
            _quantise_table(edit, node)
    edit.apply()
    del model.metadata_props[:]  # what holds for the float32 model isn't known of this one
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(int8))


def _products(graph: GraphProto, weights: Mapping[str, _Array]) -> dict[str, list[NodeProto]]:
    """Return the products with weights, but for the last, by the activation that they share."""
    nodes = [each for each in graph.node if each.op_type == "MatMul" and each.input[1] in weights]
    products: dict[str, list[NodeProto]] = {}
    for node in nodes[:-1]:
        products.setdefault(node.input[0], []).append(node)
    return products


def _observe(
    model: ModelProto, activations: list[str], calibration: Iterable[Inputs]
) -> dict[str, _Observed]:
    """Run the model and return the range of each channel of the activations."""
    open_model = ModelProto()
    open_model.CopyFrom(model)
    open_model.graph.output.extend(map(helper.make_empty_tensor_value_info, activations))
    session = ort.InferenceSession(
        open_model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    observed: dict[str, _Observed] = {}
    for inputs in calibration:
        for name, values in zip(activations, session.run(activations, dict(inputs)), strict=True):
            channels = values.reshape(-1, values.shape[-1])
            seen = _Observed(channels.min(axis=0), channels.max(axis=0))
            before = observed.get(name, seen)
            observed[name] = _Observed(
                np.minimum(before.lowest, seen.lowest), np.maximum(before.highest, seen.highest)
            )
    return observed


class _Edit:
    """Changes to a graph, made all at once: nodes replaced by others, and new constants."""

    def __init__(self, graph: GraphProto, weights: Mapping[str, _Array]) -> None:
        self.weights = weights
        self._graph = graph
        self._instead: dict[str, list[NodeProto]] = {}  # by the name of a node's output
        self._constants: dict[str, _Array] = {}

    def readers(self, name: str) -> list[NodeProto]:
        return [node for node in self._graph.node if name in node.input]

    def replace(self, node: NodeProto, *nodes: NodeProto) -> None:
        self._instead[node.output[0]] = list(nodes)

    def constant(self, name: str, values: _Array) -> str:
        self._constants[name] = values
        return name

    def apply(self) -> None:
        nodes = [
            new for node in self._graph.node for new in self._instead.get(node.output[0], [node])
        ]
        used = {name for node in nodes for name in node.input}
        kept = [each for each in self._graph.initializer if each.name in used]
        made = [numpy_helper.from_array(values, name) for name, values in self._constants.items()]
        for field, values in ((self._graph.node, nodes), (self._graph.initializer, kept + made)):
            del field[:]
            field.extend(values)


def _quantise_products(
    edit: _Edit, activation: str, nodes: list[NodeProto], observed: _Observed
) -> None:
    """Replace an activation's products; the first takes along what prepares the activation."""
    factors = _smoothing(observed, [edit.weights[node.input[1]] for node in nodes])
    scale, zero = _range(observed, factors)
    named = {
        "shrink": edit.constant(f"{activation}_shrink", 1 / factors),
        "scale": edit.constant(f"{activation}_scale", scale),
        "zero": edit.constant(f"{activation}_zero", zero),
    }
    smoothed, quantised = f"{activation}_smoothed", f"{activation}_quantised"
    before = [
        helper.make_node("Mul", [activation, named["shrink"]], [smoothed], name=smoothed),
        helper.make_node(
            "QuantizeLinear", [smoothed, named["scale"], named["zero"]], [quantised], name=quantised
        ),
    ]
    for node in nodes:
        weight, bias = edit.weights[node.input[1]] * factors[:, None], _bias(edit, node)
        name = node.output[0]
        scales = (np.abs(weight).max(axis=0) / _LARGEST_WEIGHT).astype(np.float32)
        scales[scales == 0] = 1
        product = helper.make_node(
            "MatMulIntegerToFloat",
            [
                quantised,
                edit.constant(f"{name}_weight", np.rint(weight / scales).astype(np.int8)),
                named["scale"],
                edit.constant(f"{name}_weight_scale", scales),
                named["zero"],
                *(["", bias.input[1]] if bias else []),
            ],
            [bias.output[0] if bias else name],
            name=f"{name}_product",
            domain="com.microsoft",
        )
        edit.replace(node, *before, product)
        if bias:
            edit.replace(bias)
        before = []


def _smoothing(observed: _Observed, weights: list[_Floats]) -> _Floats:
    """Return what to divide an activation's channels by, and multiply its weights' rows by."""
    largest = np.maximum(-observed.lowest, observed.highest)
    heaviest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    factors = np.maximum(largest, _SMALLEST) ** _ALPHA
    factors /= np.maximum(heaviest, _SMALLEST) ** (1 - _ALPHA)
    return factors.astype(np.float32)


def _range(observed: _Observed, factors: _Floats) -> tuple[_Array, _Array]:
    """Return the scale and the zero point of a smoothed activation in 8 unsigned bits."""
    lowest = min(float((observed.lowest / factors).min()), 0.0)
    highest = max(float((observed.highest / factors).max()), 0.0)
    scale = max(highest - lowest, _SMALLEST) / 255
    return np.array(scale, np.float32), np.array(round(-lowest / scale), np.uint8)


def _bias(edit: _Edit, product: NodeProto) -> NodeProto | None:
    """Return the addition of a vector that is all that a product goes into."""
    readers = edit.readers(product.output[0])
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    added = edit.weights.get(readers[0].input[1])
    return readers[0] if added is not None and added.ndim == 1 else None


def _quantise_table(edit: _Edit, gather: NodeProto) -> None:
    table, output = gather.input[0], gather.output[0]
    rows, floats = f"{output}_int8", f"{output}_float32"
    values = edit.weights[table]
    scales = (np.abs(values).max(axis=0) / 127).astype(np.float32)
    scales[scales == 0] = 1
    quantised = edit.constant(f"{table}_quantised", np.rint(values / scales).astype(np.int8))
    scale = edit.constant(f"{table}_scale", scales)
    edit.replace(
        gather,
        helper.make_node("Gather", [quantised, gather.input[1]], [rows], name=rows),
        # The same bits as DequantizeLinear, which takes a scale at a time: of 32 tokens 3 % less.
        helper.make_node("Cast", [rows], [floats], name=floats, to=TensorProto.FLOAT),
        helper.make_node("Mul", [floats, scale], [output], name=f"{rows}_back"),
    )
