"""Claims that say more than their quote: of all cases, of one alone, in comparison."""

from __future__ import annotations

import pytest

from rag_tools.cite.conditions import widened

MORE = [
    ("The gate is always open.", "The gate is open if the lamp is on."),
    ("The gate opens whatever the weather.", "The gate only opens in fair weather."),
    ("The gate opens whether it rains or not.", "The gate opens unless it rains."),
    ("Every ship pays the toll.", "Ships pay the toll, except ferries."),
    ("The toll is due in any case.", "The toll is due when the bridge is crossed at night."),
    ("The toll is due even for carts.", "The toll is due provided that there is a motor."),
    ("Only ferries pay the toll.", "Ferries pay the toll."),
    ("Ferries are faster than trams.", "Ferries and trams run on Sundays."),
]
NO_MORE = [
    ("The gate is open if the lamp is on.", "The gate is open if the lamp is on."),
    ("The gate is open.", "The gate is open if the lamp is on."),  # left out, not denied
    ("The gate is always open.", "The gate is open all day, even if it rains."),
    ("The gate is always open when the lamp is on.", "The gate is open if the lamp is on."),
    ("Only ferries pay the toll.", "The toll is restricted to ferries."),
    ("It isn't only ferries that pay.", "Ferries pay the toll."),
    ("Ferries are faster than trams.", "Trams are slower."),
    ("Ferries take more than 40 cars.", "Ferries take 50 cars."),
    ("No gate opens before any toll is paid.", "A gate opens once the toll is paid."),
]


@pytest.mark.parametrize(("claim", "quote"), MORE)
def test_more_is_said_than_in_the_quote(claim: str, quote: str):
    (span,) = widened(claim, quote, quote)
    assert span.of(claim)


@pytest.mark.parametrize(("claim", "quote"), NO_MORE)
def test_no_more_is_said(claim: str, quote: str):
    assert list(widened(claim, quote, quote)) == []


def test_a_condition_counts_only_where_the_quote_is_nearest():
    claim, near = "The gate is always open.", "The gate is open."
    assert list(widened(claim, near, f"{near} Boats wait if it rains.")) == []
