"""Times as people write them in options and settings."""

from __future__ import annotations

import re

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Return the number of seconds that a time such as ``30s``, ``10m`` or ``1h`` stands for.

    Raises
    ------
    ValueError
        If it is no such time, or 0.

    Examples
    --------
    >>> seconds("10m")
    600.0
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd]?)", text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is not a time: write 30s, 10m, 1h or 1d")
    return float(match[1]) * _SECONDS[match[2]]
