"""Pairs of indexes, of which one has documents that a caller may not read and the other hasn't."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from rag_tools import Document, Engine
from rag_tools.errors import RagToolsError
from rag_tools.types import AccessRules, Principal

TEXTS = {
    f"note{number:02}": f"# {title}\n\n{text}\n"
    for number, (title, text) in enumerate(
        [
            ("Backups", "Backups run every night at 02:30. They are kept for two weeks."),
            ("Backups of the board", "Backups of the board are kept for nine years."),
            ("Keys", "Keys are rotated on the first of every month. Error E-4711-B means no key."),
            (
                "Salaries",
                "The salary of the director is 412,000 euros. E-4711-B is secret.",
            ),
            ("Kettle", "Pure water boils at 100 °C. The kettle is in the kitchen."),
            (
                "Kettle of the board",
                "The kettle of the board boils water at 92 °C for the merger.",
            ),
            ("Ferry", "The ferry to the island leaves at noon. It takes cars and bicycles."),
            ("Layoffs", "In March, forty people leave. The ferry to the island is sold."),
            (
                "Copy of the backups",
                "Backups run every night at 02:30. They are kept for two weeks.",
            ),
            ("Tides", "Most coasts see two tides a day. High tides follow the moon."),
        ]
    )
}
QUERIES = (
    "how long are backups kept?",
    "E-4711-B",
    "what does the director earn? salary merger layoffs",
    "when does the ferry leave the island",
)
CLAIMS = ("Backups are kept for two weeks.", "The director earns 412,000 euros.")
LABELS = st.sampled_from(
    [(), ("ops",), ("board",), ("user:ana",), ("board", "ops"), ("everyone",), ("user:bo",)]
)
PRINCIPALS = st.builds(
    Principal,
    user=st.sampled_from(["", "ana", "bo"]),
    groups=st.sets(st.sampled_from(["ops", "board", "staff"]), max_size=2).map(tuple),
)


@st.composite
def labelled(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Labels for each of the documents."""
    return {name: draw(LABELS) for name in TEXTS}


def documents(labels: dict[str, tuple[str, ...]]) -> list[Document]:
    return [
        Document(
            uri=f"notes:{name}",
            id=name,
            text=text,
            title=text.splitlines()[0][2:],
            metadata={"half": "even" if name[-1] in "02468" else "odd"},
            labels=labels.get(name, ()),
        )
        for name, text in TEXTS.items()
    ]


def make_base(directory: Path) -> Path:
    """Index all documents without labels; copies of it needn't encode them."""
    with Engine.open(directory, create=True) as engine:
        engine.add(documents({}))
    return directory


def make_pair(
    base: Path,
    folder: Path,
    labels: dict[str, tuple[str, ...]],
    principal: Principal,
    *,
    default_deny: bool,
) -> tuple[Path, Path, set[str]]:
    """Return two indexes, with and without the documents that the caller may not read; their ids.

    Both have the codebook of the first, which is all that such documents may leave behind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder / "with")
    with Engine.open(folder / "with") as engine:
        engine.sync(access=AccessRules(default_deny=default_deny))
        assert engine.add(documents(labels))
    hidden = {
        name
        for name, each in labels.items()
        if not principal.admitted(each) and (each or default_deny)
    }
    shutil.copytree(folder / "with", folder / "without")
    with Engine.open(folder / "without") as engine:
        engine.delete(hidden)
    return folder / "with", folder / "without", hidden


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns or raises, so that two outcomes can be compared."""
    try:
        found = call()
    except RagToolsError as error:
        return type(error).__name__, str(error)
    return found
