"""Bytes → text: encodings, byte order marks, what is kept, what is refused."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import decode

NASTY = (
    "CRLF\r\nlone CR\rLF\n emoji 👩‍👩‍👧‍👦 combining e\u0301 rtl שלום \u202eعربي\u202c "
    "nbsp\u00a0 line\u2028separator \x0c form feed \ufffd replacement \U0010ffff 漢字"
)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf8_round_trip(text):
    if text.startswith("\ufeff"):
        text = text[1:]  # one mark at the start is the encoding's, not the text's
    assert decode(codecs.BOM_UTF8 + text.encode(), name="x") == text
    if not text.startswith("\ufeff"):
        assert decode(text.encode(), name="x") == text


@pytest.mark.parametrize(
    "mark, encoding",
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_byte_order_mark_tells_the_encoding_and_is_dropped(mark, encoding):
    assert decode(mark + NASTY.encode(encoding), name="x") == NASTY


def test_only_the_mark_at_the_start_is_dropped():
    assert decode("\ufeffa\ufeffb".encode(), name="x") == "a\ufeffb"


def test_every_character_is_kept():
    assert decode(NASTY.encode(), name="x") == NASTY


def test_empty():
    assert decode(b"", name="x") == ""


def test_nul_bytes_in_text_are_kept():
    assert decode(b"before\0after\r\n" * 3, name="x") == "before\0after\r\n" * 3


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("cp1252", "café"),
        ("cp1252", "Été à la plage, ça va très bien. Où est-il ?"),
        ("cp1252", "Here’s a “quoted” text – with dashes."),
        ("cp1252", "He said “the treaty” — it’s signed … by €5 million voters."),
        ("cp1252", "The price is €5."),
        ("cp1252", "see the étos, e.g. Ångström & Köls tion, it's ee étos, then étos."),
        ("cp1252", "“Hello”, she said – and left. The déjà vu was strong."),
        ("latin-1", "Größe und Maße; die Straße ist schön"),
        ("latin-1", "Temperature 20°C, copyright © 2020"),
        ("cp1252", "El niño comió piñas en el jardín. ¿Dónde está?"),
        ("cp1250", "Největší řeka je Vltava. Příliš žluťoučký kůň úpěl ďábelské ódy."),
        ("cp1250", "Zażółć gęślą jaźń, to jest polski tekst."),
        ("cp1251", "Привет, как дела? Это простой текст на русском языке."),
        ("koi8-r", "Привет, как дела? Это простой текст на русском языке."),
        ("cp1256", "مرحبا بالعالم هذا نص عربي"),
        ("shift_jis", "日本語のテキストです。これはシフトJISで書かれています。"),
        ("gb18030", "这是一个简体中文的文本文件，用来测试编码。"),
        ("big5", "這是一個繁體中文的文字檔案，用來測試編碼。"),
        ("euc_kr", "안녕하세요. 이것은 한국어 텍스트입니다."),
        ("iso8859-2", "Maďarská žena jede vlakem do Košic, protože řeší důležitý případ."),
        ("cp1250", "A fűtőtest cseréje előtt zárja el a vízcsapot, és hűtse le a csövet."),
        ("cp1252", "Número;Ubicación;Año\n7;Málaga;1998\n8;Cáceres;2003\n"),
        ("cp1252", "Zürich;Genève\nBern;Neuchâtel\n"),
        ("cp1257", "Šiandien yra gražus oras, ąžuolas žaliuoja"),
        ("koi8-r", "int n = 0; // счётчик строк\nn += 1; // следующая строка\n"),
        ("cp866", "Проверка давления в системе"),
        ("gb18030", "编号,名称,数量\nB-7,轴承,40\nB-8,齿轮,12\n"),
        ("iso2022_jp", "緑のランプが点灯するまで待ちます。"),
        ("utf-16-le", "UTF-16 without a mark\r\n"),
        ("utf-16-be", "Давление 3 бар\n"),
    ],
)
def test_legacy_encodings(encoding, text):
    assert decode(text.encode(encoding), name="x") == text


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 20,
        b"\x7fELF\x02\x01\x01" + bytes(200) + b".text\0.data\0",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        bytes(100),
        "UTF-16 and a control \x01 character".encode("utf-16-le"),
    ],
)
def test_binary_data_is_refused_by_name(data):
    with pytest.raises(UnreadableFileError, match=r"^photo\.txt: .*binary"):
        decode(data, name="photo.txt")


def test_damaged_utf8_is_refused_not_turned_into_mojibake():
    data = "Naïve café – “text” über alles. ".encode() * 50
    with pytest.raises(UnreadableFileError, match=r"^log\.txt: damaged UTF-8, byte 0xFF at"):
        decode(data + b"\xff" + data, name="log.txt")
    with pytest.raises(UnreadableFileError, match=r"^log\.txt: damaged UTF-8, .* end of data"):
        decode("A café and a café".encode()[:-1], name="log.txt")
    assert decode("A café".encode("cp1252"), name="log.txt") == "A café"


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF16_LE + b"a\0b",  # half a unit
        codecs.BOM_UTF16_LE + b"\x00\xd8a\0",  # lone surrogate
        codecs.BOM_UTF32_LE + b"\xff\xff\xff\xff",
    ],
)
def test_broken_utf16_and_utf32_are_refused(data):
    with pytest.raises(UnreadableFileError, match="isn't valid"):
        decode(data, name="x.txt")


def test_surrogates_in_utf8_are_never_let_through():
    with pytest.raises(UnreadableFileError):
        decode(("é" * 20).encode() + b"\xed\xa0\x80", name="x")


@given(st.binary(max_size=300))
def test_any_bytes_give_valid_unicode_or_a_clear_refusal(data):
    try:
        decode(data, name="x.bin").encode("utf-8")
    except UnreadableFileError as error:
        assert str(error).startswith("x.bin: ")
