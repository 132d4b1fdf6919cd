"""Exporting a checkpoint's model to ONNX, in float32 and in int8 (needs the extra ``[torch]``).

``rag-tools export CHECKPOINT OUT`` makes of any checkpoint that sentence-transformers loads as a
`MultiVectorEncoder` a directory that `rag_tools.encode.checkpoint.load_checkpoint` reads. Training
is `rag_tools.train`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnxruntime import InferenceSession
from sentence_transformers import MultiVectorEncoder

from rag_tools.encode import samples
from rag_tools.encode.checkpoint import MODEL_FILES, Checkpoint, load_checkpoint
from rag_tools.encode.encoder import INDEPENDENT_ROWS, WIDTH, Encoder
from rag_tools.encode.quantise import quantise
from rag_tools.encode.session import load_session
from rag_tools.errors import CheckpointError

# The files must agree with the source on these: short enough for any length limit.
_QUERIES = ("what is late interaction?", "Grüße, naïve café!", "how do bees find flowers")
_PASSAGES = (
    "Late interaction compares every token.",
    "It was 5.3 m (17 ft) long - in Zürich.",
    "def add(a, b): return a + b  # two numbers",
    "Bees dance to tell the others where the flowers are.",
)

# The graph of fused attention spends 2 ms of 15 on guarding its mask.
_ATTENTION = "eager"

# Largest difference between a vector's components in float32 here and in the source.
_TOLERANCE = 1e-4
# Smallest mean cosine of an int8 vector to the source's; 0.997 for the bundled model.
_INT8_COSINE = 0.95


class Agreement(NamedTuple):
    """Cosines between the embeddings of an exported file and those of the source.

    Attributes
    ----------
    file
        Its name.
    token_mean, token_worst
        Over the tokens of a few queries and passages.
    pooled_mean, pooled_worst
        Over the passages; None if the checkpoint has no pooled vector.
    """

    file: str
    token_mean: float
    token_worst: float
    pooled_mean: float | None
    pooled_worst: float | None


def export(source: str | Path, directory: str | Path) -> Checkpoint:
    """Write ``onnx/model.onnx`` and ``onnx/model_int8.onnx`` and check them against the source.

    Parameters
    ----------
    source
        Directory or Hub id of a checkpoint in any layout that `load_checkpoint` reads.
    directory
        Where to write; `source` itself is fine. The metadata is copied there, the weights in
        other formats are not.

    Returns
    -------
    The checkpoint in `directory`; it uses the int8 file. Delete that to use float32.

    Raises
    ------
    CheckpointError
        If the source can't be loaded, or an exported file gives other embeddings than it.
    """
    source, directory = _local(source), Path(directory)
    model = load_source(source, attn_implementation=_ATTENTION)
    _copy_metadata(source, directory)
    if not (directory / "tokenizer.json").is_file():
        model.tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    int8, float32 = (directory / file for file in MODEL_FILES)
    int8.unlink(missing_ok=True)
    _export_float32(model, float32)
    _mark(load_checkpoint(directory))
    encoder = Encoder(load_checkpoint(directory), threads=1)
    _check_float32(model, directory, encoder)
    calibration = (
        *(encoder.inputs(text) for text in samples.PASSAGES),
        *(encoder.inputs(text, query=True) for text in samples.QUERIES),
    )
    quantise(float32, int8, calibration)
    _mark(load_checkpoint(directory))
    compare(model, directory)
    return load_checkpoint(directory)


def check(source: str | Path, directory: str | Path) -> list[Agreement]:
    """Compare the files of an export with the checkpoint they were made from.

    Returns
    -------
    One entry for each of the two files that is there.

    Raises
    ------
    CheckpointError
        If either can't be loaded, or an exported file gives other embeddings than the source.
    """
    model = load_source(_local(source), attn_implementation=_ATTENTION)
    return compare(model, Path(directory))


def compare(model: MultiVectorEncoder, directory: Path) -> list[Agreement]:
    """Do what `check` does, with the source loaded."""
    checkpoint = load_checkpoint(directory)
    float32 = directory / MODEL_FILES[1]
    if float32.is_file():
        _check_float32(model, directory, Encoder(replace(checkpoint, model=float32), threads=1))
    agreements = [
        _agreement(model, Encoder(replace(checkpoint, model=file), threads=1))
        for file in (directory / name for name in reversed(MODEL_FILES))
        if file.is_file()
    ]
    for found in agreements:
        if min(found.token_mean, found.pooled_mean or 1.0) < _INT8_COSINE:
            raise CheckpointError(
                f"{found.file} in {str(directory)!r} is too far from its source (mean cosine "
                f"{found.token_mean:.3f}): delete it and use the float32 one."
            )
    return agreements


class _Forward(torch.nn.Module):  # type: ignore[misc] # torch is optional, so untyped here
    """The modules of a `MultiVectorEncoder` up to its scoring mask, as one function of arrays."""

    def __init__(self, model: MultiVectorEncoder) -> None:
        super().__init__()
        self.steps = torch.nn.ModuleList(
            module for module in model if type(module).__name__ != "MultiVectorMask"
        )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        for step in self.steps:
            features = step(features)
            if getattr(step, "pooling_mode", None) == "mean":
                features["sentence_embedding"] = _mean(features)
        names = ("token_embeddings", "sentence_embedding")
        return tuple(features[name] for name in names if name in features)


def _mean(features: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean of the tokens that are attended to, as a product.

    A sum over an axis is another kernel of ONNX Runtime, with another order of additions, for one
    row than for several; a product of each row's own is the same for both.
    """
    attended = features["attention_mask"].unsqueeze(1).to(torch.float32)  # (n_rows, 1, n_tokens)
    total = attended @ features["token_embeddings"]
    return (total / attended.sum(dim=2, keepdim=True).clamp(min=1)).squeeze(1)


