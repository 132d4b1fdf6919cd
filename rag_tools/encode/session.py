"""Loading a checkpoint's tokenizer, and its model as a session of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, normalizers

from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.errors import CheckpointError

_INPUTS = ("attention_mask", "input_ids")
_TYPES = "token_type_ids"


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


class Model:
    """A checkpoint's model: token ids in, embeddings out, whatever its file calls them.

    Raises
    ------
    CheckpointError
        If the model can't be loaded, or doesn't match the metadata.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._session = load_session(checkpoint)
        self._outputs = list(_outputs(checkpoint))
        self._typed = any(each.name == _TYPES for each in self._session.get_inputs())

    @property
    def metadata(self) -> dict[str, str]:
        """What the model file says of itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: dict[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Return the token embeddings of rows, and their pooled vectors if there are any.

        Parameters
        ----------
        inputs
            ``input_ids`` and ``attention_mask``, shape ``(n_rows, n_tokens)``, int64.
        """
        if self._typed:  # all tokens are of one text
            inputs = {**inputs, _TYPES: np.zeros_like(inputs["input_ids"])}
        found: list[NDArray[np.float32]] = self._session.run(self._outputs, inputs)
        return found


def _outputs(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the names of a model's outputs and their dimensions."""
    if checkpoint.layout == "next-plaid":
        return {"output": checkpoint.dim}
    pooled = {} if checkpoint.pooled_dim is None else {"pooled": checkpoint.pooled_dim}
    return {"token_embeddings": checkpoint.dim, **pooled}


def load_session(checkpoint: Checkpoint) -> ort.InferenceSession:
    """Load a checkpoint's model as a session; parameters and errors are those of `Model`."""
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
    inputs = {value.name for value in session.get_inputs()}
    dims = {value.name: value.shape[-1] for value in session.get_outputs()}
    expected = _outputs(checkpoint)
    optional = {_TYPES} if checkpoint.layout == "next-plaid" else set()
    # Exporters may leave dimensions open: the first run would tell.
    fits = dims.keys() == expected.keys() and all(
        dims[name] == size or (optional and not isinstance(dims[name], int))
        for name, size in expected.items()
    )
    if inputs - optional != set(_INPUTS) or not fits:
        raise CheckpointError(
            f"{str(checkpoint.model)!r} maps {sorted(inputs)} to {dims}; the checkpoint's metadata "
            f"needs {list(_INPUTS)} to {expected}. Make the file again with `rag-tools export`."
        )
