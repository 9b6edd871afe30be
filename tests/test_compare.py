"""compare and full_trace: two runs side by side, from their rows and their trace files."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ire_otel import settings
from ire_otel.assembly.document import encode
from ire_otel.db.store import RunStore
from ire_otel.errors import SchemaTooNewError
from ire_otel.model import PrincipleScore, StageTrace, TraceDocument
from ire_otel.query import TraceQuery
from ire_otel.query.comparison import compare_documents
from ire_otel.query.text_difference import LINES, text_difference
from ire_otel.row import row
from tests.sample_document import decision, sample_document

SYNC = TraceQuery.sync
GOLDEN = Path(__file__).parent / "golden"
A, B = "trc_20260213_00000000000000a0", "trc_20260213_00000000000000b0"


def at(second: int) -> str:
    """Give a time so many seconds into a run."""
    return f"2026-02-13T10:30:{second:02}.000000Z"


def evidence(url: str, **fields: Any) -> dict[str, Any]:
    """Give a piece of evidence."""
    return {"url": url, "scores": {"composite": 0.5}, **fields}


def stages(
    *, source: str, confidence: float | None, kept: list[str], filtered: list[str], prompt: str, score: float
) -> dict[str, StageTrace]:
    """Give the stages of a run that differs in some ways from another."""
    return {
        "intake": StageTrace(decisions=[decision(timestamp=at(1), confidence=confidence)]),
        "collection": StageTrace(
            decisions=[
                decision("source_selection", timestamp=at(2), what="exa", inputs={"budget": 3, "type": "x"}),
                decision("source_selection", timestamp=at(4), what=source, inputs={"budget": len(source), "type": "x"}),
            ],
            evidence={
                "kept": [evidence(url) for url in kept],
                "filtered_out": [evidence(url, reason="old") for url in filtered],
            },
        ),
        "synthesis": StageTrace(prompts={"system_prompt": prompt, "same": "same"}),
        "quality_gate": StageTrace(principle_scores=[PrincipleScore(id="META-1", name="No Generics", score=score)]),
    }


DOCUMENT_A = sample_document(
    0xA0,
    stages=stages(source="reddit", confidence=0.8, kept=["u1", "u2", "u3"], filtered=["u4"], prompt="a\nb\nc", score=3),
)
DOCUMENT_B = sample_document(
    0xB0,
    duration_seconds=300.0,
    stages={
        **stages(source="linkedin", confidence=0.8, kept=["u1", "u4"], filtered=["u2"], prompt="a\nB\nc", score=1),
        "extra": StageTrace(decisions=[decision("retry", timestamp=at(3))]),
    },
)


@pytest.fixture
def recorded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    """The configured brain, holding both runs."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    for document in (DOCUMENT_A, DOCUMENT_B):
        record(document)
    return settings.load()


def record(document: TraceDocument) -> Path:
    """Write a run's trace file and row, as the exporter does."""
    chosen = settings.load()
    path = chosen.trace_file(document.project_name, document.trace_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(document))
    with closing(RunStore(chosen.database_url)) as store:
        store.save([row(document, chosen.location(path))])
    return path


def test_decisions_are_aligned_and_the_first_difference_is_named() -> None:
    """By stage, type and occurrence; in the order of time, over all stages."""
    decisions = compare_documents(DOCUMENT_A, DOCUMENT_B).decisions
    assert decisions.same == 2
    found = [(entry.stage, entry.decision, entry.occurrence, entry.only_in) for entry in decisions.differing]
    assert found == [("collection", "source_selection", 2, None), ("extra", "retry", 1, "b")]
    first = decisions.first_difference
    assert first is not None
    assert first == decisions.differing[0]
    assert {change.field: (change.a, change.b) for change in first.changes} == {
        "what": ("reddit", "linkedin"),
        "inputs": ({"budget": 6}, {"budget": 8}),
    }


def test_a_run_is_like_itself() -> None:
    """Nothing differs, whatever is in it."""
    compared = compare_documents(DOCUMENT_A, DOCUMENT_A)
    assert (compared.decisions.same, compared.decisions.differing, compared.prompts) == (3, [], [])
    assert compared.decisions.first_difference is None
    assert [change.delta for change in compared.principles] == [0.0]
    assert compared.evidence.kept_in_both == 3


