"""What ire-otel counts under one combination of instrumentors, beside what the server counted.

`python -m tests.llm_measure openai genai-openai openinference-openai` prints it as JSON. A process of its own for each
combination: instrumentors patch the clients for good.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.llm_server import Counted, model_server

INSTRUMENTORS = {
    "genai-openai": ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    "openinference-openai": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    "genai-anthropic": ("opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
    "openinference-anthropic": ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
}
_PATIENCE = 60.0
"""Seconds; machines that test many things at once are slow."""
OWN_SPANS = "anthropic"
"""The anthropic SDK's own spans, which are on unless its client is told otherwise."""
COMBINATIONS = {
    "openai": (
        ("genai-openai",),
        ("openinference-openai",),
        ("genai-openai", "openinference-openai"),
        ("openinference-openai", "genai-openai"),
    ),
    "anthropic": (
        (OWN_SPANS,),
        ("genai-anthropic",),
        ("openinference-anthropic",),
        (OWN_SPANS, "genai-anthropic"),
        (OWN_SPANS, "openinference-anthropic"),
        ("genai-anthropic", "openinference-anthropic"),
        (OWN_SPANS, "genai-anthropic", "openinference-anthropic"),
    ),
}
"""Each alone, every two together, and more."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One shape of calls, made in a run of its own."""

    shape: str
    counted: Counted
    """By the server."""
    run: dict[str, Any] | None
    """`metadata.llm_calls` of the run's document; None where nothing was seen."""
    stage: dict[str, Any]
    """The stage in which the calls were made."""


def measure(provider: str, names: Sequence[str]) -> list[Measured]:
    """Make calls of every shape through the clients of this process, instrumented for good."""
    os.environ["ANTHROPIC_OPEN_TELEMETRY"] = str(OWN_SPANS in names).lower()
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
    import ire_otel

    with tempfile.TemporaryDirectory() as brain, model_server() as server:
        # An explicit configure sets the global tracer provider, which the instrumentors use.
        ire_otel.configure(brain_dir=brain, finish_timeout=_PATIENCE)
        for name in names:
            if name != OWN_SPANS:
                module, instrumentor = INSTRUMENTORS[name]
                getattr(importlib.import_module(module), instrumentor)().instrument()
        from tests import llm_shapes

        kind = llm_shapes.OpenAIShapes if provider == "openai" else llm_shapes.AnthropicShapes
        shapes = kind(server.url)
        measured = []
        for shape, make in shapes.by_name.items():
            with ire_otel.run(shape, project_name="llm") as trace, ire_otel.stage("synthesis"):
                make()
            written = ire_otel.finish_sync(trace)
            document = json.loads(Path(str(written["file_path"])).read_bytes())
            measured.append(
                Measured(
                    shape=shape,
                    counted=server.take(),
                    run=document["metadata"].get("llm_calls"),
                    stage=document["stages"]["synthesis"],
                )
            )
        ire_otel.shutdown()
    return measured


if __name__ == "__main__":
    provider, *names = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(measure(provider, names)))
