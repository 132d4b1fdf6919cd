"""The chat with a language model, a service of this machine that says what it is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import programs
from programs import EXAMPLES, run
from rag_tools.engine import Engine
from services import Anthropic, OpenAI, Service

QUESTION = "At what temperature does pure water boil at one atmosphere?"
QUOTE = "Pure water boils at 100 °C when the air pressure is one atmosphere."
REFUSAL = "I found nothing in these documents that supports an answer."

SUPPORTED = "Pure water boils at 100 °C when the air pressure is one atmosphere [1]. "
INVENTED = "Hamlet was written by William Shakespeare [1]."
UNKNOWN = "At one atmosphere of air pressure pure water boils at 100 °C [99]."
SEARCH = ("search", json.dumps({"query": QUESTION}))


@pytest.fixture(params=[Anthropic, OpenAI])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    service = request.param()
    yield service
    service.close()


@pytest.fixture
def environment(index_dir: Path, service: Service) -> dict[str, str]:
    return {**programs.environment(index_dir), **service.environment}


def unsupported(output: str) -> list[str]:
    return re.findall(r"^Not supported by the documents: (.*)$", output, re.MULTILINE)


def test_a_model_answers_from_quotes(service: Service, environment: dict[str, str], tmp_path: Path):
    service.replies = [
        ["Let me look.", SEARCH, ("cite", "{nonsense")],
        [SUPPORTED, INVENTED, " ", UNKNOWN],
        503,
        [REFUSAL],
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
    assert unsupported(done.stdout) == [
        text.rpartition(" [")[0] + "." for text in (INVENTED, UNKNOWN)
    ]
    resolved = re.findall(r"^\[(\d+)\] \S*kettle\.md:5 .*\n(.*)$", done.stdout, re.MULTILINE)
    assert [number for number, _ in resolved] == ["1", "1"]
    assert resolved[0][1] == QUOTE
    assert "water → water" in done.stdout
    # A service that fails ends neither the chat nor the conversation with the model.
    assert "503" in done.stderr
    assert service.key not in done.stderr
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


def test_numbers_in_groups_and_in_code(service: Service, environment: dict[str, str]):
    grouped = "Pure water boils at 100 °C when the air pressure is one atmosphere. [1, 2]"
    code = " Pure water boils at `[100]` °C when the air pressure is one atmosphere."
    sort = ("cite", json.dumps({"claim": "Sort by splitting in halves and merging."}))
    service.replies = [[SEARCH, sort], [grouped, code]]
    done = run(environment, "chat.py", "--model", "any", given=f"{QUESTION}\n")
    assert re.findall(r"^\[(\d+)\] ", done.stdout, re.MULTILINE) == ["1", "2"]
    assert unsupported(done.stdout) == []


def test_a_quote_that_changed_supports_nothing(
    service: Service, environment: dict[str, str], corpus_dir: Path, tmp_path: Path
):
    index = tmp_path / "index"
    with Engine.open(index, create=True) as engine:
        engine.sync([corpus_dir])
    changed = corpus_dir / "kettle.md"
    service.replies = [
        [SEARCH],
        [SUPPORTED, lambda: changed.write_text("Gone.", encoding="utf-8"), "That is all [1]."],
    ]
    given = f"{QUESTION}\n/sources\n"
    done = run(environment, "chat.py", "--index", index, "--model", "any", given=given)
    assert SUPPORTED.partition(" [")[0] + "." in unsupported(done.stdout)
    assert "Nothing was cited yet." in done.stdout


@pytest.mark.parametrize("reason", ["max_tokens", "length"])
def test_an_answer_that_was_cut_off_is_no_answer(
    reason: str, service: Service, environment: dict[str, str], tmp_path: Path
):
    service.stop = reason
    service.replies = [["Pure water boils at"], [REFUSAL]]
    given = f"{QUESTION}\n/save one.md\nWell?\n"
    done = run(environment, "chat.py", "--model", "any", given=given, cwd=tmp_path)
    assert f"cut off ({reason})" in done.stderr
    assert "Pure water" not in (tmp_path / "one.md").read_text(encoding="utf-8")
    assert [each["content"] for each in service.requests[-1]["messages"][-1:]] == ["Well?"]


def test_a_models_words_are_shown_as_they_come(service: Service, environment: dict[str, str]):
    shown = threading.Event()
    service.replies = [["The first words, ", lambda: shown.wait(20), "the last."]]
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "chat.py"), "--model", "any"],
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


def test_a_models_answer_is_spoken_without_numbers(service: Service, environment: dict[str, str]):
    service.replies = [[SEARCH], [SUPPORTED]]
    done = run(environment, "chat.py", "--model", "any", "--speak", given=f"{QUESTION}\n")
    first, second = done.stdout.splitlines()
    assert first == QUOTE
    assert re.fullmatch(r"Source 1: .*kettle\.md, line 5\.", second)


def test_a_wrong_key_is_said_and_not_shown(service: Service, environment: dict[str, str]):
    for name in environment:
        if name.endswith("_API_KEY"):
            environment[name] = "mistaken"
    done = run(environment, "chat.py", "--model", "any", given=f"{QUESTION}\n")
    assert "400" in done.stderr
    assert "mistaken" not in done.stderr + done.stdout


def test_a_model_needs_a_service(index_dir: Path):
    done = run(programs.environment(index_dir), "chat.py", "--model", "any")
    assert done.returncode == 1
    assert "$OPENAI_BASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
