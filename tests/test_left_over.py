"""Files of spans that went into no document."""

from pathlib import Path

import msgspec

from ire_otel import left_over
from ire_otel.records import SpanRecord


def span(name: str) -> SpanRecord:
    return SpanRecord(trace_id=f"{1:032x}", span_id=f"{1:016x}", name=name, start_ns=1)


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    """What comes after a disk was full is read, and what was there stays."""
    file = tmp_path / "late.jsonl"
    left_over.keep(file, [span("first")])
    with file.open("ab") as torn:
        torn.write(b'{"trace_id":"000')
    left_over.keep(file, [span("first"), span("second")])
    lines = file.read_bytes().splitlines()
    whole = [msgspec.json.decode(line, type=SpanRecord).name for line in (lines[0], lines[2])]
    assert whole == ["first", "second"]
    assert len(lines) == 3
