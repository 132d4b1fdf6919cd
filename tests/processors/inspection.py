"""Every object file of the native kernels, by each compiler and optimisation level.

``make processors`` runs this. A file of an instruction set has no function that can be called or
merged from outside and no code that runs when the program is loaded; no other file needs more than
the baseline of the architecture. See ``tests/helpers/binary.py`` for how that is read off.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from binary import ALLOWED, DOT_PRODUCT, EVEX, SSE41, VEX, functions, object_faults

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for path in (ROOT / "rag_tools" / "index" / "native").glob("*.cpp")
    if not path.name.startswith("module") and path.name != "check.cpp"
)
CROSS = "aarch64-linux-gnu-"
# Without optimisation every inline function is a function, with it code is moved and merged.
LEVELS = ("-O0", "-O2", "-O3")
X86 = {"avx512vnni.cpp": EVEX, "avxvnni.cpp": VEX, "avx2.cpp": VEX, "sse41.cpp": SSE41}


def compiled(folder: Path, source: Path, compiler: str, level: str) -> Path:
    path = folder / f"{source.stem}.o"
    flags = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", level]
    subprocess.run([compiler, *flags, "-c", source, "-o", path], check=True, timeout=300)
    return path


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_x86(tmp_path, compiler, level, source):
    path = compiled(tmp_path, source, compiler, level)
    assert object_faults(path, source.name) == []
    if source.name in X86:  # and the kernel is there
        assert any(X86[source.name] in function.needs for function in functions(path))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("level", LEVELS)
def test_aarch64(tmp_path, level, source):
    path = compiled(tmp_path, source, f"{CROSS}g++", level)
    objdump = f"{CROSS}objdump"
    assert object_faults(path, source.name, objdump=objdump) == []
    if source.name == "neon.cpp":
        assert any(DOT_PRODUCT in each.needs for each in functions(path, objdump=objdump))


def test_every_instruction_set_is_inspected():
    assert set(ALLOWED) <= {source.name for source in SOURCES}
