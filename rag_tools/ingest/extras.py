"""Which extras are installed that loaders need, and what to say if one isn't."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

WITHOUT_OCR = "install 'rag-tools[ocr]' to have the text in it recognised"
"""What to do about a picture if the extra isn't installed."""


@cache
def recognises_text() -> bool:
    """Tell whether text in pictures can be recognised: whether the extra ``[ocr]`` is installed."""
    return find_spec("rapidocr") is not None
