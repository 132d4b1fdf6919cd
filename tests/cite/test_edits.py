"""Verdicts on citations of all versions of documents that are edited at random.

    python tests/helpers/edits.py 10000

does the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edits import World
from rag_tools.engine import Engine


@pytest.mark.parametrize("seed", [1, 2])
def test_verdicts_after_random_edits(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed)
    with world.engine:
        tally = world.run(250)
    verdicts = {name for name in tally if name.startswith("verdict: ")}
    assert verdicts == {
        f"verdict: {status}, {checked}"
        for status in ("exact", "moved", "stale", "missing")
        for checked in ("source", "index")
    }


def test_citations_outlive_updates_and_compaction(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    texts = {f"{i:02}.md": f"# Note {i}\n\nHarbour {i} floods at spring tide.\n" for i in range(12)}
    with Engine.open(tmp_path / "index", create=True) as engine:
        segments, citations = [], {}
        for name, text in texts.items():  # each sync cuts a segment
            (folder / name).write_text(text, encoding="utf-8")
            engine.sync([folder])
            segments.append(engine.status().segments)
            quoted = engine.search(text, filter={"title": text.splitlines()[0][2:]}, explain=True)
            citations[name] = quoted.results[0].citations[0]
        assert segments[-1] < len(texts), "nothing was compacted"
        (folder / "00.md").write_text("# New\n\n" + texts["00.md"], encoding="utf-8")
        (folder / "01.md").write_text("# Note 1\n\nNothing floods.\n", encoding="utf-8")
        (folder / "02.md").unlink()
        engine.sync([folder])
        verdicts = {name: engine.verify(citation) for name, citation in citations.items()}
    expected = dict.fromkeys(texts, "exact") | {"00.md": "moved", "01.md": "stale"}
    expected["02.md"] = "missing"
    assert {name: verdict.status for name, verdict in verdicts.items()} == expected
    moved = verdicts["00.md"].citation
    assert moved.start == citations["00.md"].start + len("# New\n\n")
    # An alignment moves with its quote.
    assert [edge.start for edge in moved.alignment] == [
        edge.start + len("# New\n\n") for edge in citations["00.md"].alignment
    ]
