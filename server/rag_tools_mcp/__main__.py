"""``python -m rag_tools_mcp [--index DIR]``, for hosts that can name only an interpreter."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from rag_tools_mcp.collections import DEFAULT_NAME
from rag_tools_mcp.running import serve
from rag_tools_mcp.settings import load

if __name__ == "__main__":
    parser = ArgumentParser(prog="rag_tools_mcp", description="Serve a rag-tools index over MCP.")
    parser.add_argument("--index", type=Path, metavar="DIR", help="directory of the index")
    serve(load(given={"collections": {DEFAULT_NAME: parser.parse_args().index}}))
