"""Reading compiled code: which instruction set each function needs, and how it is linked.

Made for the promise of ``rag_tools/index/native``: one binary runs on every processor of its
architecture, since what only some can run is reached after a check alone. Needs ``objdump`` and
``readelf``, so ELF files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

BASELINE, SSE41, VEX, EVEX, DOT_PRODUCT = "baseline", "sse41", "vex", "evex", "dot product"

# What the file of each instruction set may contain beside the baseline.
ALLOWED = {
    "avx512vnni.cpp": {SSE41, VEX, EVEX},
    "avxvnni.cpp": {SSE41, VEX},
    "avx2.cpp": {SSE41, VEX},
    "sse41.cpp": {SSE41},
    "neon.cpp": {DOT_PRODUCT},
    "scalar.cpp": set(),
}

_PREFIXES = {0x66, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65, 0x67, 0xF0}
# Second bytes after 0f of instructions of SSE3, popcnt and lzcnt, each with the prefixes that make
# them so; all of 0f 38 and 0f 3a is newer than SSE2.
_NEWER = {
    0x12: {0xF2, 0xF3},
    0x16: {0xF3},
    0x7C: {0x66, 0xF2},
    0x7D: {0x66, 0xF2},
    0xD0: {0x66, 0xF2},
    0xF0: {0xF2},
    0xB8: {0xF3},
    0xBD: {0xF3},
}


@dataclass
class Function:
    """Instructions between two symbols.

    Attributes
    ----------
    name, address
        As in the symbol table.
    needs
        Instruction sets beyond the baseline, each with one instruction as an example.
    """

    name: str
    address: int
    needs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Symbol:
    """A line of the symbol table; `file` is the source file of a local symbol."""

    name: str
    address: int
    kind: str
    binding: str
    file: str
    defined: bool


def instruction_set(code: bytes) -> str:
    """Return what an x86-64 instruction needs beside SSE2, by its encoding."""
    at = 0
    prefixes = set()
    while at < len(code) and code[at] in _PREFIXES:
        prefixes.add(code[at])
        at += 1
    if at == len(code):
        return BASELINE
    if code[at] == 0x62:
        return EVEX
    if code[at] in (0xC4, 0xC5):
        return VEX
    if code[at] & 0xF0 == 0x40:  # REX
        at += 1
    if len(code) < at + 2 or code[at] != 0x0F:
        return BASELINE
    second = code[at + 1]
    if second in (0x38, 0x3A) or prefixes & _NEWER.get(second, set()):
        return SSE41
    return BASELINE


def functions(path: Path, *, objdump: str = "objdump") -> list[Function]:
    """Return the functions of an object file or a library, in order."""
    listing = _run(objdump, "--disassemble", "--wide", "--insn-width=15", path)
    found: list[Function] = []
    aarch64 = "aarch64" in listing[:400]
    for line in listing.splitlines():
        if heading := re.match(r"([0-9a-f]+) <(.+)>:$", line):
            found.append(Function(heading[2], int(heading[1], 16)))
            continue
        address, *rest = line.split("\t")
        if len(rest) < 2 or not address.strip().endswith(":"):
            continue
        if aarch64:
            needed = DOT_PRODUCT if rest[1].strip() in ("sdot", "udot") else BASELINE
        else:
            needed = instruction_set(bytes.fromhex(rest[0].strip()))
        if needed != BASELINE:
            found[-1].needs.setdefault(needed, rest[1].strip())
    return found


def symbols(path: Path) -> list[Symbol]:
    """Return the symbols of a file, local ones with the source file that they come from."""
    found = []
    file = ""
    for line in _run("readelf", "--symbols", "--wide", path).splitlines():
        match line.split():
            case [_, _, _, "FILE", _, _, _, *name]:
                file = name[0] if name else ""
            case [_, address, _, kind, binding, _, section, name] if section != "Ndx":
                local = file if binding == "LOCAL" else ""
                defined = section != "UND"
                found.append(Symbol(name, int(address, 16), kind, binding, local, defined))
    return found


def object_faults(path: Path, source: str, *, objdump: str = "objdump") -> list[str]:
    """Return what is wrong with the object file of an instruction set.

    Parameters
    ----------
    source
        Name of its source file, a key of `ALLOWED`; another one is a file of the baseline.
    """
    faults = []
    if source in ALLOWED:
        for symbol in symbols(path):
            # Data that refers to the run-time library; GCC without optimisation makes it weak.
            if symbol.name.startswith("DW.ref.") or not symbol.defined:
                continue
            if symbol.kind == "FUNC" and symbol.binding != "LOCAL":
                faults.append(f"{symbol.name} can be called or merged from outside: it isn't local")
            if symbol.binding == "WEAK":
                faults.append(f"{symbol.name} is weak: another file's copy can take its place")
        headers = _run("readelf", "--section-headers", "--wide", path)
        faults += [
            f"code runs when the program is loaded: {section}"
            for section in (".init_array", ".ctors")
            if f" {section}" in headers
        ]
    for function in functions(path, objdump=objdump):
        for needed in function.needs.keys() - ALLOWED.get(source, set()):
            faults.append(f"{function.name} needs {needed}: {function.needs[needed]}")
    return faults


def library_faults(path: Path, *, objdump: str = "objdump") -> list[str]:
    """Return which functions of a library with symbols need more than their file may."""
    placed = sorted(
        (symbol.address, symbol.file)
        for symbol in symbols(path)
        if symbol.kind == "FUNC" and symbol.defined
    )
    if not any(file in ALLOWED for _, file in placed):
        return ["it has no local symbols: nothing can be said about it"]
    addresses = [address for address, _ in placed]
    faults = []
    for function in functions(path, objdump=objdump):
        at = bisect_right(addresses, function.address) - 1
        file = placed[at][1] if at >= 0 else ""
        for needed in function.needs.keys() - ALLOWED.get(file, set()):
            faults.append(f"{function.name} ({file}) needs {needed}: {function.needs[needed]}")
    return faults


def missing_tools(*names: str) -> list[str]:
    """Return the programs that aren't installed."""
    return [name for name in names if shutil.which(name) is None]


def _run(*command: str | Path) -> str:
    return subprocess.run(
        list(map(str, command)), check=True, capture_output=True, encoding="utf-8", timeout=120
    ).stdout
