"""What a Word document shows of a run of characters, by its own formatting.

Styles aren't read: a style that hides text would hide all that is written in it.
"""

from __future__ import annotations

import re
from typing import Any

from docx.oxml.ns import qn

_WHITE = re.compile("f[c-f]f[c-f]f[c-f]", re.I)
_TINY = 4  # half points
_PAINTED = (qn("w:tc"), qn("w:tbl"))  # a table's style may paint what is in it
_THEME_WHITE = frozenset(("background1", "light1"))


def concealed(run: Any) -> str:  # noqa: ANN401 - lxml is untyped
    """Return why no reader sees a run's characters; ``""`` if they do."""
    properties = run.find(qn("w:rPr"))
    if properties is None:
        return ""
    size = properties.find(qn("w:sz"))
    if size is not None and _number(size.get(qn("w:val"))) <= _TINY:
        return "text too small to be seen"
    colour = properties.find(qn("w:color"))
    if colour is None:
        return ""
    white = _WHITE.fullmatch(colour.get(qn("w:val"), "")) is not None
    white = white or colour.get(qn("w:themeColor")) in _THEME_WHITE
    return "text in the colour of its background" if white and not _painted(run) else ""


def _painted(run: Any) -> bool:  # noqa: ANN401
    """Tell whether something other than the white page may be behind a run."""
    around = [run, *run.iterancestors(qn("w:p"), *_PAINTED, qn("w:txbxContent"))]
    if any(element.tag not in (qn("w:r"), qn("w:p")) for element in around):
        return True
    for element in around:
        properties = element.find(qn("w:rPr") if element is run else qn("w:pPr"))
        if properties is None:
            continue
        shading = properties.find(qn("w:shd"))
        fill = "auto" if shading is None else shading.get(qn("w:fill"), "auto")
        if fill.lower() not in ("auto", "ffffff") or properties.find(qn("w:highlight")) is not None:
            return True
    return False


def _number(value: str | None) -> float:
    try:
        return float(value or "")
    except ValueError:
        return float("inf")
