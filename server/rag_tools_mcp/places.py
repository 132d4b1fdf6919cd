"""What a caller over HTTP doesn't learn: where on the server's disk something lies.

The URIs of documents from files keep the name of the file, and messages too. Texts and quotes stay
as they are: they are the documents' own words.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

# The fields of results that hold places, alone or within a sentence.
_FIELDS = frozenset(
    {"uri", "url", "index", "root", "roots", "path", "checkpoint", "error", "reason", "detail"}
)
_FILE_URI = re.compile(r"file://[^\s\"'<>]*")
# An absolute path of any system, as it stands in a message: up to what ends a word there.
_PATH = re.compile(
    r"(?<![\w:/\\.])(?:[A-Za-z]:[\\/]|\\\\|/)(?:[^\s\"'<>|:*?,;()]+[\\/])+([^\s\"'<>|:*?,;()\\/]*)"
)


def without_places(result: Any) -> Any:  # noqa: ANN401 - a result of the protocol, as JSON
    """Return a result in which no absolute path is left but in the documents' own words."""
    if not isinstance(result, dict):
        return result
    hidden = dict(result)
    if "structuredContent" in result:
        hidden["structuredContent"] = _walked(result["structuredContent"])
    for key in ("content", "contents"):
        if isinstance(result.get(key), list):
            hidden[key] = [_item(item) for item in result[key]]
    if _has_view(result):
        del hidden["_meta"]
    return hidden


def shortened(text: str) -> str:
    r"""Return a sentence, a path or a URI with only the names of files left of their places.

    Examples
    --------
    >>> shortened("file:///srv/team/guide.md#L3")
    'file:///guide.md#L3'
    >>> shortened("can't read '/srv/team/guide.md': it is gone")
    "can't read 'guide.md': it is gone"
    >>> shortened("C:\\Users\\me\\notes")
    'notes'
    """
    return _PATH.sub(r"\1", _FILE_URI.sub(lambda match: _name_only(match[0]), text))


def _name_only(uri: str) -> str:
    parts = urlsplit(uri)
    name = parts.path.rstrip("/").rpartition("/")[2]
    return f"file:///{name}" + (f"#{parts.fragment}" if parts.fragment else "")


def _walked(value: Any, *, place: bool = False) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _walked(each, place=key in _FIELDS) for key, each in value.items()}
    if isinstance(value, list):
        return [_walked(each, place=place) for each in value]
    return shortened(value) if place and isinstance(value, str) else value


def _item(item: Any) -> Any:  # noqa: ANN401 - JSON
    """Return an item of a result's content; a result as JSON is changed like the result."""
    if not isinstance(item, dict) or not isinstance(item.get("text"), str) or "uri" in item:
        return item  # with a URI, it is a document
    text = item["text"]
    try:
        value = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        walked = json.dumps(_walked(value), ensure_ascii=False, separators=(",", ":"))
        return {**item, "text": walked}
    return {**item, "text": shortened(text)}


def _has_view(result: dict[str, Any]) -> bool:
    """Return whether a page for a viewer is with the result: its links lead to files."""
    meta = result.get("_meta")
    return isinstance(meta, dict) and any(
        isinstance(value, str) and "file://" in value for value in meta.values()
    )
