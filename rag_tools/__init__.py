"""Cite-exact retrieval for LLM agents.

Everything goes through `Engine`; its results are the values of `rag_tools.types`. Names are
imported on first use, so that ``import rag_tools`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_tools.engine import Engine
    from rag_tools.types import Citation, Document, Hit, SearchResults, Verification

__all__ = ["Citation", "Document", "Engine", "Hit", "SearchResults", "Verification", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'engine' if name == 'Engine' else 'types'}"), name)
