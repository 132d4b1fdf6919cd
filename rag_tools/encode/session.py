"""Loading a checkpoint's tokenizer, and its model as a session of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from tokenizers import AddedToken, Tokenizer, normalizers

from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.errors import CheckpointError


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """Load a checkpoint's tokenizer, without truncation and padding.

    Raises
    ------
    CheckpointError
        If the tokenizer can't be loaded.
    """
    tokenizer = read_tokenizer(checkpoint.directory / "tokenizer.json")
    if checkpoint.lowercase:
        steps = [normalizers.Lowercase(), *filter(None, [tokenizer.normalizer])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.add_special_tokens(
        [
            AddedToken(marker, normalized=False, special=True)
            for prompt in checkpoint.markers
            if (marker := _marker(tokenizer, prompt))
        ]
    )
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer, without truncation and padding; errors as for `load_tokenizer`."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise CheckpointError(f"{str(path)!r} is no tokenizer file: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _marker(tokenizer: Tokenizer, prompt: str) -> str | None:
    """Return the part of a prompt that was a single token in training.

    PyLate saves ``"[Q] "`` as one token, space included; Stanford's ``"[unused0]"`` is in the
    vocabulary. A prompt in plain words is neither and is tokenised as text.
    """
    words = prompt.split(None, 1)
    candidates = (prompt, words[0]) if words else ()
    return next((c for c in candidates if tokenizer.token_to_id(c) is not None), None)


def load_session(checkpoint: Checkpoint) -> ort.InferenceSession:
    """Load a checkpoint's model.

    Raises
    ------
    CheckpointError
        If the model can't be loaded, or doesn't match the metadata.
    """
    session = open_session(checkpoint.model)
    _check_model(checkpoint, session)
    return session


def open_session(path: Path) -> ort.InferenceSession:
    """Open a model whose runs take one thread each.

    Raises
    ------
    CheckpointError
        If the model can't be loaded.
    """
    options = ort.SessionOptions()
    # Each passage runs on one thread and several passages run in parallel, which needs no
    # synchronisation, and no sum depends on the number of threads. The graph optimisations at load
    # take 20 ms for the bundled model. A graph optimised in advance (ORT_ENABLE_EXTENDED) loaded
    # and ran no faster (15.5 against 15.2 ms per passage), so the portable graph is kept.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's classes share no narrower base
        raise CheckpointError(
            f"{str(path)!r} can't be loaded as an ONNX model: {error}."
        ) from error


def _check_model(checkpoint: Checkpoint, session: ort.InferenceSession) -> None:
    """Raise an error if the model's inputs, outputs or dimensions don't match the metadata."""
    inputs = sorted(value.name for value in session.get_inputs())
    dims = {value.name: value.shape[-1] for value in session.get_outputs()}
    expected = {"token_embeddings": checkpoint.dim}
    if checkpoint.pooled_dim is not None:
        expected["pooled"] = checkpoint.pooled_dim
    if inputs != ["attention_mask", "input_ids"] or dims != expected:
        raise CheckpointError(
            f"{str(checkpoint.model)!r} maps {inputs} to {dims}; the checkpoint's metadata needs "
            f"['attention_mask', 'input_ids'] to {expected}. Make the file again with "
            "`rag-tools export`."
        )
