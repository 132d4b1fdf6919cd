"""The inspection of compiled code finds what it is there to find; what is installed is sound.

`tests/processors` inspects the object files of every compiler and optimisation level.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from binary import (
    BASELINE,
    EVEX,
    SSE41,
    VEX,
    functions,
    instruction_set,
    library_faults,
    missing_tools,
    object_faults,
)
from rag_tools.index import dispatch

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="reads ELF files of x86-64"
)

KERNELS = """
struct Table { const char* name; bool (*supported)(); void (*functions[6])(const float*, float*); };
namespace {
void scale(const float* in, float* out) { for (int i = 0; i < 64; ++i) out[i] = 3 * in[i]; }
}
"""


def compiled(folder: Path, source: str, *, level: str = "-O3") -> Path:
    if missing := missing_tools("c++", "objdump", "readelf"):
        pytest.skip(f"not installed: {', '.join(missing)}")
    path = folder / "kernel.cpp"
    path.write_text(source)
    command = ["c++", "-std=c++17", level, "-fPIC", "-c", str(path), "-o", str(folder / "k.o")]
    subprocess.run(command, check=True, timeout=60)
    return folder / "k.o"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("c3", BASELINE),
        ("f3 0f 1e fa", BASELINE),  # endbr64
        ("66 0f 6f c1", BASELINE),  # movdqa
        ("66 0f f5 c1", BASELINE),  # pmaddwd of SSE2
        ("f3 0f bc c0", BASELINE),  # rep bsf, which old processors read as bsf
        ("41 0f b6 00", BASELINE),  # movzx with REX
        ("66 0f 38 00 c1", SSE41),  # pshufb
        ("66 45 0f 38 00 c1", SSE41),  # pshufb with REX
        ("66 0f 3a 0f c1 04", SSE41),  # palignr
        ("f3 48 0f b8 c0", SSE41),  # popcnt
        ("f2 0f 7c c1", SSE41),  # haddps
        ("c5 f8 77", VEX),  # vzeroupper
        ("c4 e2 7d 18 07", VEX),  # vbroadcastss
        ("62 f1 7c 48 10 07", EVEX),  # vmovups zmm
    ],
)
def test_an_instruction_is_known_by_its_encoding(code, expected):
    assert instruction_set(bytes.fromhex(code)) == expected


def test_a_table_filled_at_run_time_is_found(tmp_path):
    """What made every program end with an illegal instruction on processors without AVX-512."""
    source = (
        '#pragma GCC target("avx512f,avx512bw")\n'
        + KERNELS
        + """
bool supported();
namespace {
Table make(bool (*check)()) {
    return {"kernel", check, {scale, scale, scale, scale, scale, scale}};
}
}
const Table* kernel() {
    static const Table table = make(supported);
    return &table;
}
"""
    )
    faults = object_faults(compiled(tmp_path, source), "avx512vnni.cpp")
    assert any("kernel" in fault and "isn't local" in fault for fault in faults)
    [outside] = [f for f in functions(tmp_path / "k.o") if f.name == "_Z6kernelv"]
    assert outside.needs  # the function that was called before the check


def test_a_table_of_constants_is_no_fault(tmp_path):
    source = (
        '#pragma GCC target("avx512f,avx512bw")\n'
        + KERNELS
        + """
extern const Table table;
constexpr Table table = {"kernel", nullptr, {scale, scale, scale, scale, scale, scale}};
"""
    )
    path = compiled(tmp_path, source)
    assert object_faults(path, "avx512vnni.cpp") == []
    assert any("needs evex" in fault for fault in object_faults(path, "search.cpp"))
    assert any("needs evex" in fault for fault in object_faults(path, "avx2.cpp"))


def test_a_function_that_another_file_may_take_is_found(tmp_path):
    source = (
        '#pragma GCC target("avx2")\n'
        + "struct Value { int n; int twice() const { return 2 * n; } };\n"
        + "namespace { int use(const Value& value) { return value.twice(); } }\n"
        + "extern int (*const table)(const Value&);\nint (*const table)(const Value&) = use;\n"
    )
    faults = object_faults(compiled(tmp_path, source, level="-O0"), "avx2.cpp")
    assert any("twice" in fault and "weak" in fault for fault in faults)


def test_code_that_runs_when_the_program_is_loaded_is_found(tmp_path):
    source = (
        '#pragma GCC target("avx2")\nint first();\nnamespace { const int value = first(); }\n'
        + "extern const int* const table;\nconst int* const table = &value;\n"
    )
    faults = object_faults(compiled(tmp_path, source), "avx2.cpp")
    assert any("loaded" in fault for fault in faults)


@pytest.mark.skipif(dispatch.native is None, reason="installed without the native kernels")
def test_the_installed_extension_needs_the_baseline_alone_outside_its_kernels():
    if missing := missing_tools("objdump", "readelf"):
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert library_faults(Path(dispatch.native.__file__)) == []
