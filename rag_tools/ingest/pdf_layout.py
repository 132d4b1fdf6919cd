"""From pieces of text on a page to lines in the order in which a person reads them.

This is geometry alone, without PDFium: columns are read one after the other, and tables row by row.
Joining lines to paragraphs is in ``pdf_flow``.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_pieces import Line, Piece

# The unit of these is the height of a line: ascent plus descent, about 1.2 times the font size.
WIDE_GAP = 0.9  # between words of two columns or cells, or of a justified line
_CELL_GAP = 1.2  # between the cells of a table
_JUSTIFIED_GAP = 2.5  # between cells if the line may be justified, since it reaches both edges
_WORD_GAP = 0.08  # between words that are placed one by one
SAME_LEVEL = 0.25
_ALIGNED = 0.6  # most distance between the edges of cells that are aligned
_ROW_GAP = 0.3  # by which the gap between rows exceeds that between the lines of a row

_MAX_PIECES = 1_500  # pieces of a page up to which columns are searched for, in quadratic time
_MAX_DEPTH = 8
_MAX_GUTTERS = 6  # gutters that are tried, the best first

# What tells prose from the cells of a table.
_PROSE_WORDS = 2.5  # words of a line on average
_PROSE_LENGTH = 10
_PROSE_FILL = 0.6  # length of the median line as a share of the longest
_PROSE_LOWERCASE = 0.2  # share of the lines that begin in lower case


def reading_order(pieces: Sequence[Piece]) -> list[Line]:
    """Return the lines of a page in reading order.

    A gutter is a vertical strip that no text crosses for several lines. Its two sides are read one
    after the other if they are prose or were drawn in that order, otherwise row by row. The cost is
    quadratic in the number of pieces; beyond a limit, the page is taken for one column.
    """
    if not pieces:
        return []
    regions = _regions(list(pieces), 0) if len(pieces) <= _MAX_PIECES else [list(pieces)]
    lines: list[Line] = []
    for column, region in enumerate(regions):
        lines += _region_lines(region, column)
    return lines


# -- columns -----------------------------------------------------------------------------------


def _regions(pieces: list[Piece], depth: int) -> list[list[Piece]]:
    """Return the pieces in groups, each of them to be read row by row."""
    if len(pieces) < 4 or depth >= _MAX_DEPTH:
        return [pieces]
    for middle in _gutters(pieces):
        bands = _bands(pieces, middle)
        if len(bands) == 1 and len(bands[0]) == 1:
            continue
        found = []
        for band in bands:
            for group in band:
                found += _regions(group, depth + 1)
        return found
    return [pieces]


def _gutters(pieces: list[Piece]) -> list[float]:
    """Return the middles of the strips between pieces, in descending order of pieces beside."""
    left, top, right, bottom = _extents(pieces)
    height = float(np.median([piece.height for piece in pieces]))
    overlap = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    beside = (overlap > 0.1 * height) & (left >= right[:, None])
    nearest = np.where(beside, left, np.inf).min(axis=1)
    is_gap = (nearest - right >= 0.6 * height) & np.isfinite(nearest)
    starts, ends = right[is_gap], nearest[is_gap]
    if len(starts) < 2:
        return []
    # The number of gaps that overlap the start of each gap.
    depth = ((starts <= starts[:, None]) & (ends > starts[:, None])).sum(axis=1)
    middles: list[float] = []
    for index in np.argsort(-depth, kind="stable"):
        if depth[index] < 2 or len(middles) == _MAX_GUTTERS:
            break
        over = (starts <= starts[index]) & (ends > starts[index])
        middle = float(starts[over].max() + ends[over].min()) / 2
        if not any(abs(middle - other) < height for other in middles):
            middles.append(middle)
    return middles


def _bands(pieces: list[Piece], middle: float) -> list[list[list[Piece]]]:
    """Cut a region into bands, from the top, where text crosses a gutter.

    A band is a left and a right column, or one group that is to be examined again.
    """
    crossing = sorted((piece for piece in pieces if piece.left < middle < piece.right), key=_centre)
    centres = [_centre(piece) for piece in crossing]
    between: list[list[Piece]] = [[] for _ in range(len(crossing) + 1)]
    for piece in pieces:
        if not piece.left < middle < piece.right:
            between[bisect_left(centres, _centre(piece))].append(piece)
    bands: list[list[list[Piece]]] = []
    rest: list[Piece] = []
    for index, group in enumerate(between):
        left = [piece for piece in group if piece.right <= middle]
        right = [piece for piece in group if piece.right > middle]
        if _are_columns(left, right):
            if rest:
                bands.append([rest])
                rest = []
            bands.append([left, right])
        else:
            rest += group
        if index < len(crossing):
            rest.append(crossing[index])
    if rest:
        bands.append([rest])
    return _right_to_left(bands) if is_right_to_left(piece.text for piece in pieces) else bands


def _right_to_left(bands: list[list[list[Piece]]]) -> list[list[list[Piece]]]:
    return [band[::-1] for band in bands]


def _are_columns(left: list[Piece], right: list[Piece]) -> bool:
    """Tell columns, which are read one after the other, from the cells of a table."""
    if min(len(left), len(right)) < 2 or any(piece.is_field for piece in left + right):
        return False
    drawn = _last(left) < _first(right) or _last(right) < _first(left)
    if drawn:
        # A column of figures or bullets belongs to the text beside it, even so.
        return not (_is_figures(left) or _is_figures(right))
    return _is_prose(left) and _is_prose(right) and not _has_common_rows(left, right)


def _first(pieces: list[Piece]) -> int:
    return min(piece.order for piece in pieces)


def _last(pieces: list[Piece]) -> int:
    return max(piece.order for piece in pieces)


def _is_figures(pieces: list[Piece]) -> bool:
    """Tell whether most pieces are numbers, bullets and the like."""
    figures = 0
    for piece in pieces:
        letters = sum(map(str.isalpha, piece.text))
        digits = sum(map(str.isdigit, piece.text))
        figures += digits >= letters or (letters == 1 and piece.text[-1] in ".)")
    return figures > len(pieces) / 2


def _is_prose(pieces: list[Piece]) -> bool:
    texts = [piece.text for piece in pieces]
    letters = "".join(texts)
    if any("\u3040" <= character <= "\u9fff" for character in letters[:200]):
        words = float(_PROSE_WORDS)  # written without spaces
    else:
        words = sum(len(text.split()) for text in texts) / len(texts)
    widths = [piece.right - piece.left for piece in pieces]
    if (
        words < _PROSE_WORDS
        or len(letters) / len(texts) < _PROSE_LENGTH
        or float(np.median(widths)) < _PROSE_FILL * max(widths)
    ):
        return False
    if not any(map(str.islower, letters)):
        return True
    continued = sum(text[:1].islower() for text in texts)
    return continued >= _PROSE_LOWERCASE * len(texts)


def _has_common_rows(left: list[Piece], right: list[Piece]) -> bool:
    """Tell whether both sides have rows at the same heights, as cells of several lines have."""
    pieces = sorted(left + right, key=lambda piece: piece.top)
    height = float(np.median([piece.height for piece in pieces]))
    gaps: list[float] = []  # before each piece, below all of those before it
    below = pieces[0].top
    for piece in pieces:
        gaps.append(piece.top - below)
        below = max(below, piece.bottom)
    inner = min((gap for gap in gaps if gap > 0), default=0.0)
    rows: list[list[Piece]] = [[]]
    for piece, gap in zip(pieces, gaps, strict=True):
        if gap > inner + _ROW_GAP * height:
            rows.append([])
        rows[-1].append(piece)
    if len(rows) < 3:
        return False
    level = 0
    for row in rows:
        tops = [
            min((piece.top for piece in side if piece in row), default=np.inf)
            for side in (left, right)
        ]
        level += abs(tops[0] - tops[1]) < SAME_LEVEL * height
    return level >= 0.8 * len(rows)


# -- rows --------------------------------------------------------------------------------------


def _region_lines(pieces: list[Piece], column: int) -> list[Line]:
    rows = piece_rows(pieces)
    right_to_left = is_right_to_left(piece.text for piece in pieces)
    edges = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    cells = [_cells(row, edges, right_to_left) for row in rows]
    lines: list[Line] = []
    start = 0
    while start < len(rows):
        stop = _table_stop(cells, start)
        if stop - start >= 2:
            for row in _wrapped(cells[start:stop]):
                lines.append(_line(row, column, right_to_left, is_row=True))
        else:
            stop = start + 1
            lines.append(_line(cells[start], column, right_to_left, is_row=False))
        start = stop
    return lines


def piece_rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return the pieces in rows, from the top of the page."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (_centre(piece), piece.order)):
        if rows and _beside(rows[-1][0], piece):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _beside(first: Piece, second: Piece) -> bool:
    low = min(first.height, second.height)
    if not first.is_field and not second.is_field and max(first.height, second.height) > 2 * low:
        return False
    overlap = min(first.bottom, second.bottom) - max(first.top, second.top)
    return overlap > 0.5 * low


def _cells(row: list[Piece], edges: tuple[float, float], right_to_left: bool) -> list[list[Piece]]:
    """Return the cells of a row in order, separated by gaps as wide as those between cells."""
    row = sorted(row, key=lambda piece: -piece.right if right_to_left else piece.left)
    height = max(piece.height for piece in row)
    is_full = (
        min(piece.left for piece in row) - edges[0] < height
        and edges[1] - max(piece.right for piece in row) < height
    )
    cells = [[row[0]]]
    for before, after in pairwise(row):
        gap = _gap(before, after, right_to_left)
        has_words = _has_letters(before) and _has_letters(after)
        wide = _JUSTIFIED_GAP if is_full and has_words else _CELL_GAP
        if gap >= wide * height and not (after.is_field or before.is_field):
            cells.append([])
        cells[-1].append(after)
    return cells


def _has_letters(piece: Piece) -> bool:
    return any(map(str.isalpha, piece.text))


def _gap(before: Piece, after: Piece, right_to_left: bool) -> float:
    return before.left - after.right if right_to_left else after.left - before.right


def _table_stop(rows: list[list[list[Piece]]], start: int) -> int:
    """Return the end of the table that starts at a row, or `start` if none does."""
    if len(rows[start]) < 2 or _is_list_item(rows[start]):
        return start
    stop = start + 1
    last = start  # row with several cells
    while stop < len(rows):
        row = rows[stop]
        if len(row) == 1:
            if not _continues_cell(rows[last], row[0], rows[stop - 1]):
                break
        elif _is_list_item(row) or not _are_aligned(rows[last], row):
            break
        else:
            last = stop
        stop += 1
    return stop if last > start else start


def _is_list_item(row: list[list[Piece]]) -> bool:
    """Tell whether a row is a bullet or a number and its text, as in a list or a heading."""
    first = row[0][0].text
    return len(row) == 2 and len(first) <= 6 and sum(map(str.isalpha, first)) <= 1


def _are_aligned(above: list[list[Piece]], below: list[list[Piece]]) -> bool:
    """Tell whether cells after the first are aligned, by an edge or by their middles."""
    return any(_below(cell, other) for cell in above[1:] for other in below[1:])


def _below(above: list[Piece], below: list[Piece]) -> bool:
    tolerance = _ALIGNED * above[0].height
    lefts, rights = above[0].left - below[0].left, above[-1].right - below[-1].right
    return min(abs(lefts), abs(rights), abs(lefts + rights) / 2) < tolerance


def _continues_cell(row: list[list[Piece]], cell: list[Piece], before: list[list[Piece]]) -> bool:
    """Tell whether a single cell continues one of the cells of the row above."""
    above = max(piece.bottom for piece in before[0])
    height = cell[0].height
    return cell[0].top - above < _ROW_GAP * height and any(
        abs(cell[0].left - other[0].left) < _ALIGNED * height for other in row[1:]
    )


def _wrapped(rows: list[list[list[Piece]]]) -> list[list[list[Piece]]]:
    """Join the lines of a table whose cells continue those of the line above."""
    height = float(np.median([piece.height for row in rows for cell in row for piece in cell]))
    gaps = [_row_gap(above, below) for above, below in pairwise(rows)]
    # Rows of several lines show in two kinds of gaps; otherwise only a single cell continues.
    inner = min(gaps) + _ROW_GAP / 2 * height
    two_kinds = max(gaps) > inner + _ROW_GAP / 2 * height
    joined = [rows[0]]
    for row, gap in zip(rows[1:], gaps, strict=True):
        columns = [_column(joined[-1], cell) for cell in row]
        goes_on = len(row) == 1 or (two_kinds and gap < inner and _goes_on(row))
        if goes_on and None not in columns:
            cells = [list(cell) for cell in joined[-1]]
            for column, cell in zip(columns, row, strict=True):
                assert column is not None
                cells[column] += cell
            joined[-1] = cells
        else:
            joined.append(row)
    return joined


def _row_gap(above: list[list[Piece]], below: list[list[Piece]]) -> float:
    return min(piece.top for cell in below for piece in cell) - max(
        piece.bottom for cell in above for piece in cell
    )


def _goes_on(row: list[list[Piece]]) -> bool:
    """Tell whether the words of a row may be the next line of those above; figures aren't."""
    texts = [cell[0].text for cell in row]
    return all(any(map(str.isalpha, text)) for text in texts) and any(
        text[0].islower() for text in texts
    )


