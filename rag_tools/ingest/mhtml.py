"""Archives of a web page (.mhtml, .mht) to canonical text: the page that was saved."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import Message

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import valid
from rag_tools.ingest.html import load_html
from rag_tools.ingest.html_encoding import as_page
from rag_tools.types import Document


def load_mhtml(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the rendered text of the page in an archive, as ``load_html`` does.

    Metadata: ``page_url``, the address from which it was saved. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    message = message_from_bytes(data, policy=policy.compat32)
    pages = [part for part in message.walk() if part.get_content_type() == "text/html"]
    start = (message.get_param("start") or "") if message.is_multipart() else ""
    page = next((part for part in pages if start and part.get("Content-ID") == start), None)
    page = page or next(iter(pages), None)
    content = None if page is None else page.get_payload(decode=True)
    if page is None or not isinstance(content, bytes):
        raise UnreadableFileError(f"{name}: no page in this archive: save it again")
    document = load_html(_declared(page, content), uri=uri, name=name)
    address = str(page.get("Content-Location") or message.get("Snapshot-Content-Location") or "")
    address = valid(" ".join(address.split()))[:2000]
    return document.model_copy(
        update={
            "media_type": "multipart/related",
            "metadata": {"page_url": address} if address else {},
        }
    )


def _declared(page: Message, content: bytes) -> bytes:
    """Return the page in UTF-8 if the archive says what it is encoded in."""
    charset = page.get_content_charset()
    if not charset:
        return content
    try:
        return as_page(content.decode(charset, "replace"))
    except (LookupError, UnicodeError, ValueError):
        return content
