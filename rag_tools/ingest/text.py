"""Plain text, tables in text, configuration and other line-oriented files → Document.

Formats whose structure we read (Markdown, reStructuredText, source code) have modules of
their own.
"""

from __future__ import annotations

from pathlib import PurePath

from rag_tools.ingest.decode import decode
from rag_tools.sentences import paragraphs
from rag_tools.types import Block, BlockKind, Document

_PROSE: BlockKind = "paragraph"
_LINES: BlockKind = "code"
_ROWS: BlockKind = "table"

FORMATS: dict[str, tuple[str, BlockKind]] = {
    # Suffix → media type, and what the file is made of. No suffix: README, LICENSE, Makefile.
    "": ("text/plain", _PROSE),
    ".txt": ("text/plain", _PROSE),
    ".text": ("text/plain", _PROSE),
    ".adoc": ("text/asciidoc", _PROSE),
    ".asciidoc": ("text/asciidoc", _PROSE),
    ".bib": ("text/x-bibtex", _PROSE),
    ".org": ("text/org", _PROSE),
    ".po": ("text/x-gettext-translation", _PROSE),
    ".srt": ("application/x-subrip", _PROSE),
    ".tex": ("text/x-tex", _PROSE),
    ".textile": ("text/plain", _PROSE),
    ".vtt": ("text/vtt", _PROSE),
    ".wiki": ("text/plain", _PROSE),
    ".csv": ("text/csv", _ROWS),
    ".tab": ("text/tab-separated-values", _ROWS),
    ".tsv": ("text/tab-separated-values", _ROWS),
    ".bash": ("text/x-shellscript", _LINES),
    ".bat": ("text/plain", _LINES),
    ".cfg": ("text/plain", _LINES),
    ".clj": ("text/x-clojure", _LINES),
    ".cmake": ("text/x-cmake", _LINES),
    ".cmd": ("text/plain", _LINES),
    ".conf": ("text/plain", _LINES),
    ".cs": ("text/x-csharp", _LINES),
    ".css": ("text/css", _LINES),
    ".dart": ("text/x-dart", _LINES),
    ".diff": ("text/x-diff", _LINES),
    ".ex": ("text/x-elixir", _LINES),
    ".exs": ("text/x-elixir", _LINES),
    ".geojson": ("application/geo+json", _LINES),
    ".gradle": ("text/x-groovy", _LINES),
    ".graphql": ("application/graphql", _LINES),
    ".hs": ("text/x-haskell", _LINES),
    ".ini": ("text/plain", _LINES),
    ".jl": ("text/x-julia", _LINES),
    ".json": ("application/json", _LINES),
    ".json5": ("application/json5", _LINES),
    ".jsonl": ("application/jsonl", _LINES),
    ".kt": ("text/x-kotlin", _LINES),
    ".less": ("text/css", _LINES),
    ".log": ("text/plain", _LINES),
    ".lua": ("text/x-lua", _LINES),
    ".mk": ("text/x-makefile", _LINES),
    ".ml": ("text/x-ocaml", _LINES),
    ".ndjson": ("application/jsonl", _LINES),
    ".patch": ("text/x-diff", _LINES),
    ".php": ("text/x-php", _LINES),
    ".pl": ("text/x-perl", _LINES),
    ".properties": ("text/plain", _LINES),
    ".proto": ("text/plain", _LINES),
    ".ps1": ("text/plain", _LINES),
    ".r": ("text/x-r", _LINES),
    ".rb": ("text/x-ruby", _LINES),
    ".scala": ("text/x-scala", _LINES),
    ".scss": ("text/css", _LINES),
    ".sh": ("text/x-shellscript", _LINES),
    ".sql": ("application/sql", _LINES),
    ".svelte": ("text/plain", _LINES),
    ".swift": ("text/x-swift", _LINES),
    ".tf": ("text/plain", _LINES),
    ".toml": ("application/toml", _LINES),
    ".vue": ("text/plain", _LINES),
    ".xml": ("application/xml", _LINES),
    ".yaml": ("application/yaml", _LINES),
    ".yml": ("application/yaml", _LINES),
    ".zig": ("text/x-zig", _LINES),
    ".zsh": ("text/x-shellscript", _LINES),
}


def load_text(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a text file: one block per run of lines between blank lines.

    Parameters
    ----------
    data
        The whole file.
    uri
        Of the document.
    name
        File name; its suffix tells prose from tables and line-oriented formats, and it is the
        title.

    Raises
    ------
    UnreadableFileError
        The bytes aren't text.
    """
    text = decode(data, name=name)
    suffix = PurePath(name).suffix.lower()
    media_type, kind = FORMATS.get(suffix, FORMATS[""])
    return Document(
        text=text,
        uri=uri,
        title=name,
        media_type=media_type,
        blocks=tuple(Block(kind, start, end) for start, end in paragraphs(text)),
    )
