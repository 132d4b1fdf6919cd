"""Examples from documents: rules ask about rows, items, definitions, options, code and answers.

Nothing here understands a document. A rule looks at a unit and what leads to it, asks in a form
that people use, changes words that have others, and takes the unit as the answer. Other passages
of the same document that share words with the question are what it must be told from.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rag_tools.errors import RagToolsError
from rag_tools.ingest.chunk import TokenCounter, chunk, context
from rag_tools.ingest.load import load, supported
from rag_tools.train.evidence.altering import contradicted, entailed, names_in
from rag_tools.train.evidence.examples import Example, Read, Similar
from rag_tools.train.evidence.wording import asked, decapitalised, reworded, telling, thinned
from rag_tools.types import Document, Passage, Span
from rag_tools.units import CONTEXT, Unit, units

PASSAGE_TOKENS = 150
NEGATIVES = 2
_MOST_OF_A_DOCUMENT = 40
_MOST_OF_A_KIND = 8

_CELL = re.compile(r"\s*(?:\t+|\s\|\s|\|)\s*")
_TERM = re.compile(
    r"^[-*•\s]*(?P<term>[^\n]{2,60}?)(?:\n+|\s[-–—]+\s|:\s+|\s{3,})(?P<rest>.{15,})$", re.S
)
_IS_A = re.compile(
    r"^(?:The |An? )?(?P<term>[\w.\-/]+(?: [\w.\-/]+){0,3}?) "
    r"(?:means |refers to |stands for |(?:is|are) (?=an? |the |one of |any |used |what |how ))"
    r"(?P<rest>[^\n]{15,})$",
    re.S,
)
_DEFAULT = re.compile(r"\bdefaults?\b", re.I)
_CONDITION = re.compile(
    r"^(?:If|When|Whenever) (?!you (?:want|wish|need|would|are)|necessary|needed|possible)"
    r"(?P<condition>[^,\n]{12,120}), ",
    re.S,
)
_CAN = re.compile(
    r"^(?:You|One|Users?|Administrators?) (?:can|may|could) (?P<task>[^,.;\n]{10,110}?)"
    r"(?: (?:by|with|using|via|through) |[,.;])",
    re.S,
)
_TO = re.compile(r"^To (?P<task>[^,\n]{8,110}), ", re.S)
_TURNING = re.compile(r"\s*\W*(?:prev(?:ious)?|next|up|home|contents)\b", re.I)  # of pages
_REASON = re.compile(r"^(?P<what>[^\n]{15,150}?),? because (?:of )?(?P<why>.{10,})$", re.S)
_GERUND = re.compile(r"^(?:\d[\d.]*\s+)?(?P<verb>[A-Z][a-z]+)ing (?P<rest>[a-zA-Z].{2,60})$")
_NUMBERED = re.compile(r"^[\d.IVX]+\s+(?=\w)")
_JUNK = re.compile(r"[{}<>\\|]{2,}|[^\x00-\x7f]{12,}|^\W*$")
_INDEX = re.compile(r"(?:gen)?index-?\w?$|search$|copyright|.*[-_]index$", re.I)  # lists of links
_MARKUP = re.compile(r"[`*]+|:\w+:(?=`)|¶")


class _Asked(NamedTuple):
    """A question by a rule: its kind, the question, the units that answer, and what it tells.

    Attributes
    ----------
    telling
        What another passage mustn't hold if it is to count as one that doesn't answer.
    """

    kind: str
    question: str
    gold: tuple[int, ...]
    telling: str = ""


@dataclass(frozen=True)
class _Part:
    """A passage of a document, with the units that may be quoted and what leads to each."""

    passage: Passage
    text: str
    context: str
    units: tuple[Unit, ...]  # positions in `text`
    leads: tuple[Unit | None, ...]
    headers: tuple[str, ...]  # of the table that each unit is a row of
    heading: str


def from_documents(folder: Path, tokens: TokenCounter, most: int, seed: int) -> Iterator[Example]:
    """Yield examples from the documents in a folder and the folders in it.

    Parameters
    ----------
    folder
        Documents of any kind that `rag_tools.ingest.load` reads; what it can't read is left out.
    tokens
        Counts tokens for packing passages.
    most
        Examples of one folder of documents, at most: no manual outweighs the others.
    seed
        Of everything that is drawn.
    """
    groups = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    for group in groups:
        chance = random.Random(f"{seed} {group.name}")
        made: list[Example] = []
        for path in sorted(path for path in group.iterdir() if path.is_file() and supported(path)):
            if _INDEX.match(path.stem):
                continue
            try:
                document = load(path)
            except RagToolsError:
                continue
            made += _of_document(document, tokens, chance)
        chance.shuffle(made)
        yield from made[:most]


def _of_document(
    document: Document, tokens: TokenCounter, chance: random.Random
) -> Iterator[Example]:
    parts = [
        _part(document, each) for each in chunk(document, tokens, passage_tokens=PASSAGE_TOKENS)
    ]
    parts = [part for part in parts if part.units]
    if len(parts) < 3:
        return
    similar = Similar([f"{part.heading} {part.text}" for part in parts])
    names = sorted({name for part in parts for name in names_in(part.text)})
    made: list[tuple[_Asked, int]] = [
        (each, number) for number, part in enumerate(parts) for each in _questions(part, chance)
    ]
    chance.shuffle(made)
    kinds: dict[str, int] = {}
    n_made = 0
    for each, number in made:
        if kinds.get(each.kind, 0) >= _MOST_OF_A_KIND or n_made >= _MOST_OF_A_DOCUMENT:
            continue
        negatives = _others(each, parts, number, similar, chance)
        if not negatives or len(each.question) > 260:
            continue
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
        n_made += 1
        positive = _read(parts[number], each.gold, answers=True)
        source = f"documents/{each.kind}"
        if chance.random() < 0.12:  # nothing answers
            yield Example(source, each.question, negatives)
        else:
            yield Example(source, each.question, (positive, *negatives))
    yield from _claims(parts, similar, names, chance)


def _part(document: Document, passage: Passage) -> _Part:
    text = document.text[passage.start : passage.end]
    found: list[Unit] = []
    leads: list[Unit | None] = []
    lead: Unit | None = None
    for unit in units(document.text, document.blocks, Span(passage.start, passage.end)):
        start, end = unit.start - passage.start, unit.end - passage.start
        words = text[start:end]
        stripped = unit._replace(
            start=start + len(words) - len(words.lstrip()), end=start + len(words.rstrip())
        )
        if stripped.start >= stripped.end:
            continue
        if unit.kind in CONTEXT:
            lead = stripped
            continue
        found.append(stripped)
        leads.append(lead)
        if unit.kind != "row":
            lead = lead if unit.kind == "code" else None
    title = document.title
    path = passage.path if passage.path[:1] == (title,) else (title, *passage.path)
    headers = tuple(unit.header.of(document.text) if unit.header else "" for unit in found)
    return _Part(
        passage, text, context(path), tuple(found), tuple(leads), headers, path[-1] if path else ""
    )


def _read(part: _Part, gold: Sequence[int], *, answers: bool) -> Read:
    spans = tuple(Span(unit.start, unit.end) for unit in part.units)
    return Read(part.text, part.context, spans, tuple(gold), answers)


def _others(
    question: _Asked,
    parts: Sequence[_Part],
    own: int,
    similar: Similar,
    chance: random.Random,
) -> tuple[Read, ...]:
    """Return passages of the document that share words with a question and don't answer it."""
    gold = parts[own].units[question.gold[0]]
    answer = " ".join(parts[own].text[gold.start : gold.end].split())
    telling_text = question.telling.lower()
    here = parts[own].passage
    found = []
    for number in [*similar(question.question, 10), own - 1, own + 1]:
        if number == own or not 0 <= number < len(parts) or number in found:
            continue
        there = parts[number].passage
        overlaps = there.start < here.end and here.start < there.end
        words = " ".join(parts[number].text.split())
        if answer in words or (
            overlaps and gold.start + here.start < there.end and there.start < gold.end + here.start
        ):
            continue
        if telling_text and telling_text in words.lower():
            continue
        found.append(number)
    chosen = (
        found[:1] + chance.sample(found[1:], min(NEGATIVES - 1, len(found) - 1)) if found else []
    )
    return tuple(_read(parts[number], (), answers=False) for number in chosen)


