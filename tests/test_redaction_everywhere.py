"""A run that leaks every kind of secret leaves none in any file, row, request or output."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ire_otel import semconv
from ire_otel.records import EventRecord, LinkRecord, SpanRecord
from ire_otel.sdk_spans import to_readable
from ire_otel.steps import apply
from ire_otel_exporters.research import ResearchExporter
from tests.otlp_sink import receiving
from tests.planted_secrets import PLANTED
from tests.run_records import decision, run_span, stage_span
from tests.runs import document

CHECKOUT = Path(__file__).parent.parent
PLACES: Final = {
    # How the line breaks of a key are written there.
    "as it is": "\n",
    "in JSON": "\\n",
    "in JSON in JSON": "\\\\n",
}


def found_in(data: bytes) -> list[str]:
    """Name the kinds of secrets that `data` holds, whole or in half."""
    text = data.decode("utf-8", "replace")
    return [
        f"{planted.kind} {place}"
        for planted in PLANTED
        for place, line_break in PLACES.items()
        for part in (planted.secret[: len(planted.secret) // 2], planted.secret[len(planted.secret) // 2 :])
        if part.replace("\n", line_break) in text
    ]


def written() -> dict[str, list[str]]:
    """Give what is found in every file of the brain folder, the database and its side files included."""
    assert list(Path("brain").glob("projects/*/_traces/*.json"))
    return {
        str(path): found
        for path in Path("brain").rglob("*")
        if path.is_file() and (found := found_in(path.read_bytes()))
    }


def in_rows() -> list[str]:
    """Give what is found in the rows of every table."""
    with sqlite3.connect("brain/traces.db") as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%_words'"
            )
        ]
        held = {table: repr(connection.execute(f'SELECT * FROM "{table}"').fetchall()) for table in tables}  # noqa: S608 # its own tables
    connection.close()
    assert "leaky" in held["traces"]
    return [f"{table}: {kind}" for table, text in held.items() for kind in found_in(text.encode())]


def test_no_secret_is_in_any_file_row_request_or_output(tmp_path: Path) -> None:
    """With all exporters, own spans and foreign ones, and a resource that names a secret too."""
    with receiving() as sink:
        environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_RESOURCE_ATTRIBUTES": f"deployed.with={PLANTED[0].secret},service.name=engine",
        }
        program = "from tests.leaky_run import leak; leak(['ire', 'otlp', 'console'])"
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
    assert ended.returncode == 0, ended.stderr.decode()
    assert written() == {}
    assert in_rows() == []
    assert len(sink.bodies) >= 1
    assert [found_in(body) for body in sink.bodies] == [[] for _ in sink.bodies]
    assert b"decision: chose" in ended.stdout
    assert found_in(ended.stdout) == []
    # Marked, not lost: each kind is named in the document, in the requests and on the console.
    kinds = {planted.kind for planted in PLANTED}
    outputs = [next(Path("brain").rglob("trc_*.json")).read_bytes(), b"".join(sink.bodies), ended.stdout]
    assert [set(re.findall(r"\[redacted:([a-z-]+)\]", output.decode("utf-8", "replace"))) for output in outputs] == [
        kinds
    ] * 3


def test_without_redaction_the_same_run_leaks(tmp_path: Path) -> None:
    """So the test above looks in the right places."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "IRE_OTEL_REDACT": "false"}
    program = "from tests.leaky_run import leak; leak(['ire'])"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    (leaks,) = (found for path, found in written().items() if path.endswith(".json"))
    assert {kind.split()[0] for kind in leaks} == {planted.kind for planted in PLANTED}
    assert in_rows()


def test_the_exporter_redacts_under_a_processor_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_TRACES_EXPORTER=ire makes a ResearchExporter without arguments."""
    texts = "\n".join(planted.text for planted in PLANTED)
    monkeypatch.setenv("IRE_OTEL_BRAIN_DIR", "brain")
    exporter = ResearchExporter()
    records = [
        run_span(run_query=texts),
        stage_span("intake", 1.0, 2.0, decision("chose", 1.5, what=[texts], why=texts)),
    ]
    exporter.export([to_readable(record) for record in records])
    exporter.shutdown()
    assert written() == {}
    assert "[redacted:jwt]" in str(document().run.query)


def test_a_step_of_ones_own_sees_secrets_and_may_not_bring_them_back() -> None:
    """Redaction is the last step."""
    import ire_otel
    from ire_otel.records import SpanRecord

    seen: list[str] = []

    def careless(record: SpanRecord) -> SpanRecord:
        seen.append(str(record.attributes.get(semconv.RUN_QUERY)))
        return msgspec.structs.replace(record, attributes={**record.attributes, semconv.RUN_DOMAIN: seen[0]})

    ire_otel.configure(steps=[careless])
    with ire_otel.run(query=PLANTED[0].secret):
        pass
    made = document()
    assert seen[0] == PLANTED[0].secret
    assert (made.run.query, made.run.domain) == ("[redacted:openai-key]", "[redacted:openai-key]")


def test_where_a_step_fails_nothing_that_it_was_to_clean_gets_out(caplog: pytest.LogCaptureFixture) -> None:
    """Names of others' spans and events, links and the resource included; nor does the log say any of it."""
    secret = "Customer Meier"  # noqa: S105 # what the step was to take out
    held = {"who": secret}
    link = LinkRecord(trace_id="1" * 32, span_id="2" * 16, attributes=held)
    event = EventRecord(name=secret, time_ns=1, attributes=held)
    record = SpanRecord(
        trace_id="1" * 32,
        span_id="3" * 16,
        name=secret,
        start_ns=1,
        status="ERROR",
        status_description=secret,
        attributes=held,
        events=(event,),
        links=(link,),
        resource=held,
    )

    def failing(_: SpanRecord) -> SpanRecord | None:
        raise ValueError("no customers today")

    (passed,) = apply([failing], [record])
    assert secret not in repr(passed)
    assert secret not in caplog.text
    assert "3" * 16 in caplog.text
