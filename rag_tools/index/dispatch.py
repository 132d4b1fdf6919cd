"""Choosing the kernel, and the number of threads.

``RAG_TOOLS_KERNEL`` names the kernel to use. ``RAG_TOOLS_THREADS`` is the number of threads that
large work may use; if it is unset, that is the number of cores that the process may use.
`rag_tools.index.kernels` runs the kernels for a search, the codebook and segments those for
writing.
"""

from __future__ import annotations

import os
import threading
from functools import cache

from rag_tools.cores import available_cores
from rag_tools.errors import ConfigurationError

try:
    import rag_tools.index._native as native
except ModuleNotFoundError:
    # Installed without a compiler, as `kernel_name` tells.
    native = None  # type: ignore[assignment]

__all__ = [
    "NUMPY",
    "kernel",
    "kernel_name",
    "kernel_names",
    "native",
    "thread_count",
    "use_one_thread",
]

NUMPY = "numpy"


def kernel_names() -> list[str]:
    """Return the kernels that can run here, fastest first."""
    return [*(() if native is None else native.available()), NUMPY]


def kernel_name() -> str:
    """Return the kernel in use: `NUMPY` or the name of a native one.

    Native kernels are named after their instruction set: ``avx512vnni``, ``avxvnni``, ``avx2``,
    ``sse41``, ``neon``, and ``scalar`` for plain C++.

    Raises
    ------
    ConfigurationError
        If ``RAG_TOOLS_KERNEL`` names one that can't run here.
    """
    name = os.environ.get("RAG_TOOLS_KERNEL")
    if name == NUMPY:
        return NUMPY  # must work even if the native kernels are at fault, so none of them is called
    names = kernel_names()
    name = name or names[0]
    if name not in names:
        raise ConfigurationError(
            f"RAG_TOOLS_KERNEL={name}: choose one that this machine and build have: "
            f"{', '.join(names)}"
        )
    return name


def kernel() -> native.Kernel | None:
    """Return the native kernel in use; None if NumPy is in use."""
    name = kernel_name()
    return None if name == NUMPY else _named(name)


@cache
def _named(name: str) -> native.Kernel:
    return native.Kernel(name)


def thread_count() -> int:
    """Return the number of threads that large work of the calling thread may use.

    Raises
    ------
    ConfigurationError
        If ``RAG_TOOLS_THREADS`` isn't a positive number.
    """
    if getattr(_own, "one_thread", False):
        return 1
    value = os.environ.get("RAG_TOOLS_THREADS")
    if not value:
        return available_cores()
    if not value.isdecimal() or int(value) < 1:
        raise ConfigurationError(f"RAG_TOOLS_THREADS={value}: give a whole number of at least 1")
    return int(value)


def use_one_thread() -> None:
    """Restrict large work of the calling thread to this thread: it is one of several."""
    _own.one_thread = True


_own = threading.local()
