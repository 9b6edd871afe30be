"""OpenTelemetry's own ways of configuration: opentelemetry-instrument, OTEL_TRACES_EXPORTER, OTEL_CONFIG_FILE."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ire_otel.model import TraceDocument
from ire_otel_exporters.otlp import from_otlp, from_otlp_json
from tests.otlp_sink import receiving
from tests.runs import document, documents, rows

APP = """
from opentelemetry import trace
import ire_otel

tracer = trace.get_tracer("framework")

@ire_otel.traced_stage("synthesis")
def synthesis():
    for number in range(200):
        ire_otel.decide("numbered", what=number, why="each")
    with tracer.start_as_current_span("llm call", attributes={"gen_ai.operation.name": "chat"}):
        pass

@ire_otel.traced_run(project_name="cobot")
def research(query):
    synthesis()

research("q")
"""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "IRE_OTEL_"))}
QUIET = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
OTHERS = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,anthropic"}
"""Instrumentors of the development environment that need packages which the app does not use."""


def instrumented(folder: Path, app: str = APP, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run an app under the real opentelemetry-instrument."""
    (folder / "app.py").write_text(app, encoding="utf-8")
    ended = subprocess.run(
        [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, "app.py"],
        cwd=folder,
        env={**CLEAN, **QUIET, **OTHERS, "IRE_OTEL_RAISE": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


def is_whole(made: TraceDocument, *, source: str = "runlog") -> bool:
    """Whether the document has every decision, and the model call of another tracer."""
    stage = made.stages["synthesis"]
    calls = made.metadata.llm_calls
    return (
        [decision.what for decision in stage.decisions] == list(range(200))
        and getattr(calls, "calls", 0) == 1
        and made.metadata.source == source
    )


@pytest.mark.parametrize("exporters", ["none", "ire", "console"])
def test_zero_code_instrumentation_sees_foreign_spans_and_writes_whole_runs(tmp_path: Path, exporters: str) -> None:
    """Whatever OTEL_TRACES_EXPORTER says, `ire` twice included: one document, one row, nothing lost to SDK limits."""
    instrumented(tmp_path, OTEL_TRACES_EXPORTER=exporters)
    assert is_whole(document())
    assert len(rows()) == 1


def test_spans_go_to_the_collector_once(tmp_path: Path) -> None:
    """OTEL_TRACES_EXPORTER=ire,otlp, and ire_otel.toml names otlp, too."""
    (tmp_path / "ire_otel.toml").write_text('exporters = ["ire", "otlp"]', encoding="utf-8")
    with receiving() as sink:
        instrumented(
            tmp_path,
            OTEL_TRACES_EXPORTER="ire,otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )
    names = [record.name for request in sink.requests for record in from_otlp(request)]
    assert sorted(names) == ["llm call", "research_run", "synthesis"]
    assert is_whole(document())


def test_an_instrumented_app_may_still_configure(tmp_path: Path) -> None:
    """The later configuration holds, and the earlier one leaves nothing behind."""
    app = APP.replace(
        "tracer =", 'ire_otel.configure(exporters=["ire", "otlp-json-file"], brain_dir="other")\ntracer ='
    )
    instrumented(tmp_path, app, OTEL_TRACES_EXPORTER="ire")
    assert is_whole(document(tmp_path / "other"))
    assert not list(tmp_path.glob("brain/projects"))
    assert not list(tmp_path.glob("*/_spool/**/*.jsonl"))
    lines = (tmp_path / "other/spans.jsonl").read_bytes().splitlines()
    records = [record for line in lines for record in from_otlp_json(line)]
    assert sorted(record.name for record in records) == ["llm call", "research_run", "synthesis"]
    assert sum(len(record.events) for record in records) == 200


def test_without_ire_among_its_exporters_the_environments_one_writes(tmp_path: Path) -> None:
    """ire_otel.toml says none, OTEL_TRACES_EXPORTER says ire: a document all the same, within the SDK's limits."""
    (tmp_path / "ire_otel.toml").write_text('exporters = ["none"]', encoding="utf-8")
    instrumented(tmp_path, OTEL_TRACES_EXPORTER="ire")
    made = document()
    assert made.metadata.source == "sdk"
    assert len(made.stages["synthesis"].decisions) == 128
    assert made.metadata.dropped


def test_otel_sdk_disabled_turns_everything_off(tmp_path: Path) -> None:
    """No folder is made."""
    instrumented(tmp_path, OTEL_TRACES_EXPORTER="ire", OTEL_SDK_DISABLED="true")
    assert not (tmp_path / "brain").exists()


def test_resource_attributes_and_samplers_of_the_environment(tmp_path: Path) -> None:
    """The document names the resource; a sampler that drops all costs the run nothing of its own."""
    instrumented(
        tmp_path,
        OTEL_TRACES_EXPORTER="console",
        OTEL_RESOURCE_ATTRIBUTES="service.name=engine,deployment.environment.name=lab",
        OTEL_TRACES_SAMPLER="always_off",
    )
    made = document()
    assert made.metadata.resource["service.name"] == "engine"
    assert made.metadata.resource["deployment.environment.name"] == "lab"
    assert is_whole(made)
    assert made.metadata.foreign_spans == "sampled"


CONFIG_FILE = """
file_format: "{version}"
resource:
  attributes:
    - name: service.name
      value: from-yaml
tracer_provider:
  processors:
    - batch:
        exporter:
          ire: {{}}
    - batch:
        exporter:
          otlp-json-file:
            path: lines.jsonl
"""


def schema_version() -> str:
    """The version of the configuration schema that the installed package takes."""
    from opentelemetry.configuration.file import _loader

    return f"{_loader._SUPPORTED_SCHEMA_MAJOR}.{_loader._SUPPORTED_SCHEMA_MINOR}"


def test_a_declarative_configuration_file_names_our_exporters(tmp_path: Path) -> None:
    """OTEL_CONFIG_FILE under opentelemetry-instrument: one document, and the spans in the file that the YAML names."""
    (tmp_path / "otel.yaml").write_text(CONFIG_FILE.format(version=schema_version()), encoding="utf-8")
    instrumented(tmp_path, OTEL_CONFIG_FILE="otel.yaml")
    made = document()
    assert is_whole(made)
    assert made.metadata.resource["service.name"] == "from-yaml"
    lines = (tmp_path / "lines.jsonl").read_bytes().splitlines()
    assert {record.name for line in lines for record in from_otlp_json(line)} == {
        "llm call",
        "research_run",
        "synthesis",
    }


def test_a_declarative_configuration_file_without_the_instrumentor(tmp_path: Path) -> None:
    """The instrumentor can be left out by its name; ire-otel's own first run then joins the provider all the same."""
    (tmp_path / "otel.yaml").write_text(CONFIG_FILE.format(version=schema_version()), encoding="utf-8")
    instrumented(tmp_path, OTEL_CONFIG_FILE="otel.yaml", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*")
    (made,) = documents()
    assert is_whole(made)


def test_anybodys_exporter_is_found_by_its_name(tmp_path: Path) -> None:
    """A package that registers a name under `opentelemetry_traces_exporter`, which IRE_OTEL_EXPORTERS gives."""
    module = """
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
class Printing(SpanExporter):
    def export(self, spans):
        print(sorted(span.name for span in spans))
        return SpanExportResult.SUCCESS
"""
    (tmp_path / "thirdparty.py").write_text(module, encoding="utf-8")
    described = tmp_path / "thirdparty-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n", encoding="utf-8")
    entry = "[opentelemetry_traces_exporter]\nprinting = thirdparty:Printing\n"
    (described / "entry_points.txt").write_text(entry, encoding="utf-8")
    done = instrumented(
        tmp_path, OTEL_TRACES_EXPORTER="none", IRE_OTEL_EXPORTERS="ire,printing", PYTHONPATH=str(tmp_path)
    )
    assert "['llm call', 'research_run', 'synthesis']" in done.stdout
    assert is_whole(document())
