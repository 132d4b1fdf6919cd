"""Links to a file of a git repository that stay as they are: those of its commit."""

from __future__ import annotations

from urllib.parse import urlsplit

from rag_tools.ingest.formats import ARCHIVES, format_suffix
from rag_tools.types import Document

# Host → url template of a file, and what follows it where the text is the file itself.
_FORMS = {
    "github.com": ("blob/{commit}/{relative_path}", "#L{first_line}-L{last_line}"),
    "gitlab.com": ("-/blob/{commit}/{relative_path}", "#L{first_line}-{last_line}"),
    "codeberg.org": ("src/commit/{commit}/{relative_path}", "#L{first_line}-L{last_line}"),
    "bitbucket.org": ("src/{commit}/{relative_path}", "#lines-{first_line}:{last_line}"),
}


def permalink(document: Document) -> str | None:
    """Return the url template of a document from a known host of git repositories, or None.

    A host whose name begins with ``gitlab.`` has the form of GitLab; for others, the user sets a
    template of their own, which has the same fields.
    """
    repository, commit = (document.metadata.get(field) for field in ("repository", "commit"))
    path = document.metadata.get("path")
    if not (document.uri.startswith("git+http") and repository and commit and path):
        return None
    if any(format_suffix(part) in ARCHIVES for part in str(path).split("/")[:-1]):
        return None  # a member of an archive has no page of its own
    host = urlsplit(str(repository)).hostname or ""
    form = _FORMS.get("gitlab.com" if host.startswith("gitlab.") else host)
    if form is None:
        return None
    lines = form[1] if document.source_map is None else ""
    return f"{{repository}}/{form[0]}{lines}"
