"""A local server that speaks OpenAI's and Anthropic's APIs, and counts the calls and tokens that it answered.

What a call is like stands in its last message: "tool" has it ask for a tool, "cached" and "think" have it say cache and
reasoning tokens, "refuse 429 twice" has it refuse that text so often before it answers.
"""

import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

DATED = {"gpt-4o": "gpt-4o-2024-08-06", "claude-haiku-4-5": "claude-haiku-4-5-20251001"}
"""What a model that was asked for by its alias calls itself in the answer."""
ANSWER = "Bees make honey."
_TIMES = {"once": 1, "twice": 2, "always": 1_000}
_ERRORS = {400: "invalid_request_error", 429: "rate_limit_error", 500: "api_error"}


class Counted(msgspec.Struct, kw_only=True):
    """What the server answered."""

    calls: int = 0
    embeddings: int = 0
    refused: int = 0
    input_tokens: int = 0
    """Cache tokens included, for both APIs."""
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, before it is put into the words of an API."""

    id: str
    model: str
    tool: bool
    input_tokens: int
    """Without cache tokens."""
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int

    @property
    def all_input(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens


class ModelServer(http.server.ThreadingHTTPServer):
    """The server; `counted` is what it answered since the last `take`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._lock = threading.Lock()
        self._counted = Counted()
        self._numbers = Counter[str]()

    def take(self) -> Counted:
        """Give what was counted, and begin anew."""
        with self._lock:
            counted, self._counted = self._counted, Counted()
            return counted

    def refusal(self, text: str) -> int | None:
        """Give the status with which a text is refused this time; None where it is answered."""
        asked = re.search(r"refuse (\d+) (once|twice|always)", text)
        with self._lock:
            if asked is None or self._numbers[text] >= _TIMES[asked[2]]:
                return None
            self._numbers[text] += 1
            self._counted.refused += 1
            return int(asked[1])

    def answer(self, prefix: str, request: dict[str, Any], text: str, *, tool: bool) -> _Answer:
        """Answer a text: equal texts have equal tokens, no two answers have one id."""
        words = len(text.split())
        with self._lock:
            self._numbers[prefix] += 1
            number, counted = self._numbers[prefix], self._counted
            answer = _Answer(
                id=f"{prefix}{number:04}",
                model=str(DATED.get(request["model"], request["model"])),
                tool=tool,
                input_tokens=100 + 10 * words,
                output_tokens=20 + words,
                cache_read_tokens=64 if "cached" in text else 0,
                cache_write_tokens=32 if "cached" in text and prefix == "msg_" else 0,
                reasoning_tokens=12 if "think" in text else 0,
            )
            counted.calls += 1
            counted.input_tokens += answer.all_input
            for name in ("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
                setattr(counted, name, getattr(counted, name) + getattr(answer, name))
        return answer

    def embed(self) -> None:
        """Count an embedding."""
        with self._lock:
            self._counted.embeddings += 1


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride] # only this server makes these handlers

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        text = _last_text(request)
        status = self.server.refusal(text)
        if status is not None:
            self._json(status, {"type": "error", "error": {"type": _ERRORS[status], "message": "refused"}})
        elif path == "/v1/embeddings":
            self.server.embed()
            self._json(200, _embedding(request))
        else:
            prefix, whole, events = _APIS[path]
            tool = "tool" in text and "tools" in request
            answer = self.server.answer(prefix, request, text, tool=tool)
            if request.get("stream"):
                self._stream(events(answer, request))
            else:
                self._json(200, whole(answer))

    def _json(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(event.encode())
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class names it
        """Keep the test's output quiet."""


def _last_text(request: dict[str, Any]) -> str:
    said: Any = request.get("messages", request.get("input"))
    if isinstance(said, str):
        return said
    last = said[-1]
    content = last if isinstance(last, str) else last.get("content")
    return content if isinstance(content, str) else json.dumps(content)


def _embedding(request: dict[str, Any]) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": [vector], "model": request["model"], "usage": usage}


def _chat(answer: _Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if answer.tool else ANSWER}
    if answer.tool:
        call = {"name": "look_up", "arguments": '{"word": "bee"}'}
        message |= {"tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    reason = "tool_calls" if answer.tool else "stop"
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": 0,
        "model": answer.model,
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": _chat_usage(answer),
    }


def _chat_usage(answer: _Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.all_input,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.all_input + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _chat_events(answer: _Answer, request: dict[str, Any]) -> Iterator[str]:
    head = {"id": answer.id, "object": "chat.completion.chunk", "created": 0, "model": answer.model}
    for delta, reason in (({"role": "assistant", "content": ANSWER}, None), ({}, "stop")):
        yield _event(None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _event(None, {**head, "choices": [], "usage": _chat_usage(answer)})
    yield "data: [DONE]\n\n"


def _response(answer: _Answer) -> dict[str, Any]:
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    message = {"type": "message", "id": "m1", "status": "completed", "role": "assistant", "content": [text]}
    return {
        "id": answer.id,
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": answer.model,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.all_input,
            "input_tokens_details": {"cached_tokens": answer.cache_read_tokens},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": answer.all_input + answer.output_tokens,
        },
    }


def _response_events(answer: _Answer, _: dict[str, Any]) -> Iterator[str]:
    whole = _response(answer)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield _event("response.created", {"type": "response.created", "sequence_number": 0, "response": begun})
    yield _event("response.completed", {"type": "response.completed", "sequence_number": 1, "response": whole})


def _message(answer: _Answer) -> dict[str, Any]:
    text = {"type": "text", "text": ANSWER}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"word": "bee"}}
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [use if answer.tool else text],
        "stop_reason": "tool_use" if answer.tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "cache_read_input_tokens": answer.cache_read_tokens,
            "cache_creation_input_tokens": answer.cache_write_tokens,
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
        },
    }


def _message_events(answer: _Answer, _: dict[str, Any]) -> Iterator[str]:
    whole = _message(answer)
    usage = whole["usage"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    for event in (
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ):
        yield _event(str(event["type"]), event)


def _event(name: str | None, content: object) -> str:
    named = "" if name is None else f"event: {name}\n"
    return f"{named}data: {json.dumps(content)}\n\n"


_APIS: dict[str, Any] = {
    "/v1/chat/completions": ("chatcmpl-", _chat, _chat_events),
    "/v1/responses": ("resp_", _response, _response_events),
    "/v1/messages": ("msg_", _message, _message_events),
}


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Serve on a free port of this machine."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
