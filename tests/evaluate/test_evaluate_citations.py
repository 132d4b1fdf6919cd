"""Questions with gold evidence in every layout, and what is measured on them end to end."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rag_tools.cli.main import app
from rag_tools.errors import DatasetError
from rag_tools.evaluate import citations
from rag_tools.evaluate.citation_measures import Range
from rag_tools.evaluate.evidence import EvidenceSet, read_evidence
from rag_tools.types import Span, Support

TIDES = (
    "The Moon pulls on the near side of the Earth more strongly than on the far side. "
    "Most coasts see two high tides a day. Spring tides come when the Sun and the Moon align."
)
BEES = (
    "A honeybee that has found flowers dances on the comb. "
    "In winter the bees form a cluster and shiver to keep the queen warm. "
    "The angle of the waggle run tells the direction relative to the Sun."
)


def span(text: str, words: str) -> Span:
    start = text.index(words)
    return Span(start, start + len(words))


def put(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def chunking_evaluation(folder: Path, **changed: Any) -> Path:
    put(folder, "corpora/tides.md", f"# Tides 🌊\n\n{TIDES}\n")
    put(folder, "corpora/bees.md", f"# Bees\n\n{BEES}\n")
    text = f"# Tides 🌊\n\n{TIDES}\n"
    start, end = span(text, "Most coasts see two high tides a day.")
    reference = {"content": text[start:end], "start_index": start, "end_index": end, **changed}
    rows = [
        ("How many high tides a day do most coasts see?", [reference], "tides"),
        ("What of a document that isn't there?", [reference], "finance"),
    ]
    quoted = "".join(
        '"{}","{}",{}\n'.format(question, json.dumps(references).replace('"', '""'), corpus)
        for question, references, corpus in rows
    )
    put(folder, "questions_df.csv", f"question,references,corpus_id\n{quoted}")
    return folder


def squad(folder: Path, name: str = "any.json") -> Path:
    def article(title: str, context: str, *asked: tuple[str, str]) -> dict[str, Any]:
        qas = [
            {
                "id": question,
                "question": question,
                "answers": [{"text": answer, "answer_start": context.find(answer)}] * 2,
            }
            for question, answer in asked
        ]
        qas.append({"id": "no", "question": "Who knows?", "answers": []})
        return {"title": title, "paragraphs": [{"context": context, "qas": qas}]}

    story = {
        "version": "1.1",
        "data": [
            article(
                "Tides", TIDES, ("How many high tides a day do most coasts see?", "two high tides")
            ),
            article(
                "Bees",
                BEES,
                ("What do bees do in winter to keep the queen warm?", "shiver"),
                ("What tells the direction relative to the Sun?", "The angle of the waggle run"),
            ),
        ],
    }
    put(folder, name, json.dumps(story))
    return folder


def qed(folder: Path, name: str = "any.jsonlines") -> Path:
    def row(question: str, text: str, words: str, kind: str = "single_sentence") -> str:
        start, end = span(text, words)
        starts = [0, *(i + 2 for i in range(len(text)) if text[i : i + 2] == ". ")]
        chosen = {"start": start, "end": end, "string": text[start:end]}
        annotation = {"explanation_type": kind}
        if kind == "single_sentence":
            annotation["selected_sentence"] = chosen
        return json.dumps(
            {
                "question_text": question,
                "paragraph_text": text,
                "sentence_starts": starts,
                "annotation": annotation,
            }
        )

    rows = [
        row("how many high tides a day", TIDES, "Most coasts see two high tides a day. "),
        row("who", TIDES, "The Moon", kind="none"),
        row("how do bees keep the queen warm in winter", BEES, BEES[54:124]),
    ]
    put(folder, name, "\n".join(rows) + "\n\n")
    return folder


def wice(folder: Path, name: str = "any.jsonl.gz") -> Path:
    tides = ["Tides", TIDES[:80], TIDES[81:118], " ", TIDES[119:]]
    bees = ["Bees", BEES[:53], BEES[54:122], BEES[123:]]
    rows = [
        {
            "label": "supported",
            "supporting_sentences": [[2, 0], [2]],
            "claim": "Most coasts see two high tides a day.",
            "evidence": tides,
        },
        {
            "label": "partially_supported",
            "supporting_sentences": [[2]],
            "claim": "In winter bees form a cluster and eat all of their honey.",
            "evidence": bees,
        },
        {
            "label": "not_supported",
            "supporting_sentences": [[], [3]],
            "claim": "Bicycles were invented in Karlsruhe in 1817.",
            "evidence": bees,
        },
    ]
    put(folder, name, "".join(json.dumps(row) + "\n" for row in rows))
    return folder


LAYOUTS = {"chunking_evaluation": chunking_evaluation, "squad": squad, "qed": qed, "wice": wice}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a set in each layout, under names that say nothing."""
    for number, write in enumerate(LAYOUTS.values()):
        write(tmp_path / str(number))
    put(tmp_path, "4/corpus.jsonl", '{"_id": "1", "text": "BEIR, which has no evidence"}\n')
    put(tmp_path, "4/notes.json", '{"data": "not articles"}')
    put(tmp_path, "4/list.jsonl", "[1, 2]\n")
    put(tmp_path, "README.md", "# About")
    return tmp_path


