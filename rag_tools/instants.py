"""Points in time: as people state them, and as they are stored, in milliseconds since 1970."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def now() -> int:
    """Return the time in milliseconds."""
    return time.time_ns() // 1_000_000


def milliseconds(moment: datetime | float | str) -> int:
    """Return a time in milliseconds.

    Parameters
    ----------
    moment
        A time with a zone, Unix time in seconds, or a text in ISO 8601: a date is its last
        millisecond in UTC, and a time without a zone is in UTC.

    Raises
    ------
    ValueError
        If it is no such time.

    Examples
    --------
    >>> shown(milliseconds("2026-03-31"))
    '2026-03-31T23:59:59.999+00:00'
    >>> shown(milliseconds("2026-03-31T12:00:00+02:00"))
    '2026-03-31T10:00:00.000+00:00'
    """
    try:
        if isinstance(moment, str):
            when = datetime.fromisoformat(moment)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            if _DAY.fullmatch(moment):
                when += timedelta(days=1, milliseconds=-1)
        elif isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone: add one, such as UTC")
            when = moment
        else:
            when = datetime.fromtimestamp(moment, UTC)
        return int((when - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1))
    except (OverflowError, OSError) as error:
        raise ValueError(f"{moment!r} is out of range") from error


def shown(moment: int) -> str:
    """Return a time in milliseconds in ISO 8601, in UTC."""
    when = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=moment)
    return when.isoformat(timespec="milliseconds")
