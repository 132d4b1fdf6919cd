"""Makes the golden index of the current format: run it once, when the format changes.

Usage: python tests/data/formats/make.py

It adds ``format-N.zip`` beside this file. Those of earlier formats stay: a release reads what the
release before wrote, or upgrades it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

from rag_tools import Document, Engine
from rag_tools.index.arrayfile import FORMAT_VERSION

TEXTS = {
    "backups": "# Backups\n\nBackups run every night at 02:30.\n\nThey are kept for two weeks.\n",
    "keys": "# Keys\n\nKeys are rotated on the first of every month.\n",
    "kettle": "# Kettle\n\nPure water boils at 100 °C. ☕\n",
    "gone": "# Gone\n\nThis document was deleted.\n",
}

EARLIER = {"kettle": "# Kettle\n\nPure water boils at 99 °C.\n"}

GOVERNED = {
    "keys": {"labels": ("ops", "user:ana"), "expires": 4_102_444_800, "hold": True},
    "gone": {"labels": ("nobody",)},
}


def main() -> None:
    """Write the file, or refuse to replace one."""
    target = Path(__file__).with_name(f"format-{FORMAT_VERSION}.zip")
    if target.exists():
        sys.exit(f"{target} exists: a golden index is never replaced")
    with TemporaryDirectory() as folder:
        with Engine.open(folder, create=True, keep_versions=True) as engine:
            for name, text in [*EARLIER.items(), *TEXTS.items()]:  # one segment each
                metadata = {"team": "ops" if name != "kettle" else "kitchen"}
                document = Document(uri=f"notes:{name}", id=name, text=text, metadata=metadata)
                engine.add([document.model_copy(update=GOVERNED.get(name, {}))])
            engine.delete(["gone"])
        with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.name != "writer.lock":
                    archive.write(path, path.relative_to(folder))


if __name__ == "__main__":
    main()
