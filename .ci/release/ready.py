"""Whether a tag may be published: ``ready.py TAG REPOSITORY`` names what is missing and fails.

The version is written once, in ``rag_tools/__init__.py``. Here it is compared with the tag, and
with what people read about the release.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(tag: str, repository: str) -> int:
    """Print what is missing, a sentence a line."""
    complaints = check(ROOT, tag, repository)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def check(root: Path, tag: str, repository: str) -> list[str]:
    """Return what keeps the clone at `root` from being published as `tag`.

    Parameters
    ----------
    root
        The clone.
    tag
        As ``v1.2.3``.
    repository
        URL that the release is published from.
    """
    missing = []
    version = package_version(root)
    if tag != f"v{version}":
        missing.append(f"the tag is {tag}, but rag_tools/__init__.py says {version}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", changes, re.MULTILINE)
    if headings[:1] != ["[Unreleased]"]:
        missing.append("CHANGELOG.md doesn't begin with the heading [Unreleased]")
    released = headings[1:2]
    if not (released and re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", *released)):
        missing.append(f"CHANGELOG.md has no heading '[{version}] - YEAR-MONTH-DAY' after it")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    written = project.get("urls", {}).get("Repository")
    if written is None:
        missing.append("pyproject.toml has no [project.urls] with a Repository")
    elif written != repository:
        missing.append(f"pyproject.toml gives {written} as Repository; this is {repository}")
    return missing


def package_version(root: Path) -> str:
    """Return the version that the package of the clone at `root` gives itself."""
    source = (root / "rag_tools" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    return str(version)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
