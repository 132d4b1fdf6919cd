"""Showing how many documents have each value of a field."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from rag_tools.cli.output import one_line
from rag_tools.types import Facet


def facets(found: Iterable[Facet], out: Console) -> None:
    """Print a line for each field: its values, the most frequent first."""
    for facet in found:
        shown = [f"{one_line(str(each.value))} ({each.documents:,})" for each in facet.values]
        more = facet.distinct - len(facet.values)
        rest = f" and {more:,} more" if more else ""
        line = f"{one_line(facet.field)}: {', '.join(shown) or 'none'}{rest}"
        out.print(Text(line), soft_wrap=True)
