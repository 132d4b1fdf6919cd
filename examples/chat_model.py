"""Language models for the chat: Anthropic's Messages API and whatever speaks OpenAI's.

A conversation is kept in the service's own form. Which tools there are, and what they return, is
the chat's affair.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import httpx2

# Seconds: a local model may take long to its first word.
TIMEOUT = httpx2.Timeout(300, connect=10)
MAX_TOKENS = 4096  # of an answer; Anthropic wants a limit
CUT_OFF = frozenset(
    {"max_tokens", "model_context_window_exceeded", "refusal", "length", "content_filter"}
)


class ModelError(Exception):
    """The service can't be reached, or refuses; the message says why."""


class Tool(NamedTuple):
    """A tool that takes one string."""

    name: str
    description: str
    argument: str

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        return {
            "type": "object",
            "properties": {self.argument: {"type": "string"}},
            "required": [self.argument],
        }


class ToolCall(NamedTuple):
    """A tool that the model calls; `arguments` are JSON as the model wrote it."""

    id: str
    tool: str
    arguments: str


class Model(Protocol):
    """A conversation with a model; `messages` may be cut back to undo what was said."""

    messages: list[dict[str, Any]]

    def ask(self, question: str) -> None:
        """Add what the user says."""

    def reply(self) -> Iterator[str | ToolCall]:
        """Yield the pieces of the model's answer as they come, then the tools it calls."""

    def give(self, results: Sequence[tuple[ToolCall, str]]) -> None:
        """Add what those tools returned."""


def connect(model: str, instructions: str, tools: Sequence[Tool]) -> Model:
    """Return a conversation with `model`, at Anthropic's if there is a key for it, else OpenAI's.

    Raises
    ------
    ModelError
        If the environment names neither a key nor a server.
    """
    if key := os.environ.get("ANTHROPIC_API_KEY"):
        base = os.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return Anthropic(f"{base.rstrip('/')}/v1/messages", headers, model, instructions, tools)
    key, server = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not server:
        raise ModelError(
            "a model needs $ANTHROPIC_API_KEY, $OPENAI_API_KEY, or a server's $OPENAI_BASE_URL"
        )
    base = server or "https://api.openai.com/v1"
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return OpenAI(f"{base.rstrip('/')}/chat/completions", headers, model, instructions, tools)


class Anthropic:
    """A conversation in the form of Anthropic's Messages API."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        model: str,
        instructions: str,
        tools: Sequence[Tool],
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self._url, self._headers = url, headers
        self._settings: dict[str, Any] = {
            "model": model,
            "max_tokens": MAX_TOKENS,
            "system": instructions,
            "tools": [
                {"name": each.name, "description": each.description, "input_schema": each.schema}
                for each in tools
            ],
        }

    def ask(self, question: str) -> None:
        """Add what the user says."""
        self.messages.append({"role": "user", "content": question})

    def reply(self) -> Iterator[str | ToolCall]:
        """Yield the pieces of the model's answer as they come, then the tools it calls."""
        blocks: dict[int, dict[str, Any]] = {}
        arguments: dict[int, str] = {}  # of the tools called, as JSON
        reason = None
        body = {**self._settings, "messages": self.messages}
        for event in _events(self._url, self._headers, body):
            match event.get("type"):
                case "content_block_start":
                    blocks[event["index"]] = event["content_block"]
                    arguments[event["index"]] = ""
                case "content_block_delta":
                    block, delta = blocks[event["index"]], event["delta"]
                    if delta["type"] == "input_json_delta":
                        arguments[event["index"]] += delta["partial_json"]
                    for field in ("text", "thinking", "signature"):
                        if field in delta:
                            block[field] = block.get(field, "") + delta[field]
                    if delta["type"] == "text_delta":
                        yield delta["text"]
                case "message_delta":
                    reason = event["delta"].get("stop_reason") or reason
        _check(reason)
        calls = []
        for index, block in blocks.items():
            if block["type"] == "tool_use":
                call = ToolCall(block["id"], block["name"], arguments[index] or "{}")
                block["input"] = _parsed(call.arguments)
                calls.append(call)
        # The service wants its blocks back as they were, but takes no empty text.
        content = [block for block in blocks.values() if block.get("text") != ""]
        self.messages.append({"role": "assistant", "content": content})
        yield from calls

    def give(self, results: Sequence[tuple[ToolCall, str]]) -> None:
        """Add what those tools returned."""
        content = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in results
        ]
        self.messages.append({"role": "user", "content": content})