def _questions(part: _Part, chance: random.Random) -> Iterator[_Asked]:
    for number, (unit, lead) in enumerate(zip(part.units, part.leads, strict=True)):
        words = part.text[unit.start : unit.end]
        if len(words) < 12 or len(words) > 700 or _JUNK.search(words):
            continue
        for made in _unit_questions(part, number, unit, lead, words, chance):
            if len(telling(made.question)) >= 2:
                yield made


def _unit_questions(
    part: _Part, number: int, unit: Unit, lead: Unit | None, words: str, chance: random.Random
) -> Iterator[_Asked]:
    plain = _MARKUP.sub("", words)
    if unit.kind == "row" or (_CELL.search(plain.strip()) and unit.kind == "line"):
        yield from _row(part, number, unit, plain, chance)
    elif unit.kind in ("item", "sentence", "line"):
        yield from _definition(part, number, unit, plain, chance)
    if unit.kind in ("sentence", "item"):
        yield from _sentence(number, plain, chance)
    if lead is not None:
        yield from _led(part, number, unit, lead, chance)


def _led(
    part: _Part, number: int, unit: Unit, lead: Unit, chance: random.Random
) -> Iterator[_Asked]:
    """Ask in the words of what leads to a unit: a question, a lead-in, a heading."""
    leading = _MARKUP.sub("", " ".join(part.text[lead.start : lead.end].split()))
    if lead.kind == "question" and 12 < len(leading) < 200:
        question = reworded(re.sub(r"^\W*(?:Q\d*[:.]|[\d.]+)\s*", "", leading), chance)
        if chance.random() < 0.5:
            question = thinned(question, chance, 0.2)
        yield _Asked("faq", asked(decapitalised(question), chance), (number,), leading)
    elif unit.kind == "code" and lead.kind == "lead-in":
        task = leading.rstrip(": ")
        task = re.split(r"(?<=[.;]) ", task)[-1]
        if 15 < len(task) < 160:
            form = chance.choice(
                ("how do I {}", "how to {}", "example of how to {}", "{}, command?", "{}")
            )
            match = _TO.match(task + ", ")
            task = match["task"] if match else thinned(task, chance, 0.2)
            run = [number]
            for other in range(number + 1, len(part.units)):
                if part.units[other].kind == "code" and part.leads[other] == lead and len(run) < 3:
                    run.append(other)
            question = form.format(reworded(decapitalised(task), chance))
            yield _Asked("code", asked(question, chance), tuple(run), leading[:60])
    elif lead.kind == "heading" and number == 0 and chance.random() < 0.6:
        title = _NUMBERED.sub("", leading)
        match = _GERUND.match(title)
        if match:
            verb = match["verb"].lower()
            verb = (
                verb[:-1]
                if len(verb) > 3 and verb[-1] == verb[-2] and verb[-1] not in "ls"
                else verb
            )
            question = chance.choice(("how do I {} {}", "how can one {} {}", "{} {}, how")).format(
                verb, reworded(decapitalised(match["rest"]), chance)
            )
            yield _Asked("heading", asked(question, chance), (number,), title)


