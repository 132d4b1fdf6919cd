"""Facts of claims and their quotes: numbers, dates, times, names, and the sense of the words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.compare import Around, compare
from rag_tools.cite.contradiction import conflicts
from rag_tools.cite.facts import Text, missing
from rag_tools.cite.quantities import agree, quantities, stem
from rag_tools.cite.sense import Sense
from rag_tools.types import Citation

PIECES = [
    *"aA1.,:;-$%°/'\"()|\n \u00adé漢½",
    " two ",
    "3 May 2024",
    "twenty-one",
    " half an hour",
    "5 MB",
    "v2.4",
    "NASA",
    " isn't ",
    "at least 5",
    "14:30",
    "2 pm",
    " Ann Lee ",
    "1,000",
    "is ",
]
texts = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=40)


def lacking(claim: str, quote: str) -> list[str]:
    """The facts of a claim that a quote lacks."""
    return [fact.span.of(claim) for fact in missing(Text(claim), [Text(quote)])]


def against(claim: str, *quotes: str, heading: str = "") -> list[str]:
    """What of a claim is in conflict with quotes."""
    citations = [
        Citation(
            document_id="d",
            document_sha256="",
            start=0,
            end=len(quote),
            quote=quote,
            heading=heading or None,
        )
        for quote in quotes
    ]
    return [claim[each.start : each.end] for each in compare(claim, citations)]


@given(texts)
def test_facts_lie_in_the_text_and_stand_in_it(text: str):
    facts = Text(text).facts
    assert all(0 <= fact.span.start < fact.span.end <= len(text) for fact in facts)
    assert missing(Text(text), [Text(text)]) == []


@given(texts, texts)
def test_a_text_doesnt_contradict_itself(text: str, other: str):
    assert conflicts(Sense(text), Sense(text)) == []
    spans = conflicts(Sense(text), Sense(other))
    assert all(0 <= start < end <= len(text) for start, end in spans)


@given(texts, texts)
def test_agreement_is_mutual(text: str, other: str):
    for one in quantities(text):
        for two in quantities(other):
            assert agree(one, two) == agree(two, one)


@pytest.mark.parametrize("part", ["1,", "two ", "a.", "May 3 ", "A ", "not ", "5 to ", "is by "])
def test_long_texts_take_no_time(part: str):
    text = part * (8_000 // len(part))
    missing(Text(text), [Text(text)])
    conflicts(Sense(text), Sense(text[:2_000]))


SAME = [
    ("two weeks", "14 days"),
    ("a period of 14 consecutive days", "two weeks"),
    ("36 hours", "a day and a half, or 1.5 days"),
    ("half an hour", "30 minutes"),
    ("two and a half years", "30 months"),
    ("a dozen eggs", "12 eggs"),
    ("twice", "two times"),
    ("1 250 people", "1,250 people"),
    ("2.5 million people", "2,500,000 people"),
    ("40 %", "forty per cent"),
    ("2 km", "2000 metres"),
    ("1 GB", "1024 MB"),
    ("5000 kB", "5 MB"),
    ("$20", "20 dollars"),
    ("€3.50", "3.50 euros"),
    ("5 to 10 minutes", "from 5 minutes to 10 minutes"),
    ("5 minutes", "5-10 minutes"),
    ("version 2.4", "v2.4"),
    ("the 3rd chapter", "the third chapter"),
    ("on 3 May 2024", "on 2024-05-03"),
    ("on May 3rd, 2024", "am 3. Mai 2024"),
    ("in May 2024", "on the 3rd of May, 2024"),
    ("in 2024", "on 3 May 2024"),
    ("on 03/05/2024", "on 3 May 2024"),
    ("at 2 pm", "at 14:00"),
    ("at noon", "at 12:00"),
    ("since the 1990s", "in the 1990s"),
    ("by Lopez", "by María López"),
    ("Lopez's report", "the report of López"),
    ("by the WHO", "by the World Health Organization"),
    ("by the World Health Organization", "by the WHO"),
    ("by Maria Lopez", "by M. Lopez"),
    ("German firms", "firms in Germany"),
    ("see PEP 8", "all PEPs, PEP 8 among them"),
    ("set max_retries", "the option max_retries"),
    ("Workers wait", "Employees wait"),  # no name
    ("First, it starts.", "It starts."),
    ("One of them fails.", "It fails."),
    ("the --dry-run option", "--dry-run shows what would be done"),
    ("the --dry-run option", "the dry run option"),
    ("pass -q", "-q or -v"),
    ("the format %h", "%h %u"),
    ("see docs.example.net", "at https://docs.example.net/a"),
    ("set MAX_AGE", "the max age"),
    ("the package rot-tools", "rot-tools is a package"),
    ("a well-made cup", "a cup"),  # no name
]
OTHER = [
    ("two weeks", "14 hours"),
    ("14 days", "14 working days"),
    ("one month", "30 days"),  # not always
    ("90 days", "90 files"),
    ("90 files", "90 days"),
    ("30 files", "20 files and 30 folders"),
    ("5 MB", "5 GB"),
    ("$20", "€20"),
    ("5 percent", "5 percentage points"),
    ("2.4", "2.4.1"),
    ("v2.4", "version 2.5"),
    ("twenty", "two"),
    ("-5 °C", "5 °C"),
    ("5 °C", "5 °F"),
    ("1,000", "10,000"),
    ("part 0923", "part 923"),
    ("on 3 May 2024", "on 3 May 2023"),
    ("on 3 May", "on 3 June"),
    ("in May 2024", "in 2024"),
    ("at 2 pm", "at 2 am"),
    ("the 3rd chapter", "3 chapters"),
    ("in Oslo", "in Lisbon"),
    ("Berlin pays", "Munich pays"),
    ("in Austria", "in Australia"),
    ("set max_retries", "set max_retry_delay"),
    ("use SHA256", "use SHA512"),
    ("by NASA", "by ESA"),
    ("the --dry-run option", "the option --run is dry"),
    ("pass -q", "pass -Q, q"),
    ("the --command option", "optional commands with -Q"),
    ("within 31 minutes", "within 31d"),
    ("the format %h", "the formats %H and h"),
    ("see docs.example.net", "see example.net, docs.example.org"),
    ("set POND_URL", "the URL of the pond, POND_NAME"),
    ("the package rot-tools", "the package rot-files"),
]


@pytest.mark.parametrize(("claim", "quote"), SAME)
def test_the_same_in_another_spelling_stands(claim: str, quote: str):
    assert lacking(claim, quote) == []


@pytest.mark.parametrize(("claim", "quote"), OTHER)
def test_another_number_unit_date_or_name_doesnt(claim: str, quote: str):
    assert lacking(claim, quote)


def test_german_nouns_arent_names():
    assert lacking("Der Vertrag endet mit der Frist.", "Die Laufzeit ist vorbei.") == []
    assert lacking("Der Vertrag endet am 3. Mai 2027.", "Er endet am 4. Mai 2027.")


def test_a_heading_holds_names():
    assert against("Nginx closes the socket.", "It closes the socket.", heading="Nginx") == []
    assert against("Nginx closes the socket.", "It closes the socket.") == ["Nginx"]


def test_the_nearest_sentence_may_not_have_another_number_in_its_place():
    near, far = "The lamp glows for 20 seconds.", "The lamp is sold with 30 seconds of film."
    assert against("The lamp glows for 30 seconds.", near, far) == ["30 seconds"]
    assert against("The lamp glows for 20 seconds.", near, far) == []


def test_a_name_of_another_sentence_is_told():
    quote = "Ann Lee runs the Bergen shop. Tom Poe runs the Turku shop."
    assert against("Ann Lee runs the Turku shop.", quote) == ["Turku"]
    assert against("Tom Poe runs the Turku shop.", quote) == []


def test_a_name_may_stand_in_the_title_or_in_the_passage_and_a_number_may_not():
    text = "It keeps files for 30 days."
    quote = Citation(document_id="d", document_sha256="", start=0, end=len(text), quote=text)
    around = [Around(title="Tern 2.1 handbook", passage="The Wharf server runs it 40 times.")]

    def found(claim: str) -> list[str]:
        return [claim[each.start : each.end] for each in compare(claim, [quote], around)]

    assert found("Tern keeps files for 30 days.") == []
    assert found("The Wharf server keeps files for 30 days.") == []
    assert found("Tern keeps files for 40 days.") == ["40 days"]
    assert found("Puffin keeps files for 30 days.") == ["Puffin"]


@pytest.mark.parametrize(
    ("claim", "quote", "other"),
    [
        ("The delay is in minutes.", "The delay, in seconds, is read once.", "minutes"),
        ("The size is given in kilobytes.", "SIZE is the number of bytes.", "kilobytes"),
        ("The age is in days.", "The age is 3600 seconds.", "days"),
        ("The delay is in seconds.", "The delay, in seconds, is read once.", None),
        ("The age is in days.", "The age is 3 days.", None),
        ("It ran for days.", "It ran on.", None),
    ],
)
def test_a_unit_without_a_number_is_compared(claim: str, quote: str, other: str | None):
    assert against(claim, quote) == [other] * bool(other)


def test_what_is_as_near_in_another_quote_excuses_nothing():
    near, other = "Lower shelves are filled first.", "The shelves are filled by hand at first."
    assert against("Higher shelves are filled first.", near, other) == ["Higher"]


def test_facts_of_two_sentences_may_be_put_together():
    quotes = ("The mill was built in 1820.", "The mill grinds 40 tonnes of grain.")
    assert against("The mill, built in 1820, grinds 40 tonnes of grain.", *quotes) == []


OTHERWISE = [
    ("The door is never locked.", "The door is locked."),
    ("The door is locked.", "The door isn't locked."),
    ("The door is unlocked.", "The door is locked."),
    ("The valve is closed by default.", "The valve is open by default."),
    ("Rinse before use.", "Rinse after use."),
    ("It holds at most 5 cups.", "It holds at least 5 cups."),
    ("It holds no more than 5 cups.", "It holds a minimum of 5 cups."),
    ("Guests may park here.", "Guests must not park here."),
    ("Payment is optional.", "Payment is required."),
    ("Prices rose.", "Prices fell."),
    ("The list is in ascending order.", "The list is in descending order."),
    ("Tax is included.", "Tax is excluded."),
    ("The fox chases the hound.", "The hound chases the fox."),
    ("The fox was chased by the hound.", "The hound was chased by the fox."),
    ("The fox was chased by the hound.", "The fox chased the hound."),
    ("The fox is older than the hound.", "The hound is older than the fox."),
    ("A plum weighs less than a pear.", "A pear weighs less than a plum."),
    ("A plum is lighter than a pear fruit.", "A pear fruit is lighter than a plum fruit."),
    ("The mill is slower than the loom.", "The mill is faster than the loom."),
    ("Ann pays Tom, Tom pays the rent.", "Tom pays Ann, Ann pays the rent."),
    ("The seller pays the stamp tax.", "The buyer pays the stamp tax, the seller pays a fee."),
    ("The mill is meant for rye.", "The mill is not intended for rye."),
    ("The ferry works in winter.", "In winter the ferry will fail."),
    ("The otter sold the boat to the heron.", "The heron sold the boat to the otter."),
]
ALIKE = [
    ("The door is locked.", "The door is locked at night."),
    ("The door isn't unlocked.", "The door is locked."),
    ("The shop isn't closed.", "The shop is open."),
    ("The seals are damaged by vinegar.", "Never use vinegar: it damages the seals."),
    ("Before use, rinse the pot.", "Rinse the pot before use."),
    ("The fox was chased by the hound.", "The hound chased the fox."),
    ("At night the fox sleeps in a den.", "The fox sleeps in a den at night."),
    ("Ann and Tom met.", "Tom and Ann met."),
    ("It holds no more than 5 cups.", "It holds at most 5 cups."),
    ("The mill is slower than the loom.", "The loom is faster than the mill."),
    ("It takes less than an hour.", "It takes less than one hour."),
    ("It not only cleans but also dries.", "It cleans and dries."),
    ("Guests can't park here.", "Guests must not park here."),
    ("No salt is used in it.", "It is made without using salt."),
    ("The shop has no lift of its own.", "There is no lift for guests in the shop."),
    ("After paying, the gate opens.", "The gate doesn't open until you pay."),
    ("The same key may have another number elsewhere.", "The number of the key may be different."),
]


@pytest.mark.parametrize(("claim", "quote"), OTHERWISE)
def test_the_opposite_is_a_conflict(claim: str, quote: str):
    assert against(claim, quote)


def test_a_name_that_another_sentence_has_doesnt_stand_for_the_one_that_begins_this_one():
    quote = "The Tarn turns 12 mills on its way. The Tarn is shorter than the Isel."
    assert against("The Isel turns 12 mills on its way.", quote) == ["Isel"]
    assert against("The Tarn turns 12 mills on its way.", quote) == []


@pytest.mark.parametrize(("claim", "quote"), ALIKE)
def test_what_says_the_same_is_none(claim: str, quote: str):
    assert against(claim, quote) == []


def test_stems():
    assert len({stem(word) for word in ("lock", "locks", "locked", "locking")}) == 1
    assert stem("file") == stem("files") == stem("filed")
