"""Search as a tool that a LangChain agent calls."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from langchain_rag_tools.retriever import RagToolsRetriever, documents
from rag_tools.errors import RagToolsError

_DESCRIPTION = (
    "Find passages of the user's own documents. Each result has citations: verbatim quotes with "
    "their place in the document. Quote only text that a citation holds, word for word, and give "
    "its url."
)


class _Arguments(BaseModel, extra="forbid"):
    query: str = Field(description="What to look for: words or a question.")


def search_tool(
    retriever: RagToolsRetriever, *, name: str = "search", description: str = _DESCRIPTION
) -> BaseTool:
    """Return a tool that searches with `retriever`.

    The agent gives a query only: how many passages it gets and of which documents is the
    retriever's `k` and `filter`. It reads the JSON of `rag_tools.SearchResults`; the message's
    artifact is the same as LangChain documents. Arguments that can't be used are told to the
    agent rather than raised.
    """

    def search(query: str) -> tuple[str, list[Document]]:
        try:
            found = retriever.search(query)
        except RagToolsError as error:
            raise ToolException(str(error)) from error
        return found.model_dump_json(), documents(found)

    async def asearch(query: str) -> tuple[str, list[Document]]:
        try:
            found = await retriever.asearch(query)
        except RagToolsError as error:
            raise ToolException(str(error)) from error
        return found.model_dump_json(), documents(found)

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
