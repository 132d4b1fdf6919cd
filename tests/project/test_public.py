"""The public interface: each name can be imported, and the documentation says what it promises."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rag_tools
from rag_tools import errors
from rag_tools.cite import formats, markers

ROOT = Path(__file__).parents[2]
STABILITY = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+).*?$(.*?)(?=^## |\Z)", STABILITY, re.DOTALL | re.MULTILINE))

# What promises to stay: a name that is added or taken away here is added to the documentation or
# deprecated first.
PUBLIC = [
    "AccessError",
    "AccessRules",
    "Aligned",
    "AuditError",
    "AuditLog",
    "BackupError",
    "Block",
    "Box",
    "CheckpointError",
    "Citation",
    "CitedAnswer",
    "Claim",
    "Client",
    "ConfigurationError",
    "DatasetError",
    "Document",
    "DocumentEntry",
    "DocumentVersion",
    "Element",
    "Engine",
    "Fetched",
    "FileTooLargeError",
    "Filter",
    "Flag",
    "HeldError",
    "Hidden",
    "Hit",
    "HostError",
    "IndexAccessError",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexMismatchError",
    "IndexNotFoundError",
    "IndexVersionError",
    "IngestError",
    "InvalidDocumentError",
    "InvalidQueryError",
    "Judgement",
    "NoTextError",
    "NotFoundError",
    "Page",
    "Part",
    "Principal",
    "Progress",
    "Provenance",
    "Quality",
    "QuotaError",
    "RagToolsError",
    "SearchResults",
    "ServerError",
    "Signals",
    "Skipped",
    "SkippedDocumentsError",
    "SourceMap",
    "Span",
    "Status",
    "Support",
    "SyncReport",
    "TransferError",
    "UnreadableFileError",
    "UnsupportedFormatError",
    "UnsupportedProcessorError",
    "Verification",
    "Verifications",
    "VersionRules",
    "WebOptions",
    "__version__",
    "load_checkpoint",
    "open_index",
]

# Public where they are defined, since each needs its module's name to be understood.
ELSEWHERE = {
    formats: ("references", "anthropic_content", "openai_annotations"),
    markers: ("markers", "unmarked", "resolve"),
}


def test_the_public_names_are_these():
    assert sorted(rag_tools.__all__) == sorted(PUBLIC) == dir(rag_tools)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_imported_and_is_documented(name: str):
    found: dict[str, object] = {}
    exec(f"from rag_tools import {name}", found)
    assert found[name] is not None
    assert f"`{name}`" in SECTIONS["Public"]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in ELSEWHERE.items() for name in names]
)
def test_a_name_that_is_public_in_its_module_is_documented(module, name: str):
    assert callable(getattr(module, name))
    assert f"`{module.__name__}`" in SECTIONS["Public"]
    assert f"`{name}`" in SECTIONS["Public"]


def test_every_error_is_public():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RagToolsError)
    }
    assert defined <= set(rag_tools.__all__)


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'Searcher'"):
        rag_tools.Searcher  # noqa: B018


def test_what_a_type_checker_sees_is_what_is_exported():
    tree = ast.parse((ROOT / "rag_tools" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (name.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert {name for name, _ in seen} == set(PUBLIC) - {"__version__"}
    for name, module in seen:
        assert getattr(sys.modules[str(module)], name) is getattr(rag_tools, name)


def test_importing_the_package_imports_nothing_else():
    code = "import sys, rag_tools; print([m for m in sys.modules if m.startswith('rag_tools')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rag_tools']"
