"""Verdicts on citations of all versions of documents that are edited at random.

    python tests/edits.py 10000

does the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from edits import World


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