def _export_float32(model: MultiVectorEncoder, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    forward = _Forward(model).eval()
    example = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    inputs = (example, torch.ones_like(example))
    with torch.inference_mode():
        n_outputs = len(forward(*inputs))
    # A model that can't take batches is exported all the same, and isn't marked.
    shape = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        forward,
        inputs,
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["token_embeddings", "pooled"][:n_outputs],
        dynamic_shapes={"input_ids": shape, "attention_mask": shape},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip(path)


def strip(path: Path) -> None:
    """Delete what the exporter notes for debugging: source lines and paths of this machine."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, str(path))


def _mark(checkpoint: Checkpoint) -> None:
    """Note in the model file that its rows don't depend on each other, if that is so."""
    session = load_session(checkpoint)
    if not all(isinstance(value.shape[0], str) for value in session.get_inputs()):
        return
    for width in (WIDTH, min(24, checkpoint.max_tokens)):
        if not _rows_are_independent(session, checkpoint.vocabulary_size, width):
            return
    model = onnx.load(str(checkpoint.model))
    model.metadata_props.add(key=INDEPENDENT_ROWS, value="1")
    onnx.save(model, str(checkpoint.model))


def _rows_are_independent(session: InferenceSession, vocabulary_size: int, width: int) -> bool:
    """Try it out: rows of several lengths, alone and together."""
    lengths = np.array([width, width - 1, width // 2, 2, 1])
    ids = np.random.default_rng(0).integers(vocabulary_size, size=(len(lengths), width))
    attention = (np.arange(width) < lengths[:, None]).astype(np.int64)
    rows = {"input_ids": ids, "attention_mask": attention}
    together = session.run(None, rows)
    for i in range(len(lengths)):
        alone = session.run(None, {name: values[i : i + 1] for name, values in rows.items()})
        if any(one.tobytes() != all[i].tobytes() for one, all in zip(alone, together, strict=True)):
            return False
    return True


def _check_float32(model: MultiVectorEncoder, directory: Path, encoder: Encoder) -> None:
    pairs = [
        *((model.encode_query(text), encoder.encode_query(text)) for text in _QUERIES),
        *((model.encode_document(text), encoder.encode_passage(text)) for text in _PASSAGES),
    ]
    for theirs, ours in pairs:
        expected = theirs.cpu().numpy()
        if expected.shape != ours.vectors.shape:
            raise CheckpointError(
                f"The export to {str(directory)!r} keeps {ours.vectors.shape[0]} tokens where the "
                f"source keeps {expected.shape[0]}: its metadata isn't understood."
            )
        difference = float(np.abs(expected - ours.vectors).max())
        if difference > _TOLERANCE:
            raise CheckpointError(
                f"The export to {str(directory)!r} gives other embeddings than the source: they "
                f"differ by {difference:.2g}."
            )


def _agreement(model: MultiVectorEncoder, encoder: Encoder) -> Agreement:
    tokens, pooled = [], []
    for text in _QUERIES:
        theirs = model.encode_query(text).cpu().numpy()
        tokens.append((theirs * encoder.encode_query(text).vectors).sum(axis=1))
    for text in _PASSAGES:
        output = model.encode_document(text, output_value=None)
        ours = encoder.encode_passage(text)
        theirs = model.encode_document(text).cpu().numpy()
        tokens.append((theirs * ours.vectors).sum(axis=1))
        if ours.pooled is not None:
            sentence = output["sentence_embedding"].cpu().numpy()
            pooled.append(float(sentence @ ours.pooled / np.linalg.norm(sentence)))
    cosines = np.concatenate(tokens)
    return Agreement(
        encoder.checkpoint.model.name,
        float(cosines.mean()),
        float(cosines.min()),
        float(np.mean(pooled)) if pooled else None,
        min(pooled) if pooled else None,
    )


def load_source(source: str | Path, **settings: str) -> MultiVectorEncoder:
    """Load a checkpoint's weights on the CPU.

    Parameters
    ----------
    source
        Directory or Hub id.
    settings
        Passed to the encoder's ``from_pretrained``.

    Raises
    ------
    CheckpointError
        If it can't be loaded.
    """
    try:
        return MultiVectorEncoder(str(source), device="cpu", model_kwargs=settings)
    except Exception as error:  # half a dozen libraries take part, each with errors of its own
        raise CheckpointError(f"The checkpoint {str(source)!r} can't be loaded: {error}") from error


def _local(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{str(source)!r} is neither a directory nor a Hub repository that can be downloaded "
            f"({error})."
        ) from error


def _copy_metadata(source: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if directory.samefile(source):
        return
    for path in sorted(source.rglob("*")):
        if path.suffix == ".json" or path.name == "artifact.metadata":
            copy = directory / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
