"""The examples run: the chat in a terminal, the agent as a process of its own."""

from __future__ import annotations

import doctest
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import programs
from programs import EXAMPLES, ROOT, Terminal, run
from serving import RAG_TOOLS, serving

DOCUMENT = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8")

QUESTION = "At what temperature does pure water boil at one atmosphere?"
QUOTE = "Pure water boils at 100 °C when the air pressure is one atmosphere."
IN_THE_MOUNTAINS = "boils at about 87 °C"
REFUSAL = "I found nothing in these documents that supports an answer."


@pytest.fixture
def environment(index_dir: Path) -> dict[str, str]:
    return programs.environment(index_dir)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    chat = Terminal([sys.executable, str(EXAMPLES / "chat.py")], environment)
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
    explained = ask("/explain", "confidence ")
    assert re.search(r"^confidence (0\.9\d|1\.00)$", explained, re.MULTILINE), explained
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


@pytest.mark.parametrize("module", ["chat", "conversation"])
def test_the_docstrings_are_true(module: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    failed, attempted = doctest.testmod(import_module(module))
    assert (failed, attempted > 0) == (0, True)


def test_a_question_that_leans_on_the_one_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    leans = import_module("conversation").leans
    assert leans("And how many of them?")
    assert not leans("What is it that the parrot of the keeper says?")


def test_questions_from_a_pipe_and_the_transcript(environment: dict[str, str], tmp_path: Path):
    asked = f"{QUESTION}\nWho wrote Hamlet?\n/save talk.md\n/save talk.md\n{QUESTION}\n/sources\n"
    done = run(environment, "chat.py", given=asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Saved talk.md." in done.stdout
    assert "That takes the name of a new file" in done.stdout
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
    # What was saved can be checked as any agent's answer can.
    command = [*RAG_TOOLS, "verify", "--answer", "talk.md"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)


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


TRANSCRIPTS = {
    "whisper.txt": """At what temperature does pure water
boil at one atmosphere?
Who wrote Hamlet?""",
    "whisper.srt": """1
00:00:00,000 --> 00:00:03,500
At what temperature does pure water

2
00:00:03,500 --> 00:00:05,000
boil at one atmosphere?

3
00:00:06,000 --> 00:00:08,000
Who wrote Hamlet?
""",
    "whisper.vtt": """WEBVTT

00:00.000 --> 00:03.500
At what temperature does pure water

00:03.500 --> 00:05.000
boil at one atmosphere?

00:06.000 --> 00:08.000
Who wrote Hamlet?
""",
    "terminal.txt": """[00:00.000 --> 00:03.500]  At what temperature does pure water
[00:03.500 --> 00:05.000]  boil at one atmosphere?
[00:06.000 --> 00:08.000]  Who wrote Hamlet?
""",
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcripts(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spoken = import_module("chat").spoken
    for line_end in ("\n", "\r\n"):
        transcript = TRANSCRIPTS[name].replace("\n", line_end)
        assert spoken(transcript) == [QUESTION, "Who wrote Hamlet?"]


def test_a_voice_is_answered(environment: dict[str, str], tmp_path: Path):
    transcript = tmp_path / "whisper.srt"
    transcript.write_text(TRANSCRIPTS[transcript.name], encoding="utf-8-sig")
    done = run(environment, "chat.py", "--voice", transcript)
    assert done.returncode == 0, done.stderr
    _, question, answer, other, refusal = re.split("^> (.*)$", done.stdout, flags=re.MULTILINE)
    assert (question, other) == (QUESTION, "Who wrote Hamlet?")
    assert QUOTE in answer
    assert REFUSAL in refusal
    aloud = run(environment, "chat.py", "--voice", transcript, "--speak").stdout.splitlines()
    assert (aloud[0], aloud[-1]) == (QUOTE, REFUSAL)


def test_a_voice_from_a_pipe_commands_nothing(environment: dict[str, str], tmp_path: Path):
    done = run(environment, "chat.py", "--voice", "-", given="/save talk.md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("talk*"))
    assert run(environment, "chat.py", "--voice", "missing.txt").returncode == 2


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


def test_no_index(environment: dict[str, str], tmp_path: Path):
    environment["RAG_TOOLS_INDEX"] = str(tmp_path / "missing")
    for arguments in (["chat.py"], ["mcp_agent.py", QUESTION]):
        done = run(environment, *arguments)
        assert "run 'rag-tools index PATH' first" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def says_what_the_agent_should(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^→ (\w+)", done.stderr, re.MULTILINE) == ["search", "cite", "verify"]
    answer, _, sources = done.stdout.strip().partition("\n\n")
    assert QUOTE in answer
    numbers = re.findall(r"\[(\d+)\]$", answer, re.MULTILINE)
    assert numbers == re.findall(r"^\[(\d+)\] file:///\S+kettle\.md#L\d+", sources, re.MULTILINE)


def test_the_agent_calls_the_tools_and_cites(environment: dict[str, str]):
    says_what_the_agent_should(run(environment, "mcp_agent.py", QUESTION))


def test_the_agent_uses_a_server_that_runs(index_dir: Path, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("a token of the tests", encoding="utf-8")
    command = [*RAG_TOOLS, "serve", "--index", str(index_dir), "--http", "127.0.0.1:0"]
    with serving([*command, "--token-file", str(token)]) as url:
        caller = {**programs.environment(), "RAG_TOOLS_TOKEN": token.read_text(encoding="utf-8")}
        says_what_the_agent_should(run(caller, "mcp_agent.py", QUESTION, "--url", url))
        stranger = run(programs.environment(), "mcp_agent.py", QUESTION, "--url", url)
    gone = run(caller, "mcp_agent.py", QUESTION, "--url", url)
    for failed in (stranger, gone):
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"{url}: ")
        assert len(failed.stderr.splitlines()) == 1


def test_the_agent_refuses_what_is_not_there():
    model = runpy.run_path(str(EXAMPLES / "mcp_agent.py"))["model"]
    weak = {"citations": [{"score": 0.3, "quote": "words"}]}
    for hits in ([], [weak]):
        found = {"results": hits, "low_confidence": True}
        assert model("q", {"search": found}).startswith("Nothing in the documents")
    stale = {"verifications": [{"status": "stale", "citation": {}}]}
    assert model("q", {"search": {}, "cite": {}, "verify": stale}) == "No quote holds any more."


def test_the_documented_commands_run(environment: dict[str, str], tmp_path: Path):
    """In a folder like a clone, with some of the sample documents and of the source."""
    examples = tmp_path / "examples"
    examples.mkdir()
    for source in EXAMPLES.glob("*.py"):
        (examples / source.name).write_bytes(source.read_bytes())
    shutil.copytree(EXAMPLES / "manuals", examples / "manuals")
    for name in ("cite", "sample"):
        (tmp_path / "rag_tools" / name).mkdir(parents=True)
    shutil.copy(ROOT / "rag_tools" / "sample" / "backoff.py", tmp_path / "rag_tools" / "sample")
    for name in ("locate.py", "quote.py"):
        shutil.copy(ROOT / "rag_tools" / "cite" / name, tmp_path / "rag_tools" / "cite")
    environment.pop("RAG_TOOLS_INDEX")
    (tmp_path / "questions.txt").write_text(f"{QUESTION}\n", encoding="utf-8")
    (tmp_path / "question.srt").write_text(TRANSCRIPTS["whisper.srt"], encoding="utf-8")
    interpreters = {"python": [sys.executable], "rag-tools": RAG_TOOLS}
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    commands = [line for block in blocks for line in block.splitlines()]
    assert {shlex.split(command)[1].rpartition("/")[2] for command in commands} == {
        "index",
        "chat.py",
        "support_bot.py",
        "code_search.py",
        "mcp_agent.py",
    }
    for command in commands:
        written, _, given = command.partition(" < ")
        program, *arguments = shlex.split(written)
        done = subprocess.run(
            [*interpreters[program], *arguments],
            input=(tmp_path / given).read_text(encoding="utf-8") if given else "",
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_the_documented_slash_commands_are_the_ones_there_are(
    environment: dict[str, str], tmp_path: Path
):
    chat, desk = (
        re.findall(r"^(/\w+(?: \S+)?)  ", run(environment, *command, given="/help\n").stdout, re.M)
        for command in (["chat.py"], ["support_bot.py", tmp_path])
    )
    assert re.findall(r"^\| `(/\w+[^`]*)` \|", DOCUMENT, re.MULTILINE) == [*chat, *desk[:2]]
    assert desk[2:] == chat
