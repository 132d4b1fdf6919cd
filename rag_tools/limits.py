"""How long a text may be that somebody asks about: the one place that decides, and says so.

The time that a query takes grows with its length: about 0.1 ms of a core for each character in a
small index, twice that for `cite`. Without a limit one request could keep a core for minutes.
"""

from __future__ import annotations

from rag_tools.errors import InvalidQueryError

MAX_QUERY = 8_000
"""Characters of a query or a claim: some 2,000 tokens, or three pages of print.

The longest questions of the data sets that retrieval is measured with (whole arguments, whole
posts) stay below it.
"""

MAX_ANSWER = 100_000
"""Characters of an answer that is cited or checked; each statement of it is a claim of its own."""


def check_query(text: str, name: str = "the query") -> None:
    """Raise `InvalidQueryError` unless `text` can be asked.

    Parameters
    ----------
    name
        What the text is, as the message calls it.
    """
    _check(text, name, MAX_QUERY, "shorten it to what is to be looked for")
    if not text.strip():
        raise InvalidQueryError(f"{name} is empty: ask a question or give keywords")


def check_answer(text: str) -> None:
    """Raise `InvalidQueryError` unless an answer can be cited or checked."""
    _check(text, "the answer", MAX_ANSWER, "give it in parts")
    if not text.strip():
        raise InvalidQueryError("the answer is empty: there is nothing to cite or to check")


def _check(text: str, name: str, limit: int, way_out: str) -> None:
    if len(text) > limit:
        raise InvalidQueryError(
            f"{name} has {len(text):,} characters, and {limit:,} are the limit: {way_out}"
        )
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidQueryError(f"{name} isn't valid Unicode: it was not given as UTF-8")