def _column(row: list[list[Piece]], cell: list[Piece]) -> int | None:
    for index, other in enumerate(row):
        if abs(other[0].left - cell[0].left) < _ALIGNED * cell[0].height:
            return index
    return None


def _line(cells: list[list[Piece]], column: int, right_to_left: bool, *, is_row: bool) -> Line:
    """Join the pieces of a row: a tab between the cells of a table, spaces between words."""
    parts: list[str] = []
    boxes: list[NDArray[np.int16]] = []
    before: Piece | None = None
    for cell in cells:
        for place, piece in enumerate(cell):
            between = ""
            if before is not None:
                starts_cell = is_row and place == 0
                between = "\t" if starts_cell else _between(before, piece, right_to_left)
            if place == 0 and piece.label and between != ": ":
                between += f"{piece.label}: "
            if between:
                parts.append(between)
                boxes.append(np.zeros((len(between), 4), dtype="<i2"))
            parts.append(piece.text)
            boxes.append(piece.boxes)
            before = piece
    pieces = [piece for cell in cells for piece in cell]
    longest = max(pieces, key=lambda piece: len(piece.text))
    return Line(
        "".join(parts),
        np.concatenate(boxes),
        min(piece.left for piece in pieces),
        min(piece.top for piece in pieces),
        max(piece.right for piece in pieces),
        max(piece.bottom for piece in pieces),
        longest.height,
        longest.bold,
        column,
        is_row,
    )


def _between(before: Piece, after: Piece, right_to_left: bool) -> str:
    if after.is_field and not before.is_field:
        # The label beside a field.
        return " " if not before.text[-1].isalnum() else ": "
    if before.text[-1].isspace() or after.text[0].isspace():
        return ""
    if before.is_field or _centre(after) - _centre(before) > 0.5 * before.height:
        return " "  # the next line of a cell
    gap = _gap(before, after, right_to_left)
    return " " if gap > _WORD_GAP * min(before.height, after.height) else ""


def is_right_to_left(text: Iterable[str]) -> bool:
    """Tell whether most letters are of a script that is written from right to left."""
    letters = 0
    for part in text:
        if part.isascii():
            letters -= len(part)
            continue
        for character in part:
            if unicodedata.bidirectional(character) in ("R", "AL"):
                letters += 1
            elif character.isalpha():
                letters -= 1
    return letters > 0


def _centre(piece: Piece) -> float:
    return (piece.top + piece.bottom) / 2


def _extents(pieces: list[Piece]) -> NDArray[np.float64]:
    return np.array([(piece.left, piece.top, piece.right, piece.bottom) for piece in pieces]).T
