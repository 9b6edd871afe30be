"""The demo with a model: its calls are seen, counted and priced."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.llm_server import DATED, ModelServer, model_server

RUN = "from ire_otel.cli import main; main()"
WITHOUT_INSTRUMENTOR = f"import sys; sys.modules['opentelemetry.instrumentation.genai.openai'] = None; {RUN}"

TEXT = """Bees make honey from nectar and store it in wax cells for the winter.

Keepers open the hive in spring and look for the queen among the bees.
"""


def demo(folder: Path, server: ModelServer, *arguments: str, program: str = RUN) -> str:
    """`ire-otel demo` on a text of its own, written by the server's model; what it printed."""
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / "bees.txt").write_text(TEXT, encoding="utf-8")
    asked = ("How do bees make honey?", "--corpus", "texts", "--llm", "gpt-4o", "--llm-url", f"{server.url}/v1")
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", *asked, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("IRE_OTEL")}
        | {"OPENAI_API_KEY": "unused", "IRE_OTEL_FINISH_TIMEOUT": "60"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_calls_tokens_and_cost_are_told(tmp_path: Path) -> None:
    """As the server counted them; every attempt of the synthesis has its own."""
    with model_server() as server:
        (outcome,) = json.loads(demo(tmp_path, server, "--json"))
        counted = server.take()
        printed = demo(tmp_path, server)
    said, usage = outcome["llm_calls"], outcome["llm_calls"]["token_usage"]
    assert (said["calls"], said["calls_without_usage"]) == (counted.calls, 0)
    assert (usage["input_tokens"], usage["output_tokens"]) == (counted.input_tokens, counted.output_tokens)
    cost = (counted.input_tokens * 2.5 + counted.output_tokens * 10) / 1e6
    assert said["cost_usd"] == pytest.approx(cost)
    synthesis = json.loads(Path(outcome["trace_file"]).read_bytes())["stages"]["synthesis"]
    assert sum(one["llm_calls"]["calls"] for one in synthesis.get("attempts", [synthesis])) == counted.calls
    assert synthesis["model"] == DATED["gpt-4o"]
    assert f"{counted.input_tokens:,} tokens in, {counted.output_tokens:,} out  ${cost:.4f}" in printed


def test_a_missing_instrumentor_is_named_with_its_extra(tmp_path: Path) -> None:
    """The run goes on, and the last lines say why nothing was counted."""
    with model_server() as server:
        printed = demo(tmp_path, server, program=WITHOUT_INSTRUMENTOR)
    assert "opentelemetry-instrumentation-genai-openai is not installed; install ire-otel[llm]" in printed
