"""File → Document: reads the file and hands it to the loader for its suffix.

A loader is imported when it is first needed. Which files to read is decided in ``discover``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path, PurePath
from typing import Protocol, cast

from rag_tools.errors import (
    NoTextError,
    UnreadableFileError,
    UnsupportedFormatError,
    fault,
)
from rag_tools.ingest.code_grammars import LANGUAGES
from rag_tools.ingest.decode import decode
from rag_tools.ingest.extras import WITHOUT_OCR, recognises_text
from rag_tools.ingest.formats import ARCHIVES, PICTURES, format_suffix
from rag_tools.ingest.plugins import plugin
from rag_tools.ingest.reading import Content, printable, read_file
from rag_tools.ingest.recognise import has_signature, is_page, recognise
from rag_tools.ingest.text import FORMATS, is_minified
from rag_tools.types import Document

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Size in bytes above which a file is refused, unless the caller sets another limit."""


class Loader(Protocol):
    """What every loader does: it turns the content of a file into a document.

    The loader of a format is the function ``load_<name>`` in the module ``<name>`` of this
    package. Its own docstring says what its blocks, its title and its source map are, and what
    it refuses beyond what is said here.
    """

    def __call__(self, data: bytes, *, uri: str, name: str) -> Document:
        """Return the document in the content of a file.

        Parameters
        ----------
        data
            The whole file.
        uri
            URI of the document.
        name
            Name of the file, for messages; its suffix may tell the format more precisely. It is
            the title of a document that states none.

        Returns
        -------
        Document
            Its blocks tile the text. Where the text isn't the decoded file itself, `source_map`
            says where its characters are in the file.

        Raises
        ------
        UnreadableFileError
            The data is damaged, encrypted, or not of this format. Whatever else a loader raises,
            `load_bytes` turns into this.
        """
        ...


_DATA = (
    *(".geojson", ".json", ".json5", ".jsonc", ".jsonl", ".ndjson", ".toml", ".xml", ".xsd"),
    *(".xsl", ".yaml", ".yml"),
)

# Suffix → name of the module with the loader, unless the content is something else.
_LOADERS: dict[str, str] = {
    **dict.fromkeys(FORMATS, "text"),
    **dict.fromkeys((*LANGUAGES, ".dockerfile", ".proto", ".svelte", ".vue"), "code"),
    **dict.fromkeys(_DATA, "data"),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mdx", ".mkd", ".mkdn"), "markdown"),
    **dict.fromkeys((".rst", ".rest"), "rst"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".adoc", ".asciidoc"), "asciidoc"),
    **dict.fromkeys((".docx", ".docm", ".dotx"), "docx"),
    ".epub": "epub",
    **dict.fromkeys((".eml", ".mbox"), "mail"),
    ".ipynb": "notebook",
    **dict.fromkeys((".latex", ".sty", ".tex"), "latex"),
    ".man": "man",
    **dict.fromkeys((".mhtml", ".mht"), "mhtml"),
    ".msg": "msg",
    **dict.fromkeys((".odt", ".ott", ".ods", ".ots", ".odp", ".otp", ".odg"), "odf"),
    ".org": "org",
    ".pdf": "pdf",
    **dict.fromkeys(PICTURES if recognises_text() else (), "picture"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".potx"), "pptx"),
    **dict.fromkeys((".doc", ".dot", ".ppt", ".pps"), "office"),
    ".rtf": "rtf",
    **dict.fromkeys((".srt", ".vtt"), "captions"),
    ".xls": "xls",
    **dict.fromkeys(ARCHIVES, ""),  # what is in them is loaded, see `rag_tools.ingest.members`
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx"), "xlsx"),
}

_MINIFIED = frozenset({".js", ".mjs", ".cjs", ".css"})  # suffixes of files that may be minified

# Loaders written in Python whose time depends on the size of the file alone, and the size in bytes
# up to which they don't need a separate process.
_HARMLESS = {"text": 256 * 1024, "markdown": 32 * 1024, "rst": 256 * 1024}

_OFTEN_SOMETHING_ELSE = frozenset(("office", "xls"))

_PICTURES = "it may hold only pictures; save it as PDF, and run OCR on that"

# Loaders that extract the text from a file, and why they may find none.
_WITHOUT_TEXT = {
    "pdf": "no text is recognised on its pages"
    if recognises_text()
    else f"it may be a scan: {WITHOUT_OCR}",
    "html": "scripts may draw what a browser shows; save the page as it is shown, or print it to "
    "PDF",
    "docx": "it may hold only pictures or embedded documents; save it as PDF or as plain text",
    **dict.fromkeys(("epub", "odf", "office", "pptx", "rtf"), _PICTURES),
    **dict.fromkeys(("xls", "xlsx"), "its sheets are empty or hidden"),
}


def harmless(name: str, size: int) -> bool:
    """Tell whether a file can neither crash nor stall the process that parses it.

    Parameters
    ----------
    name
        Name of the file.
    size
        Its size in bytes.
    """
    suffix = format_suffix(name)
    loader = _LOADERS.get(suffix)
    if loader is None:
        return plugin(suffix) is None
    return size <= _HARMLESS.get(loader, 0)


@cache
def lacks_grammar(suffix: str) -> bool:
    """Tell whether source files are divided by their lines alone, for want of the extra [code]."""
    grammar = LANGUAGES.get(suffix)
    return grammar is not None and grammar.optional and not grammar.installed


