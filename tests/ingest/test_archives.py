"""Archives: their members are documents of their own, within limits."""

import io
import os
import tarfile
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from rag_tools.engine import Engine
from rag_tools.ingest.contents import DEEPEST
from rag_tools.ingest.members import MOST_MEMBERS, Allowance, read_members

TIDES = "The moon pulls the sea.\nSpring tides come at full moon.\n"
BEES = "# Bees\n\nBees dance on the comb.\n"


def zipped(members: dict[str, bytes | str], **options) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred(members: dict[str, bytes | str], mode: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{mode}") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "files"
    made.mkdir()
    return made


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as opened:
        yield opened


def uris(engine: Engine, folder: Path) -> list[str]:
    return sorted(entry.uri.removeprefix(folder.as_uri() + "/") for entry in engine.documents())


def reasons(report) -> dict[str, str]:
    return {os.path.basename(each.path): each.reason for each in report.skipped}  # noqa: PTH119


def test_members_are_documents_that_are_cited_checked_and_vanish(engine, folder):
    path = folder / "a.zip"
    path.write_bytes(zipped({"sea/tides.txt": TIDES, "R&D #1.md": BEES, "map.png": b"\x89PNG"}))
    report = engine.sync([folder])
    assert uris(engine, folder) == ["a.zip#/R%26D%20%231.md", "a.zip#/sea/tides.txt"]
    assert report.unsupported_types == {".png": 1}
    hit = engine.search("when do spring tides come?").results[0]
    assert hit.metadata["path"] == "a.zip/sea/tides.txt"
    (citation, *_) = hit.citations
    assert citation.url == f"{path.as_uri()}#/sea/tides.txt&L2"
    assert engine.verify(citation).status == "exact"
    answer = f'It is so: "Spring tides come at full moon." ([source]({citation.url}))'
    assert [each.status for each in engine.verify_answer(answer).verifications] == ["moved"]
    assert engine.search("bees", filter={"path": "a.zip/sea/*"}).results[0].id == hit.id

    again = engine.sync([folder])
    assert (again.unchanged, again.added, again.updated) == (1, (), ())

    path.write_bytes(zipped({"sea/tides.txt": f"New.\n{TIDES}"}))
    moved = engine.verify(citation)  # reads the archive as it is now
    assert (moved.status, moved.checked, moved.citation.lines) == ("moved", "source", (3, 3))
    report = engine.sync([folder])
    assert (len(report.updated), len(report.removed)) == (1, 1)
    assert uris(engine, folder) == ["a.zip#/sea/tides.txt"]

    path.write_bytes(zipped({"other.txt": "Nothing of that.\n"}))
    assert engine.verify(citation).status == "stale"
    path.unlink()
    assert len(engine.sync([folder]).removed) == 1
    assert uris(engine, folder) == []


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar", ""), ("a.tgz", "gz"), ("a.tar.gz", "gz"), ("a.tar.bz2", "bz2"), ("a.tar.xz", "xz")],
)
def test_tar(engine, folder, name, mode):
    members = {"./b/tides.txt": TIDES, "../up.md": BEES, ".git/config.txt": "x", "id_rsa": "x"}
    (folder / name).write_bytes(tarred(members, mode))
    report = engine.sync([folder])
    assert uris(engine, folder) == [f"{name}#/b/tides.txt", f"{name}#/up.md"]
    assert (report.skipped, report.sensitive) == ((), 1)


def test_archives_and_messages_inside_of_each_other(engine, folder):
    message = EmailMessage()
    message["Subject"] = "Tides"
    message.set_content("See there.\n")
    inner = tarred({"deep/tides.txt": TIDES}, "gz")
    message.add_attachment(inner, maintype="application", subtype="gzip", filename="t.tar.gz")
    (folder / "a.zip").write_bytes(zipped({"m.eml": message.as_bytes()}))
    engine.sync([folder])
    assert uris(engine, folder) == ["a.zip#/m.eml", "a.zip#/m.eml/t.tar.gz/deep/tides.txt"]
    citation = engine.search("spring tides at full moon").results[0].citations[0]
    (folder / "a.zip").write_bytes(zipped({"m.eml": message.as_bytes(), "b.txt": "B.\n"}))
    checked = engine.verify(citation)
    assert (checked.status, checked.checked) == ("exact", "source")


