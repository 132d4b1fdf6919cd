"""What is derived of whole documents: the same answers as a search of the text gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite import derived
from rag_tools.engine import Engine
from rag_tools.types import Document

WORDS = ["river", "Sea", "STRASSE", "straße", "ab", "é", "\n\n"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join)


@given(TEXTS, st.integers(0, 200), st.integers(1, 60))
def test_a_term_repeats_if_a_search_finds_it_twice(text, start, length):
    page = derived.folded(text)
    term = page[start % len(page) :][:length] if page else ""
    if term:
        again = page.find(term, page.find(term) + 1) >= 0
        assert derived.Searchable(text).repeats(term) == again


def test_what_is_kept_is_derived_once_and_forgotten_in_order():
    calls = []

    @derived._kept(10, len)
    def doubled(text: str) -> str:
        calls.append(text)
        return text

    for text in ("a" * 6, "b" * 4, "a" * 6, "c" * 6, "a" * 6, "b" * 4):
        assert doubled(text) == text
    # 6 and 4 fit; the third drops the one used longest ago, "b", and then "a", and so on.
    assert [call[0] for call in calls] == ["a", "b", "c", "a", "b"]


def test_a_search_reads_each_document_once(tmp_path, monkeypatch):
    lines = "\n\n".join(f"Lamp {n} burns oil of the kind number {n * 7}." for n in range(30))
    with Engine.open(tmp_path / "i", create=True, passage_tokens=32) as engine:
        engine.add([Document(id=f"d{n}", uri=f"t:{n}", text=f"{lines} {n}") for n in range(2)])
        monkeypatch.setattr("rag_tools.reader._CACHED_CHARACTERS", 0)
        read = []
        original = type(engine._opened.reader).document

        def counted(self, view, key):
            read.append(key)
            return original(self, view, key)

        monkeypatch.setattr("rag_tools.reader.Reader.document", counted)
        assert len(engine.search("Which lamp burns oil?", limit=4).results) == 4
    assert len(read) == len(set(read)) == 2
