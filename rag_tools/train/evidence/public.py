"""Examples from data that others made: pairs, units with gold, claims, tasks with commands."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rag_tools.sentences import sentences
from rag_tools.train.evidence.altering import contradicted, names_in
from rag_tools.train.evidence.examples import Example, Label, Read, Similar, windowed
from rag_tools.train.evidence.wording import asked, decapitalised, reworded, thinned
from rag_tools.types import Span

NEGATIVES = 2
LONGEST = 560
"""Characters of a passage; about 130 tokens."""

_POOL = 6  # times as many as are wanted are drawn, to find negatives among

_CLAIMS: dict[str, Label] = {
    "supported": "entailed",
    "refuted": "contradicted",
    "neutral": "neither",
}
_MARKS = ("- ", "* ", "• ")


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines, gzipped or not."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def from_pairs(file: Path, most: int, seed: int) -> Iterator[Example]:
    """Yield examples from pairs of query and passage, see `rag_tools.train.pairs`.

    A pair with a span gives the sentence that holds it as gold. One-sentence answers of one
    source become the items of a list or the answers of a FAQ, with others beside them.
    """
    chance = random.Random(seed)
    by_source: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records(file):
        by_source[record["source"]].append(record)
    for source, found in sorted(by_source.items()):
        found = chance.sample(found, min(_POOL * most, len(found)))
        chosen = found[:most]
        if sum(map(len, (each["passage"] for each in found))) / len(found) < 150:
            yield from _lists(source, found, chosen, chance)
        else:
            yield from _prose(source, found, chosen, chance)


def _prose(
    source: str, found: list[dict[str, Any]], chosen: list[dict[str, Any]], chance: random.Random
) -> Iterator[Example]:
    texts = sorted({each["passage"] for each in found})
    similar = Similar(texts)
    right: defaultdict[str, set[str]] = defaultdict(set)
    for each in found:
        right[each["query"].lower()].add(each["passage"])
    for record in chosen:
        query, text = record["query"], record["passage"]
        read = _marked(text, record.get("span"), chance)
        if read is None:
            continue
        others = [
            texts[number]
            for number in similar(query, 12)
            if texts[number] not in right[query.lower()] and texts[number][:80] != text[:80]
        ]
        negatives = [
            _marked(other, None, chance, answers=False)
            for other in chance.sample(others, min(NEGATIVES, len(others)))
        ]
        yield Example(source, query, (read, *filter(None, negatives)))


def _marked(
    text: str, span: list[int] | None, chance: random.Random, *, answers: bool = True
) -> Read | None:
    units = [_stripped(text, each) for each in sentences(text)]
    units = [each for each in units if each.start < each.end]
    gold = [
        i for i, each in enumerate(units) if span and each.start < span[1] and span[0] < each.end
    ]
    cut = windowed(text, units, gold[:2], most=LONGEST, chance=chance)
    if cut is None:
        return None
    if chance.random() < 0.2:
        cut = _as_items(*cut, chance)
    return Read(cut[0], "", cut[1], cut[2], answers)


def _as_items(
    text: str, units: tuple[Span, ...], gold: tuple[int, ...], chance: random.Random
) -> tuple[str, tuple[Span, ...], tuple[int, ...]]:
    """Return sentences as the items of a list."""
    mark = chance.choice(_MARKS)
    return (*_joined([mark + " ".join(each.of(text).split()) for each in units]), gold)


def _joined(lines: list[str], between: str = "\n") -> tuple[str, tuple[Span, ...]]:
    units, start = [], 0
    for line in lines:
        units.append(Span(start, start + len(line)))
        start += len(line) + len(between)
    return between.join(lines), tuple(units)


def _lists(
    source: str, found: list[dict[str, Any]], chosen: list[dict[str, Any]], chance: random.Random
) -> Iterator[Example]:
    """Yield short answers beside others: of the same thing ("Name: answer"), or similar ones."""
    texts = sorted({" ".join(each["passage"].split()) for each in found})
    similar = Similar(texts)
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        groups[_owner(text)].append(text)
    right: defaultdict[str, set[str]] = defaultdict(set)
    for each in found:
        right[" ".join(each["passage"].split())].add(each["query"].lower())
    for record in chosen:
        answer, query = " ".join(record["passage"].split()), record["query"]
        owner = _owner(answer)
        pool = groups[owner] if owner else [texts[i] for i in similar(query, 14)]
        pool = [
            text
            for text in pool
            if text != answer and not right[text] & right[answer] and not _same_answer(text, answer)
        ]
        chance.shuffle(pool)
        beside = pool[: chance.randint(2, 6)]
        rows = [*beside, answer]
        chance.shuffle(rows)
        mark = chance.choice(("", "", *_MARKS))
        bare = [mark + (row.partition(": ")[2] if owner else row) for row in rows]
        text, units = _joined(bare, chance.choice(("\n", "\n", "\n\n")))
        gold = (rows.index(answer),)
        negatives = []
        # The same without the answer holds none; what another owner says isn't an answer either.
        rest = [row for row in bare if row != bare[gold[0]]]
        if rest:
            negatives.append(Read(*_joined(rest)[:1], owner, _joined(rest)[1]))
        if owner:
            other = chance.choice(sorted(groups.keys() - {owner, ""}))
            lines = [row.partition(": ")[2] for row in groups[other]]
            chance.shuffle(lines)
            negatives.append(Read(_joined(lines[:5])[0], other, _joined(lines[:5])[1]))
            if chance.random() < 0.7:
                query = _naming(query, owner, chance)
            else:
                negatives.pop()
        if len(text) <= 2 * LONGEST:
            positive = Read(text, owner, units, gold, answers=True)
            yield Example(source, query, (positive, *negatives))


def _owner(text: str) -> str:
    name, colon, _ = text.partition(": ")
    return name if colon and len(name) < 60 and len(name.split()) <= 8 else ""


def _naming(query: str, owner: str, chance: random.Random) -> str:
    if owner.lower() in query.lower():
        return query
    return chance.choice((f"{query} ({owner})", f"{owner}: {query}", f"About {owner}: {query}"))


def _same_answer(one: str, two: str) -> bool:
    """Tell whether two answers, each after the name of its owner, share most of their words."""
    owner = set(_owner(one).lower().split())
    a, b = (set(text[len(_owner(text)) :].lower().split()) - owner for text in (one, two))
    return len(a & b) > 0.6 * min(len(a), len(b))


def from_evidence(file: Path, most: int, seed: int) -> Iterator[Example]:
    """Yield examples from questions with all units of a passage and the gold ones."""
    chance = random.Random(seed)
    by_source: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records(file):
        by_source[record["source"]].append(record)
    for source, found in sorted(by_source.items()):
        texts = sorted({each["passage"] for each in found})
        places = {text: number for number, text in enumerate(texts)}
        similar = Similar(texts)
        some = {each["passage"]: each for each in found}
        for record in chance.sample(found, min(most, len(found))):
            read = _table(record, record["gold"], chance)
            if read is None:
                continue
            negatives = []
            left = [
                number for number in range(len(record["units"])) if number not in record["gold"]
            ]
            if len(left) >= 3:  # the rest of the same passage, without what answers
                bare = {**record, "units": [record["units"][number] for number in left]}
                negatives.append(_table(bare, [], chance, without=True))
            own = places[record["passage"]]
            others = [
                n
                for n in similar(record["query"], 8)
                if n != own and texts[n][:40] != texts[own][:40]
            ]
            if others:
                negatives.append(_table(some[texts[chance.choice(others)]], [], chance))
            yield Example(source, record["query"], (read, *filter(None, negatives)))


def _table(
    record: dict[str, Any], gold: list[int], chance: random.Random, *, without: bool = False
) -> Read | None:
    text, units = record["passage"], [Span(*each) for each in record["units"]]
    if not units:
        return None
    head = text[: units[0].start].strip()
    title, _, header = head.partition("\n") if record["kind"] == "row" else (head, "", "")
    if without:
        # What is between two units stays as it is, so that it doesn't tell.
        gap = text[units[0].end : units[1].start] if len(units) > 1 else "\n"
        text, joined = _joined([each.of(text) for each in units], gap if len(gap) < 3 else "\n")
        units = list(joined)
    cut = windowed(text, units, gold, most=LONGEST, chance=chance)
    if cut is None:
        return None
    text, units = cut[0], list(cut[1])
    if header and len(header) < 240:
        text = header + "\n" + text
        units = [Span(a + len(header) + 1, b + len(header) + 1) for a, b in units]
    return Read(text, title[:120], tuple(units), cut[2], answers=bool(gold))


def from_claims(file: Path, most: int, seed: int) -> Iterator[Example]:
    """Yield claims with labels; of supported ones, also some with a detail changed."""
    chance = random.Random(seed)
    by_source: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in records(file):
        by_source[record["source"], record["label"]].append(record)
    for (source, label), found in sorted(by_source.items()):
        names = sorted({name for each in found[:2000] for name in names_in(each["claim"])})
        for record in chance.sample(found, min(most, len(found))):
            claim, text = record["claim"], record["evidence"]
            if len(text) > 3 * LONGEST:
                continue
            answers = label != "neutral"
            read = Read(text, "", (), (), answers)
            yield Example(source, claim, (read,), _CLAIMS[label])
            if label == "supported" and chance.random() < 0.25:
                wrong = contradicted(claim, names, chance)
                if wrong is not None:
                    yield Example(f"{source}/{wrong[1]}", wrong[0], (read,), "contradicted")
            elif chance.random() < 0.12:
                # The evidence of another claim says nothing about this one.
                other = chance.choice(found)["evidence"]
                if other != text and len(other) < 2 * LONGEST:
                    read = Read(other, "", (), (), answers=False)
                    yield Example(f"{source}/other", claim, (read,), "neither")


def from_commands(file: Path, most: int, seed: int) -> Iterator[Example]:
    """Yield tasks and the commands that do them, in the forms that documentation has them in."""
    chance = random.Random(seed)
    pages = [
        (name, list(rows)) for name, rows in groupby(records(file), key=lambda each: each["page"])
    ]
    pages = [(name, rows) for name, rows in pages if len(rows) >= 3]
    for name, rows in chance.sample(pages, min(most, len(pages))):
        task = [_plain(each["query"]) for each in rows]
        command = [_filled(each["passage"]) for each in rows]
        for place in chance.sample(range(len(rows)), 1):
            backwards = chance.random() < 0.3
            if backwards:
                query = chance.choice(("what does `{}` do", "meaning of {}", "explain {}")).format(
                    command[place]
                )
            else:
                query = _task_question(task[place], name, chance)
            left = [i for i in range(len(rows)) if i != place]
            wanted = _commands(task, command, list(range(len(rows))), place, backwards, chance)
            empty = _commands(task, command, left, None, backwards, chance)
            other_name, other = chance.choice(pages)
            elsewhere = _commands(
                [_plain(each["query"]) for each in other],
                [_filled(each["passage"]) for each in other],
                list(range(len(other))),
                None,
                backwards,
                chance,
            )
            context = name if chance.random() < 0.7 else f"{name} > Examples"
            passages = tuple(
                Read(text, title, units, gold, answers=bool(gold))
                for title, (text, units, gold) in (
                    (context, wanted),
                    (context, empty),
                    (other_name, elsewhere),
                )
            )
            yield Example("commands", query, passages)


def _commands(
    task: list[str],
    command: list[str],
    chosen: list[int],
    gold: int | None,
    backwards: bool,
    chance: random.Random,
) -> tuple[str, tuple[Span, ...], tuple[int, ...]]:
    form = chance.choice(("row", "lead-in", "definition", "item", "code"))
    if form == "code" and backwards:
        form = "row"
    lines: list[str] = []
    places: list[int] = []  # the line that each command is marked at
    if form == "row":
        lines.append(
            chance.choice(("Command | Description", "Command | What it does", "Usage | Effect"))
        )
    for i in chosen:
        if form == "lead-in":
            lines += [f"{task[i]}:", f"    {command[i]}"]
        elif form == "row":
            lines.append(f"{command[i]} | {task[i]}")
        elif form == "definition":
            lines.append(f"{command[i]}\n    {task[i]}.")
        elif form == "item":
            lines.append(f"- {task[i]}: {command[i]}")
        else:
            lines.append(command[i])
        places.append(len(lines) - 1 - (form == "lead-in" and backwards))
    text, units = _joined(lines)
    found = tuple(units[place] for place in places)
    return text, found, (chosen.index(gold),) if gold is not None else ()


def _task_question(task: str, name: str, chance: random.Random) -> str:
    task = reworded(decapitalised(task), chance, 0.7)
    if chance.random() < 0.4:
        task = thinned(task, chance, 0.15)
    form = chance.choice(
        (
            "how do I {}",
            "how to {}",
            "what's the command to {}",
            "{}",
            "is there a way to {}",
            "I want to {}, how",
            "command that lets me {}",
        )
    ).format(task)
    if name.lower() not in form.lower() and chance.random() < 0.5:
        form += chance.choice((f" with {name}", f" ({name})", f" using {name}"))
    return asked(form, chance)


def _plain(text: str) -> str:
    return text.replace("[", "").replace("]", "").replace("`", "").rstrip(":. ")


def _filled(command: str) -> str:
    return " ".join(command.replace("{{", "").replace("}}", "").replace("\n", " ").split())


def _stripped(text: str, span: Span) -> Span:
    whole = span.of(text)
    start = span.start + len(whole) - len(whole.lstrip())
    return Span(start, max(start, span.start + len(whole.rstrip())))
