"""What kind of answer a question asks for, told by its words, and which units have one.

Similarity finds what a question is about. A unit that says what the default is, or that holds a
command, is an answer to "what is the default" or "which command" where its neighbours, which may
be closer in their words, are none. By rule, for English; any other question asks for nothing here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# What an answer is worth in the order of units, on the scale of their scores. Fitted on questions
# about everyday documents, given a passage that holds the answer (200 questions, five folds over
# documents): the best unit is right for 0.51 without, for 0.56 with these, left out; 0.57 fitted.
DEFAULT_GAIN = 0.2
CODE_GAIN = 0.04

_DEFAULT_ASKED = re.compile(
    r"\b(?:defaults?|normally|stock|unless (?:I|you|we)\b|if (?:I|you|we) (?:don't|do not|change)"
    r"|when (?:none|nothing)|if (?:none|nothing)|(?:isn't|not) (?:configured|set|given)"
    r"|out of the box)\b",
    re.IGNORECASE,
)
_CODE_ASKED = re.compile(
    r"\b(?:(?:which|what|an?|the) (?:[\w-]+ ){0,3}(?:option|flag|switch|command|directive|setting"
    r"|key|parameter|variable|function|code|action|pragma|filter)s?"
    r"|how (?:do|can|could|to|would|should) |what do I type|give my |make )",
    re.IGNORECASE,
)
_DEFAULT = re.compile(r"\bdefaults?\b", re.IGNORECASE)
_CODE = re.compile(
    r"(?:(?<=[\s(`'\"“:])|\A)"
    r"(?:--?[A-Za-z][\w-]*|[A-Z][a-z]+[A-Z]\w+|\w+_\w+|\w+\(\)|/[\w./-]+|`+[^`]+`+|[%$:@]\w+)"
)


class Asked(NamedTuple):
    """What a query asks for.

    Attributes
    ----------
    query
        What an answer repeats of it tells nothing.
    default
        The value that holds if nothing is said.
    code
        An option, a command, a name that is typed.
    """

    query: str = ""
    default: bool = False
    code: bool = False

    @classmethod
    def of(cls, query: str) -> Asked:
        """Return what a query asks for; a statement, which ends with a full stop, asks nothing.

        Examples
        --------
        >>> Asked.of("Which option sets the default port?").code
        True
        >>> Asked.of("The default port is 80.").default
        False
        """
        if query.rstrip().endswith("."):
            return cls()
        default = _DEFAULT_ASKED.search(query) is not None
        return cls(query, default, _CODE_ASKED.search(query) is not None)

    def gain(self, words: str, header: str = "") -> float:
        """Return what a unit is worth more for having what is asked for, 0 or more.

        Parameters
        ----------
        words
            Of the unit.
        header
            Of the table that it is a row of.
        """
        gain = 0.0
        if self.default and (_DEFAULT.search(words) or _DEFAULT.search(header)):
            gain += DEFAULT_GAIN
        if self.code and any(match[0] not in self.query for match in _CODE.finditer(words)):
            gain += CODE_GAIN
        return gain