def test_comparing_the_other_way_round_gives_the_mirror_image() -> None:
    """A and b change places, nothing else."""
    one, other = compare_documents(DOCUMENT_A, DOCUMENT_B), compare_documents(DOCUMENT_B, DOCUMENT_A)
    assert one.decisions.same == other.decisions.same
    assert [entry.decision for entry in one.decisions.differing] == [
        entry.decision for entry in other.decisions.differing
    ]
    assert one.evidence.kept_in_a_filtered_in_b == other.evidence.kept_in_b_filtered_in_a
    assert [-(change.delta or 0) for change in one.principles] == [change.delta for change in other.principles]


def test_a_confidence_nobody_gave_is_not_the_same_as_zero() -> None:
    """None differs from every number."""
    of_a, of_b = (
        sample_document(stages={"s": StageTrace(decisions=[decision(confidence=value)])}) for value in (None, 0.0)
    )
    (difference,) = compare_documents(of_a, of_b).decisions.differing
    assert [(change.field, change.a, change.b) for change in difference.changes] == [("confidence", None, 0.0)]


def test_evidence_kept_in_one_and_filtered_in_the_other() -> None:
    """With the reason; an item that was judged twice counts as it was judged last."""
    found = compare_documents(DOCUMENT_A, DOCUMENT_B).evidence
    assert [(item.item, item.reason) for item in found.kept_in_a_filtered_in_b] == [("u2", "old")]
    assert [(item.item, item.reason) for item in found.kept_in_b_filtered_in_a] == [("u4", "old")]
    assert (found.kept_in_both, found.kept_only_in_a, found.kept_only_in_b) == (1, ["u3"], [])
    attempts = [StageTrace(evidence={"kept": [evidence("u1")]}), StageTrace(evidence={"filtered_out": ["u1"]})]
    twice = sample_document(stages={"collection": StageTrace(attempts=[*attempts])})
    assert [item.item for item in compare_documents(DOCUMENT_A, twice).evidence.kept_in_a_filtered_in_b] == ["u1"]


@pytest.mark.parametrize("odd", [None, "text", 7, [1, None, {}], {"url": ["x"]}])
def test_evidence_of_any_form_is_borne(odd: Any) -> None:
    """Pipelines record what they like."""
    document = sample_document(stages={"c": StageTrace(evidence={"kept": odd, "filtered_out": [odd]})})
    assert compare_documents(document, DOCUMENT_A).evidence.kept_in_both == 0


