"""What the rules for verdicts find, given the right quote: a check that needs no documents.

    python benchmarks/everyday/rules.py [claims.jsonl|second.jsonl] [--split NAME] [--show]

Each claim is compared with its gold unit, and the name of its document stands for the title. Prints
the share of each class in which something is in conflict, which keeps a claim from being supported:
few of the true ones should be, and all others. No score takes part, so that this isn't the share
that is called supported. With --show, also what is misjudged, which is for the split ``fit`` only.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer
from corpus import read

from rag_tools.cite.compare import Around, compare
from rag_tools.types import Citation


def main(
    name: Annotated[str, typer.Argument(help="File of claims in this folder.")] = "claims.jsonl",
    split: Annotated[str, typer.Option(help="Part of the set; all by default.")] = "",
    show: Annotated[bool, typer.Option(help="Print what is misjudged.")] = False,
) -> None:
    """Print the shares."""
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for entry in read(name):
        if split and entry["split"] != split:
            continue
        claim, unit = entry["claim"], entry["gold"][0]
        quote = Citation(document_id="", document_sha256="", start=0, end=len(unit), quote=unit)
        conflicts = compare(claim, [quote], [Around(title=entry["document"].replace("/", " "))])
        counts[entry["class"]] += 1
        found[entry["class"]] += bool(conflicts)
        if show and bool(conflicts) == (entry["class"] == "true"):
            words = [(each.kind, claim[each.start : each.end]) for each in conflicts]
            print(f"{entry['id']} {entry['class']}: {claim} {words}\n    {unit!r}")
    for kind, count in counts.items():
        print(f"{kind:10} {count:4} {found[kind] / count:6.2f}")


if __name__ == "__main__":
    typer.run(main)
