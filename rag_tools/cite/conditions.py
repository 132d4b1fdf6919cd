"""Whether a claim says of all cases what a quote says of some: conditions dropped, "only" put in.

By rule, on words such as "always", "whatever", "if" and "only". A claim that merely leaves a
condition out is not found: most true claims do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.folding import fold
from rag_tools.types import Span

# Every case: the claim leaves no room for a condition.
_EVERY = re.compile(
    r"""
    \b(?:always|every(?:one|body|thing|where)?|each|all(?!\s(?:you|we|they|i)\b)|whatever|whichever
      |whenever|wherever|whoever|however\syou|regardless|irrespective|anyway|anywhere|anytime
      |unconditionally|constantly|invariably|without\s(?:exception|restriction|any\s\w+|asking)
      |in\s(?:any|all|every)\scases?|under\s(?:any|all)\scircumstances|at\s(?:any|all)\stimes?
      |no\smatter|even\s(?:if|when|without|for|though)|both\b|as\s(?:\w+\s){1,2}likes?
      |whether\s(?:\w+\W+){1,8}?or\b)\b
    | (?<!\bif\s)(?<!\bin\s)(?<!\bbefore\s)(?<!\bthan\s)(?<!\bnot\s)(?<!n't\s)(?<!\bwithout\s)
      (?<!\bnever\s)\bany\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Some cases: the quote sets a condition.
_SOME = re.compile(
    r"""\b(?:(?<!as\s)(?<!even\s)if|only(?<!not\sonly)|unless|except(?:ion(?:s|ally)?)?|provided\sthat
      |provided(?=,?\sthe)|once|as\slong\sas|other\sthan|apart\sfrom|restricted\sto|limited\sto
      |depend(?:s|ing|ent)|solely|exclusively|(?<!any\s)when|sometimes|some|usually|normally
      |typically|often|in\scase|for\ssuch|by\sdefault)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_ONLY = re.compile(
    r"(?<!not )(?<!n't )(?<!if )\b(?:only|solely|exclusively|nothing but|no other|none but)\b",
    re.IGNORECASE,
)
# What else says "only".
_ALSO_ONLY = re.compile(
    r"""\b(?:only|solely?|exclusive(?:ly)?|just|mere(?:ly)?|simply|alone|restricted|limited|limits?
      |nothing|none|nobody|no|not|never|cannot|except|unless|until|but|without|must|single|unique
      |all\s(?:you|we|they|i)\b|other\sthan|apart\sfrom|rather|instead|one|first|last)\b|n't\b""",
    re.VERBOSE | re.IGNORECASE,
)


def widened(claim: str, quote: str) -> Iterator[Span]:
    """Yield where a claim says of every case, or of one alone, what a quote says otherwise.

    Parameters
    ----------
    claim, quote
        A claim, and the sentence that is nearest to it.

    Examples
    --------
    >>> claim = "Shares always read the configuration."
    >>> quote = "Shares read the configuration if sharing is enabled."
    >>> [span.of(claim) for span in widened(claim, quote)]
    ['always']
    """
    asked, said = fold(claim, divided=""), fold(quote, divided="").text
    every = _EVERY.search(asked.text)
    if every and _SOME.search(said) and not _EVERY.search(said) and not _conditional(asked.text):
        yield asked.source(Span(*every.span()))
    only = _ONLY.search(asked.text)
    if only and not _ALSO_ONLY.search(said):
        yield asked.source(Span(*only.span()))


def _conditional(claim: str) -> bool:
    """Tell whether a claim sets a condition itself."""
    return _SOME.search(_EVERY.sub("", claim)) is not None
