"""What is exported is imported: documents exactly, embeddings without encoding again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_tools import Block, Document, Engine
from rag_tools.errors import TransferError
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


def transfer(index: Path, target: Path, **options: bool):
    with open_index(index) as opened:
        written = export(opened, target.with_suffix(".jsonl"), **options)
    with open_index(target, create=True) as opened:
        read = import_(opened, target.with_suffix(".jsonl"))
    return written, read


@pytest.mark.parametrize("embeddings", [False, True])
def test_there_and_back(index: Path, tmp_path: Path, embeddings: bool):
    written, read = transfer(index, tmp_path / "copy", embeddings=embeddings)
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
