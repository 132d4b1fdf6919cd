"""Tables of office documents as text: a block for each row, its cells separated by tabs."""

from __future__ import annotations

from collections.abc import Sequence

from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.text import ROWS_LOOKED_AT, looks_like_header
from rag_tools.types import BlockKind


def write_table(
    out: Extraction,
    rows: Sequence[tuple[Sequence[str], str]],
    *,
    header_rows: int | None = None,
) -> None:
    """Write a table that isn't empty.

    Parameters
    ----------
    out
        Where to.
    rows
        The texts of each row's cells, and the path of the row's element.
    header_rows
        Number of rows at the start that are marked as the header; None if it must be guessed.
    """
    if not any(any(cells) for cells, _ in rows):
        return
    if header_rows is None:
        texts = [cells for cells, _ in rows[:ROWS_LOOKED_AT]]
        header_rows = int(looks_like_header(texts, by_numbers=True))
    for number, (cells, path) in enumerate(rows):
        kind: BlockKind = "header" if number < header_rows else "row"
        out.start_block(kind, separator="\n" if number else "\n\n")
        out.write("\t".join(cells), path)
