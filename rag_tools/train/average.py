"""Averaging checkpoints: one that is as fast as each of them, and often better than all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.encode.export import export, load_source
from rag_tools.errors import CheckpointError, ConfigurationError


def average(
    checkpoints: Sequence[str | Path],
    out: Path,
    *,
    base: str | Path | None = None,
    scale: float = 1.0,
) -> Checkpoint:
    """Write the checkpoint whose weights are the means of others' weights.

    What runs with different seeds learned by chance cancels out, what all of them learned stays
    (model soups, Wortsman et al. 2022, arXiv 2203.05482). Since a mean is less far from where the
    runs started than they are, and what it learned is less by chance, it pays to go on in its
    direction (the outer step of local SGD; task arithmetic, Ilharco et al. 2023, arXiv 2212.04089).

    Parameters
    ----------
    checkpoints
        Directories or Hub ids of runs that started from one base. Named twice, one counts twice.
    out
        Directory to write. Everything but the weights is that of the first checkpoint.
    base
        Checkpoint that the runs started from. It is only needed for `scale`.
    scale
        Distance of the result from the base; 1 is the distance of the mean.

    Returns
    -------
    The checkpoint, exported.

    Raises
    ------
    CheckpointError
        If one can't be loaded, or has other weights, by name or shape, than the first.
    ConfigurationError
        If there is a scale and no base.
    """
    if scale != 1 and base is None:
        raise ConfigurationError(
            f"a scale of {scale:g} is measured from what the runs started from: name it as the base"
        )
    model = load_source(checkpoints[0])
    state = model.state_dict()
    mean = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in state.items()}
    shares = [(checkpoint, scale / len(checkpoints)) for checkpoint in checkpoints]
    if base is not None:
        shares.append((base, 1 - scale))
    for checkpoint, share in shares:
        other = load_source(checkpoint).state_dict()
        if {n: w.shape for n, w in other.items()} != {n: w.shape for n, w in state.items()}:
            raise CheckpointError(
                f"{str(checkpoint)!r} can't be averaged with {str(checkpoints[0])!r}: they have "
                "different weights. Average runs that started from one base."
            )
        for name, weight in other.items():
            mean[name] += share * weight.double()
    for name, weight in state.items():
        weight.copy_(mean[name])
    model.save_pretrained(str(out), create_model_card=False)
    return export(out, out)
