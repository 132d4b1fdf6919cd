"""Search as a tool for LangChain agents."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from langchain_rag_tools.retriever import RagToolsRetriever, documents
from rag_tools.aio import offload
from rag_tools.engine import Engine
from rag_tools.errors import RagToolsError
from rag_tools.types import SearchResults
from rag_tools.wire.compact import brief_search
from rag_tools.wire.ids import ShortIds

_DESCRIPTION = (
    "Search the user's own documents; returns passages with verbatim quotes. Quote only the text "
    "of "
    "citations, word for word, and put the citation's id in brackets after the statement: [id]."
)


class _Arguments(BaseModel, extra="forbid"):
    query: str = Field(description="A question or keywords.")


def search_tool(
    retriever: RagToolsRetriever,
    *,
    name: str = "search",
    description: str = _DESCRIPTION,
    max_chars: int = 24_000,
) -> BaseTool:
    """Return a tool that searches with `retriever`.

    The agent gives only a query; `k` and `filter` are the retriever's. It reads the compact form of
    the results, as over MCP: quotes with short ids, about 200 tokens a passage at most. The
    message's artifact has all results as LangChain documents with every field, and `annotate` turns
    the ids in the agent's answer into citations. An error, such as an empty query, is returned to
    the agent and not raised.

    Parameters
    ----------
    max_chars
        The most characters of JSON that the agent reads. Passages that don't fit are left out of
        that, and counted in ``left_out``.
    """

    def answer(found: SearchResults) -> tuple[str, list[Document]]:
        # Over a server, ids aren't abbreviated: that would take a call for each document.
        engine = retriever.engine if isinstance(retriever.engine, Engine) else None
        page = brief_search(
            found, ShortIds(engine), skip=0, limit=len(found.results), max_chars=max_chars
        )
        # The tool has no argument for a cursor.
        return page.model_copy(update={"next_cursor": None}).model_dump_json(), documents(found)

    def search(query: str) -> tuple[str, list[Document]]:
        try:
            return answer(retriever.search(query))
        except RagToolsError as error:
            raise ToolException(str(error)) from error

    async def asearch(query: str) -> tuple[str, list[Document]]:
        try:
            found = await retriever.asearch(query)
            return await offload(lambda: answer(found))
        except RagToolsError as error:
            raise ToolException(str(error)) from error

    return StructuredTool(
        name=name,
        description=description,
        args_schema=_Arguments,
        func=search,
        coroutine=asearch,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=True,
    )
