"""Mail: headers, bodies, what they quote, and what is attached."""

import struct
from email.message import EmailMessage
from itertools import pairwise

import pytest

from outlines import DOCUMENTS, brief, opened, said
from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.contents import Contents, Found
from rag_tools.ingest.worker import Worker


def test_headers_are_metadata():
    document = opened("lock.eml")
    assert document.title == "Depth of the lock at Höfn"
    assert document.metadata == {
        "from": "Ada Lovelace <ada@example.org>",
        "to": "Bob Ärger <bob@example.org>",
        "subject": "Depth of the lock at Höfn",
        "date": "2026-03-03T08:30:00+00:00",
        "message_id": "<tides.1@example.org>",
        "attachments": ["prices.xlsx", "map.png", "message.eml"],
    }


def test_what_is_quoted_and_the_signature_are_marked():
    units = said(opened("lock.eml"))
    found = {each.quote: (each.kind, each.heading) for each in reversed(units)}
    subject = "Depth of the lock at Höfn"
    assert found["the lock is nine metres deep."] == ("sentence", subject)
    assert found["I need it for the report."] == ("sentence", f"{subject} > quoted message")
    assert found["Regards"] == ("sentence", subject)
    assert found["-- \nAda Lovelace\nHarbour master"] == ("navigation", subject)
    assert found["From: Ada Lovelace <ada@example.org>"] == ("line", subject)
    assert "The same as a page." not in found  # the other form of the same body


def test_attachments_are_documents_of_their_own():
    found = {each.path: each.document for each in contents("lock.eml")}
    assert list(found) == ["", "prices.xlsx", "message.eml"]  # of the picture, nothing is read
    rows = {each.quote: each for each in said(found["prices.xlsx"])}
    assert rows["Pilot\tBob Kiel"].part == "Stock!B9:C9"
    assert rows["Pilot\tBob Kiel"].url == "file:///d/lock.eml#/prices.xlsx&Stock!B9"
    assert found["message.eml"].title == "From the pilot"
    assert "Boats turn at the northern buoy." in found["message.eml"].text
    assert "Boats turn" not in found[""].text


def test_a_folder_of_mail_has_its_messages_as_parts():
    document = opened("harbour.mbox")
    found = {each.quote: (each.part, each.heading) for each in said(document)}
    assert found["From here on it falls."] == ("message 1", "Tides")
    assert found["The northern buoy is green."] == ("message 2", "Buoys")
    assert document.media_type == "application/mbox"


def contents(name: str, data: bytes | None = None) -> list[Found]:
    data = (DOCUMENTS / name).read_bytes() if data is None else data
    with Worker() as worker:
        return list(Contents(worker, data, name=name, uri=f"file:///d/{name}", max_bytes=1 << 20))


def test_what_is_attached_in_a_folder_of_mail_is_told_apart_by_its_message():
    made = EmailMessage()
    made["Subject"] = "S"
    made.set_content("See there.\n")
    for _ in range(2):
        made.add_attachment("The quay is long.\n", filename="quay.txt")
    folder = b"".join(
        b"From a@b Tue Mar  3 09:30:00 2026\n" + made.as_bytes() + b"\n\n" for _ in "ab"
    )
    assert [each.uri for each in contents("a.mbox", folder)] == [
        "file:///d/a.mbox",
        "file:///d/a.mbox#/message%201/quay.txt",
        "file:///d/a.mbox#/message%201/quay%20(2).txt",
        "file:///d/a.mbox#/message%202/quay.txt",
        "file:///d/a.mbox#/message%202/quay%20(2).txt",
    ]


def message(body: str, **headers: str) -> bytes:
    made = EmailMessage()
    for name, value in {"Subject": "S", **headers}.items():
        made[name] = value
    made.set_content(body)
    return made.as_bytes()


