"""Characters of symbol fonts → Unicode.

Word stores a symbol as the name of a font and a code that has a meaning in that font alone. The
loader of a format decides which characters of a document are symbols.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"
"""The replacement for a symbol without a known character."""

_PRIVATE = 0xF000  # Word adds this to the codes of symbol fonts

# The encoding of Adobe's font Symbol from 0x20 on; a space stands for an unassigned code.
_SYMBOL = (
    " !∀#∃%&∋()∗+,−./0123456789:;<=>?"
    "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_"
    "‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼ "
    "                                "
    "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵"
    "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓"
    "◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ 〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭ "
)
_WINGDINGS = {
    **dict(zip(range(0x21, 0x2B), "✏✂✁👓🔔📖🕯☎✆✉", strict=True)),
    **dict(zip(range(0x41, 0x52), "✌👌👍👎☜☞☝☟✋☺😐☹💣☠🏳🏱✈", strict=True)),
    **{0x52: "☼", 0x54: "❄", 0x6C: "●", 0x6D: "❍", 0x6E: "■", 0x6F: "□", 0x71: "❑", 0x72: "❒"},
    **{0x73: "⬧", 0x74: "⧫", 0x75: "◆", 0x76: "❖", 0x77: "⬥", 0x78: "⌧", 0x7B: "❀", 0x7D: "❞"},
    **dict(zip(range(0x80, 0x8B), "⓪①②③④⑤⑥⑦⑧⑨⑩", strict=True)),
    **dict(zip(range(0x8B, 0x96), "⓿❶❷❸❹❺❻❼❽❾❿", strict=True)),
    **{0x9E: "·", 0x9F: "•", 0xA0: "▪", 0xA1: "○", 0xA7: "▪", 0xA8: "◻", 0xAB: "★", 0xB1: "⌖"},
    **{0xD5: "⌫", 0xD8: "➢", 0xDC: "➲", 0xE8: "➔"},
    **dict(zip(range(0xDF, 0xE7), "←→↑↓↖↗↙↘", strict=True)),
    **dict(zip(range(0xEF, 0xF9), "⇦⇨⇧⇩⬄⇳⬀⬁⬃⬂", strict=True)),
    **{0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑"},
}
_WINGDINGS_2 = {
    **{0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒"},
    **{0x97: "•", 0xA2: "■", 0xA3: "□"},
}
_WINGDINGS_3 = dict(zip(range(0x66, 0x6E), "←→↑↓↖↗↙↘", strict=True))

_FONTS: dict[str, dict[int, str]] = {
    "symbol": {0x20 + place: char for place, char in enumerate(_SYMBOL) if char != " "},
    "wingdings": _WINGDINGS,
    "wingdings 2": _WINGDINGS_2,
    "wingdings 3": _WINGDINGS_3,
}


def symbol(font: str, code: int) -> str:
    """Return the character that `code` draws in `font`, or `REPLACEMENT` if it isn't known.

    Examples
    --------
    >>> symbol("Symbol", 0xF0B1)
    '±'
    """
    known = _FONTS.get(font.strip().lower())
    if known is not None:
        return known.get(code & 0xFF, " " if code & 0xFF == 0x20 else REPLACEMENT)
    if 0xE000 <= code <= 0xF8FF or not 0x20 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return REPLACEMENT  # the code has a meaning in that font alone
    return chr(code)


def symbols(font: str, text: str) -> str:
    """Return `text`, written in `font`, with codes of symbol fonts replaced by characters.

    Characters of the private use area are kept if the font isn't known.
    """
    if font.strip().lower() not in _FONTS:
        return text
    return "".join(
        symbol(font, ord(char)) if _PRIVATE <= ord(char) <= _PRIVATE + 0xFF else char
        for char in text
    )
