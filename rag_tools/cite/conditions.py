"""Whether a claim says more than a quote: of all cases what holds for some, "only", "than".

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
      |depend(?:s|ing|ent)|solely|exclusively|(?<!any\s)when|sometimes|usually|normally
      |typically|often|in\scase|for\ssuch|by\sdefault)\b""",
    re.VERBOSE | re.IGNORECASE,
)
# A comparison with something, not with a number.
_COMPARED = re.compile(
    r"\b(?:\w{3,}er|more|less|fewer|better|worse)\s(?:\S+\s){0,4}?(?<!rather\s)(?<!other\s)"
    r"than\b(?!\s(?:[$€£]?\d|an?\b|one|two|three|half))",
    re.IGNORECASE,
)
_COMPARING = re.compile(
    r"\b(?:than|compared|\w{2,}(?:er|est)|more|most|less|least|better|best|worse|worst|as\s\w+\sas"
    r"|exceeds?|outperforms?|unlike|\d+)\b|[<>=]",
    re.IGNORECASE,
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


def widened(claim: str, nearest: str, quote: str) -> Iterator[Span]:
    """Yield where a claim says of every case, of one alone, or in comparison, what a quote doesn't.

    Parameters
    ----------
    nearest
        The part of the quote that is nearest to the claim, where a condition counts.
    quote
        All of the quote: what stands anywhere in it may say "only", or compare.

    Examples
    --------
    >>> claim = "Shares always read the configuration."
    >>> quote = "Shares read the configuration if sharing is enabled."
    >>> [span.of(claim) for span in widened(claim, quote, quote)]
    ['always']
    """
    asked = fold(claim, divided="")
    near, said = fold(nearest, divided="").text, fold(quote, divided="").text
    every = _EVERY.search(asked.text)
    if every and _SOME.search(near) and not _EVERY.search(near) and not _conditional(asked.text):
        yield asked.source(Span(*every.span()))
    compared = _COMPARED.search(asked.text)
    if compared and not _COMPARING.search(said):
        yield asked.source(Span(*compared.span()))
    only = _ONLY.search(asked.text)
    if only and not _ALSO_ONLY.search(said):
        yield asked.source(Span(*only.span()))


def _conditional(claim: str) -> bool:
    """Tell whether a claim sets a condition itself."""
    return _SOME.search(_EVERY.sub("", claim)) is not None
