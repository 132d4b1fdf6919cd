"""What a run came to, as tables in Markdown, and what changed between two runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from corpus import KINDS, WRONG_BY_SENSE, WRONG_BY_VALUE
from score import auroc, difference, mcnemar

Entry = dict[str, Any]

_MEASURES = {
    "first": "first quote right",
    "three": "one of the first three right",
    "cite": "first quote of `cite` right",
    "passage": "first passage holds it",
    "five": "one of the first five passages holds it",
}
_BASELINES = {
    "bm25": "BM25: best sentence of its first piece",
    "overlap": "best sentence of the first passage",
    "whole": "first passage, whole",
}


def table(report: Entry) -> str:
    """Return a report as tables."""
    lines = [f"{report['date']}, commit {report['commit']}, split {report['split']}", ""]
    lines += _questions(report["questions"])
    if report["unanswerable"]:
        lines += ["", *_answerability(report["questions"], report["unanswerable"])]
    if report["claims"]:
        lines += ["", *_verdicts(report["claims"])]
    return "\n".join(lines)


def compared(old: Entry, new: Entry) -> str:
    """Return the differences between two reports, on what both asked."""
    lines = [
        "",
        f"Against commit {old['commit']} of {old['date']}:",
        "",
        "| | entries | old | new | difference [95 %] | gained / lost | p (McNemar) |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, meaning in _MEASURES.items():
        lines += _paired(meaning, old["questions"], new["questions"], key)
    lines += _paired("with an answer, called low", old["questions"], new["questions"], "low")
    lines += _paired("without, called low", old["unanswerable"], new["unanswerable"], "low")
    for meaning, classes in (
        ("true claims supported", ("true",)),
        ("claims wrong by a value supported", WRONG_BY_VALUE),
        ("claims wrong by their sense supported", WRONG_BY_SENSE),
    ):
        pair = (_of_classes(run["claims"], classes) for run in (old, new))
        lines += _paired(meaning, *pair, "supported")
    return "\n".join(lines)


def _questions(questions: list[Entry]) -> list[str]:
    columns = {"all": questions} | {
        kind: [each for each in questions if each["kind"] == kind] for kind in KINDS
    }
    lines = [
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        f"| questions | {' | '.join(str(len(each)) for each in columns.values())} |",
    ]
    for key, meaning in (_MEASURES | _BASELINES).items():
        if questions and key in questions[0]:
            shares = (_share(each, key) for each in columns.values())
            lines.append(f"| {meaning} | {' | '.join(shares)} |")
    return lines


def _answerability(questions: list[Entry], unanswerable: list[Entry]) -> list[str]:
    # Without a hit there is no confidence, and surely no answer.
    answered = [each["confidence"] or 0.0 for each in questions]
    without = [each["confidence"] or 0.0 for each in unanswerable]
    return [
        "| confidence | |",
        "|---|---|",
        f"| AUROC, {len(answered)} with an answer against {len(without)} without | "
        f"{auroc(answered, without):.3f} |",
        f"| without an answer, called low | {_share(unanswerable, 'low')} |",
        f"| with an answer, called low | {_share(questions, 'low')} |",
    ]


def _verdicts(claims: list[Entry]) -> list[str]:
    true = [each["score"] for each in _of_classes(claims, ("true",))]
    lines = [
        "| claims | number | supported | partial | first quote is the gold unit | AUROC of score |",
        "|---|---|---|---|---|---|",
    ]
    rows = {kind: (kind,) for kind in ("true", *WRONG_BY_VALUE, *WRONG_BY_SENSE)}
    rows |= {"all wrong by a value": WRONG_BY_VALUE, "all wrong by their sense": WRONG_BY_SENSE}
    for meaning, classes in rows.items():
        group = _of_classes(claims, classes)
        partial = [{"partial": each["verdict"] == "partial"} for each in group]
        separated = auroc(true, [each["score"] for each in group])
        lines.append(
            f"| {meaning} | {len(group)} | {_share(group, 'supported')} | "
            f"{_share(partial, 'partial')} | {_share(group, 'quoted')} | "
            f"{'' if meaning == 'true' else f'{separated:.3f}'} |"
        )
    return lines


def _paired(meaning: str, old: Iterable[Entry], new: Iterable[Entry], key: str) -> list[str]:
    before = {each["id"]: bool(each[key]) for each in old}
    pairs = [(before[each["id"]], bool(each[key])) for each in new if each["id"] in before]
    if not pairs:
        return []
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    mean, low, high = difference([(float(a), float(b)) for a, b in pairs])
    shares = " | ".join(f"{sum(side) / len(pairs):.3f}" for side in zip(*pairs, strict=True))
    line = (
        f"| {meaning} | {len(pairs)} | {shares} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] | "
        f"{gained} / {lost} | {mcnemar(gained, lost):.3g} |"
    )
    return [line]


def _of_classes(claims: Iterable[Entry], classes: Iterable[str]) -> list[Entry]:
    return [each for each in claims if each["class"] in classes]


def _share(entries: list[Entry], key: str) -> str:
    return f"{sum(bool(each[key]) for each in entries) / len(entries):.3f}" if entries else ""
