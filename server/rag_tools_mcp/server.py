"""The tools an agent calls, and the server that offers them over standard input and output.

Only the MCP SDK and the types are imported before the first answer; `opening` loads the rest.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio.from_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError, create_model

from rag_tools import __version__
from rag_tools.errors import RagToolsError
from rag_tools.types import Fetched, Status, Support, Verifications
from rag_tools_mcp.opening import Opening
from rag_tools_mcp.pages import SearchPage, fetched_page, offset, search_page, tool_result

if TYPE_CHECKING:
    from rag_tools.engine import Engine

INSTRUCTIONS = (
    "Searches the user's own documents and returns quotes with exact offsets. Search first; quote "
    "only text that a citation holds, word for word, and give its url. Use cite to find support "
    "for a statement, and verify to check citations before you rely on them."
)

_Scalar = str | int | float | bool
_Caller = Context[Any, Any]

Filter = Annotated[
    dict[str, _Scalar | list[_Scalar]] | None,
    Field(
        description="Only documents whose metadata has these values: field to value, or to a list "
        "of values any of which may match. document_id and title are fields too; path takes a glob."
    ),
]


class GivenCitation(BaseModel, extra="allow"):
    """A citation as search or cite returned it; document_id and quote are enough."""

    document_id: str
    quote: str
    start: int | None = None
    end: int | None = None
    document_sha256: str | None = None


class Tools:
    """The tools: each one call of the engine, its result as structured content and as JSON.

    They run on worker threads. Their docstrings are what the agent reads.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def search(
        self,
        context: _Caller,
        query: Annotated[str, Field(description="What to look for: words or a question.")],
        limit: Annotated[int, Field(ge=1, le=100, description="Passages to return.")] = 10,
        filter: Filter = None,
        cursor: Annotated[
            str | None, Field(description="next_cursor of the search to continue.")
        ] = None,
        max_chars: Annotated[
            int, Field(ge=1_000, description="Length of the JSON returned, at most.")
        ] = 24_000,
    ) -> Annotated[CallToolResult, SearchPage]:
        """Find passages of the user's documents; citations hold verbatim quotes with offsets."""
        skip = offset(cursor)
        engine = self._engine(context)
        found = engine.search(query, limit=skip + limit, filter=filter)
        return tool_result(search_page(found, skip=skip, limit=limit, max_chars=max_chars))

    def fetch(
        self,
        context: _Caller,
        id: Annotated[str, Field(description="document_id, or the id of a search result.")],
        start: Annotated[int, Field(ge=0, description="First character to return.")] = 0,
        end: Annotated[
            int | None, Field(ge=0, description="Character to stop before; the end by default.")
        ] = None,
    ) -> Annotated[CallToolResult, Fetched]:
        """Read a document's text, 50,000 characters at a time; metadata.next_start continues."""
        return tool_result(fetched_page(self._engine(context), id, start, end))

    def cite(
        self,
        context: _Caller,
        claim: Annotated[str, Field(description="The statement, in a full sentence.")],
        limit: Annotated[int, Field(ge=1, le=50, description="Quotes to return.")] = 5,
        filter: Filter = None,
    ) -> Annotated[CallToolResult, Support]:
        """Find the quotes in the user's documents that bear on a claim, best first."""
        return tool_result(self._engine(context).cite(claim, limit=limit, filter=filter))

    def verify(
        self,
        context: _Caller,
        citation: Annotated[
            GivenCitation | None, Field(description="The citation, as search or cite returned it.")
        ] = None,
        citations: Annotated[
            list[GivenCitation] | None,
            Field(min_length=1, max_length=100, description="Several of them instead of one."),
        ] = None,
    ) -> Annotated[CallToolResult, Verifications]:
        """Check that quotes still stand in their sources: exact, moved, stale or missing."""
        if (citation is None) == (citations is None):
            raise ToolError("pass either citation or citations")
        given = [citation] if citation is not None else citations or []
        engine = self._engine(context)
        verifications = []
        for done, each in enumerate(given, 1):
            verifications.append(engine.verify(each.model_dump(exclude_none=True)))
            _report(context, done, len(given), "verified")
        return tool_result(Verifications(verifications=tuple(verifications)))

    def status(self, context: _Caller) -> Annotated[CallToolResult, Status]:
        """Tell what the index holds: folders, documents, passages, and how it was built."""
        return tool_result(self._engine(context).status())

    def _engine(self, context: _Caller) -> Engine:
        """Return the engine, telling a client that follows the call what it waits for."""
        _report(context, 0, None, "opening the index")
        return self._opening.engine()

    def all(self) -> Sequence[Callable[..., CallToolResult]]:
        """Return the tools in the order in which they are listed."""
        return (self.search, self.fetch, self.cite, self.verify, self.status)


class _StrictTool(Tool):
    """A tool that refuses arguments it doesn't know and explains what was wrong in a sentence."""

    @classmethod
    def reading(cls, function: Callable[..., CallToolResult]) -> _StrictTool:
        """Return the tool that calls `function`, which changes nothing."""
        annotations = ToolAnnotations(
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        )
        tool = cls.from_function(
            function, title=function.__name__.capitalize(), annotations=annotations
        )
        assert isinstance(tool, _StrictTool)
        tool.fn_metadata.arg_model = create_model(
            f"{tool.name}_arguments",
            __base__=tool.fn_metadata.arg_model,
            __cls_kwargs__={"extra": "forbid"},
        )
        tool.parameters = tool.fn_metadata.arg_model.model_json_schema(by_alias=True)
        return tool

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:  # noqa: ANN401 - the SDK's signature
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(self._complaint(cause)) from cause
            if isinstance(cause, RagToolsError | ToolError):
                raise ToolError(str(cause)) from cause
            raise

    def _complaint(self, error: ValidationError) -> str:
        problems = []
        for problem in error.errors(include_url=False, include_context=False):
            name = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                problems.append(f"unknown argument {name}")
            else:
                problems.append(f"{name}: {problem['msg']}")
        known = ", ".join(self.parameters["properties"]) or "no arguments"
        return f"{'; '.join(problems)}. {self.name} takes {known}."


def build(directory: Path | None) -> MCPServer[None]:
    """Return a server for the index in `directory`; None is the default index.

    The index is opened when the server starts to run, and closed when it stops.
    """
    opening = Opening(directory)

    @asynccontextmanager
    async def lifespan(_server: MCPServer[None]) -> AsyncIterator[None]:
        opening.start()
        try:
            yield
        finally:
            opening.close()

    return MCPServer(
        "rag-tools",
        title="rag-tools",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=[_StrictTool.reading(tool) for tool in Tools(opening).all()],
        lifespan=lifespan,
        # Below this the SDK logs messages that quote documents.
        log_level="WARNING",
    )


def serve(directory: Path | None) -> None:
    """Serve the index in `directory` over standard input and output until the input ends."""
    # A thread that waits for input can't be interrupted, and a reader holds nothing that would
    # have to be saved: let Ctrl-C end the process at once, as SIGTERM does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    build(directory).run("stdio")


def _report(context: _Caller, done: int, total: int | None, message: str) -> None:
    """Send progress, if the client asked for it with this call; from a worker thread."""
    anyio.from_thread.run(context.report_progress, done, total, message)