def disguised(name: str, data: bytes) -> bool:
    """Tell whether a file that counts as harmless by its name is something else by its content."""
    return _LOADERS.get(format_suffix(name)) in _HARMLESS and has_signature(data)


def supported(path: PurePath) -> bool:
    """Tell by its name whether there is a loader for a file, without opening it.

    A file without a suffix counts as text; `load` refuses it if it holds binary data.
    """
    suffix = format_suffix(path.name)
    return suffix in _LOADERS or plugin(suffix) is not None


def load(path: Path, *, uri: str | None = None, max_bytes: int | None = None) -> Document:
    """Return the document in a file.

    Parameters
    ----------
    path
        Path of a regular file, or of a link to one.
    uri
        URI of the document; by default the ``file:`` URI of the resolved path.
    max_bytes
        Size in bytes above which the file is refused; by default `DEFAULT_MAX_BYTES`.

    Raises
    ------
    UnsupportedFormatError
        No loader reads files of this name, or it has no suffix and its content isn't text.
    UnreadableFileError
        The file can't be opened, read, decoded or parsed.
    FileTooLargeError
        The file has more than `max_bytes` bytes.
    """
    path = Path(path)
    if not supported(path):
        raise _unsupported(path.name)
    data = read(path, max_bytes=max_bytes)
    return load_bytes(data, name=path.name, uri=uri or path.resolve().as_uri())


def read(path: Path, *, max_bytes: int | None = None) -> bytes:
    """Return the content of a regular file; parameters and errors as for `load`."""
    return content(path, max_bytes=max_bytes).data


def content(path: Path, *, max_bytes: int | None = None, within: Sequence[Path] = ()) -> Content:
    """Return the content of a regular file and its time.

    Parameters are those of `load`, and `within` as for `read_file`; errors as for `load`.
    """
    limit = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
    try:
        return read_file(path, limit, within=within)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableFileError(f"{printable(str(path))}: {reason or error}") from error


def load_bytes(data: bytes, *, name: str, uri: str) -> Document:
    """Return the document in the content of a file.

    Parameters
    ----------
    data
        The whole file.
    name
        Name of the file; its suffix chooses the loader.
    uri
        URI of the document.

    Raises
    ------
    UnsupportedFormatError
        No loader reads files of this name, the file has no suffix and `data` isn't text, the file
        is minified, or it is an archive.
    UnreadableFileError
        The data can't be decoded or parsed.
    NoTextError
        The file isn't empty, and yet there is no text in it.
    """
    suffix = format_suffix(name)
    announced = None if suffix in _LOADERS else plugin(suffix)
    if suffix not in _LOADERS and announced is None:
        raise _unsupported(name)
    loader = "" if announced else _loader(data, suffix, printable(name))
    if not (announced or loader):
        raise UnsupportedFormatError(
            f"{printable(name)}: an archive, in which each file is a document of its own: index "
            "it (`rag-tools index`, `Engine.sync`), or unpack it"
        )
    try:
        load_format = cast(Loader, announced.load() if announced else _own(loader))
        document = load_format(data, uri=uri, name=printable(name))
        if not isinstance(document, Document):
            raise TypeError(f"the loader returned a {type(document).__name__}, not a Document")
    except UnreadableFileError as error:
        if suffix or loader != _LOADERS.get(suffix):
            raise
        # Without a suffix, the file may be a program, for example, rather than damaged text.
        raise UnsupportedFormatError(str(error)) from error
    except UnsupportedFormatError:
        raise
    except Exception as error:
        # Parsers fail on hostile files with undocumented errors; one file must not end a sync.
        raise UnreadableFileError(fault(printable(name), "can't be parsed", error)) from error
    if loader in _WITHOUT_TEXT and data.strip() and not document.text.strip():
        raise NoTextError(f"{printable(name)}: no text: {_WITHOUT_TEXT[loader]}")
    if suffix in _MINIFIED and is_minified(document.text):
        raise UnsupportedFormatError(
            f"{printable(name)}: minified code isn't meant to be read: index the source from "
            "which it was made"
        )
    return document


def loader_of(name: str, data: bytes | None) -> str | None:
    """Return which loader reads a file: one of ours by its name, or the entry point of a plug-in.

    Without its content, only its name tells.
    """
    suffix = format_suffix(name)
    if suffix in _LOADERS:
        return _LOADERS[suffix] if data is None else _loader(data, suffix, printable(name))
    announced = plugin(suffix)
    return None if announced is None else announced.value


def _own(loader: str) -> Loader:
    module = import_module(f"rag_tools.ingest.{loader}")
    return cast(Loader, getattr(module, f"load_{loader}"))


def _loader(data: bytes, suffix: str, name: str) -> str:
    """Return the loader for a file: by its content where that tells, otherwise by its suffix.

    ``""`` is that of an archive.
    """
    loader = _LOADERS[suffix]
    if found := recognise(data, name, archive=suffix in ARCHIVES):
        return found
    if loader in _OFTEN_SOMETHING_ELSE:
        # Programs give these suffixes to pages and tables that they export for Office to open.
        if is_page(data):
            return "html"
        with suppress(UnreadableFileError):
            decode(data, name=name)
            return "text"
    return loader


def _unsupported(name: str) -> UnsupportedFormatError:
    name = printable(name)
    return UnsupportedFormatError(
        f"{name}: no loader for {format_suffix(name) or 'this'} files; convert it to text, "
        "Markdown, HTML, PDF or DOCX"
    )
