"""A small corpus of several formats, indexed once for all tests."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from rag_tools.engine import Engine

# The same examples on every run, however slow the machine; to look for new ones:
# pytest --hypothesis-profile=explore
settings.register_profile("stable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("stable")

# A job in a shell's background ignores interrupts, and so would what tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

FILES = {
    "kettle.md": """\
# Boiling water

## At sea level

Pure water boils at 100 °C when the air pressure is one atmosphere. A kettle that switches itself
off senses the steam, not the temperature.

## In the mountains

Air gets thinner with height, so water boils at a lower temperature. On the summit of a mountain of
4,000 metres it boils at about 87 °C, and tea brews badly. 🏔️
""",
    "tides.txt": """\
The Moon pulls on the near side of the Earth more strongly than on the far side.
The sea bulges on both sides, and the Earth turns beneath the bulges.
That is why most coasts see two high tides a day.

Spring tides come when the Sun and the Moon pull along the same line.
""",
    "bees.rst": """\
Bees
====

Dancing
-------

A honeybee that has found flowers dances on the comb. The angle of the waggle run tells the
direction relative to the Sun, and its duration tells the distance.

Wintering
---------

In winter the bees form a cluster and shiver to keep the queen warm.
""",
    "sorting.py": '''\
"""Sorting algorithms."""


def merge_sort(items):
    """Sort by splitting in halves and merging the sorted halves."""
    if len(items) < 2:
        return items
    middle = len(items) // 2
    return merge(merge_sort(items[:middle]), merge_sort(items[middle:]))


def bubble_sort(items):
    """Sort by swapping neighbours until no pair is out of order."""
    for last in range(len(items) - 1, 0, -1):
        for i in range(last):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
''',
    "bread.html": """\
<!doctype html>
<html><head><title>Bread</title></head>
<body><h1 id="sourdough">Sourdough</h1>
<p>A sourdough starter holds wild yeast and lactic acid bacteria. Feed it with equal weights of
flour and water once a day.</p>
<h2>Baking</h2><p>Bake the loaf at 240 degrees with steam for the first fifteen minutes.</p>
</body></html>
""",
    "hostile.txt": (
        "The parrot of the lighthouse keeper says \x1b[31mred\x1b[0m and \x1b]0;owned\x07 and"
        " \x9b31m and [bold]markup[/bold] and \u202eright to left\u202c.\r\n"
        "It was taught by a sailor.\r\n"
    ),
}


@pytest.fixture(scope="session")
def indexed_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `index_dir` was made from; don't change it."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, text in FILES.items():
        (folder / name).write_bytes(text.encode("utf-8"))
    return folder


@pytest.fixture
def corpus_dir(indexed_corpus: Path, tmp_path: Path) -> Path:
    """A copy of the corpus, to change at will."""
    return Path(shutil.copytree(indexed_corpus, tmp_path / "corpus"))


@pytest.fixture(scope="session")
def index_dir(indexed_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the corpus, to read."""
    directory = tmp_path_factory.mktemp("index") / "index"
    with Engine.open(directory, create=True) as engine:
        report = engine.sync([indexed_corpus])
    assert len(report.added) == len(FILES), report
    return directory


@pytest.fixture
def engine(index_dir: Path) -> Iterator[Engine]:
    """An engine on the index of the corpus."""
    with Engine.open(index_dir) as engine:
        yield engine
