"""Citations as a caller gives them, by a short id or by their fields, and verifying them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, model_validator

from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.types import Citation, Verification
from rag_tools.wire import ids

if TYPE_CHECKING:
    from rag_tools.engine import Engine

_RANGE = re.compile(r"(?P<document>.+):\d{1,15}-\d{1,15}", re.DOTALL)


class GivenCitation(BaseModel, extra="allow"):
    """A citation that search or cite returned. Its id, or document_id and quote, are enough."""

    id: str | None = None
    quote: str | None = None
    document_id: str | None = None
    start: int | None = None
    end: int | None = None
    document_sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        if isinstance(value, str):
            return {"id": value}
        if isinstance(value, Mapping):
            value = {name: each for name, each in value.items() if each not in (None, "", [])}
            missing = [name for name in ("document_id", "quote") if name not in value]
            if "id" not in value and missing:
                raise ValueError(f"{missing[0]}: Field required, unless its id is given")
        return value


def verified(engine: Engine, given: GivenCitation) -> Verification:
    """Return the verification of a citation.

    Raises
    ------
    InvalidQueryError
        If its fields contradict each other, or it has neither a citation's id nor a quote.
    """
    if given.id is None:
        return engine.verify(given.model_dump(exclude_none=True))
    if not ids.is_short(given.id):
        if given.quote is None:
            raise InvalidQueryError(
                f"{given.id!r} is not the id of a citation: pass an id that search or cite "
                "returned, or add the quote"
            )
        match = _RANGE.fullmatch(given.id)
        document = match["document"] if match else ids.document_of(engine, given.id)
        return engine.verify({"document_id": document, "quote": given.quote})
    try:
        place = ids.resolve(engine, given.id)
    except NotFoundError as error:
        return _lost("missing", given, str(error))
    cited = {"document_id": place.document_id, "start": place.start, "end": place.end}
    if place.intact and given.quote in (None, place.text):
        return engine.verify(
            {**cited, "quote": place.text, "document_sha256": place.document_sha256}
        )
    if given.quote is None:
        held = engine.history.cited(
            place.document_id, place.start, place.end, ids.made_for(given.id)
        )
        if held is not None:
            version, text = held
            return engine.verify({**cited, "quote": text, "document_sha256": version.sha256})
        return _lost(
            "stale",
            given,
            "The document changed after the id was returned, and the id doesn't contain the words: "
            "add the quote, or search again.",
            document_id=place.document_id,
        )
    found = engine.verify({**cited, "quote": given.quote, "end": place.start + len(given.quote)})
    # The checksum proves that these words were there.
    if found.status == "missing" and given.id.endswith(f":{ids.checksum(given.quote)}"):
        detail = "The document changed and no longer contains the quote."
        return found.model_copy(update={"status": "stale", "detail": detail})
    return found


def _lost(
    status: str, given: GivenCitation, detail: str, *, document_id: str | None = None
) -> Verification:
    citation = Citation(
        document_id=document_id or given.document_id or given.id or "",
        document_sha256=given.document_sha256 or "",
        start=given.start or 0,
        end=given.end or 0,
        quote=given.quote or "",
    )
    return Verification.model_validate(
        {"status": status, "checked": "index", "citation": citation, "detail": detail}
    )
