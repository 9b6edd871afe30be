"""Traces of agents that know nothing of ire-otel, as instrumentations of others make them."""

import json
from typing import Any

from ire_otel.records import Kind, SpanRecord
from tests.run_records import TRACE_ID, at


def span(
    number: int, parent: int | None, name: str, start: float, end: float, *, kind: Kind = "INTERNAL", **said: Any
) -> SpanRecord:
    """A span of somebody's instrumentation; `__` in a keyword stands for a dot."""
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=f"{number:016x}",
        parent_span_id=None if parent is None else f"{parent:016x}",
        name=name,
        kind=kind,
        start_ns=at(start),
        end_ns=at(end),
        attributes={key.replace("__", "."): value for key, value in said.items()},
        scope_name="somebody",
        resource={"service.name": "agents"},
    )


def chat(number: int, parent: int, start: float, **said: Any) -> SpanRecord:
    said = {
        "gen_ai__operation__name": "chat",
        "gen_ai__response__model": "gpt-4o-2024-08-06",
        "gen_ai__usage__input_tokens": 100,
        "gen_ai__usage__output_tokens": 10,
        **said,
    }
    return span(number, parent, "chat gpt-4o", start, start + 1, kind="CLIENT", **said)


def genai_trace() -> list[SpanRecord]:
    """An agent with two sub-agents, after the GenAI conventions."""
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Which cobot?"}]}])
    return [
        span(1, None, "POST /research", 0, 20, kind="SERVER"),
        span(2, 1, "invoke_agent lead", 1, 19, gen_ai__operation__name="invoke_agent", gen_ai__agent__name="lead"),
        chat(3, 2, 2, gen_ai__input__messages=messages),
        span(4, 2, "invoke_agent writer", 5, 9, gen_ai__operation__name="invoke_agent", gen_ai__agent__name="writer"),
        chat(5, 4, 6),
        span(6, 2, "execute_tool search", 10, 11, gen_ai__operation__name="execute_tool"),
        span(7, 1, "GET http://db", 1, 2, kind="CLIENT"),
    ]


def openinference_trace() -> list[SpanRecord]:
    """A chain of steps, as OpenInference's LangChain instrumentor names them."""
    asked = json.dumps({"question": "Which cobot?", "history": []})
    return [
        span(1, None, "LangGraph", 0, 20, openinference__span__kind="CHAIN", input__value=asked, output__value="UR5e"),
        span(2, 1, "plan", 1, 5, openinference__span__kind="CHAIN", output__value='{"steps": 2}'),
        span(3, 2, "ChatOpenAI", 2, 3, openinference__span__kind="LLM", llm__model_name="gpt-4o-2024-08-06"),
        span(4, 1, "write", 5, 9, openinference__span__kind="CHAIN"),
        span(5, 1, "plan", 9, 12, openinference__span__kind="CHAIN"),
    ]
