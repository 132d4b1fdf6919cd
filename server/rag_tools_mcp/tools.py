"""The tools an agent calls.

Each is a few calls of the engine and a page of what they return. They run on worker threads, where
`report` is the place at which a call that was cancelled ends; a search takes some milliseconds
and needs no such place. Those that search wait for a thread in view of each other: the first to get
one has the queries of all encoded. Their docstrings are what the agent reads.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.from_thread
import anyio.to_thread
from mcp.server.apps import client_supports_apps
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from rag_tools.cite import heatmap
from rag_tools.errors import RagToolsError
from rag_tools.limits import MAX_ANSWER, MAX_QUERY
from rag_tools.types import SearchResults, Support, Verification
from rag_tools_mcp.collections import Collections, Seen
from rag_tools_mcp.compact import (
    BriefSearch,
    BriefSupport,
    brief_search,
    brief_support,
    brief_verifications,
    checked_answer,
)
from rag_tools_mcp.given import GivenCitation, verified
from rag_tools_mcp.ids import ShortIds, cited
from rag_tools_mcp.pages import (
    CitePage,
    CollectionStatus,
    SearchPage,
    cite_page,
    documents_page,
    fetched_page,
    label,
    offset,
    search_page,
    status_page,
    sync_page,
    tool_result,
    verify_page,
)
from rag_tools_mcp.schemas import flat, result
from rag_tools_mcp.viewer import TOOL_META

if TYPE_CHECKING:
    from rag_tools.engine import Engine

_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold one, UTF-8 can't

_MAX_CHARS = 24_000
_MAX_TEXT = 50_000  # some 12,000 tokens
_MOST = 100  # citations that are verified at once
_FETCHED = {"id": str, "title": str, "text": str, "url": str}
_REPORT_SECONDS = 0.1

_Scalar = str | int | float | bool
_Caller = Context[Any, Any]

Query = Annotated[
    str, Field(description="What to look for: words or a question.", max_length=MAX_QUERY)
]
Filter = Annotated[
    dict[str, _Scalar | list[_Scalar]] | None,
    Field(
        description="Only documents whose metadata has these values: field to value, or to a list "
        "of values any of which may match. document_id and title are fields too; path takes a glob."
    ),
]
MaxChars = Annotated[int, Field(ge=1_000, description="Length of the JSON returned, at most.")]
Detail = Annotated[
    Literal["compact", "full"],
    Field(description="full: every field, for programs."),
]
_Name = Annotated[str, Field(max_length=64)]
_Id = Annotated[str, Field(max_length=600)]  # a document's has 512 characters at most, and a range
Collection = Annotated[
    _Name | None, Field(description="Collection to use; status lists them. Default: the only one.")
]


class Tools:
    """The tools of the full profile: structured content, and the same as JSON in one text item.

    Parameters
    ----------
    seen
        The collections that the caller of the current request may see.
    writable
        Folders that `sync` may read.
    """

    def __init__(self, seen: Seen, *, writable: Sequence[Path]) -> None:
        self._seen = seen
        self._writable = writable
        self._syncing: dict[str, Lock] = defaultdict(Lock)

    async def search(
        self,
        context: _Caller,
        query: Query,
        limit: Annotated[int, Field(ge=1, le=100, description="Passages to return.")] = 10,
        filter: Filter = None,
        cursor: Annotated[
            _Id | None, Field(description="next_cursor of the search to continue.")
        ] = None,
        detail: Detail = "compact",
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """Search the user's documents for what they say: passages with verbatim quotes.

        Start here. Hand the ids of citations to fetch, to verify, and to the reader.
        """
        skip = offset(cursor)
        shown = client_supports_apps(context)
        engine = await _opened(context, self._seen(), collection)

        def answer(found: SearchResults) -> CallToolResult:
            page: SearchPage | BriefSearch
            if detail == "full":
                page = search_page(found, skip=skip, limit=limit, max_chars=max_chars)
            else:
                ids = ShortIds(engine)
                page = brief_search(found, ids, skip=skip, limit=limit, max_chars=max_chars)
            hits = found.results[skip : skip + len(page.results)]
            return tool_result(page, view=heatmap.hits(found.query, hits) if shown else None)

        return await engine.aio.search(
            query, limit=skip + limit, filter=filter, explain=shown, then=answer
        )

    def fetch(
        self,
        context: _Caller,
        id: Annotated[
            _Id, Field(description="Of a search result, of a citation, or of a document.")
        ],
        start: Annotated[int, Field(ge=0, description="First character to return.")] = 0,
        end: Annotated[
            int | None, Field(ge=0, description="Character to stop before; the end by default.")
        ] = None,
        max_chars: MaxChars = _MAX_TEXT,
        collection: Collection = None,
    ) -> CallToolResult:
        """Read the full text of a document by its id; metadata.next_start continues a long one.

        Of a search result it is the passage; metadata.document_id is its whole document.
        """
        engine = self._engine(context, collection)
        return tool_result(fetched_page(engine, id, start, end, max_chars=max_chars))

    async def cite(
        self,
        context: _Caller,
        claim: Annotated[
            str, Field(description="The statement, in a full sentence.", max_length=MAX_QUERY)
        ],
        limit: Annotated[int, Field(ge=1, le=50, description="Quotes to return.")] = 8,
        filter: Filter = None,
        detail: Detail = "compact",
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """Find evidence for a claim: the quotes in the documents that bear on it, best first."""
        shown = client_supports_apps(context)
        engine = await _opened(context, self._seen(), collection)

        def answer(found: Support) -> CallToolResult:
            page: CitePage | BriefSupport
            if detail == "full":
                page = cite_page(found, max_chars=max_chars)
            else:
                page = brief_support(found, ShortIds(engine), max_chars=max_chars)
            quotes = found.citations[: len(page.citations)]
            return tool_result(page, view=heatmap.citations(claim, quotes) if shown else None)

        return await engine.aio.cite(claim, limit=limit, filter=filter, explain=shown, then=answer)

    def verify(
        self,
        context: _Caller,
        ids: Annotated[
            list[_Id] | None,
            Field(min_length=1, max_length=_MOST, description="Ids of citations."),
        ] = None,
        citations: Annotated[
            list[GivenCitation] | None,
            Field(
                min_length=1,
                max_length=_MOST,
                description="Or citations: each with its id or document_id, and the quote.",
            ),
        ] = None,
        citation: Annotated[
            GivenCitation | None, Field(description="Or one citation, likewise.")
        ] = None,
        detail: Detail = "compact",
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """Check that quotes still stand in their sources: exact, moved, stale or missing."""
        if sum(each is not None for each in (ids, citations, citation)) != 1:
            raise ToolError("pass either ids, citations or citation")
        given = [GivenCitation(id=each) for each in ids] if ids else citations or []
        given = given if citation is None else [citation]
        engine = self._engine(context, collection)

        def found() -> Iterator[Verification]:
            for done, each in enumerate(given, 1):
                yield verified(engine, each)
                report(context, done, len(given), "verified")

        if detail == "full":
            return tool_result(verify_page(found(), given=len(given), max_chars=max_chars))
        short = ShortIds(engine)
        return tool_result(
            brief_verifications(found(), short, given=len(given), max_chars=max_chars)
        )

    def check_answer(
        self,
        context: _Caller,
        draft: Annotated[
            str, Field(description="The draft of your reply, in Markdown.", max_length=MAX_ANSWER)
        ],
        filter: Filter = None,
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """Proofread your draft reply before sending it: which sentences hold, which words don't.

        [id] after a sentence in the draft is verified; the result's citations have ids to add.
        """
        # Here, since they read Markdown: the protocol has no need of that to begin.
        from rag_tools.cite.answer import quotations
        from rag_tools.cite.claims import QUOTES, cited_answer

        engine = self._engine(context, collection)
        text, given = cited(draft)

        done = count()

        def cite(claim: str) -> Support:
            report(context, next(done), None, "statements checked")
            return engine.cite(claim, limit=QUOTES, filter=filter)

        found = cited_answer(text, cite)
        marked = [verified(engine, GivenCitation(id=each)) for each in given]
        quoted = engine.verify_answer(text).verifications if quotations(text) else ()
        return tool_result(
            checked_answer(found, marked, quoted, ShortIds(engine), max_chars=max_chars)
        )

    def list_documents(
        self,
        context: _Caller,
        filter: Filter = None,
        limit: Annotated[int, Field(ge=1, le=200, description="Documents to return.")] = 50,
        cursor: Annotated[
            _Id | None, Field(description="next_cursor of the list to continue.")
        ] = None,
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """List which documents and files there are, with titles and metadata, without searching."""
        entries = self._engine(context, collection).documents(filter=filter, after=cursor or "")
        page = documents_page(_cancellable(entries), limit=limit, max_chars=max_chars)
        return tool_result(page)

    def status(self, context: _Caller, max_chars: MaxChars = _MAX_CHARS) -> CallToolResult:
        """Tell how large the index is, which folders it was made from, and how it was built."""
        seen = self._seen()

        def found() -> Iterator[CollectionStatus]:
            for name in seen.names:
                report(context, 0, None, "opening the index")
                try:
                    yield CollectionStatus(name=name, status=seen.engine(name).status())
                except RagToolsError as error:
                    yield CollectionStatus(name=name, error=str(error))

        return tool_result(status_page(found(), known=len(seen.names), max_chars=max_chars))

    def sync(
        self,
        context: _Caller,
        paths: Annotated[
            list[str] | None,
            Field(
                min_length=1,
                max_length=100,
                description="Files and folders, absolute; by default those indexed before.",
            ),
        ] = None,
        max_chars: MaxChars = _MAX_CHARS,
        collection: Collection = None,
    ) -> CallToolResult:
        """Update the index after files were added, changed or deleted."""
        seen = self._seen()
        name = seen.resolve(collection)
        engine = self._engine(context, name)
        lock = self._syncing[name]
        # To wait would keep a thread from searches, of which there are as many as cores.
        if not lock.acquire(blocking=False):
            raise ToolError("the index is being updated by another call: try again when it is done")
        try:
            found = engine.sync(paths or (), within=self._writable, progress=_Steps(context))
        finally:
            lock.release()
        return tool_result(sync_page(found, max_chars=max_chars))

    def _engine(self, context: _Caller, collection: str | None) -> Engine:
        """Return an engine, telling a client that follows the call what it waits for."""
        report(context, 0, None, "opening the index")
        return self._seen().engine(collection)

    def all(self, *, several: bool) -> list[Tool]:
        """Return the tools in the order in which they are listed.

        Parameters
        ----------
        several
            The server has more than one collection: then the tools take its name.
        """
        without = frozenset() if several else frozenset({"collection"})
        tools: list[Tool] = [
            StrictTool.of(self.search, {"results": list}, without=without, meta=TOOL_META),
            StrictTool.of(self.fetch, _FETCHED, without=without),
            StrictTool.of(
                self.cite, {"verdict": str, "citations": list}, without=without, meta=TOOL_META
            ),
            StrictTool.of(self.verify, {"verifications": list}, without=without),
            StrictTool.of(self.check_answer, {"statements": list}, without=without),
            StrictTool.of(self.list_documents, {"documents": list}, without=without),
            StrictTool.of(self.status, {"collections": list}),
        ]
        if self._writable:
            tools.append(StrictTool.of(self.sync, {}, without=without, writes=True))
        return tools


class OpenAIResult(BaseModel):
    """A passage that was found."""

    model_config = ConfigDict(extra="forbid")

    id: str
    title: str
    url: str


class OpenAIResults(BaseModel):
    """Passages that were found, best first."""

    model_config = ConfigDict(extra="forbid")

    results: tuple[OpenAIResult, ...]


class OpenAITools:
    """The two tools that ChatGPT's connectors and deep research call, with its shapes exactly.

    A result is a passage. A document that is too long to be fetched at once names the id of its
    next part in its metadata, for there is no argument to say where to go on.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def search(
        self,
        context: _Caller,
        query: Query,
    ) -> CallToolResult:
        """Find passages of the user's documents; fetch a result's id to read it."""
        engine = await _opened(context, self._seen(), None)

        def answer(found: SearchResults) -> CallToolResult:
            results = tuple(
                OpenAIResult(
                    id=hit.id,
                    title=label(" > ".join(filter(None, (hit.title, hit.heading)))),
                    url=hit.url,
                )
                for hit in found.results
            )
            return tool_result(OpenAIResults(results=results))

        return await engine.aio.search(query, then=answer)

    def fetch(
        self,
        context: _Caller,
        id: Annotated[
            _Id,
            Field(description="The id of a search result, or metadata.document_id or next_id."),
        ],
    ) -> CallToolResult:
        """Read a passage, or the document that metadata.document_id of a passage names."""
        report(context, 0, None, "opening the index")
        fetched = fetched_page(self._seen().engine(), id, 0, None, max_chars=_MAX_TEXT)
        metadata = dict(fetched.metadata)
        if (start := metadata.pop("next_start", None)) is not None:
            metadata["next_id"] = (
                f"{metadata['document_id']}:{start}-{metadata['total_characters']}"
            )
        return tool_result(fetched.model_copy(update={"metadata": metadata}))

    def all(self) -> list[Tool]:
        """Return the tools."""
        return [
            StrictTool.of(self.search, {"results": list}),
            StrictTool.of(self.fetch, _FETCHED),
        ]


