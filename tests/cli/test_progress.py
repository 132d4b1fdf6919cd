"""Progress of a sync: one number that rises to a total known from the start, and its bar."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from rich.console import Console

from rag_tools import Engine
from rag_tools.cli.bars import Bars
from rag_tools.meter import Meter


@pytest.fixture
def mixed(tmp_path):
    """A folder of texts of very different sizes, pages, an empty file and one that is damaged."""
    source = tmp_path / "docs"
    source.mkdir()
    for n in range(12):
        winters = " ".join(f"Lake {n} froze in winter {winter}." for winter in range(n * n))
        (source / f"{n}.md").write_text(f"# Lake {n}\n\n{winters}")
        (source / f"{n}.html").write_text(f"<h1>River {n}</h1>" + "<p>Rivers flow.</p>" * n)
    (source / "empty.txt").write_text("")
    (source / "damaged.pdf").write_bytes(b"%PDF-1.7 damaged" * 1000)
    return source


def told_by(engine, *paths):
    told = []
    report = engine.sync(paths, progress=lambda *news: told.append(news))
    return report, told


def test_a_sync_rises_steadily_to_a_total_that_stays(tmp_path, mixed, monkeypatch):
    monkeypatch.setattr("rag_tools.writer._QUEUE_PASSAGES", 4)
    with Engine.open(tmp_path / "index", create=True) as engine:
        report, told = told_by(engine, mixed)
        assert len(report.skipped) == 1 and len(report.added) == 25
        stages = [stage for stage, _, _ in told]
        assert stages == sorted(stages, reverse=True)  # first "scan", then "index"
        assert all(total == 0 for stage, _, total in told if stage == "scan")
        indexed = [(done, total) for stage, done, total in told if stage == "index"]
        assert len({total for _, total in indexed}) == 1
        shares = [done / total for done, total in indexed]
        assert shares == sorted(shares)
        assert shares[0] == 0 and shares[-1] == 1
        # It moves with the passages, not in a few leaps: a large file is a tenth of all.
        steps = [after - before for before, after in pairwise(shares)]
        assert max(steps) < 0.15
        assert shares[-2] > 0.9


def test_a_sync_of_nothing_new_is_done_at_once(tmp_path, mixed):
    (mixed / "damaged.pdf").unlink()
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([mixed])
        for path in mixed.iterdir():
            path.touch()  # read again, and found to be the same
        report, told = told_by(engine)
        assert report.unchanged == 25
        assert told[-1][1] == told[-1][2]


def test_a_meter_shares_a_file_out_over_its_passages():
    told = []
    meter = Meter(lambda stage, done, total: told.append(done))
    meter.plan(1000)
    meter.encoding(600, 3)
    meter.encoding(300, 2)
    for passages in range(1, 6):
        meter("encode", passages, 0)
    meter.settled(100)
    meter("cluster", 5, 10)
    meter.finish()
    assert told == [0, 200, 400, 600, 750, 900, 1000, 1022, 1050]


def shown(bars: Bars) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(bars.progress.get_renderable())
    return out.getvalue()


def test_a_bar_shows_the_share_and_a_time_left_that_does_not_jump():
    now = 0.0
    bars = Bars(Console(file=io.StringIO(), width=100), clock=lambda: now)
    bars.advance("scan", 1300, 0)
    assert "looking at files" in shown(bars) and "1,300 files" in shown(bars)
    estimates = []
    for step in range(1, 100):
        bars.advance("index", 10_000 * step, 1_000_000)
        # Bursts, as of passages that are encoded together: a second of nothing, then four at once.
        now += 4.0 if step % 4 == 0 else 0.0
        if step > 20:
            text = shown(bars)
            assert f"{step} %" in text and "/?" not in text and "looking" not in text
            hours, minutes, seconds = map(int, text.split(" left")[0].split()[-1].split(":"))
            estimates.append(hours * 3600 + minutes * 60 + seconds)
            assert abs(estimates[-1] - (100 - step)) <= 0.25 * (100 - step) + 2
    assert max(abs(a - b) for a, b in pairwise(estimates)) < 20
    bars.advance("index", 1_000_000, 1_000_000)
    assert "100 %" in shown(bars) and "left" not in shown(bars)


def test_other_work_has_units():
    bars = Bars(Console(file=io.StringIO(), width=100))
    bars.advance("encode", 113, 0)
    assert "113 passages" in shown(bars)
    bars.advance("search", 7, 400)
    assert "7/400 queries" in shown(bars)