def test_a_member_that_fails_costs_no_other_and_its_last_good_version_stays(engine, folder):
    path = folder / "a.zip"
    path.write_bytes(zipped({"a.txt": TIDES, "b.md": BEES}))
    engine.sync([folder])
    path.write_bytes(zipped({"a.txt": b"\x00\x01\x02\xff" * 50, "b.md": BEES + "They hum.\n"}))
    report = engine.sync([folder])
    assert list(reasons(report)) == ["a.txt"]
    assert uris(engine, folder) == ["a.zip#/a.txt", "a.zip#/b.md"]
    assert "They hum" in engine.document(report.updated[0]).text
    assert list(reasons(engine.sync([folder]))) == ["a.txt"]  # it is tried again


def test_an_interrupted_archive_is_read_again(engine, folder, monkeypatch):
    (folder / "a.zip").write_bytes(zipped({f"{n}.txt": f"Line {n}.\n" for n in range(5)}))
    monkeypatch.setattr("rag_tools.writer._SEGMENT_PASSAGES", 1)  # every document is committed
    shown = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal shown
        shown += stage == "index"
        if shown == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.sync([folder], progress=stop)
    assert 0 < len(uris(engine, folder)) < 5
    engine.sync([folder])
    assert len(uris(engine, folder)) == 5
    assert engine.sync([folder]).unchanged == 1


def test_bombs_are_refused_by_name(engine, folder):
    zeros = bytes(60 * 1024 * 1024)
    bomb = zipped({f"{n}.txt": zeros for n in range(2)})
    (folder / "zeros.zip").write_bytes(bomb)
    (folder / "zeros.tar.xz").write_bytes(tarred({"z.txt": zeros}, "xz"))
    (folder / "around.zip").write_bytes(zipped({"zeros.zip": bomb}, compresslevel=0))
    (folder / "many.zip").write_bytes(zipped({f"{n}.txt": "" for n in range(MOST_MEMBERS + 1)}))
    deep = zipped({"deepest.txt": TIDES})
    for _ in range(DEEPEST):
        deep = zipped({"d.zip": deep})
    (folder / "deep.zip").write_bytes(deep)
    (folder / "tides.txt").write_text(TIDES)
    found = reasons(engine.sync([folder]))
    assert "unpacks from" in found["zeros.zip"]
    assert "unpacks from" in found["zeros.tar.xz"]
    assert found["many.zip"].startswith("many.zip: more than 10,000 files")
    assert "inside of each other" in found["d.zip"]
    assert uris(engine, folder) == ["tides.txt"]


def test_what_is_encrypted_damaged_or_too_large_is_named(engine, folder):
    data = bytearray(zipped({"a.txt": TIDES, "b.txt": BEES * 9, "c.txt": "x" * 5000}))
    for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1  # the flag of encryption
    second = data.index(b"b.txt") + len("b.txt")
    data[second + 4] ^= 0xFF
    (folder / "a.zip").write_bytes(data)
    (folder / "torn.zip").write_bytes(zipped({"a.txt": TIDES})[:-30])
    (folder / "torn.tar.gz").write_bytes(tarred({"a.txt": os.urandom(5000)}, "gz")[:-900])
    found = reasons(engine.sync([folder], max_bytes=4000))
    assert "encrypted" in found["a.txt"]
    assert "damaged" in found["b.txt"]
    assert "5,000 bytes, the limit is 4,000" in found["c.txt"]
    assert "damaged or not an archive" in found["torn.zip"]
    assert "torn.tar.gz" in found


def test_a_document_of_office_that_is_called_an_archive_is_that_document(engine, folder):
    source = Path(__file__).parents[1] / "data" / "documents" / "harbour.epub"
    (folder / "book.zip").write_bytes(source.read_bytes())
    engine.sync([folder])
    assert uris(engine, folder) == ["book.zip"]


def test_a_member_without_a_name_is_passed_over():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("tides.txt", TIDES)
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        archive.writestr(nameless, "words")
    members = read_members(made.getvalue(), "a.zip", Allowance()).members
    assert [each.path for each in members] == ["tides.txt"]
