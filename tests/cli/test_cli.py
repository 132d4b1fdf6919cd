from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner, Result

from rag_tools import __version__
from rag_tools.cli import options, show
from rag_tools.cli.main import app
from rag_tools.cli.output import visible
from rag_tools.engine import Engine
from rag_tools.index.search import EFFORTS, Quality
from rag_tools.types import SearchResults, Status, Support, SyncReport, Verifications

COMMAND = [sys.executable, "-m", "rag_tools.cli.main"]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def call(*arguments: object, **options: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def spawn(*arguments: object, env: dict[str, str] | None = None, **options: object):
    """Run the command line as a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=120,
        env={**os.environ, **(env or {})},
        **options,
    )


def loaded(result: Result) -> dict:
    assert result.exit_code == 0, result.stderr
    (document,) = result.stdout_bytes.decode("utf-8").splitlines()
    return json.loads(document)


@pytest.fixture
def found(index_dir: Path) -> dict:
    return loaded(call("search", "boiling water in the mountains", "--index", index_dir, "--json"))


def test_starting_imports_nothing_heavy():
    program = (
        "import sys, rag_tools.cli.main;"
        "heavy = {'numpy', 'pydantic', 'mcp', 'onnxruntime', 'faiss', 'rag_tools.engine'};"
        "print(heavy & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert output.stdout.strip() == b"set()"


def test_version():
    assert spawn("--version").stdout.decode().strip() == f"rag-tools {__version__}"


# index


def test_index_reports_what_it_did_and_then_that_nothing_changed(corpus_dir: Path, tmp_path: Path):
    index = tmp_path / "index"
    first = SyncReport(**loaded(call("index", corpus_dir, "--index", index, "--json")))
    assert len(first.added) == len(list(corpus_dir.iterdir()))
    again = SyncReport(**loaded(call("index", "--index", index, "--json")))
    assert again.unchanged == len(first.added)
    assert again.encoded_passages == 0
    (corpus_dir / "tides.txt").unlink()
    human = call("index", corpus_dir, "--index", index)
    assert human.exit_code == 0
    assert "1 removed" in human.stdout


def test_index_names_what_it_skips_and_indexes_the_rest(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.txt").write_text("Herons stand still in shallow water.")
    (folder / "broken\nname.pdf" if os.name == "posix" else folder / "broken.pdf").write_bytes(
        b"%PDF-1.7 nothing of the kind"
    )
    index = tmp_path / "index"
    result = call("index", folder, "--index", index)
    assert result.exit_code == 3
    (line,) = (line for line in result.stderr.splitlines() if "broken" in line)
    assert line.startswith("rag-tools: skipped ")
    assert "1 added" in result.stdout
    assert "Herons" in call("search", "herons", "--index", index).stdout
    as_json = call("index", folder, "--index", index, "--json")
    assert as_json.exit_code == 3
    assert len(json.loads(as_json.stdout)["skipped"]) == 1


def test_index_names_what_it_leaves_out(tmp_path: Path):
    folder = tmp_path / "folder"
    (folder / "build").mkdir(parents=True)
    for name in ("a.md", "b.PNG", "c.png", "d.exe", "id_rsa", "build/e.md", "f.md"):
        (folder / name).write_text("Herons stand still.")
    (folder / "program").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    (folder / ".ragignore").write_text("build/\nf.md\n")
    human = call("index", folder, "--index", tmp_path / "index")
    assert human.exit_code == 0
    assert "1 added" in human.stdout
    assert (
        "left out: 2 .png, 1 without a suffix, 1 .exe; "
        "1 sensitive file (to index one, name it with --include); 2 ignored\n"
    ) in human.stdout
    report = loaded(call("index", folder, "--index", tmp_path / "index", "--json"))
    assert report["unsupported"] == 4
    assert report["unsupported_types"] == {".png": 2, ".exe": 1, "": 1}
    assert (report["sensitive"], report["ignored"]) == (1, 2)
    named = call(
        "index", folder, "--index", tmp_path / "other", "--include", "*.md", "--include", "id_rsa"
    )
    assert "2 added" in named.stdout and "sensitive" not in named.stdout


def test_only_the_most_common_types_are_named(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(15):
        (folder / f"a.x{n:02}").write_text("x")
        (folder / f"b.x{n:02}").write_text("x")
    (folder / "c.x14").write_text("x")
    report = loaded(call("index", folder, "--index", tmp_path / "index", "--json"))
    types = report["unsupported_types"]
    assert list(types) == [".x14", *(f".x{n:02}" for n in range(11)), "other"]
    assert types[".x14"] == 3 and types["other"] == 6
    assert sum(types.values()) == report["unsupported"] == 31


def test_index_chooses_files(corpus_dir: Path, tmp_path: Path):
    (corpus_dir / ".gitignore").write_text("bees.rst\n")
    (corpus_dir / ".secret.txt").write_text("The password of the lighthouse is heron.")

    def count(*options: str) -> int:
        index = tmp_path / f"index{len(list(tmp_path.iterdir()))}"
        report = SyncReport(
            **loaded(call("index", corpus_dir, "--index", index, "--json", *options))
        )
        return len(report.added)

    assert count("--include", "*.txt") == 2
    assert count("--include", "*.txt", "--hidden") == 3
    assert count("--include", "*.txt", "--exclude", "tides*") == 1
    assert count("--include", "*.rst") == 0
    assert count("--include", "*.rst", "--no-gitignore") == 1


def test_index_skips_files_over_the_limit(corpus_dir: Path, tmp_path: Path):
    (corpus_dir / "long.txt").write_text("word " * 1000)
    result = call(
        "index", corpus_dir, "--index", tmp_path / "index", "--max-file-size", "4KB", "--json"
    )
    assert result.exit_code == 3
    (skipped,) = json.loads(result.stdout)["skipped"]
    assert skipped["path"].endswith("long.txt")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_index_keeps_what_was_committed_and_resumes(tmp_path: Path):
    folder, index = tmp_path / "folder", tmp_path / "index"
    folder.mkdir()
    for number in range(400):
        words = " ".join(f"word{number}x{position}" for position in range(100))
        (folder / f"{number}.txt").write_text(words)
    process = subprocess.Popen(
        [*COMMAND, "index", str(folder), "--index", str(index)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not index.exists() or not any(index.iterdir()):
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert b"resume" in stderr
    assert b"Traceback" not in stderr
    committed = Status(**loaded(call("status", "--index", index, "--json"))).documents
    assert committed < 400
    for number in range(20, 400):
        (folder / f"{number}.txt").unlink()
    resumed = SyncReport(**loaded(call("index", folder, "--index", index, "--json")))
    assert resumed.unchanged + len(resumed.added) == 20


# search and cite


def test_search_prints_what_the_engine_found(index_dir: Path, engine: Engine, found: dict):
    expected = engine.search("boiling water in the mountains").model_dump(mode="json")
    assert found == json.loads(json.dumps(expected))
    assert SearchResults(**found).results[0].title


def test_every_citation_stands_in_the_fetched_text(index_dir: Path, found: dict):
    citations = [each for hit in found["results"] for each in hit["citations"]]
    assert citations
    for each in citations:
        document = loaded(call("fetch", each["document_id"], "--index", index_dir, "--json"))
        assert document["text"][each["start"] : each["end"]] == each["quote"]
        assert hashlib.sha256(document["text"].encode()).hexdigest() == each["document_sha256"]


def test_search_shows_the_quote_with_file_and_line(
    index_dir: Path, indexed_corpus: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(indexed_corpus.parent)
    shown = call("search", "two high tides a day", "--limit", 1, "--index", index_dir)
    place = re.search(r"^   (\S*tides\.txt):(\d+)(?:-(\d+))?", shown.stdout, re.MULTILINE)
    assert place, shown.stdout
    assert Path(place[1]) == Path(indexed_corpus.name) / "tides.txt"
    lines = (indexed_corpus / "tides.txt").read_text().splitlines()
    quote = re.search(r"\*\*(.+?)\*\*", shown.stdout, re.DOTALL)
    assert quote
    first = re.sub(r"\s+", " ", quote[1]).strip()
    there = " ".join(lines[int(place[2]) - 1 : int(place[3] or place[2])])
    assert first in there


def test_search_limits_and_filters(index_dir: Path):
    def titles(*options: object) -> list[str]:
        results = loaded(call("search", "water", "--index", index_dir, "--json", *options))
        return [hit["url"].partition("#")[0].rpartition("/")[2] for hit in results["results"]]

    assert len(titles("--limit", 2)) == 2
    assert set(titles("--filter", "path=*.md")) == {"kettle.md"}
    both = titles("--filter", "path=*.md", "--filter", "path=*.html")
    assert set(both) == {"kettle.md", "bread.html"}


def test_explain_adds_the_alignment(index_dir: Path):
    plain, explained = (
        loaded(call("search", "tides", "--index", index_dir, "--json", "--limit", 1, *options))
        for options in ((), ("--explain",))
    )
    assert plain["results"][0]["citations"][0]["alignment"] is None
    assert explained["results"][0]["citations"][0]["alignment"]


def test_cite(index_dir: Path):
    claim = "Bees tell the distance of flowers by dancing."
    support = Support(**loaded(call("cite", claim, "--index", index_dir, "--json", "--limit", 2)))
    assert 1 <= len(support.citations) <= 2
    assert "dances" in support.citations[0].quote or "distance" in support.citations[0].quote
    human = call("cite", claim, "--index", index_dir, "--limit", 1)
    assert "bees.rst:" in human.stdout
    assert "**" in human.stdout


@pytest.mark.parametrize("command", ["search", "cite"])
def test_no_character_of_a_document_reaches_the_terminal_as_a_control(
    command: str, index_dir: Path
):
    asked = "what the parrot of the lighthouse keeper says"
    human = call(command, asked, "--index", index_dir, "--limit", 1)
    assert human.exit_code == 0
    assert "[bold]markup[/bold]" in human.stdout
    assert not CONTROLS.search(human.stdout)
    machine = call(command, asked, "--index", index_dir, "--limit", 1, "--json")
    assert not CONTROLS.search(re.sub("[\u202a-\u202e]", "", machine.stdout))
    assert "\x1b[31mred" in json.dumps(json.loads(machine.stdout), ensure_ascii=False).replace(
        "\\u001b", "\x1b"
    )


def test_messages_hold_no_controls(index_dir: Path):
    result = call("fetch", "\x1b[31m", "--index", index_dir)
    assert result.exit_code == 1
    assert not CONTROLS.search(result.stderr)


def test_visible_keeps_every_offset():
    everything = "".join(map(chr, range(0x2100))) + "\u2066😀"
    shown = visible(everything)
    assert len(shown) == len(everything)
    assert not CONTROLS.search(shown)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_terminal_quotes_are_coloured_and_text_wraps(index_dir: Path):
    import pty

    def shown(*arguments: object, columns: int) -> str:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments), "--index", str(index_dir)],
            stdout=child,
            stderr=child,
            env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"},
        )
        os.close(child)
        output = b""
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            output += chunk
        os.close(parent)
        assert process.wait(timeout=60) == 0
        return output.decode()

    output = shown("search", "what the parrot says", "--limit", 1, columns=50)
    colours = set(re.findall("\x1b\\[[0-9;]*m", output))
    assert any("43" in colour for colour in colours)
    assert "\x1b[31mred" not in output
    assert "\x9b" not in output
    assert "\x1b]" not in output
    plain = re.sub("\x1b\\[[0-9;]*m", "", output)
    passage = [line for line in plain.split("\r\n") if line.startswith("   ")][1:-1]
    assert len(passage) > 2
    assert max(map(len, passage)) <= 50


def test_output_in_any_encoding(index_dir: Path):
    arguments = ("search", "boiling on a summit", "--limit", 1, "--index", index_dir)
    for encoding in ("ascii", "cp1252"):
        env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        machine = spawn(*arguments, "--json", env=env)
        assert "°C" in json.loads(machine.stdout.decode("utf-8"))["results"][0]["text"]
        human = spawn(*arguments, env=env)
        assert human.returncode == 0, human.stderr


def test_location_of_a_line_a_page_and_a_web_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    near = (tmp_path / "a b" / "ü#.txt").as_uri()
    assert show.location(near + "#L3-L5") == str(Path("a b", "ü#.txt:3-5"))
    assert show.location(near + "#L3") == str(Path("a b", "ü#.txt:3"))
    assert show.location(near + "#page=2") == str(Path("a b", "ü#.txt, page 2"))
    assert show.location(near + "#intro:~:text=x") == str(Path("a b", "ü#.txt"))
    far = tmp_path.parent / "x.txt"
    assert show.location(far.as_uri()) == str(far)
    assert show.location("https://example.org/a#:~:text=q") == "https://example.org/a"


# fetch


def test_fetch_gives_the_text_as_it_is(index_dir: Path, indexed_corpus: Path, engine: Engine):
    hit = engine.search("lighthouse keeper", limit=1).results[0]
    whole = (indexed_corpus / "hostile.txt").read_bytes()
    assert spawn("fetch", hit.document_id, "--index", index_dir).stdout == whole
    part = call("fetch", hit.document_id, "--start", 4, "--end", 10, "--index", index_dir)
    assert part.stdout == "parrot"
    passage = loaded(call("fetch", hit.id, "--index", index_dir, "--json"))
    assert passage["text"] == hit.text


# verify


def test_verify_reads_what_search_and_cite_print(index_dir: Path, found: dict, tmp_path: Path):
    count = sum(len(hit["citations"]) for hit in found["results"])
    file = tmp_path / "found.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    checked = Verifications(**loaded(call("verify", file, "--index", index_dir, "--json")))
    assert [each.status for each in checked.verifications] == ["exact"] * count
    citations = [each for hit in found["results"] for each in hit["citations"]]
    for data in (json.dumps(citations), "\n".join(map(json.dumps, citations))):
        piped = call("verify", "-", "--index", index_dir, "--json", input=data)
        assert len(loaded(piped)["verifications"]) == count
    human = call("verify", file, "--index", index_dir)
    assert human.stdout.count("exact") >= count


def test_verify_reads_what_powershell_redirects(index_dir: Path, found: dict, tmp_path: Path):
    file = tmp_path / "citations.json"
    for encoding in ("utf-16", "utf-8-sig"):  # version 5 writes the one for >, and has the other
        file.write_text(json.dumps(found) + "\r\n", encoding=encoding)
        checked = Verifications(**loaded(call("verify", file, "--index", index_dir, "--json")))
        assert {each.status for each in checked.verifications} == {"exact"}


def test_verify_fails_when_a_quote_does_not_hold(index_dir: Path, found: dict):
    citation = found["results"][0]["citations"][0]
    made_up = {**citation, "quote": "Water boils at 12 degrees on Tuesdays."}
    result = call(
        "verify", "-", "--index", index_dir, "--json", input=json.dumps([citation, made_up])
    )
    assert result.exit_code == 1
    statuses = [each["status"] for each in json.loads(result.stdout)["verifications"]]
    assert statuses[0] == "exact"
    assert statuses[1] in ("stale", "missing")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "JSON"),
        (b"\xff\xfe", "-"),
        (b'{"document_id": "x"}', ""),
        (b'{"a": 1}\n{"b"', "line 2"),
        (b"[" * 100_000, "JSON"),
        (b"", "JSON"),
    ],
)
def test_verify_says_what_is_wrong_with_its_input(index_dir: Path, data: bytes, says: str):
    result = call("verify", "-", "--index", index_dir, input=data)
    assert result.exit_code == 1
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


# status, and what goes wrong


def test_status(index_dir: Path, indexed_corpus: Path, engine: Engine):
    shown = Status(**loaded(call("status", "--index", index_dir, "--json")))
    assert shown == engine.status()
    human = call("status", "--index", index_dir).stdout
    assert f"documents       {shown.documents}" in human
    assert str(indexed_corpus) in human


def test_status_says_when_searches_run_on_numpy(index_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", "numpy")
    result = call("status", "--index", index_dir)
    assert "kernel          numpy" in result.stdout
    assert "install a C++ compiler and reinstall" in result.stderr
    monkeypatch.delenv("RAG_TOOLS_KERNEL")
    if Status(**loaded(call("status", "--index", index_dir, "--json"))).kernel != "numpy":
        assert not call("status", "--index", index_dir).stderr


@pytest.mark.parametrize("command", ["search", "cite"])
def test_quality(index_dir: Path, command: str):
    found = [
        loaded(call(command, "tides", "--index", index_dir, "--json", "--quality", quality))
        for quality in get_args(Quality)
    ]
    assert found == [loaded(call(command, "tides", "--index", index_dir, "--json"))] * len(found)
    assert call(command, "tides", "--index", index_dir, "--quality", "best").exit_code == 2


def test_qualities_are_those_of_the_engine():
    assert get_args(options.Quality) == get_args(Quality) == tuple(EFFORTS)


@pytest.mark.parametrize("given", ["option", "environment", "nothing"])
def test_which_index(given: str, index_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAG_TOOLS_INDEX", raising=False)
    if given == "option":
        assert call("status", "--index", index_dir).exit_code == 0
    elif given == "environment":
        monkeypatch.setenv("RAG_TOOLS_INDEX", str(index_dir))
        assert call("status").exit_code == 0
    else:
        result = call("status")
        assert result.exit_code == 1
        assert ".rag-tools" in result.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("search", "q"), ("cite", "c"), ("fetch", "i"), ("status",), ("index",)]
)
def test_a_missing_index_is_one_clear_line(arguments: tuple[str, ...], tmp_path: Path):
    missing = tmp_path / "missing"
    result = call(*arguments, "--index", missing)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert str(missing) in line
    assert "rag-tools index" in line
    assert not result.stdout
    assert not missing.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("search",),
        ("search", "q", "--limit", "0"),
        ("search", "q", "--limti", "3"),
        ("search", "q", "--filter", "nonsense"),
        ("index", "/no/such/path"),
        ("index", ".", "--max-file-size", "big"),
        ("fetch", "id", "--start", "-1"),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]):
    result = call(*arguments)
    assert result.exit_code == 2
    assert not result.stdout
    assert result.stderr


def test_an_empty_query_and_an_unknown_document(index_dir: Path):
    for arguments in (("search", "  "), ("cite", ""), ("fetch", "no-such-id")):
        result = call(*arguments, "--index", index_dir)
        assert result.exit_code == 1
        assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="arguments are Unicode elsewhere")
def test_a_query_that_is_not_utf8(index_dir: Path):
    result = subprocess.run(
        [*COMMAND, "search", b"tides \xff\xfe", "--index", str(index_dir), "--json"],
        capture_output=True,
        timeout=60,
    )
    assert b"Traceback" not in result.stderr
    assert result.returncode in (0, 1)


def test_a_reader_that_goes_away(index_dir: Path):
    process = subprocess.Popen(
        [*COMMAND, "search", "water", "--index", str(index_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
