"""The official suites against the server: ``make conformance`` runs them.

What the suite finds fault with in the product stands in a baseline beside this file, with the
reason; the same server with the suite's fixtures must pass every scenario that is scored.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import anyio
import pytest
from mcp import Client, StdioServerParameters

from rag_tools import __version__
from serving import RAG_TOOLS, served, serving

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ROOT / "build" / "node" / "node_modules" / ".bin"
REVISIONS = ("2025-11-25", "2026-07-28")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the Node programs, with the Node that was installed beside it."""
    path = os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", "")])
    return subprocess.run(
        [str(PROGRAMS / program), *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=170,
        check=False,
    )


def conformance(url: str, revision: str, results: Path, *options: str) -> None:
    done = run(
        "conformance", "server", "--url", url, "--requirements", revision, "-o", str(results),
        *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "=== SUMMARY ===" in done.stdout


@pytest.fixture(scope="module")
def endpoint(index_dir: Path) -> Iterator[str]:
    """The product over HTTP."""
    with served(index_dir) as url:
        yield url


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_product(endpoint: str, revision: str, tmp_path: Path):
    baseline = HERE / f"baseline-{revision}.yaml"
    conformance(endpoint, revision, tmp_path, "--expected-failures", str(baseline))


@pytest.mark.parametrize("revision", REVISIONS)
def test_with_the_fixtures(index_dir: Path, revision: str, tmp_path: Path):
    command = [sys.executable, str(HERE / "fixtures.py"), revision, str(index_dir)]
    with serving(command) as url:
        conformance(url, revision, tmp_path)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_inspector(endpoint: str, index_dir: Path, transport: str, era: str):
    stdio = ["--", *RAG_TOOLS, "serve", "--index", str(index_dir)]
    server = stdio if transport == "stdio" else ["--server-url", endpoint]

    def inspect(*arguments: str) -> dict[str, Any]:
        done = run("mcp-inspector", "--cli", "--protocol-era", era, *arguments, *server)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    tools = inspect("--method", "tools/list", "--strict")["tools"]
    assert {"search", "fetch", "cite", "verify", "status"} <= {tool["name"] for tool in tools}
    call = ("--method", "tools/call", "--tool-name", "search", "--tool-arg", "query=tides")
    assert inspect(*call)["structuredContent"]["results"]
    if transport == "http":  # each starts the server otherwise, and it is the same one
        assert inspect("--method", "resources/templates/list")["resourceTemplates"]
        assert inspect("--method", "prompts/list")["prompts"]


REPOSITORY = "https://github.com/someone/rag-tools"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make bundle` builds; it validates the manifest."""
    directory = tmp_path_factory.mktemp("dist")
    build = ROOT / ".ci" / "release" / "bundle" / "build.py"
    subprocess.run([sys.executable, str(build), str(directory), REPOSITORY], check=True)
    return directory


def test_the_registry_takes_the_description(built: Path, tmp_path: Path):
    server = Path(shutil.copy(built / "server.json", tmp_path))
    lint = [sys.executable, "-m", "skillsaw", "lint", str(tmp_path)]
    assert subprocess.run(lint, check=False).returncode == 0
    content = json.loads(server.read_text(encoding="utf-8"))
    assert content["version"] == content["packages"][0]["version"] == __version__
    assert content["name"] == "io.github.someone/rag-tools"
    assert content["repository"]["url"] == REPOSITORY
    content["packages"][0]["version"] = ">=1"
    server.write_text(json.dumps(content), encoding="utf-8")
    assert subprocess.run(lint, check=False).returncode == 1, "the check checks"


def test_the_bundle_runs_as_a_desktop_program_runs_it(
    built: Path, tmp_path: Path, indexed_corpus: Path
):
    bundle, index = tmp_path / "bundle", tmp_path / "index"
    (file,) = built.glob("*.mcpb")
    with ZipFile(file) as archive:
        archive.extractall(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["version"] == __version__
    (wheel,) = bundle.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl"), "for every machine"
    with ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyd"))]

    values = {
        "${__dirname}": str(bundle),
        "${user_config.index}": str(index),
        "${user_config.folder}": str(indexed_corpus),
    }
    config = manifest["server"]["mcp_config"]
    arguments = [values.get(argument, argument) for argument in config["args"]]
    assert not [argument for argument in arguments if "$" in argument]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    server = StdioServerParameters(
        command=config["command"], args=arguments, cwd=tmp_path, env={**os.environ, "PATH": path}
    )

    async def use() -> None:
        async with Client(server) as client:
            listed = (await client.list_tools()).tools
            assert [tool.name for tool in listed] == [tool["name"] for tool in manifest["tools"]]
            done = await client.call_tool("sync", {"paths": [str(indexed_corpus)]})
            assert not done.is_error, done.content
            found = await client.call_tool("search", {"query": "two high tides a day"})
            assert found.structured_content["results"]

    anyio.run(use)
