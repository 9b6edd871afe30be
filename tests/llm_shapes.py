"""Model calls of every shape that a pipeline makes, through the providers' own clients."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import anthropic
import openai

PARALLEL = 4
_TOOL: Any = {"name": "look_up", "description": "Look a word up.", "parameters": {"type": "object", "properties": {}}}
_SYSTEM = "Answer in one sentence."


class OpenAIShapes:
    """Shapes of the openai client, by name."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1"
        self._client = openai.OpenAI(base_url=self._url, api_key="unused", max_retries=2)
        self.by_name: dict[str, Callable[[], Any]] = {
            "plain": lambda: self._chat("a plain question"),
            "cache and reasoning tokens": lambda: self._chat("a cached question to think about"),
            "tools": self._tools,
            "streamed": lambda: list(self._chat("a streamed one", stream=True, stream_options={"include_usage": True})),
            "streamed, usage not asked for": lambda: list(self._chat("a silent one", stream=True)),
            "streamed, raw response": self._raw_stream,
            "one stream inside another": self._two_streams,
            "parallel, threads": lambda: in_threads(lambda: self._chat("the same question")),
            "parallel, asyncio": lambda: asyncio.run(self._in_tasks(stream=False)),
            "parallel streams, asyncio": lambda: asyncio.run(self._in_tasks(stream=True)),
            "refused (400)": lambda: refused(lambda: self._chat("refuse 400 always"), openai.BadRequestError),
            "retried (429, 500)": self._retried,
            "refused for good (429)": lambda: refused(lambda: self._chat("refuse 429 always"), openai.RateLimitError),
            "responses": lambda: self._client.responses.create(
                model="gpt-4o", input="a cached question to think about"
            ),
            "responses, streamed": lambda: list(
                self._client.responses.create(model="gpt-4o", input="a streamed one", stream=True)
            ),
            "embeddings": lambda: self._client.embeddings.create(model="text-embedding-3-small", input="bees"),
        }

    def _chat(self, text: str, **more: Any) -> Any:
        return self._client.chat.completions.create(**_chat(text), **more)

    def _tools(self) -> None:
        tools: Any = [{"type": "function", "function": _TOOL}]
        first = self._chat("use the tool", tools=tools).choices[0].message
        result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "an insect"}
        messages: Any = [*_chat("use the tool")["messages"], first.model_dump(exclude_none=True), result]
        self._client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)

    def _raw_stream(self) -> None:
        raw = self._client.chat.completions.with_raw_response
        list(raw.create(**_chat("a raw one"), stream=True, stream_options={"include_usage": True}).parse())

    def _two_streams(self) -> None:
        usage: Any = {"stream": True, "stream_options": {"include_usage": True}}
        outer = self._chat("the outer stream", **usage)
        first = next(iter(outer))
        list(self._chat("the inner stream, longer", **usage))
        assert [first, *outer]

    def _retried(self) -> None:
        self._chat("refuse 429 twice")
        self._chat("refuse 500 once")

    async def _in_tasks(self, *, stream: bool) -> None:
        more: Any = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        async with openai.AsyncOpenAI(base_url=self._url, api_key="unused") as client:

            async def one() -> None:
                answer = await client.chat.completions.create(**_chat("the same question"), **more)
                if stream:
                    _ = [chunk async for chunk in answer]

            await asyncio.gather(*(one() for _ in range(PARALLEL)))


class AnthropicShapes:
    """Shapes of the anthropic client, by name."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=2)
        self.by_name: dict[str, Callable[[], Any]] = {
            "plain": lambda: self._message("a plain question"),
            "cache and reasoning tokens": lambda: self._message("a cached question to think about"),
            "tools": self._tools,
            "streamed": lambda: list(self._message("a streamed one", stream=True)),
            "streamed, then plain": self._stream_then_plain,
            "streamed by messages.stream()": self._stream_helper,
            "streamed, raw response": self._raw_stream,
            "one stream inside another": self._two_streams,
            "parallel, threads": lambda: in_threads(lambda: self._message("the same question")),
            "parallel, asyncio": lambda: asyncio.run(self._in_tasks(stream=False)),
            "parallel streams, asyncio": lambda: asyncio.run(self._in_tasks(stream=True)),
            "refused (400)": lambda: refused(lambda: self._message("refuse 400 always"), anthropic.BadRequestError),
            "retried (429, 500)": self._retried,
            "refused for good (429)": lambda: refused(
                lambda: self._message("refuse 429 always"), anthropic.RateLimitError
            ),
        }

    def _message(self, text: str, **more: Any) -> Any:
        return self._client.messages.create(**_message(text), **more)

    def _tools(self) -> None:
        tools: Any = [{"name": "look_up", "input_schema": _TOOL["parameters"]}]
        first = self._message("use the tool", tools=tools)
        result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "an insect"}
        messages: Any = [
            *_message("use the tool")["messages"],
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        self._client.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=messages, tools=tools)

    def _stream_then_plain(self) -> None:
        list(self._message("a streamed one", stream=True))
        self._message("a plain one after it")
        self._message("a plain one after it")

    def _stream_helper(self) -> None:
        with self._client.messages.stream(**_message("streamed by the helper")) as stream:
            list(stream.text_stream)

    def _raw_stream(self) -> None:
        list(self._client.messages.with_raw_response.create(**_message("a raw one"), stream=True).parse())

    def _two_streams(self) -> None:
        outer = self._message("the outer stream", stream=True)
        first = next(iter(outer))
        list(self._message("the inner stream, longer", stream=True))
        assert [first, *outer]

    def _retried(self) -> None:
        self._message("refuse 429 twice")
        self._message("refuse 500 once")

    async def _in_tasks(self, *, stream: bool) -> None:
        async with anthropic.AsyncAnthropic(base_url=self._url, api_key="unused") as client:

            async def one() -> None:
                more: Any = {"stream": True} if stream else {}
                answer = await client.messages.create(**_message("the same question"), **more)
                if stream:
                    _ = [event async for event in answer]

            await asyncio.gather(*(one() for _ in range(PARALLEL)))


def in_threads(call: Callable[[], Any]) -> None:
    """Make a call several times at once, in the context that is current here."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        contexts = [copy_context() for _ in range(PARALLEL)]
        for done in [pool.submit(context.run, call) for context in contexts]:
            done.result()


def refused(call: Callable[[], Any], error: type[Exception]) -> None:
    """Make a call that must be refused."""
    try:
        call()
    except error:
        return
    raise AssertionError("the server answered")


def _chat(text: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    return {"model": "gpt-4o", "messages": messages}


def _message(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "claude-haiku-4-5", "max_tokens": 99, "system": _SYSTEM, "messages": messages}
