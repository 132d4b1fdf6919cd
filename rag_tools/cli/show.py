"""Printing results for a person in a terminal. `output` writes what programs read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rag_tools.cli.output import complain, console, one_line, visible, write
from rag_tools.file_uri import path_of
from rag_tools.ingest.extras import recognises_text
from rag_tools.ingest.formats import PICTURES
from rag_tools.member_uri import member_path, split_locator
from rag_tools.types import (
    Aligned,
    Citation,
    CitedAnswer,
    Hit,
    Progress,
    SearchResults,
    Span,
    Status,
    Support,
    SyncReport,
    Value,
    Verification,
    WatchState,
)

if TYPE_CHECKING:
    from rag_tools.evaluate.citation_report import CitationReport, Judgements
    from rag_tools.evaluate.report import Evaluation

_QUOTE = "black on yellow"
_SUPPORT = {"supported": "green", "partial": "yellow", "unsupported": "red"}
_VERDICTS = {"exact": "green", "moved": "yellow", "stale": "red", "missing": "red"}

_CONTEXT_LINES = 1
"""Number of lines of a passage that are shown on each side of a quote."""

_UNQUOTED_LINES = 4
"""Number of lines that are shown of a passage without a quote."""


def search_results(found: SearchResults, out: Console) -> None:
    """Print the hits of a search with their quotes highlighted in context."""
    if found.low_confidence:
        doubt = f"low confidence ({found.confidence:.2f}): the documents probably don't answer this"
        out.print(Text(doubt, style="yellow"), soft_wrap=True)
        out.print()
    for rank, hit in enumerate(found.results, 1):
        _entry(rank, hit.title, hit.score, out)
        if hit.citations:
            best = hit.citations[0]
            where, heading = location(best.url, best.place), best.heading
        else:
            where, heading = location(hit.url), hit.heading
        _line("   ", where, heading, out)
        _block("   ", _passage(hit, out), out)
        _flags(hit, out)
        if hit.also_in:
            copies = ", ".join(one_line(location(copy.url)) for copy in hit.also_in)
            out.print(Text(f"   also in {copies}", style="dim"), soft_wrap=True)
        out.print(Text(f"   {one_line(hit.id)}", style="dim"), soft_wrap=True)
        out.print()
    if not found.results:
        complain("nothing found")


def explanation(found: SearchResults, out: Console) -> None:
    """Print hits with words coloured by similarity, and the best match of each query word."""
    for rank, hit in enumerate(found.results, 1):
        _entry(rank, hit.title, hit.score, out)
        _line("   ", location(hit.url), hit.heading, out)
        edges = [edge for citation in hit.citations for edge in citation.alignment or ()]
        edges.sort(key=lambda edge: edge.similarity)
        _block("   ", _heat_map(hit, edges, out), out)
        best = {Span(edge.query_start, edge.query_end): edge for edge in edges}
        for asked, edge in sorted(best.items()):
            word = Span(edge.start - hit.start, edge.end - hit.start).of(hit.text)
            line = Text(f"   {one_line(asked.of(found.query)):<16} {one_line(word):<16} ")
            out.print(line.append(f"{edge.similarity:.2f}", style="cyan"), soft_wrap=True)
        out.print()
    if not found.results:
        complain("nothing found")


def support(found: Support, out: Console) -> None:
    """Print a verdict, the words that no quote covers, and the quotes."""
    line = Text(f"{found.verdict}  {found.score:.2f}", style=_SUPPORT[found.verdict])
    line.append("" if found.calibrated else "  (not calibrated for this index)", style="dim")
    out.print(line, soft_wrap=True)
    if found.uncovered:
        words = ", ".join(one_line(span.of(found.claim)) for span in found.uncovered)
        out.print(Text(f"not covered: {words}"), soft_wrap=True)
    otherwise = [
        one_line(Span(each.start, each.end).of(found.claim))
        for each in found.conflicts
        if each.kind == "sense"
    ]
    if otherwise:
        out.print(Text(f"said otherwise by the nearest quote: {', '.join(otherwise)}"))
    out.print()
    for rank, citation in enumerate(found.citations, 1):
        _entry(rank, location(citation.url, citation.place), citation.score, out)
        if citation.heading:
            _line("   ", citation.heading, None, out)
        if citation.header:
            out.print(Text(f"   {one_line(citation.header)}", style="dim"), soft_wrap=True)
        _block("   ", _in_context(citation, out), out)
        out.print()
    if not found.citations:
        complain("nothing found")


def cited_answer(found: CitedAnswer) -> None:
    """Print an answer with its references; report unsupported statements on standard error."""
    write(visible(found.text.rstrip("\n") + "\n"))
    if found.references:
        write(visible(f"\n{found.references}"))
    for claim in found.claims:
        verdict, score = claim.support.verdict, claim.support.score
        if verdict != "supported":
            complain(f"{verdict} ({score:.2f}): {claim.support.claim}")


def verifications(found: Sequence[Verification], out: Console) -> None:
    """Print the status of each citation on one line, followed by the quote."""
    for verification in found:
        status, citation = verification.status, verification.citation
        line = Text(f"{status:<8}", style=_VERDICTS[status])
        line.append(one_line(location(citation.url, citation.place)), style="bold")
        line.append(f"  {one_line(verification.detail)}", style="none")
        out.print(line, soft_wrap=True)
        _block(" " * 8, Text(visible(citation.quote), style="dim"), out)


def sync_report(report: SyncReport, out: Console) -> None:
    """Print what a sync did; report each file that it skipped on standard error."""
    for skipped in report.skipped:
        complain(f"skipped {skipped.path}: {skipped.reason}")
    counts = {
        "added": len(report.added),
        "updated": len(report.updated),
        "removed": len(report.removed),
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
    }
    out.print(", ".join(f"{count:,} {what}" for what, count in counts.items()), soft_wrap=True)
    if parts := list(_left_out(report)):
        out.print(Text(one_line(f"left out: {'; '.join(parts)}")), soft_wrap=True)
    if report.hidden:
        what = "document holds" if report.hidden == 1 else "documents hold"
        out.print(f"{report.hidden:,} {what} text that readers don't see; it is flagged in results")
    if report.undivided:
        files = ", ".join(f"{count:,} {type}" for type, count in report.undivided.items())
        out.print(
            f"divided by lines instead of by function: {files}; install 'rag-tools[code]' and "
            "index them again",
            soft_wrap=True,
            markup=False,
        )
    pictures = sum(report.unsupported_types.get(suffix, 0) for suffix in PICTURES)
    if pictures and not recognises_text():
        out.print(
            f"{pictures:,} pictures weren't read: install 'rag-tools[ocr]' to have the text in "
            "them recognised",
            soft_wrap=True,
            markup=False,
        )
    out.print(f"{report.encoded_passages:,} passages encoded in {report.seconds:.1f} s")


def _left_out(report: SyncReport) -> Iterator[str]:
    """Yield what was left out: unsupported types, sensitive files and ignored files."""
    if report.unsupported_types:
        yield ", ".join(
            f"{count:,} {type or 'without a suffix'}"
            for type, count in report.unsupported_types.items()
        )
    if report.sensitive:
        what = "file" if report.sensitive == 1 else "files"
        yield f"{report.sensitive:,} sensitive {what} (to index one, name it with --include)"
    if report.ignored:
        yield f"{report.ignored:,} ignored"


def status(found: Status, out: Console) -> None:
    """Print the fields of a status, one per line."""
    for field in type(found).model_fields:
        value = getattr(found, field)
        if isinstance(value, WatchState):
            value = _watching(value)
        values = value if isinstance(value, tuple) else (value,)
        for item in values:
            shown = f"{item:,}" if isinstance(item, int) else _plain(item)
            line = Text(f"{field.replace('_', ' '):<16}", style="dim")
            out.print(line.append(one_line(shown), style="none"), soft_wrap=True)
    if found.kernel == "numpy":
        complain(
            "searches run on NumPy, which is many times slower, because the native kernels weren't "
            "built or RAG_TOOLS_KERNEL is numpy; install a C++ compiler and reinstall rag-tools: "
            "pip install --force-reinstall --no-deps --no-cache-dir --no-binary rag-tools rag-tools"
        )


def _watching(state: WatchState) -> str:
    """Return what a person wants to know of what keeps an index up to date."""
    how = [
        "polling" if state.polling else "events" if state.events else "",
        f"every {state.every:g} s" if state.every else "",
    ]
    by = f"process {state.process} ({', '.join(filter(None, how))})"
    if state.failures:
        return f"{by}: {state.failures} syncs failed, the next one at {state.next}: {state.error}"
    return f"{by}: last synced {state.synced or 'not yet'}"


def watched(state: WatchState, report: SyncReport | None) -> str:
    """Return the line about a sync that a change caused; empty if it changed nothing."""
    if report is None:
        return f"{state.error} (next try at {state.next})"
    counts = (("added", report.added), ("updated", report.updated), ("removed", report.removed))
    done = [f"{len(ids)} {name}" for name, ids in counts if ids]
    done += [f"skipped {skipped.path}: {skipped.reason}" for skipped in report.skipped]
    return ", ".join(done)


def report(found: Value, out: Console) -> None:
    """Print the fields of a report of maintenance, one per line, and lists item by item."""
    for field in type(found).model_fields:
        value = getattr(found, field)
        for item in value if isinstance(value, tuple) else (value,):
            shown = f"{item:,}" if isinstance(item, int) else str(item)
            line = Text(f"{field.replace('_', ' '):<18}", style="dim")
            out.print(line.append(one_line(shown), style="none"), soft_wrap=True)


def evaluation(found: Evaluation, out: Console) -> None:
    """Print a table of measures for each data set, and one of the means if there are several."""
    for each in found.datasets:
        out.print(_measures(each))
    out.print(_measures(found))
    for note in found.notes:
        out.print(Text(one_line(note), style="dim"))


def _measures(found: Evaluation) -> Table:
    """Return a table of the systems and their measures, with intervals and the comparison."""
    name = " ".join(filter(None, [found.dataset, found.split]))
    mean = f", mean of {len(found.datasets)}" if found.datasets else ""
    table = Table(
        "",
        title=one_line(f"{name}{mean}: {found.documents} documents, {found.queries} queries"),
        title_justify="left",
        box=box.SIMPLE,
    )
    for measure in found.measures:
        table.add_column(measure, justify="right", no_wrap=True)
    for label, baseline in (("BM25", "bm25"), ("dense vectors", "dense")):
        if measures := found.baselines.get(baseline):
            table.add_row(label, *map(_figure, measures.values()))
    ours, compared = found.checkpoint.name, found.comparison
    scored = "float vectors" if found.scoring.index == "none" else f"{found.scoring.bits} bits"
    table.add_row(
        Text(one_line(f"{ours}, {scored}"), style="bold"), *map(_figure, found.measures.values())
    )
    table.add_row("  95 %", *map(_interval, found.intervals.values()), style="dim")
    if compared:
        theirs = compared.checkpoint.name
        differences = compared.difference.values()
        table.add_row(one_line(f"{theirs}, {scored}"), *map(_figure, compared.measures.values()))
        table.add_row("difference", *(f"{each.mean:+.4f}" for each in differences))
        table.add_row("  95 %", *(_interval(each.interval) for each in differences), style="dim")
        table.add_row("  p", *(f"{each.p:.4f}" for each in differences), style="dim")
    return table


def citation_report(found: CitationReport, out: Console) -> None:
    """Print the measures of citations, and of baselines with the p-value of the difference."""
    for way, measures in groupby(found.measures, key=_way_of_asking):
        title = f"{found.dataset}: {found.questions} questions{way and f', {way}'}"
        out.print(_citation_measures(one_line(title), found, list(measures)))
    if found.judgements:
        out.print(Text(_judged(found.judgements)), soft_wrap=True)
    verbatim = found.verbatim
    out.print(f"verbatim: {verbatim.exact} of {verbatim.citations} citations\n")


def _way_of_asking(measure: str) -> str:
    way, colon, _ = measure.partition(":")
    return way if colon else ""


def _citation_measures(title: str, found: CitationReport, measures: Sequence[str]) -> Table:
    table = Table("", title=title, title_justify="left", box=box.SIMPLE)
    for measure in measures:
        table.add_column(measure, justify="right", no_wrap=True)
    for baseline, means in found.baselines.items():
        p_values = found.p_values[baseline]
        table.add_row(baseline, *(_score(means[measure]) for measure in measures))
        table.add_row("  p", *(f"{p_values[measure]:.4f}" for measure in measures), style="dim")
    ours = Text("citations", style="bold")
    table.add_row(ours, *(_score(found.measures[measure]) for measure in measures))
    table.add_row("  95 %", *(_bounds(found.intervals[each]) for each in measures), style="dim")
    return table


def _judged(found: Judgements) -> str:
    error = found.calibration_error
    lines = [
        f"AUROC {found.auroc:.3f} ({_bounds(found.auroc_interval)}), expected calibration error "
        + ("unknown: not fitted to this checkpoint" if error is None else f"{error:.3f}")
    ]
    for label, verdicts in found.verdicts.items():
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        lines.append(f"  {label}: {counts}; mean score {found.scores[label]:.3f}")
    return "\n".join(lines)


def _score(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.0f}"


def _bounds(bounds: tuple[float, float]) -> str:
    return ", ".join(map(_score, bounds))


def _figure(value: float) -> str:
    return f"{value:.4f}"


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.3f}, {high:.3f}"


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """Show the progress of long work on standard error if that is a terminal; see `Bars`."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield None
        return
    from rag_tools.cli.bars import Bars

    with Bars(err) as bars:
        yield bars.advance


