"""Refuses a processor that is too old, before a dependency meets an instruction it hasn't got.

Importing this module does it; `rag_tools.engine` imports it before anything that has compiled code
of others. The wheels of NumPy and ONNX Runtime are compiled for the second level of x86-64
(x86-64-v2, about 2009); without it NumPy can't be imported, and others end the process with a
signal, which no program can turn into a message. Processors of 64-bit ARM all have what is needed.
"""

from __future__ import annotations

from rag_tools.errors import UnsupportedProcessorError

try:
    import rag_tools.index._native as _native
except ModuleNotFoundError:
    # Installed without a compiler: NumPy, which comes next, says what it lacks itself.
    _MISSING: list[str] = []
else:
    _MISSING = _native.missing_instructions()


def refuse(missing: list[str]) -> None:
    """Raise if there are instructions that this processor lacks.

    Parameters
    ----------
    missing
        Their names, such as ``SSE4.2``.

    Raises
    ------
    UnsupportedProcessorError
        If there are any.
    """
    if missing:
        raise UnsupportedProcessorError(
            f"this processor lacks {', '.join(missing)}, which NumPy and ONNX Runtime need: "
            "rag-tools runs on x86-64 processors made since about 2009 (x86-64-v2) and on "
            "64-bit ARM"
        )


refuse(_MISSING)
