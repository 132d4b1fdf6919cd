"""The evidence model in PyTorch: a small BERT that reads both texts, and four linear heads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertModel

from rag_tools.errors import CheckpointError

N_VERDICTS = 5
"""Of a row: relevance, no answer, entailed, contradicted, neither."""


class Reading(NamedTuple):
    """What the model says, as logits.

    Attributes
    ----------
    evidence
        Shape ``(n_rows, n_tokens)``.
    verdicts
        Shape ``(n_rows, 5)``, see `N_VERDICTS`.
    """

    evidence: Tensor
    verdicts: Tensor


class EvidenceNet(nn.Module):  # type: ignore[misc] # torch is optional, so untyped here
    """A BERT over question and passage.

    Parameters
    ----------
    bert
        Its embeddings and lower `frozen` layers stay as they are. What marks the passage as such
        is added after these, since all-MiniLM has never seen a second segment.
    frozen
        Number of lower layers that aren't trained.
    """

    def __init__(self, bert: BertModel, frozen: int = 2) -> None:
        super().__init__()
        self.embeddings = bert.embeddings
        self.layers = bert.encoder.layer
        width = bert.config.hidden_size
        self.frozen = frozen
        self.segment = nn.Embedding(2, width)
        nn.init.zeros_(self.segment.weight)
        self.evidence = nn.Linear(width, 1)
        self.pooler = nn.Linear(width, width)
        self.verdicts = nn.Linear(width, N_VERDICTS)
        for part in (self.embeddings, *self.layers[:frozen]):
            part.requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, segments: Tensor) -> Reading:
        """Return the logits of rows that are padded to one length.

        Parameters
        ----------
        input_ids, attention_mask, segments
            Shape ``(n_rows, n_tokens)``, int64.
        """
        mask = attention_mask[:, None, None, :].to(torch.float32)
        mask = (1.0 - mask) * -10_000.0
        with torch.no_grad():
            hidden = self.embeddings(input_ids)
            for layer in self.layers[: self.frozen]:
                hidden = layer(hidden, mask)
        hidden = hidden + self.segment(segments)
        for layer in self.layers[self.frozen :]:
            hidden = layer(hidden, mask)
        # The first token by a product and not by an index: see `rag_tools.encode.export`.
        first = torch.tanh(self.pooler(hidden[:, 0]))
        return Reading(self.evidence(hidden).squeeze(-1), self.verdicts(first))

    def trained(self) -> dict[str, Tensor]:
        """Return the weights that training changes, by name."""
        return {name: values for name, values in self.named_parameters() if values.requires_grad}


def load_net(base: Path, frozen: int = 2, attention: str = "sdpa") -> EvidenceNet:
    """Return an untrained model on the encoder of a checkpoint in Hugging Face's layout.

    Raises
    ------
    OSError
        If there are no weights in `base`.
    """
    bert = BertModel.from_pretrained(
        str(base), add_pooling_layer=False, attn_implementation=attention
    )
    for module in bert.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return EvidenceNet(bert, frozen)


def origin(net: EvidenceNet) -> dict[str, Tensor]:
    """Return what differences are taken to: the base's layers, and zero for what is new."""
    return {
        name: values.detach().clone() if name.startswith("layers.") else torch.zeros_like(values)
        for name, values in net.trained().items()
    }


def load_weights(file: Path, original: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return trained weights from a state, or from differences to `original`.

    Raises
    ------
    CheckpointError
        If the file can't be read, or has other weights.
    """
    try:
        if file.suffix == ".safetensors":
            delta = load_file(file)
            found = {name: original[name] + delta[name].float() for name in delta}
        else:
            found = torch.load(file, weights_only=True)["net"]
    except Exception as error:  # torch, pickle and safetensors each have errors of their own
        raise CheckpointError(
            f"{str(file)!r} has no weights of an evidence model: {error!r}"
        ) from error
    if found.keys() != original.keys():
        raise CheckpointError(f"{str(file)!r} has weights of another model than the base's")
    return found