def only(folder: Path) -> EvidenceSet:
    (found,) = read_evidence(folder)
    return found


def test_layouts_are_recognised_by_their_files(data: Path):
    found = read_evidence(data)
    assert [each.layout for each in found] == list(LAYOUTS)
    assert [each.name for each in found] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_one_layout_is_read(layout: str, tmp_path: Path):
    found = only(LAYOUTS[layout](tmp_path / "data"))
    assert (found.name, found.layout) == ("data", layout)
    for id, document in found.documents.items():
        assert document.id == id
        words = [each.of(document.text) for each in found.sentences[id]]
        assert all(each == each.strip() or layout == "wice" for each in words)
        assert all(each.strip() for each in words)
    for question in found.questions:
        text = found.documents[question.document_id].text
        assert all(answer in text for answer in question.answers)
        assert all(each.of(text) for spans in question.gold for each in spans)


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonlines", "c.jsonl.gz", "d.jsonlines.gz"])
def test_files_of_lines_may_be_compressed_and_named_alone(name: str, tmp_path: Path):
    wice(tmp_path, name)
    assert only(tmp_path / name).questions == only(tmp_path).questions != ()


def test_several_files_of_a_folder_are_sets_of_their_own(tmp_path: Path):
    folder = tmp_path / "x"
    squad(folder, "quad.de.json")
    squad(folder, "quad.el.json")
    qed(folder, "dev.jsonl")
    assert [each.name for each in read_evidence(folder)] == ["x/dev", "x/quad.de", "x/quad.el"]


def test_chunking_evaluation_keeps_questions_whose_document_is_there(tmp_path: Path):
    found = only(chunking_evaluation(tmp_path))
    (question,) = found.questions
    text = found.documents[question.document_id].text
    assert [[each.of(text) for each in spans] for spans in question.gold] == [
        ["Most coasts see two high tides a day."]
    ]
    assert len(found.documents) == 2


def test_squad_leaves_out_questions_without_an_answer(tmp_path: Path):
    found = only(squad(tmp_path))
    assert [question.answers for question in found.questions] == [
        ("two high tides",),
        ("shiver",),
        ("The angle of the waggle run",),
    ]
    assert {each.metadata["article"] for each in found.documents.values()} == {"Tides", "Bees"}
    assert all(document.title == "" for document in found.documents.values())


def test_qed_keeps_questions_that_one_sentence_answers(tmp_path: Path):
    found = only(qed(tmp_path))
    assert [question.text for question in found.questions] == [
        "how many high tides a day",
        "how do bees keep the queen warm in winter",
    ]
    first = found.questions[0].document_id
    assert [each.of(TIDES) for each in found.sentences[first]] == [
        TIDES[:80],
        TIDES[81:118],
        TIDES[119:],
    ]


