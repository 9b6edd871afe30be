"""Reports that name their run: linked by hand or by themselves, whole or not at all, and the run is found again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ire_otel
from ire_otel import settings
from ire_otel.model import PrincipleScore, StageTrace, TraceDocument
from ire_otel.report import (
    ReportLinkError,
    differences,
    edited_since,
    facts_of,
    frontmatter,
    link_output,
    link_report,
    trace_id_of,
    with_frontmatter,
)
from ire_otel.report.splicing import KEYS, edited
from ire_otel.row import row
from ire_otel_exporters.research import ResearchExporter
from tests.reports import BODY, FACTS, content_hash
from tests.runs import document, rows
from tests.sample_document import sample_document


def gate(**fields: Any) -> dict[str, StageTrace]:
    return {"intake": StageTrace(), "quality_gate": StageTrace(**fields)}


def saved(path: Path = Path("report.md"), content: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "stages",
    [
        None,
        {},
        gate(),
        gate(passing=False, overall_score=1),
        {"review": StageTrace(passing=True), "second": StageTrace(principle_scores=[PrincipleScore(id="a", score=3)])},
        {"review": StageTrace(passing=True, overall_score=2.5), "after": StageTrace()},
    ],
)
def test_a_report_says_what_the_row_says(stages: dict[str, StageTrace] | None) -> None:
    """Score and verdict of the gate, wherever the row finds them."""
    made = sample_document(stages=stages)
    facts, run = facts_of(made), row(made, None).run
    assert (facts.trace_id, facts.quality_score) == (run.trace_id, run.overall_quality_score)
    assert facts.quality_gate == {True: "passed", False: "failed", None: None}[run.quality_gate_passed]
    assert facts.generated_at == "2026-02-13T10:34:22Z"


def test_a_document_is_linked_once() -> None:
    """The file names the run, keeps its mode, and is not written again where nothing changes."""
    path, made = saved(), sample_document(stages=gate(passing=True, overall_score=2.4))
    path.chmod(0o640)
    assert link_report(path, made)
    before = path.stat()
    assert not link_report(str(path), made)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert before.st_mode & 0o7777 == 0o640
    assert path.read_bytes() == with_frontmatter(BODY, FACTS)
    assert trace_id_of(path) == made.trace_id
    assert list(Path().iterdir()) == [Path("report.md")]


def test_a_link_to_a_report_stays_one() -> None:
    """What is replaced is the file behind it."""
    path = saved(Path("artifacts/report.md"))
    Path("latest.md").symlink_to(path)
    link_report("latest.md", FACTS)
    assert Path("latest.md").is_symlink()
    assert trace_id_of(path) == FACTS.trace_id


def test_a_live_run_is_linked_before_and_after_its_end() -> None:
    """First with the time of the link, which later ones keep; when it has ended, with the time of its end."""
    path = saved()
    with ire_otel.run(query="q") as trace:
        with ire_otel.stage("quality_gate") as stage:
            stage.verdict(passed=False, overall_score=1.5, threshold=2.0)
        assert link_report(path, trace)
        first = frontmatter(path.read_bytes())
        assert {key: first[key] for key in KEYS[::2]} == {
            "trace_id": trace.trace_id,
            "quality_score": 1.5,
            "content_hash": content_hash(BODY),
        }
        link_report(path, msgspec.structs.replace(facts_of(trace.document()), quality_gate=None))
        assert frontmatter(path.read_bytes())["generated_at"] == first["generated_at"]
    link_report(path, trace)
    assert frontmatter(path.read_bytes())["generated_at"] == (trace.completed_at or "")[:19] + "Z"


def test_a_live_run_goes_on_without_its_report(caplog: pytest.LogCaptureFixture) -> None:
    """What would be an error for a document is one warning in a run."""
    with pytest.raises(ReportLinkError, match=r"cannot link lost\.md to run trc_.*: No such file .*; write the report"):
        link_report("lost.md", FACTS)
    with ire_otel.run(query="q") as trace:
        assert not link_report("lost.md", trace)
    (record,) = caplog.records
    assert "cannot link lost.md" in record.message


def test_with_tracing_off_nothing_happens() -> None:
    """Neither to the report nor to the run."""
    ire_otel.configure(enabled=False)
    path = saved()
    with ire_otel.run(query="q") as trace:
        assert not link_report(path, trace)
    assert path.read_bytes() == BODY


def test_an_edit_shows() -> None:
    """Of the body; the frontmatter may be changed at will. What was never linked was not edited since."""
    path = saved()
    assert not edited_since(path)
    link_report(path, FACTS)
    path.write_bytes(path.read_bytes().replace(b"---\n", b"---\ntitle: x\n", 1))
    assert not edited_since(path)
    path.write_bytes(path.read_bytes() + b"more")
    assert edited_since(path)
    link_report(path, FACTS)
    assert not edited_since(path)


def test_a_file_that_cannot_be_read_is_named() -> None:
    """In one line."""
    Path("folder.md").mkdir()
    for read in (trace_id_of, edited_since):
        with pytest.raises(ReportLinkError, match=r"cannot read the report folder\.md: Is a directory"):
            read("folder.md")


def test_differences_of_both_directions() -> None:
    """Which run the report names, which report the run names, score, verdict and edits; none where all is well."""
    path = saved(Path("elsewhere/brain/projects/cobot/artifacts/report.md"))
    made = sample_document(stages=gate(passing=True, overall_score=2.4))
    assert differences(path, made) == []  # never linked
    link_report(path, made)
    assert differences(path, made) == []
    assert differences("report.md", made) == [
        f"run {made.trace_id} names the report brain/projects/cobot/artifacts/report.md, not report.md",
        f"report report.md of run {made.trace_id} is not there",
    ]
    other = sample_document(0xB2, outputs={})
    assert differences(path, other) == [
        f"run {other.trace_id} names no report, not {path}",
        f"report {path} names run {made.trace_id}, not {other.trace_id}",
    ]
    path.write_bytes(path.read_bytes() + b"more")
    assert differences(path, sample_document(stages=gate(passing=False))) == [
        f"report {path} says quality_score 2.4, run {made.trace_id} says None",
        f"report {path} says quality_gate passed, run {made.trace_id} says failed",
        f"report {path} was edited after run {made.trace_id} was traced",
    ]


def test_a_report_that_is_no_markdown_only_has_to_be_there() -> None:
    """A PDF takes no frontmatter, so it contradicts nothing."""
    path = saved(Path("report.pdf"))
    made = sample_document(outputs={"report_path": str(path.absolute())})
    assert differences(path, made) == []


KILLED = """
import itertools, sys
from ire_otel.report import ReportFacts, link_report
print("ready", flush=True)
for number in itertools.count():
    link_report(sys.argv[1], ReportFacts(trace_id=f"trc_20260213_{number:016x}"))
