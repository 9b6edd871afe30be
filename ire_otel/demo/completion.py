"""One chat completion from an OpenAI-compatible endpoint. The client reads its key from OPENAI_API_KEY."""

import msgspec

import ire_otel
from ire_otel.errors import IreOtelError

_TIMEOUT_SECONDS = 120.0


class CompletionError(IreOtelError):
    """The model's client is not installed, or its endpoint refused or cannot be reached."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wrote."""

    text: str
    """The text."""
    model: str
    """The model that the endpoint says it used."""
    input_tokens: int | None = None
    """Tokens read; None where the endpoint does not say."""
    output_tokens: int | None = None
    """Tokens written; None where the endpoint does not say."""


def watch_calls() -> bool:
    """Have the client's calls make spans, which become part of the runs that make them; False where nothing can."""
    try:
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    except ImportError:
        return False
    # An explicit configuration sets the global tracer provider, which the instrumentor uses.
    ire_otel.configure()
    OpenAIInstrumentor().instrument()
    return True


def complete(model: str, system: str, user: str, *, base_url: str | None = None) -> Completion:
    """What `model` answers to the two messages, at temperature 0.

    Raises:
        CompletionError: the extra `llm` is missing, the key is not set, or the endpoint failed or wrote nothing.
    """
    try:
        import openai
    except ImportError as error:
        raise CompletionError(
            f"--llm {model}: the openai package is not installed; install ire-otel with the extra llm: ire-otel[llm]"
        ) from error
    place = base_url or "the default endpoint"
    try:
        with openai.OpenAI(base_url=base_url, timeout=_TIMEOUT_SECONDS) as client:
            place = str(client.base_url)
            answer = client.chat.completions.create(
                model=model,
                temperature=0,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            )
    except openai.OpenAIError as error:
        reason = str(error).rstrip(".")
        remedy = "check --llm-url or OPENAI_BASE_URL, and OPENAI_API_KEY"
        raise CompletionError(f"--llm {model}: {place} failed: {reason}; {remedy}") from error
    text = answer.choices[0].message.content if answer.choices else None
    if not text:
        raise CompletionError(f"--llm {model}: {place} answered without text; try another model")
    usage = answer.usage
    return Completion(
        text=text,
        model=answer.model,
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
    )
