"""`ire-otel serve --foreign`: traces of agents that know nothing of ire-otel become runs."""

from pathlib import Path

from ire_otel.records import SpanRecord
from ire_otel_exporters.otlp import to_otlp
from tests.agent_traces import genai_trace, openinference_trace, span
from tests.receivers import JSON, RUN, Serving, as_json, root, serving, stage, written
from tests.runs import wait_until
from tests.test_cli import ire_otel, one_error


def send(server: Serving, records: list[SpanRecord]) -> None:
    assert server.post(to_otlp(records).SerializeToString()).status == 200


def test_an_agent_s_trace_becomes_a_run(tmp_path: Path) -> None:
    """Once its root has come, and again with what comes later; runs of ire-otel beside it stay what they are."""
    with serving(tmp_path, "--foreign") as server:
        asked, *inner = genai_trace()
        send(server, inner[:2])
        send(server, [asked])
        wait_until(lambda: written(tmp_path))
        send(server, inner[2:])
        (run_id,) = written(tmp_path)
        wait_until(lambda: "writer" in written(tmp_path)[run_id].stages)
        server.post(as_json(root(trace=2), stage("intake", trace=2)), JSON)
        wait_until(lambda: RUN in written(tmp_path))
        documents = written(tmp_path)
    assert documents.keys() == {run_id, RUN}
    made = documents[run_id]
    assert (made.project_name, made.run.query, made.run.status) == ("agents", "Which cobot?", "complete")
    assert list(made.stages) == ["lead", "writer"]
    assert list(documents[RUN].stages) == ["intake"]


def test_a_root_that_comes_late_makes_no_second_run(tmp_path: Path) -> None:
    """Without it the earliest span stands for the run, after the time-out."""
    with serving(tmp_path, "--foreign", incomplete_after=0.5) as server:
        asked, *inner = genai_trace()
        send(server, inner)
        wait_until(lambda: written(tmp_path))
        (made,) = written(tmp_path).values()
        assert made.metadata.warnings == ["the trace's root is missing: its earliest span stands for the run"]
        send(server, [asked])
        wait_until(lambda: not written(tmp_path)[made.trace_id].metadata.warnings)
    assert len(written(tmp_path)) == 1


def test_a_mapping_says_which_spans_are_stages(tmp_path: Path) -> None:
    """As for `ire-otel import`."""
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[stages]\n"pl*" = "intake"\nwrite = "synthesis"\n', encoding="utf-8")
    with serving(tmp_path, "--foreign", "--mapping", str(mapping)) as server:
        send(server, openinference_trace())
        wait_until(lambda: written(tmp_path))
    (made,) = written(tmp_path).values()
    assert list(made.stages) == ["intake", "synthesis"]


def test_only_agents_and_only_when_asked(tmp_path: Path) -> None:
    """Traces of anything else become nothing, and no agent's does without the option."""
    with serving(tmp_path, "--foreign") as server:
        send(server, [span(1, None, "GET /", 0, 1, kind="SERVER"), span(2, 1, "SELECT", 0, 1, kind="CLIENT")])
        assert server.stop() == 0
    with serving(tmp_path) as server:
        send(server, genai_trace())
        assert server.stop() == 0
    assert written(tmp_path) == {}


def test_a_mapping_that_is_none_is_named(tmp_path: Path) -> None:
    """In one line."""
    wrong = tmp_path / "mapping.toml"
    wrong.write_text("stage = 1", encoding="utf-8")
    assert "it may say stages" in one_error(ire_otel(tmp_path, "serve", "--foreign", "--mapping", str(wrong)), 2)
    missing = ire_otel(tmp_path, "serve", "--foreign", "--mapping", str(tmp_path / "none.toml"))
    assert "none.toml cannot be read" in one_error(missing, 2)
    assert "add --foreign" in one_error(ire_otel(tmp_path, "serve", "--mapping", str(wrong)), 2)
