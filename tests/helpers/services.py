"""Language models' services as they look from outside, on this machine, saying what they are told.

Requests are checked as the services check them; what comes back is what they stream, down to the
names of the events and the fields that nobody reads here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Call = tuple[str, str]  # a tool's name and its arguments, as JSON
Piece = str | Call | Callable[[], object]  # of a reply; what can be called is waited for

_USAGE = {"input_tokens": 100, "output_tokens": 20}


class Service:
    """Says what it was told to, and keeps what it was asked.

    Attributes
    ----------
    replies
        What to say, in turn; a number is the HTTP status of a failure.
    """

    key = "secret"

    def __init__(self) -> None:
        self.replies: list[Sequence[Piece] | int] = []
        self.stop: str | None = None  # why the next reply ends, if it isn't because it is done
        self.requests: list[dict[str, Any]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                service.requests.append(body)
                if wrong := service.wrong(self.path, self.headers, body):
                    self.fail(400, wrong)
                    return
                reply = service.replies.pop(0)
                if isinstance(reply, int):
                    self.fail(reply, "Overloaded")
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream; charset=utf-8")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for event in service.stream(reply):
                    if callable(event):
                        event()
                        continue
                    data = event.encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            def fail(self, status: int, message: str) -> None:
                kind = "invalid_request_error" if status == 400 else "overloaded_error"
                error = {"type": kind, "message": message}
                data = json.dumps({"type": "error", "error": error}).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """How a program finds the service."""
        raise NotImplementedError

    def wrong(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> str:
        """Return what is wrong with a request, else nothing."""
        raise NotImplementedError

    def stream(self, reply: Sequence[Piece]) -> list[str | Callable[[], object]]:
        """Return what is sent for a reply."""
        raise NotImplementedError

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Anthropic(Service):
    """POST /v1/messages."""

    @property
    def environment(self) -> dict[str, str]:
        return {"ANTHROPIC_API_KEY": self.key, "ANTHROPIC_BASE_URL": self.url}

    def wrong(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> str:
        if path != "/v1/messages":
            return f"no {path}"
        if self.key not in (headers["x-api-key"], (headers["authorization"] or "")[7:]):
            return "invalid x-api-key"
        if headers["anthropic-version"] not in ("2023-06-01", "2026-10-21"):
            return "anthropic-version"
        if not isinstance(body.get("max_tokens"), int) or body.get("stream") is not True:
            return "max_tokens or stream"
        if any(tool["input_schema"]["type"] != "object" for tool in body["tools"]):
            return "input_schema"
        return self._wrong_messages(body["messages"])

    def _wrong_messages(self, messages: Sequence[Mapping[str, Any]]) -> str:
        waiting: set[str] = set()
        for number, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[number % 2]:
                return f"messages.{number}.role"
            blocks = message["content"]
            if isinstance(blocks, str):
                blocks = [{"type": "text", "text": blocks}]
            if not blocks or any(block.get("text") == "" for block in blocks):
                return f"messages.{number}: text content blocks must be non-empty"
            given = {b["tool_use_id"] for b in blocks if b["type"] == "tool_result"}
            if given != waiting:
                return f"messages.{number}: tool_use ids {waiting} want their tool_result blocks"
            waiting = {b["id"] for b in blocks if b["type"] == "tool_use"}
            if any(not isinstance(b["input"], dict) for b in blocks if b["type"] == "tool_use"):
                return f"messages.{number}: input should be a valid dictionary"
        return f"tool_use ids {waiting}" if waiting else ""

    def stream(self, reply: Sequence[Piece]) -> list[str | Callable[[], object]]:
        message = {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "any",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _USAGE,
        }
        events: list[dict[str, Any] | Callable[[], object]] = [
            {"type": "message_start", "message": message},
            {"type": "ping"},
        ]
        index = 0
        for piece in reply:
            if callable(piece):
                events.append(piece)
                continue
            if isinstance(piece, tuple):
                name, arguments = piece
                block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
                field = "partial_json"
                parts = ["", arguments[:5], arguments[5:]]
            else:
                block = {"type": "text", "text": ""}
                field = "text"
                parts = [piece]
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            for part in parts:
                kind = {"text": "text_delta", "partial_json": "input_json_delta"}[field]
                delta = {"type": kind, field: part}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
            events.append({"type": "content_block_stop", "index": index})
            index += 1
        called = any(isinstance(piece, tuple) for piece in reply)
        reason, self.stop = self.stop or ("tool_use" if called else "end_turn"), None
        events += [
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": _USAGE,
            },
            {"type": "message_stop"},
        ]
        return [
            each if callable(each) else f"event: {each['type']}\ndata: {json.dumps(each)}\n\n"
            for each in events
        ]


class OpenAI(Service):
    """POST /v1/chat/completions."""

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENAI_API_KEY": self.key, "OPENAI_BASE_URL": f"{self.url}/v1"}

    def wrong(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> str:
        if path != "/v1/chat/completions":
            return f"no {path}"
        if headers["authorization"] != f"Bearer {self.key}" or body.get("stream") is not True:
            return "authorization or stream"
        for tool in body["tools"]:
            if tool["type"] != "function" or tool["function"]["parameters"]["type"] != "object":
                return "tools"
        waiting: set[str] = set()
        for number, message in enumerate(body["messages"]):
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    return f"messages.{number}: no tool_call {message['tool_call_id']}"
                waiting.remove(message["tool_call_id"])
            elif waiting:
                return f"messages.{number}: tool_calls {waiting} want their tool messages"
            for call in message.get("tool_calls", ()):
                if call["type"] != "function" or not isinstance(call["function"]["arguments"], str):
                    return f"messages.{number}.tool_calls"
                waiting.add(call["id"])
        return f"tool_calls {waiting}" if waiting else ""

    def stream(self, reply: Sequence[Piece]) -> list[str | Callable[[], object]]:
        events: list[str | Callable[[], object]] = [": ping\n\n"]

        def send(delta: Mapping[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            chunk = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "any",
                "choices": [choice],
            }
            events.append(f"data: {json.dumps(chunk)}\n\n")

        send({"role": "assistant", "content": "", "refusal": None})
        calls = 0
        for piece in reply:
            if callable(piece):
                events.append(piece)
            elif isinstance(piece, tuple):
                name, arguments = piece
                first = {
                    "id": f"call_{calls}",
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
                rest = [{"function": {"arguments": a}} for a in (arguments[:5], arguments[5:])]
                for part in (first, *rest):
                    send({"tool_calls": [{"index": calls, **part}]})
                calls += 1
            else:
                send({"content": piece})
        reason, self.stop = self.stop or ("tool_calls" if calls else "stop"), None
        send({}, reason)
        return [*events, "data: [DONE]\n\n"]
