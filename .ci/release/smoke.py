"""Use an installed rag-tools as somebody new to it does: ``smoke.py [--kernel native|numpy]``.

Runs with the Python that rag-tools is installed in, reads nothing outside that environment and a
folder of its own, and needs no network. A document of each kind that a compiled dependency reads is
indexed, searched, cited and verified; then the source changes, and the citation has to notice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docx

import rag_tools

SENTENCE = "The signing keys are rotated every ninety days by the platform team."
QUESTION = "how often are the signing keys rotated?"
OTHERS = {
    "backoff.py": 'def pause(tries):\n    """Wait twice as long after each failed try."""\n',
    "leave.html": "<h1>Leave</h1><p>Employees get twenty-eight days of holiday a year.</p>",
    "notes.txt": "The cafeteria opens at eight and closes at three.\n",
}


def main() -> None:
    """Use the commands one after the other; the first that does something else ends the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", choices=["native", "numpy"], help="what searches must run on")
    wanted = parser.parse_args().kernel
    package = Path(rag_tools.__file__).parent
    _check(
        str(package.parent) in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")},
        f"{package} is not the installed package",
    )
    shown = _run("--version").strip()
    _check(shown == f"rag-tools {version('rag-tools')}", f"--version prints {shown!r}")
    with TemporaryDirectory() as folder:
        _use(Path(folder), wanted)


def _use(folder: Path, wanted: str | None) -> None:
    documents, index = folder / "documents", ("--index", str(folder / "index"))
    documents.mkdir()
    keys = documents / "keys.md"
    keys.write_text(f"# Keys\n\n{SENTENCE}\n\nPasswords are never sent by mail.\n", "utf-8")
    for name, text in OTHERS.items():
        (documents / name).write_text(text, "utf-8")
    minutes = docx.Document()
    minutes.add_paragraph("The board agreed to move the office to Lisbon.")
    minutes.save(str(documents / "minutes.docx"))

    report = _json("index", str(documents), *index, "--json")
    _check(len(report["added"]) == len(OTHERS) + 2, f"index says {report}")
    status = _json("status", *index, "--json")
    native = status["kernel"] != "numpy"
    _check(
        wanted is None or native == (wanted == "native"),
        f"searches run on {status['kernel']!r}; {wanted} kernels were expected",
    )

    found = _json("search", QUESTION, *index, "--json")
    best = found["results"][0]["citations"][0]
    _check(best["quote"] == SENTENCE and keys.as_uri() in best["url"], f"search says {best}")
    office = _json("search", "where will the office move?", *index, "--json")["results"][0]
    _check("Lisbon" in office["text"], f"search says {office}")
    support = _json("cite", "Signing keys are rotated every ninety days.", *index, "--json")
    _check(support["verdict"] == "supported", f"cite says {support}")

    saved = folder / "citation.json"
    saved.write_text(json.dumps(best), "utf-8")
    _verify(saved, index, "exact")
    keys.write_text(f"# Keys\n\nA new first paragraph.\n\n{SENTENCE}\n", "utf-8")
    _json("index", *index, "--json")
    _verify(saved, index, "moved")
    keys.write_text("# Keys\n\nNobody rotates anything.\n", "utf-8")
    _json("index", *index, "--json")
    _verify(saved, index, "stale")
    sys.stdout.write(
        f"rag-tools {version('rag-tools')} works on Python {sys.version.split()[0]}, "
        f"{sysconfig.get_platform()}, with the kernel {status['kernel']}\n"
    )


def _verify(saved: Path, index: tuple[str, str], expected: str) -> None:
    code = 1 if expected == "stale" else 0
    (checked,) = _json("verify", str(saved), *index, "--json", code=code)["verifications"]
    _check(checked["status"] == expected, f"verify says {checked['status']}, not {expected}")


def _json(*arguments: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(_run(*arguments, code=code))


def _run(*arguments: str, code: int = 0) -> str:
    program = shutil.which("rag-tools", path=sysconfig.get_path("scripts"))
    _check(program is not None, f"no rag-tools in {sysconfig.get_path('scripts')}")
    done = subprocess.run(
        [str(program), *arguments], capture_output=True, encoding="utf-8", check=False
    )
    command = " ".join(["rag-tools", *arguments])
    _check(done.returncode == code, f"{command} exits with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _check(condition: bool, complaint: str) -> None:
    if not condition:
        raise SystemExit(complaint)


if __name__ == "__main__":
    main()
