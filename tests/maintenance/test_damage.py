"""Every damaged index either works, or an error names the damage and the repair."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.catalog.salvage import _readable
from rag_tools.errors import IndexCorruptError
from rag_tools.maintenance.checking import check
from rag_tools.maintenance.repair import repair

TEXTS = {
    f"test:{name}": f"# {name.title()}\n\n" + f"The {name} is a {kind}. " * 12
    for name, kind in [
        ("heron", "bird"),
        ("pike", "fish"),
        ("otter", "mammal"),
        ("newt", "amphibian"),
        ("adder", "snake"),
    ]
}


def make(directory: Path) -> None:
    with Engine.open(directory, create=True) as engine:
        for uri, text in TEXTS.items():  # a segment each
            engine.add([Document(uri=uri, text=text, metadata={"n": 1})])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound") / "index"
    make(directory)
    return directory


@pytest.fixture
def index(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "index"))


def texts(directory: Path) -> dict[str, str]:
    with Engine.open(directory) as engine:
        engine.check()
        for uri in TEXTS:
            engine.search(uri.removeprefix("test:"))
        return {entry.uri: engine.fetch(entry.id).text for entry in engine.documents()}


def change(directory: Path, statement: str, *parameters: object) -> None:
    connection = sqlite3.connect(directory / "catalog.sqlite", isolation_level=None)
    connection.execute(statement, parameters)
    connection.close()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def column(directory: Path, name: str) -> bytes:
    connection = sqlite3.connect(directory / "catalog.sqlite")
    (value,) = connection.execute(f"SELECT {name} FROM document WHERE uri = 'test:pike'").fetchone()
    connection.close()
    return bytes(value) if isinstance(value, bytes) else value


def test_a_sound_index_is_left_alone(index: Path):
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*.seg")}
    assert not check(index).damage
    report = repair(index)
    assert (report.kept, report.damage, report.lost) == (5, (), ())
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*.seg")} == before


def test_a_flipped_byte_in_a_stored_text(index: Path):
    stored = column(index, "text")
    change(index, "UPDATE document SET text = ? WHERE uri = 'test:pike'", flipped(stored, 20))
    id = Document(uri="test:pike", text="").id
    report = check(index)
    assert [(each.kind, each.name) for each in report.damage] == [("document", id)]
    with Engine.open(index) as engine:
        with pytest.raises(IndexCorruptError, match=rf"{id}.*rag-tools repair"):
            engine.fetch(id)
        with pytest.raises(IndexCorruptError, match="rag-tools repair"):
            engine.check()
    report = repair(index)
    assert report.lost == (id,)
    assert report.kept == 4
    assert report.encoded == ()
    assert texts(index) == {uri: text for uri, text in TEXTS.items() if uri != "test:pike"}


@pytest.mark.parametrize("name", ["structure", "metadata"])
def test_what_belongs_to_a_text_is_damaged(index: Path, name: str):
    damaged = b"\0damaged" if name == "structure" else '{"n": '
    change(index, f"UPDATE document SET {name} = ? WHERE uri = 'test:pike'", damaged)
    assert [each.kind for each in check(index).damage] == ["document"]
    report = repair(index)
    assert report.restructured == (Document(uri="test:pike", text="").id,)
    assert (report.kept, report.lost) == (4, ())
    assert texts(index) == TEXTS


def test_a_damaged_segment_is_encoded_again_from_the_texts(index: Path):
    with Engine.open(index) as engine:
        (wanted,) = [hit.text for hit in engine.search("pike", limit=1).results]
    path = min((index / "segments").glob("*.seg"))
    path.write_bytes(flipped(path.read_bytes(), 200))
    assert [each.kind for each in check(index).damage] == ["segment"]
    report = repair(index)
    assert (report.kept, len(report.encoded), report.lost) == (4, 1, ())
    assert texts(index) == TEXTS
    with Engine.open(index) as engine:
        assert engine.search("pike", limit=1).results[0].text == wanted


def test_a_missing_codebook_has_everything_encoded_again(index: Path):
    for path in (index / "codebooks").iterdir():
        path.unlink()
    assert {each.kind for each in check(index).damage} == {"codebook"}
    assert len(repair(index).encoded) == 5
    assert texts(index) == TEXTS


@pytest.mark.parametrize("how", ["missing", "flipped", "of another segment"])
def test_lost_words_are_found_again(index: Path, how: str):
    first, second = sorted(index.rglob("*.lex"))[:2]
    if how == "missing":
        first.unlink()
    elif how == "flipped":
        data = bytearray(first.read_bytes())
        data[70] ^= 0x40  # in the first array: a letter of a term
        first.write_bytes(data)
    else:
        shutil.copyfile(second, first)
    assert [(each.kind, each.name) for each in check(index).damage] == [("lexical", first.name)]
    report = repair(index)
    assert (report.kept, report.encoded) == (5, ())
    assert texts(index) == TEXTS
    assert not check(index).damage


def test_lost_passages_and_settings(index: Path):
    change(index, "DELETE FROM passage WHERE key = 1")
    change(index, "DELETE FROM setting WHERE key = 'bits'")
    assert {each.kind for each in check(index).damage} >= {"setting", "segment"}
    report = repair(index)
    assert (report.kept, len(report.encoded), report.lost) == (4, 1, ())
    assert texts(index) == TEXTS


def test_a_catalog_that_is_no_database_any_more(index: Path):
    (index / "catalog.sqlite").write_bytes(bytes(8192))
    assert [each.kind for each in check(index).damage] == ["catalog"]
    with pytest.raises(IndexCorruptError, match="rag-tools restore"):
        repair(index)


def test_engines_that_are_open_go_on_after_a_repair(index: Path):
    path = sorted((index / "segments").iterdir())[0]
    with Engine.open(index) as engine:
        engine.warm()
        path.write_bytes(path.read_bytes())
        change(index, "UPDATE document SET metadata = '{' WHERE uri = 'test:pike'")
        repair(index)
        assert engine.fetch(Document(uri="test:pike", text="").id).text == TEXTS["test:pike"]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_disk_without_room_for_a_repair_loses_nothing(index: Path):
    with Engine.open(index) as engine:
        large = {"noise": "x" * 400_000}
        engine.add([Document(uri="test:large", text="Large.", metadata=large)])
    id = Document(uri="test:pike", text="").id
    change(index, "UPDATE document SET text = ? WHERE id = ?", b"damaged", id)
    program = (
        "import resource, sys; from pathlib import Path;"
        "from rag_tools.maintenance.repair import repair;"
        "from rag_tools.errors import IndexAccessError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));\n"
        "try: repair(Path(sys.argv[1]))\n"
        "except IndexAccessError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(index)], capture_output=True, text=True, check=True
    )
    assert "can't be used" in done.stdout, done
    assert len(check(index).damage) == 1
    assert not list(index.glob("repair-*"))
    assert repair(index).lost == (id,)
    assert len(texts(index)) == 5


# -- mutations -----------------------------------------------------------------------------------

# What a caller does with an index; another process, because a kernel that read beyond an array
# would end it.
USE = """
import sys
from pathlib import Path
from rag_tools import Document, Engine
from rag_tools.errors import RagToolsError
from rag_tools.maintenance.checking import check
from rag_tools.maintenance.repair import repair

