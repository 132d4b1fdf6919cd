"""Computing in bfloat16: half the bytes of a number, where the processor knows how."""

from __future__ import annotations

import torch


def in_bf16(device: torch.device, wanted: bool | None) -> torch.autocast:
    """Return a context in which a model computes in bfloat16.

    Parameters
    ----------
    device
        Device of the model.
    wanted
        Whether it computes in bfloat16; None: if the device does so itself, not by way of float32.
    """
    if wanted is None:
        wanted = (
            torch.cuda.is_bf16_supported()
            if device.type == "cuda"
            else device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)
