"""What is exported is imported: documents exactly, embeddings without encoding again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rag_tools import AccessRules, Block, Document, Engine, Principal
from rag_tools.errors import ConfigurationError, TransferError
from rag_tools.maintenance.transfer import export, import_
from rag_tools.opened import open_index

TEXT = "# Tides\n\n" + "The Moon pulls on the sea. 🌊 Two high tides come each day.\n" * 20


@pytest.fixture
def index(tmp_path: Path, corpus_dir: Path) -> Path:
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([corpus_dir])
        engine.add(
            [
                Document(
                    uri="test:tides",
                    text=TEXT,
                    title="Tides",
                    media_type="text/markdown",
                    blocks=(Block("paragraph", 0, len(TEXT), ("Tides",)),),
                    metadata={"year": 2026, "tags": ["sea", "moon"], "none": None},
                ),
                Document(uri="test:empty", text=""),
            ]
        )
    return tmp_path / "index"


def documents(directory: Path) -> list[Document]:
    with Engine.open(directory) as engine:
        engine.check()
        return [engine.document(entry.id) for entry in engine.documents()]


def transfer(index: Path, target: Path, **options):
    file = target.with_suffix(".export")
    with open_index(index) as opened:
        written = export(opened, file, **options)
    with open_index(target, create=True) as opened:
        read = import_(opened, file)
    return written, read


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("embeddings", [False, True])
def test_there_and_back(index: Path, tmp_path: Path, embeddings: bool, format: str):
    written, read = transfer(index, tmp_path / "copy", embeddings=embeddings, format=format)
    assert written.documents == read.documents == len(documents(index))
    assert read.passages == written.passages > 5
    assert read.encoded_passages == (0 if embeddings else read.passages)
    assert documents(tmp_path / "copy") == documents(index)
    with Engine.open(index) as old, Engine.open(tmp_path / "copy") as new:
        for query in ("high tides", "how do bees tell the distance", "merge sort"):
            ours, theirs = old.search(query).results, new.search(query).results
            assert ours[0].id == theirs[0].id
            assert ours[0].score == pytest.approx(theirs[0].score, abs=0.05)
            assert ours[0].citations[0].quote == theirs[0].citations[0].quote


def test_embeddings_of_another_checkpoint_are_not_used(index: Path, tmp_path: Path):
    with open_index(index) as opened:
        export(opened, tmp_path / "e.jsonl", embeddings=True)
    with open_index(tmp_path / "n", create=True, asked={"dim": 64}) as opened:
        report = import_(opened, tmp_path / "e.jsonl")
    assert report.encoded_passages == report.passages


def test_embeddings_that_cannot_be_right_are_made_anew(index: Path, tmp_path: Path):
    with open_index(index) as opened:
        export(opened, tmp_path / "e.jsonl", embeddings=True)
    lines = (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith('{"passage"')]
    for number, change in zip(
        at, ({"vectors": "AAAA"}, {"spans": "////"}, {"token_ids": 1}), strict=False
    ):
        value = json.loads(lines[number])
        value["passage"] |= change
        lines[number] = json.dumps(value, separators=(",", ":"))
    (tmp_path / "e.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with open_index(tmp_path / "n", create=True) as opened:
        assert import_(opened, tmp_path / "e.jsonl").encoded_passages == 3
    assert documents(tmp_path / "n") == documents(index)


def test_lines_that_are_no_documents_are_skipped(index: Path, tmp_path: Path):
    with open_index(index) as opened:
        export(opened, tmp_path / "e.jsonl")
    with (tmp_path / "e.jsonl").open("a", encoding="utf-8") as file:
        for line in (
            "not JSON",
            '{"document": {"uri": "test:x"}}',
            '{"document": 3}',
            "[" * 100_000,
            '{"document": {"text": "x", "uri": "test:y", "blocks": [["paragraph", 0, 9, []]]}}',
            '{"document": {"text": "Good.", "uri": "test:good"}}',
        ):
            file.write(line + "\n")
    with open_index(tmp_path / "n", create=True) as opened:
        report = import_(opened, tmp_path / "e.jsonl")
    assert len(report.skipped) == 5
    assert all(skipped.path.startswith("line ") for skipped in report.skipped)
    assert "Good." in {document.text for document in documents(tmp_path / "n")}


@pytest.mark.parametrize("content", ["", "{}", '{"rag_tools_export": 2}', "\x00", "[" * 10_000])
def test_files_that_are_no_exports(tmp_path: Path, content: str):
    (tmp_path / "f").write_text(content)
    with open_index(tmp_path / "n", create=True) as opened:
        for file in (tmp_path / "f", tmp_path, tmp_path / "none"):
            with pytest.raises(TransferError):
                import_(opened, file)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_what_belongs_to_documents_goes_with_them(tmp_path: Path, format: str):
    with Engine.open(tmp_path / "index", create=True, keep_versions=["memo*"]) as engine:
        folder = tmp_path / "notes"
        folder.mkdir()
        (folder / "memo.txt").write_text("Two tides a day.", encoding="utf-8")
        denied = AccessRules(labels={"*": ["coast"]}, default_deny=True)
        (gone,) = engine.sync([folder], access=denied).added
        (folder / "memo.txt").unlink()
        engine.sync()
        engine.add([Document(uri="memo:1", id="one", text="The ferry leaves at noon.")])
        engine.add([Document(uri="memo:1", id="one", text="The ferry leaves at one.")])
        before = [engine.history.versions(id) for id in ("one", gone)]
    transfer(tmp_path / "index", tmp_path / "copy", format=format)
    with Engine.open(tmp_path / "copy") as engine:
        found = [engine.history.versions(id) for id in ("one", gone)]
        for old, new in zip(sum(before, ()), sum(found, ()), strict=True):
            told = new.provenance.imported
            assert new == old or told.root == (tmp_path / "copy.export").absolute().as_uri()
            kept = new.provenance.model_copy(update={"imported": None})
            assert new.model_copy(update={"provenance": kept}) == old
        assert [len(each) for each in found] == [2, 1]
        first = found[0][0]
        assert engine.document("one", as_of=first.since).text == "The ferry leaves at noon."
        # An index that is imported elsewhere doesn't become open.
        ana = engine.as_(Principal(user="ana"))
        assert list(ana.documents()) == []
        assert not ana.search("ferry").results
        sailor = engine.as_(Principal(user="bo", groups=("coast",)))
        assert len(sailor.history.versions(gone)) == 1
        # The rules go with it too.
        engine.add([Document(uri="memo:1", id="one", text="The ferry leaves at two.")])
        assert len(engine.history.versions("one")) == 3
    with open_index(tmp_path / "copy") as opened:  # once more changes nothing
        import_(opened, tmp_path / "copy.export")
    with Engine.open(tmp_path / "copy") as engine:
        assert len(engine.history.versions("one")) == 4
        assert len(engine.history.versions(gone)) == 1


def test_parquet_that_is_no_export_or_is_damaged(index: Path, tmp_path: Path):
    import pyarrow
    import pyarrow.parquet

    other = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["no export"]}), other)
    with open_index(index) as opened:
        export(opened, tmp_path / "e.parquet", format="parquet")
    whole = (tmp_path / "e.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    table = pyarrow.parquet.read_table(tmp_path / "e.parquet")
    at = table.schema.get_field_index("structure")
    broken = table.set_column(at, "structure", pyarrow.array(["{}"] + ["["] * (len(table) - 1)))
    pyarrow.parquet.write_table(broken, tmp_path / "broken.parquet")
    with open_index(tmp_path / "n", create=True) as opened:
        for file in (other, tmp_path / "cut.parquet"):
            with pytest.raises(TransferError, match="isn't an export in Parquet"):
                import_(opened, file)
        report = import_(opened, tmp_path / "broken.parquet")
        assert report.documents == 1
        assert len(report.skipped) == len(documents(index)) - 1
        assert all(skipped.path.startswith("row ") for skipped in report.skipped)


def test_without_pyarrow_the_extra_is_named(index: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with open_index(index) as opened:
        with pytest.raises(ConfigurationError, match=r"rag-tools\[parquet\]"):
            export(opened, tmp_path / "e.parquet", format="parquet")
        assert not (tmp_path / "e.parquet").exists()
