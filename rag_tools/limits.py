"""Limits on the length of queries, claims and answers, and the checks that enforce them.

The time of a query grows with its length: about 0.1 ms of one core per character in a small index,
and twice as much for `cite`. Without a limit, one request could occupy a core for minutes.
"""

from __future__ import annotations

from rag_tools.errors import InvalidQueryError

MAX_QUERY = 8_000
"""Maximum characters of a query or a claim: about 2,000 tokens, or three printed pages.

The longest queries of the data sets for retrieval (whole arguments, whole posts) are shorter.
"""

MAX_ANSWER = 100_000
"""Maximum characters of an answer to cite or check; each of its statements is a claim."""


def check_query(text: str, name: str = "the query") -> None:
    """Raise `InvalidQueryError` if `text` can't be a query.

    Parameters
    ----------
    name
        How the message calls the text.
    """
    _check(text, name, MAX_QUERY, "shorten it to what you are looking for")
    if not text.strip():
        raise InvalidQueryError(f"{name} is empty: ask a question or give keywords")


def check_answer(text: str) -> None:
    """Raise `InvalidQueryError` if an answer can't be cited or checked."""
    _check(text, "the answer", MAX_ANSWER, "give it in parts")
    if not text.strip():
        raise InvalidQueryError("the answer is empty: there is nothing to cite or to check")


def _check(text: str, name: str, limit: int, way_out: str) -> None:
    if len(text) > limit:
        raise InvalidQueryError(
            f"{name} has {len(text):,} characters, and the limit is {limit:,}: {way_out}"
        )
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidQueryError(f"{name} isn't valid Unicode: encode it as UTF-8")
