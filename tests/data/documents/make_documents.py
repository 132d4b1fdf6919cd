"""Writes the documents beside it with Pandoc, LibreOffice and Python's own mail package.

    python tests/data/documents/make_documents.py

They are committed, because not every machine has these programs. ``talk.vtt``, ``talk.srt`` and
``page.mhtml`` were written by hand, the last as Chromium writes it.
"""

import mailbox
import shutil
import subprocess
import tempfile
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

HERE = Path(__file__).parent
NAMESPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"'
    for name, space in {
        "office": "office",
        "table": "table",
        "text": "text",
        "style": "style",
        "number": "datastyle",
        "meta": "meta",
    }.items()
)
FORMULAS = 'xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2"'
STYLES = """
<number:date-style style:name="N1"><number:day number:style="long"/><number:text>.</number:text>
<number:month number:style="long"/><number:text>.</number:text><number:year number:style="long"/>
</number:date-style>
<number:percentage-style style:name="N2"><number:number number:decimal-places="1"
 number:min-decimal-places="1" number:min-integer-digits="1"/><number:text>%</number:text>
</number:percentage-style>
<number:number-style style:name="N3"><number:number number:decimal-places="2"
 number:min-decimal-places="2" number:min-integer-digits="1" number:grouping="true"/>
</number:number-style>
<style:style style:name="date" style:family="table-cell" style:data-style-name="N1"/>
<style:style style:name="share" style:family="table-cell" style:data-style-name="N2"/>
<style:style style:name="money" style:family="table-cell" style:data-style-name="N3"/>
<style:style style:name="hidden" style:family="table"><style:table-properties
 table:display="false"/></style:style>
"""


def text(words: str, more: str = "") -> str:
    return (
        f'<table:table-cell office:value-type="string" {more}><text:p>{words}</text:p>'
        "</table:table-cell>"
    )


def number(value: float, style: str = "", formula: str = "", kind: str = "float") -> str:
    formula = formula and f'table:formula="of:={formula}"'
    style = style and f'table:style-name="{style}"'
    return (
        f'<table:table-cell office:value-type="{kind}" office:value="{value}" {style} {formula}/>'
    )


def day(stated: str) -> str:
    return (
        f'<table:table-cell table:style-name="date" office:value-type="date"'
        f' office:date-value="{stated}"/>'
    )


def rows(*each: list[str]) -> str:
    return "".join(f"<table:table-row>{''.join(cells)}</table:table-row>" for cells in each)


def workbook() -> str:
    gap = '<table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>'
    stock = rows(
        [text("Stock of the chandlery")],
        [text(words) for words in ("Item", "Count", "Price", "Value", "Share", "Counted on")],
        [text("Rope, hemp"), number(12), number(103.5, "money"),
         number(1242, "money", "[.B3]*[.C3]"), number(0.256, "share", kind="percentage"),
         day("2026-03-01")],
        [text("Anchor"), number(3), number(1203.5, "money"),
         number(3610.5, "money", "[.B4]*[.C4]"), number(0.744, "share", kind="percentage"),
         day("2026-03-02")],
    )  # fmt: skip
    contacts = rows(
        ["<table:table-cell/>", text("Role"), text("Name")],
        ["<table:table-cell/>", text("Harbour master"), text("Ada Lovelace")],
        ["<table:table-cell/>", text("Pilot"), text("Bob Kiel")],
    )
    secret = rows([text("Nothing that is shown")])
    return (
        f'<?xml version="1.0"?><office:document {NAMESPACES} {FORMULAS} office:version="1.3"'
        ' office:mimetype="application/vnd.oasis.opendocument.spreadsheet">'
        f"<office:automatic-styles>{STYLES}</office:automatic-styles>"
        "<office:body><office:spreadsheet>"
        f'<table:table table:name="Stock">{stock}{gap}{contacts}</table:table>'
        f'<table:table table:name="Old prices">{rows([text("Rope"), number(90)])}</table:table>'
        f'<table:table table:name="Hidden" table:style-name="hidden">{secret}</table:table>'
        "</office:spreadsheet></office:body></office:document>"
    )


def message(subject: str, body: str) -> EmailMessage:
    made = EmailMessage(policy=SMTP)
    made["From"] = "Ada Lovelace <ada@example.org>"
    made["To"] = "Bob Ärger <bob@example.org>"
    made["Subject"] = subject
    made["Date"] = "Tue, 3 Mar 2026 09:30:00 +0100"
    made["Message-ID"] = "<tides.1@example.org>"
    made.set_content(body)
    return made


def mail() -> EmailMessage:
    made = message(
        "Depth of the lock at Höfn",
        "Hello Bob,\n\nthe lock is nine metres deep. It was measured\non Monday.\n\n"
        "On Mon, 2 Mar 2026 at 10:00, Bob Ärger wrote:\n> How deep is the lock?\n"
        "> I need it for the report.\n\nRegards\n-- \nAda Lovelace\nHarbour master\n",
    )
    made.add_alternative("<p>The same as a page.</p>", subtype="html")
    sheet = (HERE / "workbook.xlsx").read_bytes()
    kind = "vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    made.add_attachment(sheet, maintype="application", subtype=kind, filename="prices.xlsx")
    made.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="map.png")
    made.add_attachment(message("From the pilot", "Boats turn at the northern buoy.\n"))
    return made


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def convert(source: Path, suffix: str) -> Path:
            profile = f"-env:UserInstallation={(work / 'profile').as_uri()}"
            command = ["soffice", profile, "--headless", "--convert-to", suffix, "--outdir", work]
            subprocess.run([*command, source], check=True, capture_output=True)
            return work / f"{source.stem}.{suffix}"

        source = HERE / "harbour.md"
        for suffix in ("docx", "epub", "odt", "pptx", "rtf"):
            subprocess.run(["pandoc", "-s", source, "-o", work / f"harbour.{suffix}"], check=True)
            if suffix != "docx":
                shutil.copy(work / f"harbour.{suffix}", HERE / f"harbour.{suffix}")
        shutil.copy(convert(work / "harbour.docx", "doc"), HERE / "harbour.doc")
        shutil.copy(convert(work / "harbour.docx", "rtf"), HERE / "harbour-libreoffice.rtf")
        shutil.copy(convert(work / "harbour.docx", "odt"), HERE / "harbour-libreoffice.odt")
        shutil.copy(convert(work / "harbour.pptx", "odp"), HERE / "harbour.odp")
        sheets = work / "workbook.fods"
        sheets.write_text(workbook(), encoding="utf-8")
        for suffix in ("xlsx", "ods", "xls"):
            shutil.copy(convert(sheets, suffix), HERE / f"workbook.{suffix}")
    (HERE / "lock.eml").write_bytes(mail().as_bytes())
    folder_of_mail = HERE / "harbour.mbox"
    folder_of_mail.unlink(missing_ok=True)
    box = mailbox.mbox(folder_of_mail)
    box.add(message("Tides", "The tide rises at six.\nFrom here on it falls.\n"))
    box.add(message("Buoys", "The northern buoy is green.\n"))
    box.close()


if __name__ == "__main__":
    main()
