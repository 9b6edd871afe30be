"""What instrumentation calls things on spans of model calls, today's name before the older ones.

OpenTelemetry's GenAI conventions (`gen_ai.*`), OpenLLMetry (`gen_ai.*` of its own, `llm.usage.*`, `traceloop.*`), the
anthropic SDK (`anthropic.*`) and OpenInference (`llm.*`, `openinference.*`). Kept here rather than imported:
OpenTelemetry's constants for them are deprecated, and the others' packages need not be installed.
"""

from typing import Any, Final, Literal

from ire_otel.records import Attributes

Kind = Literal["call", "embedding", "retrieval"]

OPERATION: Final = "gen_ai.operation.name"
SPAN_KIND: Final = "openinference.span.kind"

_OPERATIONS: Final[dict[str, Kind]] = {
    "chat": "call",
    "generate_content": "call",
    "text_completion": "call",
    "completion": "call",
    "embeddings": "embedding",
    "embedding": "embedding",
    "retrieval": "retrieval",
}
"""Any other operation (invoke_agent, invoke_workflow, execute_tool, create_agent, fetch_response, …) is no call."""
_SPAN_KINDS: Final[dict[str, Kind]] = {"LLM": "call", "EMBEDDING": "embedding", "RETRIEVER": "retrieval"}
_REQUEST_TYPES: Final[dict[str, Kind]] = {"chat": "call", "completion": "call", "embedding": "embedding"}
_WORK: Final = ("invoke_agent", "create_agent", "execute_tool", "invoke_workflow")
"""Operations, and beginnings of span names, of work that may make calls of its own."""
_WORK_KINDS: Final = ("AGENT", "TOOL", "agent", "tool", "workflow")

PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
REQUEST_MODEL: Final = ("gen_ai.request.model", "llm.request.model_name", "llm.request.model")
RESPONSE_MODEL: Final = (
    "gen_ai.response.model",
    "llm.response.model_name",
    "llm.response.model",
    "llm.model_name",
    "embedding.model_name",
)
RESPONSE_ID: Final = ("gen_ai.response.id", "llm.response.id")
STREAMED: Final = ("gen_ai.request.stream", "llm.is_streaming")
PARAMETERS: Final = "llm.invocation_parameters"
"""OpenInference: JSON of the request's parameters, where a failed call has its model."""
ERROR_TYPE: Final = "error.type"

INPUT_TOKENS: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.usage.prompt_tokens",
    "llm.token_count.prompt",
)
OUTPUT_TOKENS: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
    "llm.token_count.completion",
)
TOTAL_TOKENS: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
CACHE_READ_TOKENS: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_input",
)
CACHE_WRITE_TOKENS: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
CACHE_WRITE_5M_TOKENS: Final = ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",)
CACHE_WRITE_1H_TOKENS: Final = ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",)
REASONING_TOKENS: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)

SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OPENLLMETRY_PROMPT: Final = "gen_ai.prompt."
"""`gen_ai.prompt.<N>.role`, `.content`"""
OPENINFERENCE_MESSAGES: Final = "llm.input_messages."
"""`llm.input_messages.<N>.message.role`, `.message.content`, or `.message.contents.<M>.message_content.text`"""


def kind_of(name: str, attributes: Attributes) -> Kind | None:
    """Tell what kind of call a span stands for; None for one that stands for none, or sums up others."""
    if is_work(name, attributes):
        return None
    span_kind = attributes.get(SPAN_KIND)
    if isinstance(span_kind, str) and span_kind.upper() not in _SPAN_KINDS:
        return None
    operation = attributes.get(OPERATION)
    if isinstance(operation, str):
        return _OPERATIONS.get(operation.lower())
    if isinstance(span_kind, str):
        return _SPAN_KINDS[span_kind.upper()]
    return _unnamed_kind(attributes)


def is_work(name: str, attributes: Attributes) -> bool:
    """Whether a span is an agent, a tool or a workflow: a call below it is not the one above it, seen again."""
    operation = attributes.get(OPERATION)
    if isinstance(operation, str):
        return operation.lower() in _WORK or attributes.get(SPAN_KIND) in _WORK_KINDS
    kinds: tuple[Any, ...] = (attributes.get(SPAN_KIND), attributes.get("traceloop.span.kind"))
    return any(kind in _WORK_KINDS for kind in kinds) or name.startswith(_WORK)


def _unnamed_kind(attributes: Attributes) -> Kind | None:
    """Recognise older spans, which name no operation, by a request's type, by tokens, or by system and model."""
    if "traceloop.span.kind" in attributes:
        return None
    requested = attributes.get("llm.request.type")
    if isinstance(requested, str):
        return _REQUEST_TYPES.get(requested.lower())
    has_model = any(attribute in attributes for attribute in (*REQUEST_MODEL, *RESPONSE_MODEL))
    has_tokens = any(attribute in attributes for attribute in (*INPUT_TOKENS, *OUTPUT_TOKENS, *TOTAL_TOKENS))
    return "call" if has_model and (has_tokens or "gen_ai.system" in attributes) else None
