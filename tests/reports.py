"""What tests of reports share: a report, what it says of its run, and the hash of its body."""

import hashlib
from typing import Any

import msgspec

from ire_otel.report import ReportFacts

FACTS = ReportFacts(
    trace_id="trc_20260213_00000000000000a1",
    generated_at="2026-02-13T10:34:22Z",
    quality_score=2.4,
    quality_gate="passed",
)
BODY = b"# Cobots\n\nThey *win*.\n"


def content_hash(body: bytes) -> str:
    """Give the hash of a report's body, as its frontmatter has it."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def written(facts: ReportFacts, body: bytes) -> dict[str, Any]:
    """Give what a report with that body says of itself."""
    said = {key: value for key, value in msgspec.structs.asdict(facts).items() if value is not None}
    return {**said, "content_hash": content_hash(body)}
