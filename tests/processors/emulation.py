"""The product on processors that this machine hasn't got: ``make processors`` runs this.

Emulated by qemu-user: x86-64 without AVX2 and with AVX2 alone, 64-bit ARM without and with the
dot-product instructions. On each, a folder is indexed, searched, cited and verified, and the result
is the one that this machine gives; the tests of the kernels run; and the C++ check compares every
kernel with the plain one. qemu has no AVX-512 and no AVX-VNNI: on a processor that has them, the
same tour runs natively with every kernel forced. The summary says what was covered.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag_tools.index import dispatch

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ARM = ROOT / "build" / "aarch64"
NATIVE = ROOT / "rag_tools" / "index" / "native"
# NumPy's library starts threads that it has no work for here.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
TOUR = Path(__file__).with_name("tour.py")
TEXT = {
    "backups.md": "# Backups\n\nBackups run every night at 02:30.\n\n"
    "They are kept for two weeks, then deleted.\n",
    "keys.rst": "Keys\n====\n\nKeys are rotated on the first of every month.\n",
    "retry.py": "def retry(call, attempts=3):\n    '''Call again after a failure.'''\n"
    "    return call()\n",
}


@dataclass(frozen=True)
class Processor:
    """One that is emulated, and the native kernels that it can run."""

    model: str
    kernels: tuple[str, ...]
    arm: bool = False

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python on it."""
        if self.arm:
            root = ARM / "root"
            command = [*self.emulator, "-L", root, root / "usr/bin/python3.11"]
            packages = os.pathsep.join([str(ARM / "package"), str(ARM / "site")])
            environment |= {"PYTHONPATH": packages}
        else:
            command = [*self.emulator, sys.executable]
        done = _run([*command, *arguments], {**ONE_THREAD, **environment})
        if done.returncode < 0:
            # The examples are the same in every run, and `make sanitize` reads past no array: what
            # dies of a signal once only was the emulator, which loses races between threads that
            # map and unmap memory. What dies twice is ours.
            warnings.warn(
                f"{self.model}: died of signal {-done.returncode}, started again", stacklevel=2
            )
            done = _run([*command, *arguments], {**ONE_THREAD, **environment})
        return done

    @property
    def emulator(self) -> list[str | Path]:
        """The command that a program's path follows."""
        return ["qemu-aarch64" if self.arm else "qemu-x86_64", "-cpu", self.model]


PROCESSORS = [
    Processor("Nehalem", ("sse41", "scalar")),
    Processor("Haswell", ("avx2", "sse41", "scalar")),
    Processor("cortex-a53", ("scalar",), arm=True),
    Processor("neoverse-n1", ("neon", "scalar"), arm=True),
]
TOO_OLD = ["Penryn", "Opteron_G1"]
FORCED = [*dispatch.kernel_names()]

on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="this machine is no x86-64")
each = pytest.mark.parametrize("processor", PROCESSORS, ids=lambda it: it.model)


def _run(command: list[Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # What was chosen for this machine's BLAS isn't for another processor's.
    inherited = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    return subprocess.run(
        list(map(str, command)),
        env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        # Not in the checkout, whose own packages would be imported.
        cwd=ROOT / "build",
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )


def natively(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, *arguments], environment)


def tour(python, folder: Path, *searched: Path, **environment: str) -> dict[str, Any]:
    """Index a folder, search it and indexes made before, cite and verify; return what is found."""
    documents = folder.parent / "documents"
    documents.mkdir(exist_ok=True)
    for name, text in TEXT.items():
        (documents / name).write_text(text)
    done = python(str(TOUR), *map(str, (documents, folder, *searched)), **environment)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """The index that this machine makes."""
    return tmp_path_factory.mktemp("expected") / "index"


@pytest.fixture(scope="module")
def expected(index) -> dict[str, Any]:
    return tour(natively, index)


@pytest.fixture
def covered(record_property) -> Callable[[str], None]:
    """Has a line in the summary say what was covered."""
    return lambda line: record_property("covered", line)


def same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Encoders differ in the last digits by processor; what is found and quoted doesn't."""
    assert got["hits"] == expected["hits"]
    assert got["scores"] == pytest.approx(expected["scores"], abs=0.03)
    assert got["quotes"] == expected["quotes"]
    assert got["quotes"][0] == "They are kept for two weeks, then deleted."
    assert set(got["verified"]) == {"exact"}


@each
def test_the_product(tmp_path, index, expected, covered, processor):
    got = tour(processor.python, tmp_path / "index", index)
    assert got["kernel"] == processor.kernels[0]
    same(got, expected)
    # Embeddings that one processor made are searched on another.
    assert got["searched"] == [expected["hits"]]
    covered(f"{processor.model}: index, search, cite, verify with {got['kernel']}")


@each
def test_kernels(covered, processor):
    names = processor.python(
        "-c", "from rag_tools.index import dispatch; print(*dispatch.kernel_names())"
    )
    assert names.stdout.split() == [*processor.kernels, "numpy"]
    done = processor.python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "index" / "test_kernels.py")),
        *("-k", "not depends_on_nothing"),  # work for several threads takes minutes here
    )
    assert done.returncode == 0, done.stdout[-3000:]
    covered(f"{processor.model}: tests of {', '.join(processor.kernels)}")


@each
def test_the_check_without_python(tmp_path, covered, processor):
    program = ARM / "check"
    if not processor.arm:
        program = tmp_path / "check"
        sources = [path for path in NATIVE.glob("*.cpp") if not path.name.startswith("module")]
        command = ["c++", "-std=c++17", "-O2", "-ffp-contract=off", "-pthread", "-static"]
        subprocess.run([*command, *sources, "-o", program], check=True, timeout=600)
    done = _run([*processor.emulator, program, "10", "small"], {})
    assert done.returncode == 0, done.stdout + done.stderr
    *names, _agreed, _values, _agree = done.stdout.split()
    assert names == list(processor.kernels)
    covered(f"{processor.model}: C++ check of {', '.join(names)}")


@on_x86
@pytest.mark.parametrize("model", TOO_OLD)
def test_a_processor_that_is_too_old_gets_a_sentence(covered, model):
    done = Processor(model, ()).python("-m", "rag_tools.cli.main", "status")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "TCG" not in line]
    assert len(lines) == 1
    assert "this processor lacks" in lines[0]
    assert "SSE4.2" in lines[0]
    covered(f"{model}: refused with a sentence")


@pytest.mark.parametrize("kernel", FORCED)
def test_the_product_natively_with_every_kernel(tmp_path, expected, covered, kernel):
    got = tour(natively, tmp_path / "index", RAG_TOOLS_KERNEL=kernel)
    assert got["kernel"] == kernel
    same(got, expected)
    covered(f"this processor: index, search, cite, verify with {kernel}")