"""


def test_a_kill_leaves_a_whole_report() -> None:
    """Whenever the process dies, the report has its frontmatter or an earlier one, and all of its body."""
    body = BODY * 20_000
    path = saved(content=body)
    for delay in (0.0, 0.005, 0.02, 0.03, 0.05):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert data.endswith(b"\n---\n" + body) or data == body
        assert not edited(data)


FULL = """
import resource, signal, sys
from ire_otel.report import ReportFacts, ReportLinkError, link_report
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    link_report(sys.argv[1], ReportFacts(trace_id="trc_1"))
except ReportLinkError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_leaves_the_report_as_it_was() -> None:
    """The error says why, and nothing is left behind."""
    body = b"x" * 20_000
    path = saved(content=body)
    process = subprocess.run(
        [sys.executable, "-c", FULL, path], stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert process.returncode == 1
    assert "cannot link" in process.stderr
    assert "File too large" in process.stderr
    assert path.read_bytes() == body
    assert list(Path().iterdir()) == [Path("report.md")]


def test_a_report_that_changes_meanwhile_is_left_to_its_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that writes on while its run is linked loses nothing."""
    path = saved()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        fsync(descriptor)
        path.write_bytes(BODY + b"more")

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(ReportLinkError, match="being written at the same time"):
        link_report(path, FACTS)
    assert path.read_bytes() == BODY + b"more"
    assert list(Path().iterdir()) == [Path("report.md")]


def research(path: Path, content: bytes = BODY) -> TraceDocument:
    """Run a pipeline that writes a report; gives the document of its run."""
    with ire_otel.run(query="q", project_name="cobot") as trace:
        with ire_otel.stage("quality_gate") as stage:
            stage.verdict(passed=True, overall_score=2.4, threshold=2.0)
        saved(path, content)
        trace.set_outputs({"report_path": str(path)})
    assert ire_otel.finish_sync(trace)["supabase"] == "saved"
    return trace.document()


def test_reports_name_their_run_by_themselves() -> None:
    """With link_reports, when the run is written; `show` then takes the report for the run."""
    ire_otel.configure(link_reports=True)
    path = Path("brain/projects/cobot/artifacts/cobots.md")
    made = research(path)
    assert path.read_bytes() == with_frontmatter(BODY, facts_of(made))
    assert differences(path, document()) == []
    assert [row["report_file_path"] for row in rows()] == [str(path)]
    command = (str(Path(sys.executable).with_name("ire-otel")), "show", "--json")
    shown = subprocess.run([*command, str(path)], capture_output=True, check=True, timeout=60)
    assert json.loads(shown.stdout)["trace_id"] == made.trace_id
    for name, reason in ((saved(Path("other.md")), "names no run"), ("lost.md", "No such file")):
        refused = subprocess.run([*command, str(name)], capture_output=True, text=True, check=False, timeout=60)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert reason in refused.stderr


def test_reports_are_left_alone_unless_asked() -> None:
    """link_reports is off; and on, a report that is no Markdown file that is there stays out of it."""
    research(Path("report.md"))
    assert Path("report.md").read_bytes() == BODY
    ire_otel.configure(link_reports=True)
    research(Path("report.txt"))
    assert Path("report.txt").read_bytes() == BODY
    with ire_otel.run(query="q") as trace:
        trace.set_outputs({"report_path": "lost.md"})
    assert ire_otel.finish_sync(trace)["supabase"] == "saved"


def test_a_report_that_cannot_be_linked_costs_the_run_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """One logged error; file and row are written."""
    ire_otel.configure(link_reports=True)
    made = research(Path("report.md"), "# Titel".encode("utf-16"))
    (record,) = caplog.records
    assert "cannot link report.md" in record.message
    assert "UTF-16" in record.message
    assert document().trace_id == made.trace_id


def test_a_run_that_is_written_again_respects_the_edit() -> None:
    """A late event has the run written again; a report that was edited meanwhile still counts as edited."""
    ire_otel.configure(link_reports=True)
    path = Path("report.md")
    with ire_otel.run(query="q") as trace:
        saved(path)
        trace.set_outputs({"report_path": str(path)})
    ire_otel.finish_sync(trace)
    path.write_bytes(path.read_bytes() + b"by hand\n")
    trace.record("review", "late_thought", {"what": 1, "why": "y"})
    assert "review" in document().stages
    assert edited_since(path)
    assert path.read_bytes().endswith(BODY + b"by hand\n")


def test_the_report_of_another_run_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    """A run that is written late does not put its name on what a later run wrote; one that rewrote the report does."""
    path = saved()
    link_report(path, FACTS)
    outputs = {"report_path": str(path)}
    assert not link_output(sample_document(0xB2, outputs=outputs))
    assert trace_id_of(path) == FACTS.trace_id
    path.write_bytes(path.read_bytes().replace(b"win", b"lose"))
    assert not link_output(sample_document(0xB2, outputs=outputs), again=True)
    assert link_output(sample_document(0xB2, outputs=outputs))
    assert trace_id_of(path) == sample_document(0xB2).trace_id
    assert not caplog.records


def test_runs_from_the_network_touch_no_report() -> None:
    """Who sends spans may name any path; only runs of this machine's own processes are linked."""
    path = saved()
    with ire_otel.run(query="q") as trace:
        trace.set_outputs({"report_path": str(path.absolute())})
    assert ire_otel.flush(10)
    exporter = ResearchExporter(settings.load({"brain_dir": "collected", "link_reports": True}, environment={}))
    for source, expected in (("otlp", None), ("sdk", trace.trace_id)):
        (outcome,) = exporter.export_records(trace.log.records(), source)
        Path(outcome.file_path or "").unlink()
        assert trace_id_of(path) == expected
    exporter.shutdown()
