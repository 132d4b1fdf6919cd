"""What an element of an HTML page is: hidden or shown, navigation or content, a kind of block."""

from __future__ import annotations

import re

from lxml import html

from rag_tools.types import BlockKind

HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Elements that start and end a line; those of SPACED also leave a blank line around them.
SPACED = _tags("blockquote dl fieldset figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul")
LINES = SPACED | _tags(
    "address article aside body caption center dd details dialog dir div dt figcaption footer form "
    "frameset header hgroup html legend li listing main menu nav optgroup option plaintext search "
    "section summary tbody tfoot thead tr xmp"
)
CELLS = _tags("td th")
LISTS = _tags("dir dl menu ol ul")
VERBATIM = _tags("listing plaintext pre xmp")

# Elements whose content is not rendered as text of the page.
_SKIPPED = _tags(
    "applet audio canvas datalist head iframe noembed noframes noscript object rp script style "
    "svg template title video annotation annotation-xml"
)
_VALUES = _tags("date datetime-local email month number search tel text time url week")
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp|ico)", re.I)

# What a page repeats around its content: elements and roles that are navigation anywhere, those
# that are navigation only outside the content, and names by which authors mark navigation.
_NAVIGATION = _tags("nav navigation menu menubar tablist toolbar doc-toc")
_AROUND = _tags("footer contentinfo aside complementary")
_CONTENT = _tags("article main section blockquote figure")
_BOILERPLATE = re.compile(
    r"(?:^|\s)(?:breadcrumbs?|pagination|skip-?link|toc|table-of-contents|gdpr|cookiebot|onetrust\S*"
    r"|(?:\S*[_-])?(?:cookies?|consent|gdpr)[_-]?(?:bar|banner|box|consent|container|dialog|law|manager"
    r"|message|modal|notice|notification|overlay|popup|wrapper))(?=$|\s)",
    re.I,
)
# A name that isn't enough by itself, and the words about consent in such an element.
_COOKIES = re.compile(r"(?:^|\s)cookies?(?=$|\s)", re.I)
_CONSENT = re.compile(
    r"\b(?:accept|agree|allow|consent|decline|akzeptieren|accepter|aceptar)\b", re.I
)
_LONGEST_NOTICE = 2000
_LONGEST_NAME = 3  # most words of a menu entry
_HIDING_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.I)
# Sphinx and MkDocs append a "¶" link to each heading and hide it in their style sheets.
_HIDDEN_CLASS = "headerlink"

WHITE_SPACE = re.compile(r"[ \t\n\f\r]+")


def collapse(text: str) -> str:
    """Return `text` with one space in place of each run of white space, and none at its ends."""
    return WHITE_SPACE.sub(" ", text).strip(" ")


def is_skipped(element: html.HtmlElement) -> bool:
    """Tell whether an element, with all that is in it, shows no text of the page."""
    tag = element.tag
    return (
        tag in _SKIPPED
        or (tag == "dialog" and element.get("open") is None)
        or is_hidden(element)
        or _HIDDEN_CLASS in element.get("class", "").split()
        or _is_second_formula(element)
        or (tag == "option" and element.get("selected") is None)
    )


def is_hidden(element: html.HtmlElement) -> bool:
    """Tell whether the author hid an element, by its attributes or its own style."""
    return (
        element.get("hidden", "until-found").lower() != "until-found"
        or _HIDING_STYLE.search(element.get("style", "")) is not None
    )


def _is_second_formula(element: html.HtmlElement) -> bool:
    """Tell whether an element draws a formula that is beside it as MathML.

    KaTeX and MathJax put the drawing first or last, and hide it from screen readers.
    """
    if element.get("aria-hidden") != "true":
        return False
    beside = (element.getprevious(), element.getnext())
    return any(
        each is not None and (each.tag == "math" or next(each.iter("math"), None) is not None)
        for each in beside
    )


def is_navigation(element: html.HtmlElement) -> bool:
    """Tell by its tag, role or name whether an element is navigation."""
    tag, role = element.tag, element.get("role", "")
    if tag in ("html", "body", "main", "article") or tag in HEADINGS:
        return False
    if tag in _NAVIGATION - {"menu"} or role in _NAVIGATION:
        return True
    names = f"{element.get('class', '')} {element.get('id', '')}"
    if _COOKIES.search(names):
        words = element.text_content()
        return len(words) <= _LONGEST_NOTICE and _CONSENT.search(words) is not None
    return _BOILERPLATE.search(names) is not None


def is_around(element: html.HtmlElement) -> bool:
    """Tell whether an element is outside the content, as a page's footer or side bar is."""
    return (element.tag in _AROUND or element.get("role") in _AROUND) and not any(
        each.tag in _CONTENT for each in element.iterancestors()
    )


def is_menu(words: str) -> bool:
    """Tell whether a line at the edge of a page is a row of names or a copyright notice."""
    names = [name for name in re.split(r"[|·•›»\n]", words) if name.strip()]
    return words.lstrip().startswith(("©", "Copyright")) or all(
        len(name.split()) <= _LONGEST_NAME for name in names
    )


def shown(element: html.HtmlElement) -> str:
    """Return what an element shows beside its text: a picture's meaning, or a field's value."""
    if element.tag == "img":
        words = collapse(element.get("alt", ""))
        decorative = element.get("aria-hidden") == "true" or element.get("role") == "presentation"
        return "" if decorative or _FILE_NAME.fullmatch(words) else words
    if element.tag == "input" and element.get("type", "text").lower() in _VALUES:
        return collapse(element.get("value", ""))
    return ""


def block_kind(element: html.HtmlElement, navigation: bool) -> BlockKind | None:
    """Return the kind of block that an element opens, or None if it opens none."""
    tag = element.tag
    if navigation:
        return "navigation"
    if tag in HEADINGS or tag == "summary":
        return "heading"
    if tag in VERBATIM:
        return "code"
    if tag in ("li", "dt"):
        return "item"
    if tag == "tr":
        cells = [cell.tag for cell in element.iterchildren(*CELLS)]
        around = element.getparent()
        is_head = around is not None and around.tag == "thead"
        return "header" if cells and (is_head or set(cells) == {"th"}) else "row"
    return None