def used(directory):
    with Engine.open(directory) as engine:
        engine.status()
        for query in ("heron bird", "fish"):
            for hit in engine.search(query, explain=True).results:
                engine.verify(hit.citations[0]) if hit.citations else None
        for entry in list(engine.documents()):
            engine.fetch(entry.id)
            engine.document(entry.id)
        engine.add([Document(uri="test:new", text="Something new."),
                    Document(uri="test:pike", text="Another pike.")])
        engine.delete([Document(uri="test:heron", text="").id])

for name in sys.stdin:
    directory = Path(name.strip())
    outcome = "works"
    report = check(directory)
    try:
        used(directory)
    except RagToolsError as error:
        outcome = f"{type(error).__name__}: {error}"
    try:
        repair(directory)
        after = [str(each) for each in check(directory).damage]
        with Engine.open(directory) as engine:
            engine.search("heron bird")
        outcome += f"\\trepaired, {len(after)} left"
    except RagToolsError as error:
        outcome += f"\\t{type(error).__name__}: {error}"
    print(f"{len(report.damage)}\\t{outcome}".replace("\\n", " "), flush=True)
"""

# MUTATIONS=1000 pytest … for a long look.
SEEDS = int(os.environ.get("MUTATIONS", "12"))


def mutate(directory: Path, seed: int) -> str:
    """Damage one file of an index in a way that a disk, a copy or a person damages files."""
    random_ = random.Random(seed)
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
    weights = [6 if path.name == "catalog.sqlite" else 1 for path in files]
    (path,) = random_.choices(files, weights)
    data = bytearray(path.read_bytes())
    kind = random_.choice(["flip", "flip", "zeros", "truncate", "swap", "append", "number"])
    at = random_.randrange(len(data))
    if kind == "flip":
        data[at] ^= 1 << random_.randrange(8)
    elif kind == "zeros":
        data[at : at + random_.choice([1, 16, 4096])] = bytes(min(16, len(data) - at))
    elif kind == "truncate":
        del data[at:]
    elif kind == "swap":
        other = random_.randrange(len(data))
        size = min(512, len(data) - max(at, other))
        data[at : at + size], data[other : other + size] = (
            data[other : other + size],
            data[at : at + size],
        )
    elif kind == "append":
        data += bytes(random_.randrange(256) for _ in range(100))
    else:
        data[at : at + 8] = random_.choice([b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7])
    path.write_bytes(data)
    return f"{kind} of {path.name} at {at}"


def test_mutated_indexes(sound: Path, tmp_path: Path):
    what = {}
    for seed in range(SEEDS):
        directory = Path(shutil.copytree(sound, tmp_path / f"{seed}"))
        what[directory] = mutate(directory, seed)
    done = subprocess.run(
        [sys.executable, "-c", USE],
        input="".join(f"{directory}\n" for directory in what),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    at = list(what.values())[len(lines)] if len(lines) < len(what) else ""
    assert done.returncode == 0, (at, done.stderr[-3000:])
    damaged = 0
    for mutation, line in zip(what.values(), lines, strict=True):
        found, outcome, repaired = line.split("\t")
        damaged += outcome != "works"
        if outcome != "works":
            assert (
                "rag-tools repair" in outcome
                or "name another directory" in outcome
                or ("release" in outcome)
            ), (mutation, outcome)
            assert int(found), (mutation, outcome)
        if int(found):
            assert (
                "repaired, 0 left" in repaired
                or "restore" in repaired
                or ("another program" in repaired or "release" in repaired)
            ), (mutation, repaired)
    assert damaged > SEEDS // 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", b"not compressed"),
        ("text", zlib.compress(b"\xff\xfe")),
        ("structure", b""),
        ("structure", zlib.compress(b"[1")),
        ("structure", zlib.compress(b'{"blocks": 3}')),
        ("metadata", "nothing"),
        ("metadata", "[" * 100_000),
    ],
)
def test_what_raised_an_exception_of_another_kind_is_a_message(
    index: Path, name: str, value: str | bytes
):
    change(index, f"UPDATE document SET {name} = ? WHERE uri = 'test:pike'", value)
    with Engine.open(index) as engine, pytest.raises(IndexCorruptError, match="rag-tools repair"):
        engine.fetch(Document(uri="test:pike", text="").id)


def test_reading_rows_can_end_after_their_catalog_was_closed(index: Path):
    """As where the disk is full meanwhile: nothing but that is said."""
    connection = sqlite3.connect(index / "catalog.sqlite")
    rows = _readable(connection, "SELECT key FROM document", ())
    next(rows)
    connection.close()
    rows.close()