def _row(
    part: _Part, number: int, unit: Unit, words: str, chance: random.Random
) -> Iterator[_Asked]:
    cells = [cell.strip() for cell in _CELL.split(words.strip().strip("|")) if cell.strip()]
    if len(cells) < 2 or len(cells[0]) > 70 or _TURNING.match(words):
        return
    header = part.headers[number]
    columns = [
        cell.strip()
        for cell in _CELL.split(_MARKUP.sub("", header).strip().strip("|"))
        if cell.strip()
    ]
    name, rest = cells[0], cells[1:]
    longest = max(rest, key=len)
    forms = [
        f"what does {name} mean",
        f"what is {name} for",
        f"{name} {telling(part.heading)[-1] if telling(part.heading) else ''}",
    ]
    if len(columns) == len(cells):
        place = chance.randrange(1, len(cells))
        column = reworded(decapitalised(columns[place]), chance)
        forms += [
            f"what is the {column} of {name}",
            f"{column} for {name}",
            f"which {column} does {name} have",
        ] * 2
    yield _Asked("row", asked(chance.choice(forms), chance), (number,), name)
    if len(longest) > 25:  # from what it says to what it is called
        column = decapitalised(columns[0]) if len(columns) == len(cells) else "one"
        said = thinned(
            reworded(decapitalised(longest.split(". ")[0][:140]), chance, 0.8), chance, 0.3
        )
        form = chance.choice(
            ("which {c} is for {s}", "{s}", "what do I use to {s}", "I need {s}, which {c} is it")
        )
        yield _Asked("row-back", asked(form.format(c=column, s=said), chance), (number,), longest)