@pytest.mark.parametrize(
    "mark",
    ["-----Original Message-----", "---------- Forwarded message ----------", "_" * 32],
)
def test_a_message_below_a_line_of_its_program_is_quoted(mark):
    data = message(f"Yes, it is.\n\n{mark}\nFrom: Bob\nSent: Monday\n\nIs it deep enough?\n")
    found = {each.quote: each.heading for each in said(opened("a.eml", data))}
    assert found["Yes, it is."] == "S"
    assert found["Is it deep enough?"] == "S > quoted message"


def test_answers_between_quotations_are_not_quoted():
    data = message("> How deep?\nNine metres.\n>> Really?\n> How wide?\nSix metres.\n")
    headings = [(each.quote, each.heading) for each in said(opened("a.eml", data))][1:]
    assert headings == [
        ("How deep?", "S > quoted message"),
        ("Nine metres.", "S"),
        ("Really?", "S > quoted message"),
        ("How wide?", "S > quoted message"),
        ("Six metres.", "S"),
    ]


def test_a_body_of_html_alone_has_its_structure():
    made = EmailMessage()
    made["Subject"] = "S"
    made.set_content("<h2>Ports</h2><ul><li>Hull</li></ul>", subtype="html")
    assert [each[::2] for each in brief(opened("a.eml", made.as_bytes()))] == [
        ("heading", "S"),
        ("heading", "Ports"),
        ("item", "Hull"),
    ]


@pytest.mark.parametrize(
    ("charset", "raw"),
    [("iso-8859-1", b"H\xf6fn"), ("nonsense", "Höfn".encode()), (None, b"H\xf6fn")],
)
def test_odd_character_sets(charset, raw):
    kind = f"; charset={charset}" if charset else ""
    data = f"Subject: S\nContent-Type: text/plain{kind}\n\n".encode() + raw + b" is deep.\n"
    assert "Höfn is deep." in opened("a.eml", data).text


@pytest.mark.parametrize("header", ["=?utf-8?q?caf=C3=A9?=", "=?x-unknown?q?a?=", "=?utf-8?b?!!?="])
def test_odd_headers_do_not_stop_the_message(header):
    data = f"Subject: {header}\nDate: never\n\nThe text.\n".encode()
    document = opened("a.eml", data)
    assert "The text." in document.text
    assert "date" not in document.metadata


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        # A character is cut in two, and another one isn't in the set that is named.
        ("=?gb2312?B?uNu/2tbs5me7?= =?gb2312?B?+Q==?=", "港口朱鎔基"),
        ("=?gb2312?B?uNu/2v8=?=", "港口\ufffd"),
        ("=?iso-8859-1?q?H=F6fn?= is deep", "Höfn is deep"),
        ("Re: =?utf-8?q?H=C3=B6fn?=", "Re: Höfn"),
        ("=?x-unknown?q?a?=", "=?x-unknown?q?a?="),
    ],
)
def test_encoded_words(header, shown):
    document = opened("a.eml", f"Subject: {header}\n\nThe text.\n".encode())
    assert document.title == shown


def test_what_is_no_message_is_named():
    with pytest.raises(UnreadableFileError, match=r"a\.eml: not a message"):
        opened("a.eml", b"Just some words on a line\n")


