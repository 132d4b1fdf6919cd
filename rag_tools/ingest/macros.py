"""Overwrites macros in C and C++ that would mislead a parser.

A parser that doesn't run the preprocessor takes ``class GAME_API Hero : public Actor`` for a
function. Such macros are overwritten with blanks, so that every byte keeps its offset.
"""

from __future__ import annotations

import re

_NAME = rb"[A-Z_][A-Z0-9_]{2,80}(?![0-9A-Za-z_])"
# The text between parentheses, which may hold pairs of parentheses and strings.
_TEXT = rb"(?:[^()\"]|\"[^\"\n]{0,300}\"){0,500}"
_ARGUMENTS = rb"\(" + _TEXT + rb"(?:\(" + _TEXT + rb"\)" + _TEXT + rb"){0,8}\)"

_CLASS_HEAD = re.compile(
    rb"\b(?:enum\s{1,20}(?:class|struct)|class|struct|union|enum)(?![0-9A-Za-z_])"
    rb"(?P<macros>(?:\s{1,20}(?:\[\[[^\]\n]{0,100}\]\]|(?:alignas|__declspec)\s?"
    rb"" + _ARGUMENTS + rb"|" + _NAME + rb"(?:\s?" + _ARGUMENTS + rb")?)){1,4})"
    # A body or a base must follow: "struct POINT p;" declares a variable.
    rb"(?=\s{1,20}[A-Za-z_][0-9A-Za-z_:]{0,200}(?:\s{0,20}<[^;{}]{0,200}>)?(?:\s{1,20}final)?"
    rb"\s{0,20}(?:\{|:\s{0,20}[A-Za-z_]))"
)

# A call or a bare name on lines of its own without a semicolon, unless a body follows, as it does
# after "TEST(Suite, Name)".
_STATEMENT = re.compile(
    rb"(?m)^[ \t]{0,100}(?P<macros>" + _NAME + rb"(?:[ \t]?" + _ARGUMENTS + rb")?)[ \t]{0,100}\r?$"
    rb"(?!\s{0,200}[{:;,.=()?&|+\-*/<>\]])"
)


def without_macros(source: bytes) -> bytes:
    r"""Return C or C++ with blanks in place of the macros that would mislead a parser.

    Examples
    --------
    >>> without_macros(b"class MY_API A {\n  Q_OBJECT\n};")
    b'class        A {\n          \n};'
    """
    return _STATEMENT.sub(_blanked, _CLASS_HEAD.sub(_blanked, source))


def _blanked(match: re.Match[bytes]) -> bytes:
    start, end = match.span("macros")
    blank = re.sub(rb"[^\r\n]", b" ", match["macros"])
    whole, first = match[0], match.start()
    return whole[: start - first] + blank + whole[end - first :]
