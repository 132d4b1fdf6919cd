"""Log lines: short, on one line, and without a character that could drive a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mcp import Client

from asking import run
from rag_tools_mcp import logs
from rag_tools_mcp.auth import Caller, current

HOSTILE = "\x1b[31m\x9b2J\x85\x7f\u2028\u2029\u202e\u2066\u200f\ud800\ufeffwords\r\n"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Return what is logged from here on, as it is written."""
    written = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", written)
        root = logging.getLogger()
        level, own, handlers = root.level, logs.logger.level, root.handlers[:]
        root.handlers.clear()  # else they would be closed
        logs.configure()
    yield lambda: written.getvalue().split("\n")[:-1]
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.logger.setLevel(own)


def test_what_is_long_is_cut_and_its_length_told(lines):
    logs.event("call", collection="c" * 3_000_000, query=["q" * 1_000] * 2, nested={"k" * 999: 1})
    logs.logger.warning("m" * 100_000)
    logging.getLogger("another").error("of another program %s", "x" * 100_000)
    written = lines()
    assert len(written) == 3
    assert all(len(line) < 4_000 for line in written)
    first = json.loads(written[0])
    assert first["collection"] == "c" * logs.MAX_FIELD + "… (3,000,000 characters)"
    assert first["query"] == ["q" * logs.MAX_FIELD + "… (1,000 characters)"] * 2


def test_no_character_drives_a_terminal_and_none_is_lost(lines):
    # pytest's own handlers would put the surrogate into its report, which can't be sent to another
    # process when tests run in several.
    handlers = logging.getLogger().handlers
    handlers[:] = [each for each in handlers if not type(each).__module__.startswith("_pytest")]
    logs.event("call", collection=HOSTILE, seconds=0.25, worked=True, **{"\x9bkey": 1})
    logs.logger.warning("%s", HOSTILE)
    first, second = lines()
    for line in (first, second):
        assert all(char.isprintable() for char in line)
    assert json.loads(first)["collection"] == HOSTILE
    assert json.loads(second)["event"] == HOSTILE
    assert json.loads(first)["seconds"] == 0.25
    assert json.loads(first)["worked"] is True


def test_names_of_callers_and_requests_are_theirs_to_choose(lines):
    token = logs.request_id.set(HOSTILE * 1_000)
    try:
        logs.event("refused", caller=f"jwt:{'s' * 10_000}")
    finally:
        logs.request_id.reset(token)
    (line,) = lines()
    assert len(line) < 6_000
    assert "\x9b" not in line


def test_a_deep_traceback_is_cut_at_its_beginning(lines):
    def deeper(left: int) -> None:
        if not left:
            raise ValueError("secret")
        deeper(left - 1)

    try:
        deeper(min(500, sys.getrecursionlimit() // 3))
    except ValueError:
        logs.logger.exception("failed")
    (line,) = lines()
    assert "secret" not in line
    assert len(json.loads(line)["at"]) == 50
    assert json.loads(line)["at"][-1].endswith(" deeper")


def test_an_argument_of_a_call_is_logged_short(lines, index_dir: Path):
    from rag_tools_mcp.calls import Calls
    from rag_tools_mcp.limits import Gate
    from rag_tools_mcp.metrics import Metrics

    calls = Calls(
        Gate(1, waiting=1, burst=1, per_caller=4),
        Metrics(),
        response_bytes=10**6,
        tools=["search"],
        log_queries=True,
    )
    token = current.set(Caller("c\x9b", False, None))
    try:
        calls._report(("tools/call", "search"), "error", 0.1, {"collection": "\x9b" * 3_000_000})
    finally:
        current.reset(token)
    (line,) = lines()
    assert len(line) < 2 * 6 * logs.MAX_FIELD
    assert "\x9b" not in line


def test_a_collection_that_is_no_name_is_refused_without_being_repeated(index_dir: Path):
    async def ask(client: Client) -> None:
        for tool in ("search", "cite", "fetch", "list_documents"):
            arguments = {"collection": "c" * 3_000_000, "query": "q", "claim": "c", "id": "i"}
            known = {each.name: each.input_schema for each in (await client.list_tools()).tools}
            given = {k: v for k, v in arguments.items() if k in known[tool]["properties"]}
            answer = await client.call_tool(tool, given)
            assert answer.is_error
            assert len(answer.content[0].text) < 500
            assert "3,000,000 characters" in answer.content[0].text

    run({"one": index_dir, "two": index_dir}, ask)
