"""A function as a tool: plain schemas, strict arguments, and errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import ValidationError

from rag_tools.errors import RagToolsError
from rag_tools_mcp.internals.sdk import parsed_arguments, restrict_arguments, set_output_schema
from rag_tools_mcp.schemas import flat, result

_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold one, UTF-8 can't


class StrictTool(Tool):
    """A tool that refuses unknown arguments and says in a sentence what was wrong."""

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
            The fields that every result has, by name: ``str``, or ``list`` for a list of objects.
        without
            Parameters that aren't arguments of the tool; they keep their defaults.
        writes
            Whether the tool changes an index. No tool changes the user's files.
        meta
            What extensions of the protocol tell the host.
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
        tool.parameters = flat(restrict_arguments(tool, without=without))
        set_output_schema(tool, result(returns))
        return tool

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:  # noqa: ANN401 - the SDK's signature
        """Call the function; an error becomes one sentence that says what to do."""
        if _SURROGATE.search(json.dumps(arguments, ensure_ascii=False)):
            raise ToolError("the arguments contain a lone surrogate: send valid Unicode")
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
        """Return the arguments without empty ones, which some clients send for every parameter."""
        given = parsed_arguments(self, arguments)
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
                problems.append(f"{name} has {given:,} characters; the limit is {limit:,}")
            else:
                problems.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        known = ", ".join(self.parameters["properties"]) or "no arguments"
        return f"{'; '.join(problems)}. {self.name} takes {known}."
