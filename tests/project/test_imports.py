"""Imports go one way: no cycle, and nothing points from a lower layer to a higher one."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "rag_tools": ROOT / "rag_tools",
    "rag_tools_mcp": ROOT / "server" / "rag_tools_mcp",
    "langchain_rag_tools": ROOT / "integrations" / "langchain_rag_tools",
    "llama_index_rag_tools": ROOT / "integrations" / "llama_index_rag_tools",
}
MOST_LINES = 500
# What may be imported by what stands above it, lowest first. Modules of one layer may import each
# other, as long as there is no cycle.
LAYERS = [
    {"errors", "limits", "closing", "cores", "tracing", "file_uri", "compaction", "processor"}
    | {"handoff", "durations", "instants", "member_uri"},
    {"types", "disk"},
    {"audit"},
    {"sentences", "units", "folding", "ingest", "encode", "index", "evidence", "wire", "screening"},
    {"remote"},
    {"catalog"},
    {"integrity"},
    {"reader"},
    {"restricted"},
    {"cite", "rerank", "duplicates", "second_stage"},
    {
        "hits",
        "writer",
        "carrying",
        "gathered",
        "locking",
        "quota",
        "segment_files",
        "watching",
        "versioning",
        "files",
    },
    {"meter"},
    {"intake"},
    {"web_sync", "git_sync"},
    {"sync", "creation", "sources", "purge"},
    {"opened"},
    {"searcher", "indexer", "documents", "status", "history"},
    {"checking", "aio", "maintenance", "watch", "retention", "fields"},
    {"engine"},
    {"client", "frameworks"},
    {"evaluate"},
    {"train"},
]
ABOVE = {"cli", "sample"}  # the command line and its data, above everything in the package


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            if "sample" in path.parts:
                continue
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path], *, lazy: bool) -> set[str]:
    """The modules of ours that a module imports; `lazy`: inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    nodes = ast.walk(tree) if lazy else _at_import(tree)
    found = set()
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return {name for name in found if name in known}


def _at_import(tree: ast.Module) -> list[ast.AST]:
    """The nodes that run when a module is imported: those outside functions."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found.append(node)
            waiting += ast.iter_child_nodes(node)
    return found


def layer(module: str) -> int | None:
    name = module.split(".")[1]
    return next((number for number, names in enumerate(LAYERS) if name in names), None)


def test_every_module_of_the_package_has_a_layer():
    known = modules()
    unplaced = {
        name
        for name in known
        if name.startswith("rag_tools.")
        and layer(name) is None
        and name.split(".")[1] not in {*ABOVE, "__main__"}
    }
    assert not unplaced, "add them to LAYERS"


def test_the_documentation_shows_the_layers():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("| layer | modules |") :].split("\n\n")[0]
    shown = re.findall(r"`(\w+)`", table)
    assert set(shown) == {*PACKAGES, "cli"}.union(*LAYERS) - {"rag_tools"}
    placed = [layer(f"rag_tools.{name}") for name in shown]
    known = [number for number in placed if number is not None]
    assert known == sorted(known, reverse=True), "from the highest layer to the lowest"


def test_there_is_no_cycle():
    known = modules()
    graph = {name: imports(path, known, lazy=False) - {name} for name, path in known.items()}
    # A package's __init__ is imported with everything in it; ours import nothing.
    graph = {name: {to for to in found if to != "rag_tools"} for name, found in graph.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_import_points_upwards():
    known = modules()
    upwards = []
    for name, path in known.items():
        own = layer(name) if name.startswith("rag_tools.") else None
        for other in imports(path, known, lazy=True):
            if other == "rag_tools" or own is None or not other.startswith("rag_tools."):
                continue
            theirs = layer(other)
            if theirs is None or theirs > own:
                upwards.append(f"{name} → {other}")
    assert not upwards


def test_the_engine_and_what_is_below_know_no_adapter():
    known = modules()
    adapters = tuple(name for name in PACKAGES if name != "rag_tools")
    found = [
        f"{name} → {other}"
        for name, path in known.items()
        if name.startswith("rag_tools.") and name.split(".")[1] not in ABOVE
        for other in imports(path, known, lazy=True)
        if other.startswith(adapters)
    ]
    assert not found


def test_the_types_are_imported_by_one_path():
    known = modules()
    inside = [name for name in known if name.startswith("rag_tools.types.")]
    found = [
        f"{name} → {other}"
        for name, path in known.items()
        if not name.startswith("rag_tools.types")
        for other in imports(path, known, lazy=True)
        if other in inside
    ]
    assert inside
    assert not found, "import it from rag_tools.types"


def test_no_module_is_long():
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()
    }
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}
    assert lengths["rag_tools.engine"] <= 300
