"""Refusing processors that are too old, before a dependency uses an instruction that they lack.

Importing this module runs the check; `rag_tools.engine` imports it before any dependency with
compiled code. The wheels of NumPy and ONNX Runtime need the second level of x86-64 (x86-64-v2,
about 2009). On older processors NumPy can't be imported, and other packages end the process with a
signal, which no program can turn into a message. All 64-bit ARM processors have what is needed.
"""

from __future__ import annotations

from rag_tools.errors import UnsupportedProcessorError

try:
    import rag_tools.index._native as _native
except ModuleNotFoundError:
    # Installed without a compiler. NumPy, which is imported next, reports missing instructions.
    _MISSING: list[str] = []
else:
    _MISSING = _native.missing_instructions()


def refuse(missing: list[str]) -> None:
    """Raise an error if the processor lacks instructions.

    Parameters
    ----------
    missing
        Names of the missing instructions, such as ``SSE4.2``.

    Raises
    ------
    UnsupportedProcessorError
        If `missing` isn't empty.
    """
    if missing:
        raise UnsupportedProcessorError(
            f"this processor lacks {', '.join(missing)}, which NumPy and ONNX Runtime need: "
            "rag-tools runs on x86-64 processors made since about 2009 (x86-64-v2) and on "
            "64-bit ARM"
        )


refuse(_MISSING)
