"""Documents that are ZIP archives of XML (OOXML, OpenDocument, EPUB): opened within limits."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from typing import Any, NamedTuple
from urllib.parse import unquote

from lxml import etree

from rag_tools.errors import UnreadableFileError

ZIP_SIGNATURE = b"PK\x03\x04"

_MAX_UNPACKED_BYTES = 512 * 1024 * 1024

MAX_RATIO = 300
"""A document of plain text packs about 10 to 1, repetitive tables 100 to 1, a bomb 1,000 to 1."""

RATIO_APPLIES_FROM = 16 * 1024 * 1024
"""Unpacked bytes; fewer do no harm, whatever they were unpacked from."""
_ENCRYPTED = 0x1  # flag of a member


def check_archive(data: bytes, name: str, what: str) -> None:
    """Refuse an archive that is damaged, or that unpacks to an absurd size.

    Parameters
    ----------
    data
        The whole file.
    name
        Name of the file, for messages.
    what
        What it should be, with its article: "a Word document".

    Raises
    ------
    UnreadableFileError
        It isn't a ZIP archive, is damaged, or may be a bomb.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # No more than the declared size of a member is ever unpacked.
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableFileError(
            f"{name}: damaged or not {what} ({error}): get the file again"
        ) from error
    is_bomb = unpacked > RATIO_APPLIES_FROM and unpacked > MAX_RATIO * len(data)
    if is_bomb or unpacked > _MAX_UNPACKED_BYTES:
        raise UnreadableFileError(
            f"{name}: unpacks from {len(data):,} to {unpacked:,} bytes, which no ordinary document "
            "does: split it or save it again"
        )


class Relation(NamedTuple):
    """A relation of OOXML: what it is for, and the member of the archive that it leads to."""

    kind: str  # the last step of its type, such as "slide"
    target: str  # "" if it leads out of the archive


class Archive:
    """A document that is an archive of XML, opened within limits.

    Parameters are those of `check_archive`, and so are the errors.
    """

    def __init__(self, data: bytes, name: str, what: str) -> None:
        check_archive(data, name, what)
        self.name = name
        self._what = what
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        self._members = {member.filename: member for member in self._zip.infolist()}

    def __contains__(self, member: str) -> bool:
        return member in self._members

    def read(self, member: str) -> bytes:
        """Return the content of a member.

        Raises
        ------
        UnreadableFileError
            There is no such member, or it is damaged or encrypted.
        """
        try:
            info = self._members[member]
            if info.flag_bits & _ENCRYPTED:
                raise self._unreadable("it is encrypted", "save it without a password")
            return self._zip.read(info)
        except (
            EOFError,
            KeyError,
            NotImplementedError,
            OSError,
            RuntimeError,
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise self._unreadable(str(error)) from error

    def xml(self, member: str) -> Any:  # noqa: ANN401 - lxml has no types
        """Return the root element of a member; errors as for `read`, also if it isn't XML."""
        try:
            return parse_xml(self.read(member))
        except etree.XMLSyntaxError as error:
            raise self._unreadable(f"{member}: {error}") from error

    def xml_if_any(self, member: str) -> Any | None:  # noqa: ANN401
        """Return the root element of a member, or None if it is missing or isn't readable."""
        try:
            return self.xml(member) if member in self else None
        except UnreadableFileError:
            return None

    def relations(self, member: str) -> dict[str, Relation]:
        """Return the relations of a member of an OOXML document by their ids."""
        folder, _, file = member.rpartition("/")
        root = self.xml_if_any(posixpath.join(folder, "_rels", f"{file}.rels"))
        found = {}
        for each in () if root is None else root.iterchildren("{*}Relationship"):
            target = unquote(each.get("Target", ""))
            target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            inside = each.get("TargetMode") != "External"
            kind = each.get("Type", "").rpartition("/")[2]
            found[each.get("Id", "")] = Relation(kind, target if inside else "")
        return found

    def main(self, usual: str) -> str:
        """Return the main member of an OOXML document; `usual` if it names none."""
        targets = (
            each.target for each in self.relations("").values() if each.kind == "officeDocument"
        )
        return next(targets, usual)

    def _unreadable(self, reason: str, way_out: str = "") -> UnreadableFileError:
        way_out = way_out or "open it in the program that made it and save it again"
        return UnreadableFileError(
            f"{self.name}: not {self._what} that can be read ({reason}): {way_out}"
        )


def parse_xml(data: bytes) -> Any:  # noqa: ANN401 - lxml has no types
    """Return the root element of XML, without fetching anything or expanding entities.

    Raises
    ------
    lxml.etree.XMLSyntaxError
        The data isn't XML, is nested too deeply, or has a text of many megabytes.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    return etree.fromstring(data, parser=parser)


def local(element: Any) -> str:  # noqa: ANN401
    """Return the name of an element without its namespace; ``""`` for what isn't an element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str, default: str = "") -> str:  # noqa: ANN401
    """Return the value of an attribute whatever its namespace."""
    found = element.get(name)
    if found is None:
        found = next(
            (value for key, value in element.items() if key.rpartition("}")[2] == name), default
        )
    return str(found)
