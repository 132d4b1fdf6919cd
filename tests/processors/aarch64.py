"""Make what runs the product on an emulated 64-bit ARM processor, in a folder.

Usage: python tests/processors/aarch64.py FOLDER

``root`` has Debian's Python 3.11 and its libraries, ``site`` the wheels of our dependencies and of
the tests', ``package`` this checkout with the native kernels, cross-compiled; ``check`` compares
the kernels without Python. Made once; needs ``debootstrap``, ``g++-aarch64-linux-gnu`` and root.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import nanobind

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "rag_tools" / "index" / "native"
SUITE = "bookworm"
PACKAGES = ("python3.11", "libstdc++6", "libgomp1")
CROSS = "aarch64-linux-gnu-g++"
# Newer wheels of ONNX Runtime end with a signal when qemu 7.2 imports them, whatever processor it
# stands for.
ONNXRUNTIME = "onnxruntime==1.23.2"


def main(folder: Path) -> None:
    """Make what isn't there yet; what depends on the checkout, always."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("root", _root), ("site", _site)):
        if not (folder / name).exists():
            shutil.rmtree(folder / f"{name}.part", ignore_errors=True)
            make(folder / f"{name}.part")
            (folder / f"{name}.part").rename(folder / name)
    _package(folder / "package")
    _check(folder / "check")


def _root(root: Path) -> None:
    """Unpack Debian's packages; nothing is run in them."""
    mirror = _run("apt-cache", "policy", "base-files", capture=True)
    [address, *_] = re.findall(r"\s(https?://\S+|file:\S+)", mirror)
    include = ",".join(PACKAGES)
    options = ["--foreign", "--arch=arm64", "--variant=minbase", f"--include={include}"]
    _run("debootstrap", *options, SUITE, str(root), address)
    for archive in (root / "var" / "cache" / "apt" / "archives").glob("*.deb"):
        tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, stdout=-1).stdout
        # Links of the root to its /usr stay.
        unpack = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(root)]
        subprocess.run(unpack, input=tar, check=True)


def _site(site: Path) -> None:
    """Install the wheels for the other processor."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], ONNXRUNTIME, "pytest", "pytest-asyncio", "hypothesis"]
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
    target = ["--target", str(site), "--python-version", "3.11", "--only-binary=:all:"]
    for platform in platforms:
        target += ["--platform", platform]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", *target, *wanted)


def _package(package: Path) -> None:
    """Copy the packages and cross-compile the extension into the copy."""
    shutil.rmtree(package, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "native")
    for source in ("rag_tools", "server/rag_tools_mcp"):
        shutil.copytree(ROOT / source, package / Path(source).name, ignore=ignore)
    base = Path(nanobind.__file__).parent
    include = [
        sysconfig.get_paths()["include"],
        base / "include",
        base / "ext" / "robin_map" / "include",
    ]
    sources = [path for path in sorted(NATIVE.glob("*.cpp")) if path.name != "check.cpp"]
    _run(
        *_compiler(),
        *("-DNDEBUG", "-fvisibility=hidden", "-fno-strict-aliasing", "-fPIC", "-shared"),
        *(f"-I{path}" for path in include),
        *map(str, [base / "src" / "nb_combined.cpp", *sources]),
        *("-o", str(package / "rag_tools" / "index" / "_native.abi3.so")),
    )


def _check(program: Path) -> None:
    sources = [path for path in sorted(NATIVE.glob("*.cpp")) if not path.name.startswith("module")]
    _run(*_compiler(), "-static", *map(str, sources), "-o", str(program))


def _compiler() -> list[str]:
    return [CROSS, "-std=c++17", "-O2", "-ffp-contract=off", "-pthread"]


def _run(*command: str, capture: bool = False) -> str:
    done = subprocess.run(
        command, check=True, stdout=-1 if capture else None, encoding="utf-8", env=os.environ
    )
    return done.stdout or ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