def location(url: str, place: str | None = None) -> str:
    """Return where a person finds what `url` points to.

    Parameters
    ----------
    url
        Of a citation, or of a passage.
    place
        What to call the page or part that is meant; by default, the number of the page, if the
        URL leads to one.

    Examples
    --------
    >>> location("https://example.org/guide#page=3")
    'https://example.org/guide, page 3'
    >>> location("https://example.org/book#page=4", "page iv (PDF page 4)")
    'https://example.org/book, page iv (PDF page 4)'
    """
    address, fragment = split_locator(url)
    path = "/".join(filter(None, (_path(address), member_path(address))))
    # A URL has lines only if the text is the file itself, so that they are lines of the file.
    if lines := re.fullmatch(r"L(\d+)(?:-L(\d+))?", fragment):
        return f"{path}:{lines[1]}-{lines[2]}" if lines[2] else f"{path}:{lines[1]}"
    if page := re.fullmatch(r"page=(\d+)", fragment):
        place = place or f"page {page[1]}"
    return f"{path}, {place}" if place else path


def _path(address: str) -> str:
    """Return the path of the file that a URL names, relative if possible; else the URL."""
    path = path_of(address)
    if path is None:
        return address
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _flags(hit: Hit, out: Console) -> None:
    """Print what in a passage deserves a second look."""
    found = dict.fromkeys(f"{flag.kind}: {flag.detail}" for flag in hit.flags)
    if found:
        caution = Text(f"caution: {one_line('; '.join(found))}", style="red")
        out.print(Padding(caution, (0, 0, 0, 3)))


