"""The product's server with the tools, resources and prompts that the conformance suite asks for.

``python tests/conformance/fixtures.py REVISION INDEX`` serves it, on a port that it logs. For
2026-07-28 it is the product's own application. The suite for 2025-11-25 also tests requests from
the server to the client; they need sessions, which the product does without, so that one is the
SDK's application.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from rag_tools_mcp import http
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import load

Caller = Context[Any, Any]

# One red pixel, and one sample of silence.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQEAAACAAA=="


def text(value: str) -> TextContent:
    return TextContent(type="text", text=value)


def image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, media_type: str, value: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=media_type, text=value)
    return EmbeddedResource(type="resource", resource=contents)


# What a tool returns.


def simple_text() -> str:
    return "This is a simple text response for testing."


def image_content() -> list[ImageContent]:
    return [image()]


def audio_content() -> list[AudioContent]:
    return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


def embedded_resource() -> list[EmbeddedResource]:
    return [
        embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ]


def multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    data = json.dumps({"test": "data", "value": 123})
    return [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", "application/json", data),
    ]


def error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


# What a tool sends while it runs.


async def tool_with_logging(context: Caller) -> str:
    for message in ("started", "processing data", "completed"):
        await context.info(f"Tool execution {message}")
        await anyio.sleep(0.05)
    return "done"


async def tool_with_progress(context: Caller) -> str:
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await anyio.sleep(0.05)
    return "done"


async def trigger_tool_change(context: Caller) -> str:
    server = context.mcp_server
    server.add_tool(simple_text, name="test_passing", description="Here for a moment.")
    server.remove_tool("test_passing")
    await context.notify_tools_changed()
    return "changed"


async def trigger_prompt_change(context: Caller) -> str:
    await context.notify_prompts_changed()
    return "changed"


# What a tool asks the client, up to 2025-11-25: a request of the server's own.


async def sampling(prompt: str, context: Caller) -> str:
    answer = await context.session.create_message(
        messages=[SamplingMessage(role="user", content=text(prompt))],
        max_tokens=100,
        related_request_id=context.request_id,
    )
    return f"LLM response: {answer.content.text}"


async def elicit(context: Caller, message: str, properties: dict[str, Any]) -> str:
    answer = await context.session.elicit_form(
        message,
        {"type": "object", "properties": properties, "required": list(properties)},
        related_request_id=context.request_id,
    )
    return f"User response: action={answer.action}, content={json.dumps(answer.content)}"


async def elicitation(message: str, context: Caller) -> str:
    return await elicit(
        context, message, {"username": {"type": "string"}, "email": {"type": "string"}}
    )


async def elicitation_sep1034_defaults(context: Caller) -> str:
    status = {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"}
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": status,
        "verified": {"type": "boolean", "default": True},
    }
    return await elicit(context, "Who are you?", properties)


async def elicitation_sep1330_enums(context: Caller) -> str:
    plain = {"type": "string", "enum": ["option1", "option2", "option3"]}
    titled = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
    names = ["Option One", "Option Two", "Option Three"]
    properties = {
        "untitledSingle": plain,
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        "untitledMulti": {"type": "array", "items": plain},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await elicit(context, "What do you choose?", properties)


# What a tool asks the client, from 2026-07-28 on: a result that says what is still missing.


def form(message: str, field: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str) -> CreateMessageRequest:
    messages = [SamplingMessage(role="user", content=text(prompt))]
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=messages, max_tokens=100)
    )


Answer = str | InputRequiredResult


def asking(
    requests: dict[str, InputRequest], state: str | None = None, end: str = "done"
) -> Callable[[Caller], Awaitable[Answer]]:
    """Return a tool that asks for all of `requests` until it has the answers."""

    async def ask(context: Caller) -> Answer:
        answers = context.input_responses or {}
        if requests.keys() <= answers.keys() and context.request_state == state:
            return f"{end}: {json.dumps({key: str(answers[key]) for key in requests})}"
        return InputRequiredResult(input_requests=requests, request_state=state)

    return ask


NAME = form("What is your name?", "name")

ASKING = {
    "elicitation": asking({"user_name": NAME}),
    "sampling": asking({"capital_question": sample("What is the capital of France?")}),
    "list_roots": asking({"client_roots": ListRootsRequest()}),
    "request_state": asking({"confirm": form("Please confirm", "ok", "boolean")}, "s", "state-ok"),
    "tampered_state": asking({"confirm": form("Please confirm", "ok", "boolean")}, "s"),
    "multiple_inputs": asking(
        {
            "user_name": NAME,
            "greeting": sample("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        },
        "s",
    ),
}


async def multi_round(context: Caller) -> Answer:
    first = asking({"step1": form("Step 1: What is your name?", "name")}, "1")
    second = asking({"step2": form("Step 2: What is your favorite color?", "color")}, "2")
    if context.request_state is None:
        return await first(context)
    return await second(context)


async def capabilities(context: Caller) -> Answer:
    offered = context.client_capabilities or ClientCapabilities()
    requests: dict[str, InputRequest] = {}
    if offered.sampling:
        requests["sampled"] = sample("What is the capital of France?")
    if offered.elicitation:
        requests["user_name"] = NAME
    return await asking(requests)(context)


async def streaming_elicitation(context: Caller) -> Answer:
    await context.report_progress(0, 1)
    return await asking({"user_name": NAME})(context)


async def missing_capability(context: Caller) -> Answer:
    if context.client_capabilities is None or context.client_capabilities.sampling is None:
        needed = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs sampling",
            data=needed.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return "done"


async def logging_tool(context: Caller) -> str:
    await context.info("to whoever asked for it")
    return "done"


TOOLS: tuple[Callable[..., Any], ...] = (
    simple_text,
    image_content,
    audio_content,
    embedded_resource,
    multiple_content_types,
    error_handling,
    tool_with_logging,
    tool_with_progress,
    trigger_tool_change,
    trigger_prompt_change,
    sampling,
    elicitation,
    elicitation_sep1034_defaults,
    elicitation_sep1330_enums,
    streaming_elicitation,
    missing_capability,
    logging_tool,
)


def add_prompts(server: MCPServer[None]) -> None:
    @server.prompt(name="test_simple_prompt", description="No arguments.")
    def simple() -> list[UserMessage]:
        return [UserMessage(text("This is a simple prompt for testing."))]

    @server.prompt(name="test_prompt_with_arguments", description="Two arguments.")
    def with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        return [UserMessage(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt(name="test_prompt_with_embedded_resource", description="A resource.")
    def with_resource(resourceUri: str) -> list[UserMessage]:
        held = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(held), UserMessage(text("Please process the embedded resource above."))]

    @server.prompt(name="test_prompt_with_image", description="An image.")
    def with_image() -> list[UserMessage]:
        return [UserMessage(image()), UserMessage(text("Please analyze the image above."))]

    @server.prompt(name="test_input_required_result_prompt", description="Asks the client first.")
    def with_question(context: Caller) -> list[UserMessage] | InputRequiredResult:
        question = {"user_context": form("What context should the prompt use?", "context")}
        if question.keys() <= (context.input_responses or {}).keys():
            return [UserMessage(text("done"))]
        return InputRequiredResult(input_requests=question)


def add_resources(server: MCPServer[None]) -> None:
    @server.resource("test://static-text", mime_type="text/plain", description="Text.")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png", description="An image.")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", description="Can be subscribed to.")
    def watched() -> str:
        return "Nothing changes."

    @server.resource("test://template/{id}/data", mime_type="application/json", description="Any.")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def add_handlers(server: MCPServer[None]) -> None:
    """Add what only revisions before 2026-07-28 have, and the SDK's `MCPServer` no more."""

    async def accept(_context: Any, _params: Any) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, accept)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, accept)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, accept)


def with_fixtures(*arguments: Any, **options: Any) -> MCPServer[None]:
    """Return the product's server, as `build` does, with the fixtures added."""
    server = build(*arguments, **options)
    for tool in TOOLS:
        server.add_tool(tool, name=f"test_{tool.__name__}", description="A fixture.")
    for name, tool in (
        *ASKING.items(),
        ("multi_round", multi_round),
        ("capabilities", capabilities),
    ):
        server.add_tool(tool, name=f"test_input_required_result_{name}", description="A fixture.")
    add_prompts(server)
    add_resources(server)
    return server


def main(revision: str, index: str) -> None:
    if revision == "2026-07-28":
        http.build = with_fixtures  # type: ignore[assignment]
        app = http.application(load(given={"collections": {"default": index}}))
    else:
        server = with_fixtures(Collections({"default": Path(index)}))
        add_handlers(server)
        app = server.streamable_http_app()
    listening = socket.create_server(("127.0.0.1", 0))
    serving = {"event": "serving", "port": listening.getsockname()[1]}
    sys.stderr.write(json.dumps(serving) + "\n")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