def test_prompts_and_principles() -> None:
    """Only prompts that differ; every principle, b minus a, unknown where one run has no score."""
    compared = compare_documents(DOCUMENT_A, DOCUMENT_B)
    (prompt,) = compared.prompts
    assert (prompt.stage, prompt.prompt) == ("synthesis", "system_prompt")
    assert prompt.difference.lines == ["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]
    (principle,) = compared.principles
    assert (principle.id, principle.name, principle.delta) == ("META-1", "No Generics", -2.0)
    missing = compare_documents(DOCUMENT_A, sample_document(stages={}))
    assert [(change.score_a, change.score_b, change.delta) for change in missing.principles] == [(3, None, None)]


def test_differences_of_texts_stay_readable() -> None:
    """One long line is compared by sentence, and a great difference is cut and says so."""
    sentences = [f"Sentence {number} says so and so much." for number in range(100)]
    found = text_difference(" ".join(sentences), " ".join([*sentences[:50], "Another.", *sentences[51:]]))
    assert (found.added, found.removed, found.cut) == (1, 1, False)
    assert "+Another." in found.lines
    great = text_difference("", "\n".join(map(str, range(10_000))))
    assert (len(great.lines), great.cut) == (LINES, True)
    assert max(map(len, text_difference("x" * 5_000, "y" * 5_000).lines)) < 400


def test_long_values_are_cut(recorded: settings.Settings) -> None:
    """A comparison is there to be looked at."""
    of_a, of_b = (sample_document(stages={"s": StageTrace(decisions=[decision(what=sign * 10_000)])}) for sign in "xy")
    (difference,) = compare_documents(of_a, of_b).decisions.differing
    assert difference.changes[0].a.endswith("… (10,000 characters)")


def test_compare_gives_summaries_differences_and_files(recorded: settings.Settings) -> None:
    """The SPEC's keys from the rows, the rest from the files; awaited or not."""
    found = SYNC.compare(A, B)
    assert found["trace_a"] == {
        "trace_id": A,
        "project_name": "cobot",
        "intent": "validating",
        "domain": "robotics",
        "quality_score": None,
        "quality_gate_passed": None,
        "gap_principles": None,
        "strength_principles": None,
        "duration_seconds": 262.0,
        "cost_usd": None,
    }
    assert found["diff"] == {
        "quality_delta": None,
        "duration_delta": 38.0,
        "cost_delta": None,
        "gaps_a_only": [],
        "gaps_b_only": [],
        "gaps_both": [],
    }
    assert found["trace_files"] == {"a": "read", "b": "read"}
    assert found["decisions"]["first_difference"]["decision"] == "source_selection"
    assert found == asyncio.run(TraceQuery.compare(A, B))
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert SYNC.compare(A, A)["decisions"]["differing"] == []


def test_gaps_and_costs_are_compared(recorded: settings.Settings) -> None:
    """Where both runs have them."""
    record(sample_document(0xC0, duration_seconds=None))
    record(sample_document(0xD0))
    diff = SYNC.compare("trc_20260213_00000000000000c0", "trc_20260213_00000000000000d0")["diff"]
    assert diff == {
        "quality_delta": 0.0,
        "duration_delta": None,
        "cost_delta": 0.0,
        "gaps_a_only": [],
        "gaps_b_only": [],
        "gaps_both": ["META-12"],
    }


def test_a_run_that_is_not_there(recorded: settings.Settings) -> None:
    """Is named; that is no exception, as the blueprint has it."""
    found = SYNC.compare(A, "trc_none")
    assert found == {"error": "One or both trace IDs not found", "not_found": ["trc_none"]}
    assert SYNC.full_trace("trc_none") is None


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"schema_version": 1}', b"\xff\x00"])
def test_a_missing_or_corrupt_file_leaves_the_rows(recorded: settings.Settings, content: bytes | None) -> None:
    """What the rows say is still compared, and the file is named."""
    path = recorded.trace_file("cobot", B)
    path.unlink() if content is None else path.write_bytes(content)
    found = SYNC.compare(A, B)
    assert found["diff"]["duration_delta"] == 38.0
    assert found["decisions"] is found["evidence"] is found["prompts"] is found["principles"] is None
    assert found["trace_files"]["a"] == "read"
    assert str(path) in found["trace_files"]["b"]
    assert SYNC.full_trace(B) is None
    assert asyncio.run(TraceQuery.full_trace(B)) is None


def test_full_trace_gives_the_document(recorded: settings.Settings) -> None:
    """As it stands in the file."""
    found = SYNC.full_trace(A)
    assert found == msgspec.json.decode(recorded.trace_file("cobot", A).read_bytes())
    assert asyncio.run(TraceQuery.full_trace(A)) == found


def test_an_older_trace_is_upgraded_and_a_newer_one_named(recorded: settings.Settings) -> None:
    """Old traces remain readable; one from a later version says what to do."""
    path = recorded.trace_file("cobot", A)
    path.write_bytes((GOLDEN / "blueprint.json").read_bytes())
    found = SYNC.full_trace(A)
    assert found is not None
    assert found["metadata"]["otel_trace_id"] == ""
    path.write_bytes(b'{"schema_version": 99}')
    with pytest.raises(SchemaTooNewError, match=r"99.*upgrade ire-otel"):
        SYNC.full_trace(A)


def test_a_brain_that_was_moved(recorded: settings.Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows name files from the brain folder on, wherever it is now."""
    recorded.brain_dir.rename(tmp_path / "moved")
    monkeypatch.setenv("IRE_OTEL_BRAIN_DIR", str(tmp_path / "moved"))
    found = SYNC.full_trace(A)
    assert found is not None
    assert found["trace_id"] == A