class StrictTool(Tool):
    """A tool that refuses arguments it doesn't know and explains what was wrong in a sentence."""

    @classmethod
    def of(
        cls,
        function: Callable[..., CallToolResult | Awaitable[CallToolResult]],
        returns: Mapping[str, type],
        *,
        without: frozenset[str] = frozenset(),
        writes: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> StrictTool:
        """Return the tool that calls `function`.

        Parameters
        ----------
        returns
            Fields that every result has: name → ``list``, of objects, or ``str``.
        without
            Parameters that aren't arguments of the tool but keep their defaults.
        writes
            It changes an index: never the user's files.
        meta
            What hosts are told beside the protocol.
        """
        annotations = ToolAnnotations(
            read_only_hint=not writes,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        )
        title = function.__name__.capitalize().replace("_", " ")
        tool = cls.from_function(
            function,
            title=title,
            description=" ".join((function.__doc__ or "").split()),
            annotations=annotations,
            meta=dict(meta) if meta else None,
            structured_output=False,
        )
        assert isinstance(tool, StrictTool)
        fields = tool.fn_metadata.arg_model.model_fields
        arguments: dict[str, Any] = {
            name: (field.annotation, field) for name, field in fields.items() if name not in without
        }
        tool.fn_metadata.arg_model = create_model(
            f"{tool.name}_arguments",
            __base__=ArgModelBase,
            __cls_kwargs__={"extra": "forbid"},
            **arguments,
        )
        tool.parameters = flat(tool.fn_metadata.arg_model.model_json_schema(by_alias=True))
        tool.fn_metadata.output_schema = result(returns)
        return tool

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:  # noqa: ANN401 - the SDK's signature
        """Call the function; what goes wrong is one sentence of our own."""
        if _SURROGATE.search(json.dumps(arguments, ensure_ascii=False)):
            raise ToolError("the arguments hold a lone surrogate: send valid Unicode")
        try:
            return await super().run(self._meant(arguments), context, convert_result)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(self._complaint(cause)) from cause
            if isinstance(cause, RagToolsError | ToolError):
                raise ToolError(str(cause)) from cause
            raise

    def _meant(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments without those that say nothing: strict clients send all of them."""
        given = self.fn_metadata.pre_parse_json(arguments)
        required = self.parameters.get("required", ())
        return {
            name: value
            for name, value in given.items()
            if name in required
            or name not in self.parameters["properties"]
            or value not in (None, "", [])
        }

    def _complaint(self, error: ValidationError) -> str:
        problems = []
        for problem in error.errors(include_url=False):
            name = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                problems.append(f"unknown argument {name}")
            elif problem["type"] == "string_too_long":
                given, limit = len(problem["input"]), problem["ctx"]["max_length"]
                problems.append(f"{name} has {given:,} characters, and {limit:,} are the limit")
            else:
                problems.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        known = ", ".join(self.parameters["properties"]) or "no arguments"
        return f"{'; '.join(problems)}. {self.name} takes {known}."


async def _opened(context: _Caller, seen: Collections, collection: str | None) -> Engine:
    """Do what `Tools._engine` does, from the event loop: it waits for a thread only if it must."""
    if _follows(context):
        await context.report_progress(0, None, "opening the index")
    engine = seen.opened(collection)
    if engine is None:
        engine = await anyio.to_thread.run_sync(seen.engine, collection)
    return engine


def report(context: _Caller, done: float, total: float | None, message: str) -> None:
    """Send progress, if the client asked for it with this call; from a worker thread.

    If the client has cancelled the call meanwhile, raises what ends it without an answer.
    """
    anyio.from_thread.check_cancelled()
    if _follows(context):
        anyio.from_thread.run(context.report_progress, done, total, message)


def _follows(context: _Caller) -> bool:
    """Tell whether the client may have asked for progress; over HTTP that can be seen.

    Where it hasn't, a call is spared waiting for the event loop, which under load is busy.
    """
    request = context.request_context
    return request.request is None or "progress_token" in (request.meta or {})


class _Steps:
    """The engine's progress, sent on at most so often: one rising number over all stages."""

    def __init__(self, context: _Caller) -> None:
        self._context = context
        self._steps = 0
        self._sent = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        anyio.from_thread.check_cancelled()
        self._steps += 1
        if time.monotonic() - self._sent >= _REPORT_SECONDS:
            self._sent = time.monotonic()
            of = f" of {total}" if total else ""
            report(self._context, self._steps, None, f"{stage}: {done}{of}")


def _cancellable(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        anyio.from_thread.check_cancelled()
        yield item
