"""How much memory this process holds: Linux."""

from __future__ import annotations

from pathlib import Path


def resident_bytes() -> int:
    """Return what is resident now, mapped files included."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Have `peak_bytes` count from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the most that was resident since the start or `forget_peak`."""
    # Not getrusage, which counts the process that started this one.
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