def _entry(rank: int, title: str, score: float, out: Console) -> None:
    line = Text(f"{rank}. ", style="dim").append(one_line(title), style="bold")
    out.print(line.append(f"  {score:.3f}", style="cyan"), soft_wrap=True)


def _line(indent: str, first: str, second: str | None, out: Console) -> None:
    line = Text(indent + one_line(first), style="blue")
    if second:
        line.append(f"  {one_line(second)}", style="dim")
    out.print(line, soft_wrap=True)


def _block(indent: str, text: Text, out: Console) -> None:
    """Print `text` indented and wrapped to the terminal's width, without trailing spaces."""
    for line in text.wrap(out, max(20, out.width - len(indent))):
        line.rstrip()
        out.print(Text(indent if line else "").append_text(line), soft_wrap=True)


def _passage(hit: Hit, out: Console) -> Text:
    """Return the lines of a hit's passage that contain its quotes, and the lines next to them."""
    quotes = _union(Span(c.start - hit.start, c.end - hit.start) for c in hit.citations)
    lines = _highlighted(hit.text, quotes, out).split("\n", allow_blank=True)
    # Lines without a letter or digit, such as rules and brackets, give no context.
    telling = [n for n, line in enumerate(lines) if any(map(str.isalnum, line.plain))]
    kept = set() if quotes else set(telling[:_UNQUOTED_LINES])
    for start, end in quotes:
        first, last = (hit.text.count("\n", 0, at) for at in (start, max(start, end - 1)))
        kept.update(range(first, last + 1))
        kept.update([n for n in telling if n < first][-_CONTEXT_LINES:])
        kept.update([n for n in telling if n > last][:_CONTEXT_LINES])
    excerpt = Text()
    left_out = False
    for number in sorted(kept.union(telling)):
        if number in kept:
            excerpt.append_text(lines[number]).append("\n")
        elif not left_out:
            excerpt.append("…\n", style="dim")
        left_out = number not in kept
    excerpt.rstrip()
    return excerpt