def test_wice_has_sets_of_sentences_but_none_where_citing_nothing_is_right(tmp_path: Path):
    found = only(wice(tmp_path))
    supported, partial, unsupported = found.questions
    text = found.documents[supported.document_id].text
    assert [[each.of(text) for each in spans] for spans in supported.gold] == [
        ["Tides", "Most coasts see two high tides a day."],
        ["Most coasts see two high tides a day."],
    ]
    assert len(partial.gold) == 1
    assert unsupported.gold == ()
    assert [each.label for each in found.questions] == [
        "supported",
        "partially_supported",
        "not_supported",
    ]


def test_drawing_spreads_evenly_over_the_questions(tmp_path: Path):
    found = only(squad(tmp_path))
    assert found.draw(None) is found.draw(7) is found
    assert found.draw(2).questions == (found.questions[0], found.questions[1])
    assert found.draw(1).questions == (found.questions[0],)


def test_a_folder_without_evidence_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"questions_df\.csv"):
        read_evidence(tmp_path)


def test_gold_that_the_document_does_not_hold_is_refused(tmp_path: Path):
    chunking_evaluation(tmp_path, end_index=40)
    with pytest.raises(DatasetError, match=r"questions_df\.csv, question 1: .*line ends"):
        read_evidence(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"claim": "c", "evidence": ["e"], "supporting_sentences": [[0]]}', "line 4: .*'label'"),
        (
            '{"claim": "c", "evidence": [], "supporting_sentences": [[0]], "label": "supported"}',
            "line 4: .*range",
        ),
        ("{", "line 4"),
        ("[]", "line 4"),
    ],
)
def test_a_line_that_the_layout_does_not_allow_is_named(line: str, message: str, tmp_path: Path):
    wice(tmp_path, "a.jsonl")
    with (tmp_path / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=message):
        read_evidence(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_the_command_measures_every_set(data: Path):
    result = call("--citations", data, "--json")
    assert result.exit_code == 0, result.stderr
    reports = {each["dataset"]: each for each in json.loads(result.stdout)["datasets"]}
    assert [each["questions"] for each in reports.values()] == [1, 3, 2, 2]
    for report in reports.values():
        assert report["kind"] == "citations"
        assert set(report["baselines"]) == {
            "passages_1",
            "passages_5",
            "sentence_bm25",
            "sentence_dense",
            "sentence_maxsim",
        }
        for measures in (report["intervals"], *report["baselines"].values()):
            assert measures.keys() == report["measures"].keys()
        assert report["p_values"].keys() == report["baselines"].keys()
        for name, value in report["measures"].items():
            low, high = report["intervals"][name]
            assert low <= value <= high
        assert report["verbatim"]["citations"] == report["verbatim"]["exact"] > 0

    # Each question shares its words with one sentence: whoever looks for it finds it.
    chunking, squad_report, qed_report, wice_report = reports.values()
    for report, measure in (
        (chunking, "iou"),
        (squad_report, "given:answer@200"),
        (qed_report, "in_gold_sentence"),
        (wice_report, "sentence_f1"),
    ):
        assert report["baselines"]["sentence_bm25"][measure] == 1, measure
    for report, measure in ((chunking, "iou"), (wice_report, "sentence_precision")):
        assert report["baselines"]["passages_1"][measure] < report["measures"][measure], measure
    assert chunking["baselines"]["passages_5"]["iou"] < chunking["baselines"]["passages_1"]["iou"]
    assert squad_report["baselines"]["passages_1"]["answer"] == 1
    verdicts = wice_report["judgements"]["verdicts"]
    assert verdicts.keys() == {"supported", "partially_supported", "not_supported"}
    assert all(sum(counts.values()) == 1 for counts in verdicts.values())


def test_the_tables_name_measures_baselines_and_bounds(tmp_path: Path):
    squad(tmp_path / "small")
    result = call("--citations", tmp_path, "--questions", 1)
    assert result.exit_code == 0, result.stderr
    assert "small: 1 of 3 questions" in result.stderr
    for words in (
        "small: 1 questions ",
        " answer@200 ",
        "small: 1 questions, given",
        " given:answer@200 ",
        "sentence_bm25",
        "95 %",
        "verbatim: ",
    ):
        assert words in result.stdout


def test_what_citations_have_no_use_for_is_refused(tmp_path: Path):
    qed(tmp_path)
    result = call("--citations", tmp_path, "--bits", 2)
    assert result.exit_code == 2
    assert "--questions" in result.stderr


def test_the_same_data_give_the_same_numbers(tmp_path: Path):
    found = only(wice(tmp_path))
    assert citations.evaluate_citations(found) == citations.evaluate_citations(found)


def test_a_quote_that_is_not_verbatim_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = citations.Engine.cite

    def cite(self: Any, claim: str, **options: Any) -> Support:
        support = real(self, claim, **options)
        altered = (
            each.model_copy(update={"quote": each.quote.upper()}) for each in support.citations
        )
        return support.model_copy(update={"citations": tuple(altered)})

    found = only(qed(tmp_path))
    honest = citations.evaluate_citations(found).verbatim
    monkeypatch.setattr(citations.Engine, "cite", cite)
    altered = citations.evaluate_citations(found).verbatim
    assert honest.exact == honest.citations == altered.citations
    assert altered.exact < altered.citations


def test_questions_are_asked_again_without_their_article(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever confidence says of two articles: both kinds are judged, on the right documents."""
    found = only(squad(tmp_path))
    real = citations.Engine.search
    seen = []

    def search(self: Any, query: str, **options: Any) -> Any:
        results = real(self, query, **options)
        wanted = {q.text: q.document_id for q in found.questions}[query]
        there = any(hit.document_id == wanted for hit in results.results)
        if "article" in (options.get("filter") or {}):
            seen.append(there)
        return results.model_copy(
            update={"confidence": 0.9 if there else 0.2, "low_confidence": not there}
        )

    monkeypatch.setattr(citations.Engine, "search", search)
    judgements = citations.evaluate_citations(found).judgements
    assert seen == [False] * 3
    assert judgements is not None
    assert judgements.auroc == 1
    assert judgements.calibration_error == pytest.approx(0.15)
    assert judgements.verdicts == {
        "answerable": {"confident": 3},
        "unanswerable": {"low confidence": 3},
    }


def test_baselines_choose_among_the_sentences_of_the_passages_found(tmp_path: Path):
    from rag_tools.encode.checkpoint import load_checkpoint
    from rag_tools.encode.encoder import Encoder
    from rag_tools.evaluate.baselines import Baselines
    from rag_tools.types import Hit

    found = only(squad(tmp_path))
    tides, bees = found.documents.values()
    baselines = Baselines(found, Encoder(load_checkpoint(None)))

    def hit(id: str, start: int, end: int) -> Hit:
        return Hit(
            id=f"{id}:{start}-{end}",
            document_id=id,
            document_sha256="",
            uri="",
            title="",
            url="u",
            score=1.0,
            text="",
            start=start,
            end=end,
        )

    question = "What do bees do in winter?"
    winter = Range(bees.id, *span(BEES, BEES[54:122]))
    quoted = baselines.quote(question, [hit(tides.id, 0, len(TIDES)), hit(bees.id, 0, len(BEES))])
    assert quoted["passages_1"] == [Range(tides.id, 0, len(TIDES))]
    assert len(quoted["passages_5"]) == 2
    for name in ("sentence_bm25", "sentence_dense", "sentence_maxsim"):
        assert quoted[name] == [winter], name
    # The passage ends before that sentence, so no baseline may quote it.
    ahead = baselines.quote(question, [hit(bees.id, 0, 53)])
    assert ahead["sentence_maxsim"] == [Range(bees.id, 0, 53)]
    # A passage that begins inside it may.
    within = baselines.quote(question, [hit(bees.id, 60, 122)])
    assert within["sentence_dense"] == [winter]
    # No word in common: the first sentence found.
    nothing = baselines.quote("xyzzy", [hit(tides.id, 0, len(TIDES))])
    assert nothing["sentence_bm25"] == [Range(tides.id, 0, 80)]
    assert baselines.quote(question, []) == {name: [] for name in quoted}
