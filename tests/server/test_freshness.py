"""A server with --watch or --sync-every serves what the files say now."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rag_tools import Engine, open_index
from rag_tools.errors import ConfigurationError
from rag_tools.watching import watch_state
from rag_tools_mcp.settings import Settings, load
from serving import RAG_TOOLS, serving


@pytest.mark.parametrize("options", [["--watch"], ["--sync-every", "1s"]])
def test_what_is_saved_is_served(tmp_path: Path, options: list[str]):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tea.md").write_text("Tea brews at ninety degrees.")
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([tmp_path / "notes"])
    command = [*RAG_TOOLS, "serve", "--index", str(tmp_path / "index"), "--http", "127.0.0.1:0"]
    with serving([*command, *options]) as url, open_index(url) as client:
        deadline = time.monotonic() + 90
        while watch_state(tmp_path / "index") is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (tmp_path / "notes" / "coffee.md").write_text("Coffee brews at ninety-five degrees.")
        while "Coffee" not in "".join(hit.text for hit in client.search("coffee").results):
            assert time.monotonic() < deadline, "it wasn't synced"
            time.sleep(0.1)
    while watch_state(tmp_path / "index") is not None:
        assert time.monotonic() < deadline, "its process outlived the server"
        time.sleep(0.05)


def test_intervals_are_written_as_people_write_them(tmp_path: Path):
    (tmp_path / "s.toml").write_text('sync_every = "10m"\nwatch = true\n')
    settings = load(tmp_path / "s.toml")
    assert (settings.sync_every, settings.watch) == (600, True)
    assert Settings().sync_every is None
    for value in ('"soon"', '"0s"', "-1"):
        (tmp_path / "s.toml").write_text(f"sync_every = {value}\n")
        with pytest.raises(ConfigurationError, match=r"sync_every|not a time"):
            load(tmp_path / "s.toml")
