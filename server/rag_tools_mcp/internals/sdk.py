"""What the server takes from inside the MCP SDK; the package's docstring says why."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from pydantic import create_model
from starlette.types import ASGIApp


def restrict_arguments(tool: Tool, *, without: frozenset[str]) -> dict[str, Any]:
    """Let a tool refuse arguments that it doesn't know; return the JSON schema of its arguments.

    Parameters
    ----------
    without
        Parameters of the function that aren't arguments of the tool. They keep their defaults.
    """
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
    return tool.fn_metadata.arg_model.model_json_schema(by_alias=True)


def set_output_schema(tool: Tool, schema: dict[str, Any]) -> None:
    """Announce `schema` as that of the tool's results."""
    tool.fn_metadata.output_schema = schema


def parsed_arguments(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with lists and objects in place of strings that hold their JSON.

    Some models send ``"[1]"`` where a list is asked for.
    """
    return tool.fn_metadata.pre_parse_json(arguments)


class HttpProtocol(NamedTuple):
    """The protocol over HTTP, without what usually surrounds it.

    Attributes
    ----------
    app
        Answers the requests to the endpoint.
    run
        Makes the context in which `app` answers.
    """

    app: ASGIApp
    run: Callable[[], AbstractAsyncContextManager[None]]


def http_protocol(server: MCPServer[None], *, request_bytes: int) -> HttpProtocol:
    """Return the protocol of a server, for requests of at most `request_bytes` bytes.

    It checks no Host and no Origin header: the caller does, for all paths.
    """
    # Here, since a server on standard input and output doesn't need it.
    from mcp.server.streamable_http_manager import StreamableHTTPASGIApp
    from mcp.server.transport_security import TransportSecuritySettings

    # The application itself isn't used: making it gives the server its session manager.
    server.streamable_http_app(
        stateless_http=True,
        max_request_body_size=request_bytes,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    manager = server.session_manager
    return HttpProtocol(StreamableHTTPASGIApp(manager), manager.run)