class OpenAI:
    """A conversation in the form of OpenAI's Chat Completions API, which local servers speak."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        model: str,
        instructions: str,
        tools: Sequence[Tool],
    ) -> None:
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
        self._url, self._headers = url, headers
        self._settings: dict[str, Any] = {
            "model": model,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": each.name,
                        "description": each.description,
                        "parameters": each.schema,
                    },
                }
                for each in tools
            ],
        }

    def ask(self, question: str) -> None:
        """Add what the user says."""
        self.messages.append({"role": "user", "content": question})

    def reply(self) -> Iterator[str | ToolCall]:
        """Yield the pieces of the model's answer as they come, then the tools it calls."""
        text = ""
        reason = None
        functions: dict[int, dict[str, str]] = {}
        body = {**self._settings, "messages": self.messages}
        for event in _events(self._url, self._headers, body):
            for choice in event.get("choices") or ():
                reason = choice.get("finish_reason") or reason
                delta = choice.get("delta") or {}
                if piece := delta.get("content"):
                    text += piece
                    yield piece
                for part in delta.get("tool_calls") or ():
                    known = functions.setdefault(
                        part.get("index", 0), {"id": "", "name": "", "arguments": ""}
                    )
                    function = part.get("function") or {}
                    known["id"] = part.get("id") or known["id"]
                    known["name"] = function.get("name") or known["name"]
                    known["arguments"] += function.get("arguments") or ""
        _check(reason)
        calls = [
            ToolCall(each["id"], each["name"], each["arguments"] or "{}")
            for each in functions.values()
        ]
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.tool, "arguments": call.arguments},
                }
                for call in calls
            ]
        self.messages.append(message)
        yield from calls

    def give(self, results: Sequence[tuple[ToolCall, str]]) -> None:
        """Add what those tools returned."""
        self.messages += [
            {"role": "tool", "tool_call_id": call.id, "content": result} for call, result in results
        ]


def _check(reason: str | None) -> None:
    """Raise `ModelError` if an answer ended for a reason other than that all was said."""
    if reason is None or reason in CUT_OFF:
        raise ModelError(f"the model's answer was cut off ({reason or 'connection lost'})")


def _parsed(arguments: str) -> dict[str, Any]:
    try:
        parsed = json.loads(arguments)
    except ValueError:
        return {}  # the tool's result will say that its argument is missing
    return parsed if isinstance(parsed, dict) else {}


def argument(call: ToolCall, tools: Sequence[Tool]) -> str | None:
    """Return the string that a tool is called with, None if the call can't be understood."""
    named = [tool.argument for tool in tools if tool.name == call.tool]
    value = _parsed(call.arguments).get(named[0]) if named else None
    return value if isinstance(value, str) else None


def _events(
    url: str, headers: Mapping[str, str], body: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the server-sent events of an answer, parsed."""
    try:
        with (
            httpx2.Client(timeout=TIMEOUT) as client,
            client.stream("POST", url, headers=headers, json={**body, "stream": True}) as response,
        ):
            if response.is_error:
                raise ModelError(f"{url}: {response.status_code} {response.read().decode()[:500]}")
            for event in httpx2.EventSource(response):
                if event.data in ("", "[DONE]"):
                    continue
                data = json.loads(event.data)
                if data.get("error"):
                    raise ModelError(f"{url}: {data['error']}")
                yield data
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise ModelError(f"{url}: {error}") from error
