"""What an HTML page shows of the text in an element, by its styles.

Inline styles, presentational attributes and the simple rules of the page's own style sheets are
read, see `Styles`. Other style sheets aren't, and so neither is what they hide.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from lxml import html

Colour = tuple[int, int, int]

_NAMES: dict[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0)}
_WHITE = _NAMES["white"]
_SAME = 12  # of 255: no reader sees two colours apart that differ by less
_TINY = 2.0  # pixels
_FAR = -500.0  # pixels left of the page, or above it
_TRANSPARENT = 0.05

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}]{1,2000})\{([^{}]{0,5000})\}")
_SIMPLE = re.compile(r"([a-z][a-z0-9]*)?([.#][\w-]+)?", re.I)
_NUMBER = re.compile(r"\s*(-?\d*\.?\d+)\s*(px|pt|em|rem|vw|vh|%)?\s*(?:!important)?\s*\Z", re.I)
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\b", re.I)
_RGB = re.compile(r"rgba?\(\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)(?:[\s,/]+([\d.]+%?))?\s*\)", re.I)
_PIXELS = {"px": 1.0, "pt": 4 / 3, "em": 16.0, "rem": 16.0, "": 1.0, "vw": 12.0, "vh": 8.0}

_MAX_STYLE_SHEETS = 1_000_000  # characters that are read of a page's style sheets


class Look(NamedTuple):
    """How text in an element looks.

    Attributes
    ----------
    hidden
        Why no reader sees it, of the element or one around it; ``""`` if they do.
    colour, background
        Of the text, None: not known.
    tiny
        Whether the text is too small to be seen.
    """

    hidden: str
    colour: Colour | None
    background: Colour | None
    tiny: bool

    @property
    def how(self) -> str:
        """Why no reader sees the text in this element; ``""`` if they do."""
        if self.hidden:
            return self.hidden
        if self.tiny:
            return "text too small to be seen"
        if self.colour and self.background and _alike(self.colour, self.background):
            return "text in the colour of its background"
        return ""


class Styles:
    """The styles of the elements of a page.

    Of the page's own style sheets, rules are read whose selectors are an element's name, a class
    or an id, outside of conditions such as ``@media``.
    """

    def __init__(self, root: html.HtmlElement) -> None:
        sheets = [style.text or "" for style in root.iter("style")]
        text = _COMMENT.sub("", "\n".join(sheets)[:_MAX_STYLE_SHEETS])
        linked = any("stylesheet" in link.get("rel", "").lower() for link in root.iter("link"))
        self._rules = _rules(text)
        # Where a style sheet isn't read, the background may have any colour.
        known = not linked and "@import" not in text
        self.page = Look("", None, _WHITE if known else None, False)

    def look(self, element: html.HtmlElement, around: Look) -> Look:
        """Return how text in an element looks, given the element around it."""
        style = self._declarations(element)
        if not style and not self._attributes(element):
            return around
        colour = _colour(style.get("color", element.get("color", "")))
        background = around.background
        named = style.get("background-color") or style.get("background") or element.get("bgcolor")
        if named and not re.match(r"\s*(?:none|transparent|inherit|initial)\b", named, re.I):
            background = _colour(named)
        if "background-image" in style and "none" not in style["background-image"]:
            background = None
        size = _pixels(style.get("font-size", ""))
        return Look(
            around.hidden or _hidden(style, element),
            colour or around.colour,
            background,
            around.tiny if size is None else size <= _TINY,
        )

    def _declarations(self, element: html.HtmlElement) -> dict[str, str]:
        inline = element.get("style")
        if not self._rules:
            return _declarations(inline) if inline else {}
        names = [element.tag]
        for name in element.get("class", "").split():
            names += [f".{name}", f"{element.tag}.{name}"]
        if id := element.get("id"):
            names += [f"#{id}", f"{element.tag}#{id}"]
        found: dict[str, str] = {}
        for name in names:
            found |= self._rules.get(name, {})
        return found | _declarations(inline) if inline else found

    @staticmethod
    def _attributes(element: html.HtmlElement) -> bool:
        return any(element.get(name) for name in ("aria-hidden", "color", "bgcolor"))


def _rules(sheet: str) -> dict[str, dict[str, str]]:
    """Return the declarations of the simple selectors of a style sheet."""
    rules: dict[str, dict[str, str]] = defaultdict(dict)
    for selectors, body in _RULE.findall(_without_conditions(sheet)):
        for selector in selectors.split(","):
            if _SIMPLE.fullmatch(selector.strip()) and selector.strip():
                rules[selector.strip()] |= _declarations(body)
    return dict(rules)


def _without_conditions(sheet: str) -> str:
    """Return a style sheet without its at-rules and what is in them."""
    kept: list[str] = []
    start, depth, at = 0, 0, -1
    for match in re.finditer(r"[@{};]", sheet):
        mark, place = match[0], match.start()
        if mark == "@" and at < 0 and depth == 0:
            kept.append(sheet[start:place])
            at = place
        elif mark == "{":
            depth += 1
        elif mark == "}":
            depth = max(0, depth - 1)
        if at >= 0 and depth == 0 and mark in "};":
            at, start = -1, place + 1
    if at < 0:
        kept.append(sheet[start:])
    return "".join(kept)


def _declarations(style: str) -> dict[str, str]:
    pairs = (declaration.partition(":") for declaration in style.split(";"))
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _hidden(style: dict[str, str], element: html.HtmlElement) -> str:
    if element.get("aria-hidden") == "true":
        return "an element marked aria-hidden"
    shown = {name: value.lower() for name, value in style.items()}
    if shown.get("display", "").startswith("none") or re.match(
        "hidden|collapse", shown.get("visibility", "")
    ):
        return "an element that isn't displayed"
    opacity = _NUMBER.match(shown.get("opacity", ""))
    if opacity and float(opacity[1]) <= _TRANSPARENT and not opacity[2]:
        return "transparent text"
    colour = _RGB.match(shown.get("color", ""))
    if shown.get("color", "").startswith("transparent") or (
        colour and colour[4] and float(colour[4].rstrip("%")) <= _TRANSPARENT
    ):
        return "transparent text"
    if (indent := _pixels(shown.get("text-indent", ""))) is not None and indent <= _FAR:
        return "text outside of the page"
    if re.match("absolute|fixed", shown.get("position", "")):
        sides = (_pixels(shown.get(side, "")) for side in ("left", "top", "right", "bottom"))
        if any(side is not None and side <= _FAR for side in sides):
            return "text outside of the page"
        if re.match(r"rect\((?:\s*[01](?:px)?[\s,]*){4}\)", shown.get("clip", "")):
            return "text that is cut off"
    no_room = any(
        (room := _pixels(shown.get(side, ""))) is not None and room <= 1
        for side in ("height", "max-height", "width", "max-width")
    )
    if no_room and re.match("hidden|clip", shown.get("overflow", "")):
        return "text that is cut off"
    return ""


def _pixels(value: str) -> float | None:
    """Return a length in pixels; None if it can't be told.

    Examples
    --------
    >>> _pixels("-9999px"), _pixels("0"), _pixels("auto")
    (-9999.0, 0.0, None)
    """
    match = _NUMBER.match(value)
    if match is None:
        return None
    unit = (match[2] or "").lower()
    if unit == "%":
        return 0.0 if float(match[1]) == 0 else None
    return float(match[1]) * _PIXELS[unit]


def _colour(value: str) -> Colour | None:
    """Return the first colour that a value names; None if it is another or none.

    Examples
    --------
    >>> _colour("#fff"), _colour("rgb(0, 10, 255)"), _colour("url(sky.png)")
    ((255, 255, 255), (0, 10, 255), None)
    """
    value = value.lower()
    if "url(" in value or "gradient" in value:
        return None
    if match := _HEX.search(value):
        digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if match := _RGB.search(value):
        return min(255, int(match[1])), min(255, int(match[2])), min(255, int(match[3]))
    word = re.match(r"\s*([a-z]+)", value)
    return _NAMES.get(word[1]) if word else None


def _alike(first: Colour, second: Colour) -> bool:
    return all(abs(one - other) <= _SAME for one, other in zip(first, second, strict=True))
