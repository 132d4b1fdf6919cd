"""What we rely on inside other packages: only in one place, within bounds, and still there.

If a test fails after an upgrade: read the docstring of `rag_tools_mcp.internals`, adapt what it
names, and raise the upper bound in ``pyproject.toml``.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import h11
import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from packaging.requirements import Requirement
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from rag_tools_mcp.internals import sdk

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Packages with a module or a class of which we use what isn't promised.
BOUNDED = ["h11", "httpx2", "mcp", "uvicorn", "langchain-core", "llama-index-core"]
PRIVATE = re.compile(
    r"mcp\.server\.mcpserver\.utilities|mcp\.server\.streamable_http_manager"
    r"|uvicorn\.protocols|h11|(.*\.)?_"
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_one_place_imports_what_is_not_promised():
    ours = ("rag_tools", "langchain_rag_tools", "llama_index_rag_tools", "__future__")
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("server", "integrations")
        for path in (ROOT / folder).rglob("*.py")
        if path.parent.name != "internals"
        for name in imported(path)
        if PRIVATE.match(name) and not name.startswith(ours)
    ]
    assert not found, "import it in rag_tools_mcp/internals, and say there why it is needed"


@pytest.mark.parametrize("package", BOUNDED)
def test_a_package_whose_inside_is_relied_on_has_an_upper_bound(package: str):
    listed = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    (requirement,) = {each for each in map(Requirement, listed) if each.name == package}
    assert any(each.operator == "<" for each in requirement.specifier), (
        f"{package} needs an upper bound in pyproject.toml: what we use inside it may change"
    )
    assert requirement.specifier.contains(version(package), prereleases=True)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def example(number: int, hidden: str = "default") -> str:
    """Return an example."""
    return f"{number} {hidden}"


def test_the_sdk_keeps_a_tools_arguments_where_they_can_be_restricted():
    """What `sdk.restrict_arguments`, `set_output_schema` and `parsed_arguments` rely on."""
    changed = "mcp changed Tool.fn_metadata: adapt rag_tools_mcp/internals/sdk.py"
    tool = Tool.from_function(example, structured_output=False)
    schema = sdk.restrict_arguments(tool, without=frozenset({"hidden"}))
    assert list(schema["properties"]) == ["number"], changed
    assert schema["additionalProperties"] is False, changed
    assert sdk.parsed_arguments(tool, {"number": "3"})["number"] in (3, "3"), changed
    sdk.set_output_schema(tool, {"type": "object"})
    assert tool.output_schema == {"type": "object"}, changed


async def test_the_sdk_validates_a_tools_arguments_by_the_restricted_model():
    tool = Tool.from_function(example, structured_output=False)
    sdk.restrict_arguments(tool, without=frozenset({"hidden"}))
    server = MCPServer[None]("example", tools=[tool])
    assert "3 default" in str(await server.call_tool("example", {"number": 3}))
    with pytest.raises(Exception, match="hidden"):
        await server.call_tool("example", {"number": 3, "hidden": "given"})


def test_the_sdk_leaves_a_session_manager_in_the_server():
    """What `sdk.http_protocol` relies on."""
    changed = "mcp changed streamable_http_app: adapt rag_tools_mcp/internals/sdk.py"
    server = MCPServer[None]("example")
    with pytest.raises(RuntimeError):
        _ = server.session_manager  # if it is there before, no application need be discarded
    made = server.streamable_http_app(stateless_http=True)
    assert isinstance(made, Starlette), changed
    (route,) = [each for each in made.routes if getattr(each, "path", None) == "/mcp"]
    assert type(route.endpoint).__name__ == "StreamableHTTPASGIApp", changed
    protocol = sdk.http_protocol(MCPServer[None]("example"), request_bytes=1_000)
    assert parameters(protocol.app) == ["scope", "receive", "send"], changed


def test_uvicorns_protocol_has_the_methods_that_ours_extends():
    """What `internals.connection` relies on; `test_http.py` tests that the limits hold."""
    changed = "uvicorn changed H11Protocol: adapt rag_tools_mcp/internals/connection.py"
    expected = {
        "connection_made": ["self", "transport"],
        "data_received": ["self", "data"],
        "pause_writing": ["self"],
        "resume_writing": ["self"],
        "shutdown": ["self"],
        "connection_lost": ["self", "exc"],
    }
    for name, arguments in expected.items():
        assert parameters(getattr(H11Protocol, name)) == arguments, changed
    source = inspect.getsource(H11Protocol)
    for attribute in ("conn", "scope", "transport", "loop"):
        assert f"self.{attribute}" in source, f"{changed}: it has no attribute {attribute}"
    for state in (h11.IDLE, h11.DONE):
        assert state is not None, changed


@pytest.mark.parametrize(
    ("module", "name", "method"),
    [
        ("llama_index.core.query_engine", "CitationQueryEngine", "_query"),
        ("llama_index.core.query_engine", "CitationQueryEngine", "_aquery"),
        ("llama_index.core.query_engine", "CitationQueryEngine", "_create_citation_nodes"),
        ("llama_index.core.base.response.schema", "AsyncStreamingResponse", "_yield_response"),
        ("langchain_core.retrievers", "BaseRetriever", "_get_ls_params"),
        (
            "langchain_core.vectorstores",
            "VectorStore",
            "_similarity_search_with_relevance_scores",
        ),
    ],
)
def test_frameworks_have_the_methods_that_the_adapters_use(module: str, name: str, method: str):
    pytest.importorskip(module.partition(".")[0])
    assert hasattr(getattr(import_module(module), name), method), (
        f"{module}.{name} has no method {method} any more: adapt the adapter that uses it"
    )
