"""The reader: trace documents of this and other versions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ire_otel import errors, reader
from ire_otel.assembly import assemble, encode
from tests.sample_run import sample_run

HERE = Path(__file__).parent
BLUEPRINT = HERE / "golden" / "blueprint.json"
SCHEMA = HERE.parent / "docs" / "trace-v1.schema.json"


def sample() -> dict[str, Any]:
    """The sample document as plain Python."""
    content: dict[str, Any] = json.loads(encode(assemble(sample_run())))
    return content


def test_the_schema_file_is_the_one_generated_from_the_types() -> None:
    """`python -m ire_otel.reader` prints what docs/trace-v1.schema.json holds."""
    printed = subprocess.run([sys.executable, "-m", "ire_otel.reader"], check=True, capture_output=True).stdout
    assert printed.decode() == SCHEMA.read_text()


def test_a_document_is_valid_by_the_schema() -> None:
    """What assembly writes is what the schema describes, and a broken document is not."""
    validator = jsonschema.Draft202012Validator(reader.schema())
    validator.check_schema(reader.schema())
    validator.validate(sample())
    assert not validator.is_valid({**sample(), "run": {"query": "no start"}})


def test_a_later_version_is_named_with_ours() -> None:
    """Who reads a newer file learns what to do, even where its layout is another."""
    with pytest.raises(errors.SchemaTooNewError, match=r"new\.json has schema version 7, .* up to 1; upgrade ire-otel"):
        reader.decode(b'{"schema_version": 7, "run": []}', "new.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"bad\.json is no JSON \(.*line 1 column 1"),
        (b'{"schema_version": 1,\n "run": {"que', r"bad\.json is no JSON \(.*line 2"),
        (b"\xff\xfe\x00", r"bad\.json is no JSON"),
        (b"[" * 100_000, r"bad\.json is no JSON"),
        (b'{"metadata": {"otel_trace_id": "", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}", r"bad\.json"),
        (b"[]", r"bad\.json is no trace document: it holds list"),
        (b"{}", r"bad\.json is no trace document: .*missing required field"),
        (b'{"schema_version": "one"}', r"bad\.json is no trace document: .*\$\.schema_version"),
        (b'{"schema_version": -3}', r"bad\.json has schema version -3, which never existed"),
    ],
)
def test_what_is_no_trace_document_is_one_clear_error(data: bytes, message: str) -> None:
    """The error names the file and the place."""
    with pytest.raises(errors.TraceFileError, match=message):
        reader.decode(data, "bad.json")


def test_a_field_of_the_wrong_kind_is_named() -> None:
    """The path leads to it."""
    content = sample()
    content["stages"]["intake"]["decisions"][1]["confidence"] = "high"
    with pytest.raises(errors.TraceFileError, match=r"\$\.stages\[\.\.\.\]\.decisions\[1\]\.confidence"):
        reader.decode(json.dumps(content).encode(), "bad.json")


def test_a_document_from_before_ire_otel_is_readable() -> None:
    """The layout that the first tracers wrote: facts only in outputs, +00:00 times, NaN, empty objects."""
    found = reader.decode(BLUEPRINT.read_bytes(), BLUEPRINT.name)
    assert (found.run.status, found.run.tracing_enabled, found.run.intent) == ("complete", True, "validating")
    assert found.metadata.generator == "ire-observability-v1"
    assert found.metadata.otel_trace_id == ""
    intake, gate = found.stages["intake"], found.stages["quality_gate"]
    assert [(d.decision, d.attempt, d.component, d.confidence) for d in intake.decisions] == [
        ("classified_intent", 1, None, 0.85),
        ("bias_classification", 1, None, None),
    ]
    assert intake.prompts is msgspec.UNSET
    assert msgspec.to_builtins(gate.gaps) == [{"id": "META-12", "score": 1, "feedback": None}]
    assert (gate.overall_score, gate.passing) == (2.4, True)
    assert found.stages["collection"].evidence == {"collected_count": 28, "kept_count": 18, "filtered_count": 10}
    assert reader.decode(encode(found), "again") == found


def test_numbers_beyond_a_float_do_not_hide_a_document() -> None:
    """Somebody's 1e999 among the inputs costs that number at most."""
    content = encode(assemble(sample_run())).replace(b'"user_context": "planning a product"', b'"big": 1e999')
    found = reader.decode(content, "big.json")
    assert found.trace_id == "trc_20260213_abc123def4567890"


def test_unknown_fields_are_passed_over() -> None:
    """A document with additions of the same schema version stays readable."""
    assert reader.decode(json.dumps({**sample(), "later": 1}).encode(), "x") == reader.decode(
        json.dumps(sample()).encode(), "x"
    )