def _in_context(citation: Citation, out: Console) -> Text:
    """Return the quote within its line; the line is cut between words."""
    before = citation.prefix.rpartition("\n")
    after = citation.suffix.partition("\n")
    prefix = before[2] if before[1] else before[2].partition(" ")[2]
    suffix = after[0] if after[1] else after[0].rpartition(" ")[0]
    quote = Span(len(prefix), len(prefix) + len(citation.quote))
    return _highlighted(prefix + citation.quote + suffix, [quote], out)


def _highlighted(text: str, quotes: Sequence[Span], out: Console, *, style: str = _QUOTE) -> Text:
    """Return `text` with the quotes coloured, or between ``**`` if there are no colours."""
    shown = visible(text)
    if not _in_colour(out):
        for start, end in reversed(quotes):
            shown = f"{shown[:start]}**{shown[start:end]}**{shown[end:]}"
        return Text(shown)
    highlighted = Text(shown)
    for start, end in quotes:
        highlighted.stylize(style, start, end)
    return highlighted


def _heat_map(hit: Hit, edges: Iterable[Aligned], out: Console) -> Text:
    """Return a passage with quotes underlined and words coloured by the last edge to each."""
    quotes = _union(Span(c.start - hit.start, c.end - hit.start) for c in hit.citations)
    text = _highlighted(hit.text, quotes, out, style="underline")
    for edge in edges if _in_colour(out) else ():
        share = min(1.0, max(0.0, edge.similarity))  # from white to orange
        style = f"black on rgb(255,{255 - round(135 * share)},{255 - round(255 * share)})"
        text.stylize(style, edge.start - hit.start, edge.end - hit.start)
    return text


def _in_colour(out: Console) -> bool:
    return out.color_system is not None and not out.no_color


def _union(spans: Iterable[Span]) -> list[Span]:
    """Return the union of `spans` as disjoint spans in ascending order."""
    union: list[Span] = []
    for span in sorted(spans):
        if union and span.start <= union[-1].end:
            union[-1] = Span(union[-1].start, max(union[-1].end, span.end))
        else:
            union.append(span)
    return union