def _definition(
    part: _Part, number: int, unit: Unit, words: str, chance: random.Random
) -> Iterator[_Asked]:
    match = _TERM.match(words.strip())
    if match is None and unit.kind == "sentence":
        match = _IS_A.match(words.strip())
    if match is None:
        return
    term, rest = match["term"].strip(" :,-"), " ".join(match["rest"].split())
    if (
        not telling(term)
        or len(term.split()) > 7
        or term.lower() in ("note", "example", "warning", "tip", "it", "this", "that", "there")
    ):
        return
    if re.match(r"(?:it|this|that|these|those|there|which|what|he|they|if|when)\b", term, re.I):
        return
    option = bool(re.match(r"-|--|[a-z]+[_.\-=][a-z]|[A-Z][a-z]+[A-Z]|[A-Z_]{3,}", term))
    kind = "option" if option else "definition"
    forms = [
        "what does {t} do",
        "what is {t}",
        "{t} meaning",
        "explain {t}",
        "what is {t} good for",
        "when would I use {t}",
    ]
    if _DEFAULT.search(rest):
        forms = [
            "what's the default of {t}",
            "what happens if I don't set {t}",
            "default value for {t}",
            "if I leave out {t}, what do I get",
            "{t} unset",
        ]
        kind = "default"
    yield _Asked(kind, asked(chance.choice(forms).format(t=term), chance), (number,), term)
    first = re.split(r"(?<=[.;:]) ", rest)[0]
    if len(telling(first)) >= 4 and term.lower() not in first.lower():
        said = thinned(reworded(decapitalised(first[:150]), chance, 0.8), chance, 0.3)
        forms = [
            "how do I {s}",
            "which option {s}",
            "{s}",
            "what do you call it: {s}",
            "is there something to {s}",
            "I want this: {s}",
        ]
        if not option:
            forms = [
                "what do you call {s}",
                "{s}",
                "which term means {s}",
                "what is the word for {s}",
            ]
        yield _Asked(
            f"{kind}-back",
            asked(chance.choice(forms).format(s=said.rstrip(".")), chance),
            (number,),
            first,
        )


def _sentence(number: int, words: str, chance: random.Random) -> Iterator[_Asked]:
    flat = " ".join(words.split()).lstrip("-*• ")
    for kind, pattern, group, forms in (
        (
            "condition",
            _CONDITION,
            "condition",
            ("what happens if {}", "what happens when {}", "{}, then what", "and if {}"),
        ),
        (
            "can",
            _CAN,
            "task",
            ("how can I {}", "is it possible to {}", "can I {}", "how do I {}", "{}"),
        ),
        (
            "to",
            _TO,
            "task",
            (
                "how do I {}",
                "how to {}",
                "what do I do to {}",
                "I'd like to {}",
                "what must I do in order to {}",
            ),
        ),
        ("why", _REASON, "what", ("why {}", "what's the reason that {}", "{}, why")),
    ):
        match = pattern.match(flat)
        if match:
            said = re.sub(r"\byour?\b", lambda m: "my" if m[0] == "your" else "I", match[group])
            said = thinned(reworded(decapitalised(said), chance, 0.8), chance, 0.15)
            yield _Asked(
                kind, asked(chance.choice(forms).format(said), chance), (number,), match[group]
            )
            return
    if chance.random() < 0.06 and len(telling(flat)) >= 8:
        said = thinned(reworded(decapitalised(flat[:200]), chance, 0.8), chance, 0.55)
        yield _Asked("words", asked(said, chance), (number,))


def _claims(
    parts: Sequence[_Part], similar: Similar, names: list[str], chance: random.Random
) -> Iterator[Example]:
    """Yield claims about sentences and items: true, wrong in a detail, and not said."""
    found = [
        (number, i)
        for number, part in enumerate(parts)
        for i, unit in enumerate(part.units)
        if unit.kind in ("sentence", "item")
        and 40 < unit.end - unit.start < 260
        and not _JUNK.search(part.text[unit.start : unit.end])
    ]
    for number, i in chance.sample(found, min(6, len(found))):
        part = parts[number]
        unit = part.units[i]
        sentence = " ".join(_MARKUP.sub("", part.text[unit.start : unit.end]).split()).lstrip(
            "-*• "
        )
        true = entailed(sentence, chance)
        drawn = chance.random()
        if drawn < 0.4:
            claim = reworded(true, chance, 0.5) if chance.random() < 0.6 else true
            read = _read(part, (i,), answers=True)
            yield Example("documents/claim-true", claim, (read,), "entailed")
        elif drawn < 0.85:
            wrong = contradicted(true, names, chance)
            if wrong is not None:
                claim = reworded(wrong[0], chance, 0.5) if chance.random() < 0.4 else wrong[0]
                read = _read(part, (i,), answers=True)
                yield Example(f"documents/claim-{wrong[1]}", claim, (read,), "contradicted")
        else:
            question = _Asked("claim", sentence, (i,))
            others = _others(question, parts, number, similar, chance)
            if others:
                yield Example("documents/claim-unsaid", true, others[:1], "neither")
