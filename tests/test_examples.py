"""The examples run: the chat in a terminal, the agent as a process of its own."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8")

QUESTION = "At what temperature does pure water boil at one atmosphere?"
QUOTE = "Pure water boils at 100 °C when the air pressure is one atmosphere."
IN_THE_MOUNTAINS = "boils at about 87 °C"
REFUSAL = "I found nothing in these documents that supports an answer."


@pytest.fixture
def environment(index_dir: Path) -> dict[str, str]:
    # Wide, so that nothing is wrapped, and of a terminal that readline asks nothing special of.
    terminal = {"TERM": "dumb", "COLUMNS": "300", "NO_COLOR": "1"}
    utf8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **terminal, **utf8, "RAG_TOOLS_INDEX": str(index_dir)}


def run(
    environment: Mapping[str, str], *arguments: str, given: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    name, *rest = arguments
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *rest],
        input=given,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        cwd=cwd,
        check=False,
    )


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        import pty

        self.controller, terminal = pty.openpty()
        # In a session of its own, with the terminal as its controlling one: Ctrl-C reaches it.
        become = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", become, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
        )
        os.close(terminal)

    def expect(self, *texts: str) -> str:
        """Return what is shown up to the next prompt, which must hold `texts`."""
        output = self._read_until(r"(?:^|\n)> $")
        for text in texts:
            assert text in output, output
        return output

    def type(self, line: str) -> None:
        os.write(self.controller, line.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until the program ends.

        A signal between readline's prompt and its wait for input is noticed with the next key.
        """
        for _ in range(20):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
                return

    def end(self) -> str:
        """Return what is shown until the program ends."""
        output = self._read_until(None)
        self.process.wait(10)
        return output

    def _read_until(self, pattern: str | None) -> str:
        import select

        output, deadline = b"", time.monotonic() + 30
        while pattern is None or not re.search(pattern, self._text(output)):
            left = max(0, deadline - time.monotonic())
            assert select.select([self.controller], [], [], left)[0], self._text(output)
            try:
                read = os.read(self.controller, 65536)
            except OSError:  # how Linux says that the other end is closed
                read = b""
            if not read:
                assert pattern is None, self._text(output)
                break
            output += read
        return self._text(output)

    def _text(self, output: bytes) -> str:
        return output.decode("utf-8", "replace").replace("\r\n", "\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.controller)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    chat = Terminal([sys.executable, str(ROOT / "examples" / "chat.py")], environment)
    yield chat
    chat.close()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_chat_in_a_terminal(terminal: Terminal):
    def ask(line: str, *texts: str) -> str:
        terminal.type(line + "\n")
        return terminal.expect(*texts)

    terminal.expect("documents. Ask, or /help.")
    ask("/explain", "Nothing was asked yet.")
    ask("/sources", "Nothing was cited yet.")

    answer = ask(QUESTION, QUOTE)
    # Every quote has a number, and every number a file and lines.
    numbers = set(re.findall(r"\S \[(\d+)\]$", answer, re.MULTILINE))
    assert numbers
    for number in numbers:
        assert re.search(rf"^\[{number}\] \S*kettle\.md:\d+", answer, re.MULTILINE), answer

    follow_up = "And on the summit of a mountain?"
    ask(follow_up, f"({QUESTION} {follow_up})", IN_THE_MOUNTAINS)
    explained = ask("/explain", "where 0.60 is needed")
    assert re.search(r"^  0\.\d\d  summit → summit$", explained, re.MULTILINE), explained

    refused = ask("Who wrote Hamlet?", REFUSAL)
    assert "[" not in refused
    ask("/explain", "Not cited: score 0.")
    ask("And who wrote Hamlet?", REFUSAL)

    sources = ask("/sources", "kettle.md:")
    number = next(iter(numbers))
    ask(f"/open {number}", "kettle.md#L", f"**{QUOTE}**", "## At sea level")
    count = len(re.findall(r"^\[\d+\]", sources, re.MULTILINE))
    for wrong in ("0", str(count + 1), "x", ""):
        ask(f"/open {wrong}", f"1 to {count}")
    ask("/nonsense", "There is no /nonsense.", "/save FILE.md")

    terminal.interrupt()
    assert "Traceback" not in terminal.end()
    assert terminal.process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("farewell", ["\x04", "/quit\n"], ids=["end of input", "quit"])
def test_a_chat_ends(terminal: Terminal, farewell: str):
    terminal.expect()
    terminal.type(farewell)
    assert "Traceback" not in terminal.end()
    assert terminal.process.returncode == 0


def test_a_question_that_leans_on_the_one_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    chat = importlib.import_module("chat")
    assert doctest.testmod(chat) == (0, 1)
    assert not chat.leans("What is it that the parrot of the keeper says?")


def test_questions_from_a_pipe_and_the_transcript(environment: dict[str, str], tmp_path: Path):
    asked = f"{QUESTION}\nWho wrote Hamlet?\n/save talk.md\n/save talk.md\n{QUESTION}\n/sources\n"
    done = run(environment, "chat.py", given=asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Saved talk.md." in done.stdout
    assert "/save takes the name of a new file" in done.stdout
    # Cited again, a source keeps its number.
    assert max(map(int, re.findall(r"^\[(\d+)\]", done.stdout, re.MULTILINE))) <= 3

    saved = (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert f"```text\n{QUOTE}\n```" in saved
    assert f"## Who wrote Hamlet?\n\n{REFUSAL}\n" in saved
    body, _, references = saved.partition("## References")
    cited = re.findall(r"^\[(\d+)\]$", body, re.MULTILINE)
    assert cited
    listed = re.findall(
        r"^- \[(\d+)\] .*, <file:///\S+kettle\.md#L\d+\S*>, characters \d+ to \d+ .*[0-9a-f]{64}$",
        references,
        re.MULTILINE,
    )
    assert sorted(cited) == sorted(listed)


def test_a_hostile_source_drives_no_terminal(environment: dict[str, str], tmp_path: Path):
    question = "What does the parrot of the lighthouse keeper say?"
    commands = "/explain\n/open 1\n/save talk.md\n"
    done = run(environment, "chat.py", given=f"{question}\n{commands}", cwd=tmp_path)
    assert "[bold]markup[/bold]" in done.stdout
    saved = (tmp_path / "talk.md").read_text(encoding="utf-8")
    for harmful in "\x1b\x07\x9b\u202e":
        assert harmful not in done.stdout
        assert harmful not in saved


def test_speech_has_no_markup(environment: dict[str, str]):
    done = run(environment, "chat.py", "--speak", given=f"{QUESTION}\nHow is merge sort done?\n")
    assert QUOTE in done.stdout
    assert re.search(r"^Source 1: \S.*kettle\.md, lines? \d+", done.stdout, re.MULTILINE)
    assert not set("[]`*\x1b") & set(re.sub(r"items\[.*?\]", "", done.stdout))


def test_a_quote_that_changed_is_not_an_answer(corpus_dir: Path, environment: dict, tmp_path: Path):
    from rag_tools.engine import Engine

    index = tmp_path / "index"
    with Engine.open(index, create=True) as engine:
        engine.sync([corpus_dir])
    (corpus_dir / "bees.rst").write_text("Nothing about the insects any more.", encoding="utf-8")
    given = "What do bees do in winter to keep the queen warm?\n"
    done = run(environment, "chat.py", "--index", str(index), given=given)
    assert "shiver" not in done.stdout
    assert "has changed in its source" in done.stdout


class Service:
    """A language model's service: says what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: list[list[object]] = []  # events of each, or functions to wait for
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.headers.append(self.headers)
                body = self.rfile.read(int(self.headers["content-length"]))
                service.requests.append({"path": self.path, **json.loads(body)})
                reply = service.replies.pop(0)
                self.send_response(200 if reply else 503)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for event in reply or [{"error": "overloaded"}]:
                    if callable(event):
                        event()
                    else:
                        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                        self.wfile.flush()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def openai(*pieces: object) -> list[object]:
    """Return the events of a reply of texts and of calls, a tool's name and its arguments."""
    events: list[object] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    for index, piece in enumerate(pieces):
        if isinstance(piece, tuple):
            tool, arguments = piece
            for part in (
                {"id": f"call-{index}", "function": {"name": tool, "arguments": ""}},
                {"function": {"arguments": arguments[:5]}},
                {"function": {"arguments": arguments[5:]}},
            ):
                events.append({"choices": [{"delta": {"tool_calls": [{"index": index, **part}]}}]})
        else:
            events.append(
                {"choices": [{"delta": {"content": piece}}]} if isinstance(piece, str) else piece
            )
    return [*events, {"choices": [], "usage": {}}]


def anthropic(*pieces: object) -> list[object]:
    """Return the same as the other service sends it."""
    events: list[object] = [{"type": "message_start", "message": {}}, {"type": "ping"}]
    for index, piece in enumerate(pieces):
        if callable(piece):
            events.append(piece)
            continue
        if isinstance(piece, tuple):
            tool, arguments = piece
            block = {"type": "tool_use", "id": f"call-{index}", "name": tool, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": part}
                for part in (arguments[:5], arguments[5:])
            ]
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece}]
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "message_stop"}]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture(params=[anthropic, openai])
def says(
    request: pytest.FixtureRequest, service: Service, environment: dict[str, str]
) -> Callable[..., list[object]]:
    """Return how the service speaks; the environment says where it is."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)
    if request.param is anthropic:
        environment |= {"ANTHROPIC_API_KEY": "secret", "ANTHROPIC_BASE_URL": service.url}
    else:
        environment |= {"OPENAI_API_KEY": "secret", "OPENAI_BASE_URL": f"{service.url}/v1"}
    return request.param


SUPPORTED = "Pure water boils at 100 °C when the air pressure is one atmosphere [1]. "
INVENTED = "Hamlet was written by William Shakespeare [1]."
UNKNOWN = "At one atmosphere of air pressure pure water boils at 100 °C [99]."
SEARCH = ("search", json.dumps({"query": QUESTION}))


def test_a_model_answers_from_quotes(
    says: Callable[..., list[object]],
    service: Service,
    environment: dict[str, str],
    tmp_path: Path,
):
    service.replies = [
        says("Let me look.", SEARCH, ("cite", "{nonsense")),
        says(SUPPORTED, INVENTED, " ", UNKNOWN),
        [],
        says(REFUSAL),
    ]
    given = f"{QUESTION}\n/explain\n/sources\nOne more?\nWho wrote Hamlet?\n/save talk.md\n"
    done = run(environment, "chat.py", "--model", "any", given=given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    # It was given tools and, when it called them, numbered quotes or what was wrong.
    assert {each["model"] for each in service.requests} == {"any"}
    assert "search" in json.dumps(service.requests[0]["tools"])
    results = json.dumps(service.requests[1]["messages"], ensure_ascii=False)
    assert QUOTE in results
    assert "call search(query) or cite(claim)" in results
    # The answer, what isn't supported, and where the rest stands.
    assert f"{SUPPORTED}{INVENTED} {UNKNOWN}" in done.stdout
    marked = re.findall(r"^Not supported by the documents: (.*)$", done.stdout, re.MULTILINE)
    assert marked == [text.rpartition(" [")[0] + "." for text in (INVENTED, UNKNOWN)]
    assert re.findall(r"^\[(\d+)\] \S*kettle\.md:5 ", done.stdout, re.MULTILINE) == ["1", "1"]
    assert "water → water" in done.stdout
    # A service that fails ends neither the chat nor the conversation with the model.
    assert "503" in done.stderr
    assert "secret" not in done.stderr
    last = [each["content"] for each in service.requests[-1]["messages"] if each["role"] == "user"]
    assert last[0] == QUESTION
    assert last[-1] == "Who wrote Hamlet?"
    assert "One more?" not in last

    saved = (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert SUPPORTED in saved
    assert f"```text\n{QUOTE}\n```\n\n[1]\n" in saved
    assert saved.count("Not supported by the documents:") == 2
    assert len(re.findall(r"^- \[1\] .*kettle", saved, re.MULTILINE)) == 1
    assert not service.replies


def test_a_models_words_are_shown_as_they_come(
    says: Callable[..., list[object]], service: Service, environment: dict[str, str]
):
    shown = threading.Event()
    service.replies = [says("The first words, ", lambda: shown.wait(20), "the last.")]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "chat.py"), "--model", "any"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"Well?\n")
    process.stdin.close()
    assert process.stdout.read(len("The first words, ")) == b"The first words, "
    shown.set()
    assert process.stdout.read().startswith(b"the last.")
    process.stdout.close()
    assert process.wait(20) == 0


def test_a_models_answer_is_spoken_without_numbers(
    says: Callable[..., list[object]], service: Service, environment: dict[str, str]
):
    service.replies = [says(SEARCH), says(SUPPORTED)]
    done = run(environment, "chat.py", "--model", "any", "--speak", given=f"{QUESTION}\n")
    first, second = done.stdout.splitlines()
    assert first == QUOTE
    assert re.fullmatch(r"Source 1: .*kettle\.md, line 5\.", second)


def test_a_model_needs_a_service(environment: dict[str, str]):
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)
    done = run(environment, "chat.py", "--model", "any")
    assert done.returncode == 1
    assert "$OPENAI_BASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_index(environment: dict[str, str], tmp_path: Path):
    environment["RAG_TOOLS_INDEX"] = str(tmp_path / "missing")
    for arguments in (["chat.py"], ["mcp_agent.py", QUESTION]):
        done = run(environment, *arguments)
        assert "run 'rag-tools index PATH' first" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_the_agent_calls_the_tools_and_cites(environment: dict[str, str]):
    done = run(environment, "mcp_agent.py", QUESTION)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^→ (\w+)", done.stderr, re.MULTILINE) == ["search", "cite", "verify"]
    answer, _, sources = done.stdout.strip().partition("\n\n")
    assert QUOTE in answer
    numbers = re.findall(r"\[(\d+)\]$", answer, re.MULTILINE)
    assert numbers == re.findall(r"^\[(\d+)\] file:///\S+kettle\.md#L\d+", sources, re.MULTILINE)


def test_the_agent_refuses_what_is_not_there():
    model = runpy.run_path(str(ROOT / "examples" / "mcp_agent.py"))["model"]
    weak = {"citations": [{"score": 0.3, "quote": "words"}]}
    for hits in ([], [weak]):
        assert model("q", {"search": {"results": hits}}).startswith("Nothing in the documents")
    stale = {"verifications": [{"status": "stale", "citation": {}}]}
    assert model("q", {"search": {}, "cite": {}, "verify": stale}) == "No quote holds any more."


def test_the_documented_commands_run(environment: dict[str, str], tmp_path: Path):
    """In a folder like a clone, with a corner of the corpus."""
    (tmp_path / "examples" / "corpus").mkdir(parents=True)
    for name in ("chat.py", "chat_model.py", "mcp_agent.py", "corpus/backoff.py"):
        (tmp_path / "examples" / name).write_bytes((ROOT / "examples" / name).read_bytes())
    environment.pop("RAG_TOOLS_INDEX")
    (tmp_path / "questions.txt").write_text(f"{QUESTION}\n", encoding="utf-8")
    programs = {
        "python": [sys.executable],
        "rag-tools": [sys.executable, "-m", "rag_tools.cli.main"],
    }
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        written, _, given = command.partition(" < ")
        program, *arguments = shlex.split(written)
        done = subprocess.run(
            [*programs[program], *arguments],
            input=(tmp_path / given).read_text(encoding="utf-8") if given else "",
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_documented_slash_commands_are_the_ones_there_are(environment: dict[str, str]):
    shown = run(environment, "chat.py", given="/help\n").stdout
    documented = re.findall(r"^\| `(/\w+[^`]*)` \|", DOCUMENT, re.MULTILINE)
    assert documented == re.findall(r"^(/\w+(?: \S+)?)  ", shown, re.MULTILINE)
