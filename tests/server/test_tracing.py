"""A call over MCP is a span of OpenTelemetry, and the stages of its query are spans inside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# In a process of its own: a provider can't be taken back.
PROGRAM = """
import json, sys
from pathlib import Path
import anyio
from mcp import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rag_tools.index import search
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
search.EFFORTS["balanced"] = search.Effort(0, 4096, 512)  # so that gather has something to do

async def ask():
    async with Client(build(Collections({"notes": Path(sys.argv[1])}))) as client:
        await client.call_tool("search", {"query": "the secret waggle dance"})

anyio.run(ask)
spans = exporter.get_finished_spans()
names = {span.context.span_id: span.name for span in spans}
print(json.dumps([
    [span.name, names.get(span.parent and span.parent.span_id), dict(span.attributes)]
    for span in spans
]))
"""


def test_the_stages_of_a_query_are_spans_of_its_call(index_dir: Path):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(index_dir)], capture_output=True, check=True, text=True
    )
    spans = json.loads(ran.stdout)
    stages = [(name, parent) for name, parent, _ in spans if name.startswith("rag_tools.")]
    assert stages == [
        (f"rag_tools.{stage}", "tools/call search")
        for stage in ("encode", "lexical", "gather", "refine", "cite")
    ]
    assert "waggle" not in json.dumps(spans)
