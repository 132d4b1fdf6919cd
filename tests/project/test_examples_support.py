"""The support desk over the sample manuals: it quotes, refuses and hands over."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import programs
from programs import EXAMPLES, Terminal, run
from rag_tools.engine import Engine
from services import Anthropic

REFUSAL = "I found nothing in these documents that supports an answer."

DESCALING = """\
Descale the machine when the orange light comes on, or every three
months where the water is hard. Never use vinegar: it damages the
seals.
1. Switch the machine off and let it cool for ten minutes.
2. Dissolve one sachet of descaler in 500 ml of water and pour it into
the tank.
3. Hold the steam button for five seconds until the orange light blinks.
4. Place a bowl of at least one litre under the spout and press the cup
button.
5. When the pump stops, fill the tank with fresh water and press the cup
button again to rinse.
The orange light goes out when the programme has finished. It takes
about 25 minutes. [1]
"""


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample manuals, indexed where the desk looks for their index; don't change them."""
    manuals = Path(shutil.copytree(EXAMPLES / "manuals", tmp_path_factory.mktemp("desk") / "m"))
    done = run(programs.environment(), "support_bot.py", manuals)
    assert done.returncode == 0, done.stderr
    with Engine.open(manuals / ".rag-tools") as engine:
        assert engine.status().documents == 4
    return manuals


def ask(manuals: Path, *lines: str, cwd: Path | None = None) -> str:
    given = "".join(f"{line}\n" for line in lines)
    done = run(programs.environment(), "support_bot.py", manuals, given=given, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_steps_from_a_pdf_with_its_page_and_its_link(indexed: Path):
    answer = ask(indexed, "How do I descale the espresso machine?")
    assert DESCALING in answer
    assert re.search(r"^\[1\] \S*aria-espresso-machine\.pdf, page 2  Descaling$", answer, re.M)
    assert re.search(r"^    file:///\S+/aria-espresso-machine\.pdf#page=2$", answer, re.M)


@pytest.mark.parametrize(
    ("question", "warning", "first", "last", "link"),
    [
        (
            "How do I reset the router to factory settings?",
            "All settings are lost, the password too.",
            "Leave the router switched on.",
            "Let go when the light turns blue.",
            r"corvid-router\.html#reset:~:text=\S+",
        ),
        (
            "How do I remove the transport bolts?",
            "Running the machine with the bolts in place destroys it.",
            "Unscrew the three bolts on the back with a 10 mm spanner.",
            "Keep the bolts: the machine must not be moved without them.",
            r"tumble-washing-machine\.docx",
        ),
        (
            "How do I change the batteries of the thermostat?",
            "rechargeable ones give too little voltage.",
            "1. Pull the thermostat off its base towards you.",
            "4. Push the thermostat back on its base until it clicks.",
            r"hearth-thermostat\.md#L5-L13",
        ),
    ],
    ids=["html", "docx", "markdown"],
)
def test_steps_come_whole_after_their_warning(
    indexed: Path, question: str, warning: str, first: str, last: str, link: str
):
    answer = ask(indexed, question)
    places = [answer.index(text) for text in (warning, first, last)]
    assert places == sorted(places)
    assert re.search(rf"^    file:///\S+/{link}$", answer, re.MULTILINE), answer


def test_a_fact_is_a_sentence(indexed: Path):
    answer = ask(indexed, "Can I wash the water tank in a dishwasher?")
    assert "must not go into the dishwasher. [1]" in answer
    assert "drip tray every day" not in answer


def test_a_heading_is_answered_with_what_it_stands_over(indexed: Path):
    answer = ask(indexed, "/product router", "What does a red light mean?")
    assert "Answers come from router." in answer
    assert "Steady red: no signal from the modem." in answer


def test_a_product_narrows_the_answers(indexed: Path):
    answer = ask(indexed, "/product toaster", "/product router", "How do I descale it?", "/product")
    assert "No manual has toaster in its name." in answer
    assert REFUSAL in answer
    assert "Answers come from all manuals." in answer


def test_what_the_manuals_do_not_say_goes_to_a_person(indexed: Path, tmp_path: Path):
    unanswered = "Can I connect a printer to the *router*?"
    answer = ask(
        indexed,
        "How many devices can the router take?",
        unanswered,
        "And where is the nearest shop?",
        "/ticket one.md",
        "/ticket one.md",
        "/help",
        cwd=tmp_path,
    )
    assert answer.count(REFUSAL) == 2
    assert "That takes the name of a new file" in answer
    assert re.search("^/ticket FILE ", answer, re.MULTILINE)

    ticket = (tmp_path / "one.md").read_text(encoding="utf-8")
    asked, _, searched = ticket.partition("## Searched without success")
    assert re.search(r"^- How many devices .*: answered from \S*corvid-router\.html", asked, re.M)
    assert r"- Can I connect a printer to the \*router\*?: not answered" in asked
    # What was searched for, with the question before where the question leaned on it.
    assert re.findall(r"^- (.*)$", searched, re.MULTILINE) == [
        r"Can I connect a printer to the \*router\*?",
        r"Can I connect a printer to the \*router\*? And where is the nearest shop?",
    ]
    nearest = re.findall(r"^  - nearest, (0\.\d\d): .+ \(\S+\.\w+.*\)$", searched, re.MULTILINE)
    assert nearest
    assert max(map(float, nearest)) < 0.6


def test_the_manuals_are_read_as_they_are_now(indexed: Path, tmp_path: Path):
    without_index = shutil.ignore_patterns(".rag-tools")
    manuals = Path(shutil.copytree(indexed, tmp_path / "manuals", ignore=without_index))
    question = "How long is a day's schedule of the thermostat kept without batteries?"
    assert "Your schedule is kept while" in ask(manuals, question)
    changed = manuals / "hearth-thermostat.md"
    text = changed.read_text(encoding="utf-8").replace("schedule is kept", "schedule is lost")
    changed.write_text(text, encoding="utf-8")
    assert "Your schedule is lost while" in ask(manuals, question)


def test_a_model_is_given_whole_procedures(indexed: Path):
    service = Anthropic()
    environment = {**programs.environment(), **service.environment}
    search = ("search", json.dumps({"query": "How do I descale the espresso machine?"}))
    service.replies = [
        [search],
        ["Never use vinegar: it damages the seals [1]."],
        [("cite", json.dumps({"claim": "A printer can be connected to the router."}))],
        [REFUSAL],
    ]
    given = "How do I descale it?\nCan I connect a printer?\n"
    try:
        done = run(environment, "support_bot.py", indexed, "--model", "any", given=given)
    finally:
        service.close()
    assert done.returncode == 0, done.stderr
    (result,) = service.requests[1]["messages"][-1]["content"]
    assert f"{json.loads(result['content'])[0]['quote']} [1]\n" == DESCALING
    assert "Not supported" not in done.stdout
    ticket = done.stdout.partition("# Ticket")[2]
    assert "- How do I descale it?: answered from" in ticket
    assert "- A printer can be connected to the router." in ticket


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_desk_in_a_terminal(indexed: Path):
    command = [sys.executable, str(EXAMPLES / "support_bot.py"), str(indexed)]
    terminal = Terminal(command, programs.environment())
    try:
        terminal.expect("4 manuals. What can I do for you?")
        terminal.type("How many devices can the router take?\n")
        terminal.expect("60 devices at once.")
        terminal.interrupt()
        assert "Traceback" not in terminal.end()
        assert terminal.process.returncode == 0
    finally:
        terminal.close()