def compound_file(streams: dict[str, bytes]) -> bytes:
    """Return a file in Microsoft's compound format [MS-CFB], with streams of 4 KiB or more."""
    sector, end, free, none = 512, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF
    storages = sorted({name.rpartition("/")[0] for name in streams} - {""})
    entries = [("Root Entry", 5, "", b"")]
    entries += [(name, 1, "", b"") for name in storages]
    for name, content in streams.items():
        folder, _, own = name.rpartition("/")
        entries.append((own, 2, folder, content.ljust(4096, b"\0") if content else b""))
    table: list[int] = []
    places = []
    body = b""
    for _, kind, _, content in entries:
        count = -(-len(content) // sector)
        places.append((len(table), len(content)) if kind == 2 and count else (end, 0))
        table += [*range(len(table) + 1, len(table) + count), end] if count else []
        body += content.ljust(count * sector, b"\0")
    children: dict[str, list[int]] = {}
    for number, (_, kind, folder, _) in enumerate(entries):
        if kind == 1:
            children.setdefault("", []).append(number)
        elif kind == 2:
            children.setdefault(folder, []).append(number)
    follows = {a: b for each in children.values() for a, b in pairwise(each)}
    directory = b""
    for number, (name, kind, _, _) in enumerate(entries):
        key = "" if kind == 5 else name
        child = children.get(key, [none])[0] if kind in (1, 5) else none
        start, size = places[number]
        directory += struct.pack(
            "<64sHBBIII16sIQQIQ",
            name.encode("utf-16-le"), 2 * len(name) + 2, kind, 1, none,
            follows.get(number, none), child, bytes(16), 0, 0, 0, start, size,
        )  # fmt: skip
    count = -(-len(directory) // sector)
    first_directory = len(table)
    table += [*range(len(table) + 1, len(table) + count), end]
    body += directory.ljust(count * sector, b"\0")
    tables = 1
    while (len(table) + tables) > tables * 128:
        tables += 1
    first_table = len(table)
    table += [0xFFFFFFFD] * tables
    table += [free] * (tables * 128 - len(table))
    body += struct.pack(f"<{len(table)}I", *table)
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6,
        0, tables, first_directory, 0, 4096, end, 0, end, 0, first_table,
    )  # fmt: skip
    header += struct.pack(f"<{tables - 1}I", *range(first_table + 1, first_table + tables))
    return header.ljust(sector, b"\xff") + body


def outlook(body: str = "The lock is deep.\r\n", attachment: bytes = b"") -> bytes:
    def text(words: str) -> bytes:
        return words.encode("utf-16-le")

    ticks = 134_170_000_000_000_000
    properties = bytes(32) + struct.pack("<IIQ", 0x00390040, 6, ticks)
    streams = {
        "__properties_version1.0": properties,
        "__substg1.0_0037001F": text("Depth of the lock"),
        "__substg1.0_0C1A001F": text("Ada Lovelace"),
        "__substg1.0_5D01001F": text("ada@example.org"),
        "__substg1.0_0E04001F": text("Bob Ärger"),
        "__substg1.0_1000001F": text(body),
    }
    if attachment:
        folder = "__attach_version1.0_#00000000/"
        streams[f"{folder}__substg1.0_3707001F"] = text("depths.csv")
        streams[f"{folder}__substg1.0_37010102"] = attachment
    return compound_file(streams)


def test_a_message_of_outlook():
    table = "Port,Depth\n" + "".join(f"Quay {n},{n} m\n" for n in range(600))
    document = opened("a.msg", outlook(attachment=table.encode()))
    assert document.title == "Depth of the lock"
    assert document.metadata["from"] == "Ada Lovelace <ada@example.org>"
    assert document.metadata["attachments"] == ["depths.csv"]
    assert document.metadata["date"].startswith("2026-")
    found = {each.quote: each for each in said(document)}
    assert found["The lock is deep."].heading == "Depth of the lock"
    assert "Quay 7,7 m" not in found


def test_a_damaged_message_of_outlook_is_named():
    with pytest.raises(UnreadableFileError, match=r"a\.msg: not a message of Outlook"):
        opened("a.msg", outlook()[:700] + "__properties_version1.0\0".encode("utf-16-le"))


def test_a_folder_whose_first_line_is_damaged_keeps_every_message():
    second = b"From a@b Tue Mar  3 2026\nSubject: Two\n\nSecond.\n"
    data = b"From nobody\nSubject: One\n\nFirst.\n\n" + second
    found = {each.quote: each.part for each in said(opened("a.mbox", data))}
    assert (found["First."], found["Second."]) == ("message 1", "message 2")
