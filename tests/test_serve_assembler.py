"""From inbox to files: what holds up nothing, loses nothing, and does nothing twice, whatever clocks and disks do."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ire_otel import settings
from ire_otel.records import ExportOutcome, SpanRecord
from ire_otel.server import assembler as assembling
from ire_otel.server import segments
from ire_otel.server.assembler import Assembler
from ire_otel.server.bodies import take
from ire_otel_exporters.grouping import TraceSchedule
from ire_otel_exporters.research import ResearchExporter
from tests.receivers import RUN, as_protobuf, root, stage, written
from tests.runs import wait_until

MIB: Final = 2**20
OTHER: Final = "trc_20260213_00000000000000bb"


class Counting(ResearchExporter):
    """Notes which runs it was given, time after time."""

    def __init__(self, chosen: settings.Settings) -> None:
        super().__init__(chosen)
        self.given: list[str] = []

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        outcomes = super().export_records(records, source)
        self.given += [outcome.trace_id for outcome in outcomes]
        return outcomes


@contextmanager
def assembling_in(brain: Path, limit: int = 64 * MIB, **chosen: Any) -> Iterator[tuple[Assembler, Counting]]:
    given = settings.Settings(brain_dir=brain, **{"grace_period": 0.0, **chosen})
    exporter = Counting(given)
    assembler = Assembler(given, exporter, limit, None)
    assembler.start()
    try:
        yield assembler, exporter
    finally:
        assembler.stop(20)
        exporter.shutdown()


def send(assembler: Assembler, *spans: Mapping[str, Any]) -> None:
    arrivals = take(as_protobuf(*spans), "protobuf", MIB, assembler.ends).arrivals
    assembler.inbox.append(arrivals).result(10)


def own(run: str, trace: int, **changes: Any) -> dict[str, Any]:
    return {**root(run=run, trace=trace, **changes), "spanId": run[-16:]}


def late_lines(brain: Path, run: str = RUN) -> str:
    file = brain / f"projects/cobot/_traces/{run}.late.jsonl"
    return file.read_text() if file.exists() else ""


def test_a_trace_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    """The disk gives other bytes back than it was given; it is said, and the traces behind it are written."""
    with assembling_in(tmp_path, grace_period=1.0) as (assembler, _):
        fine = [own(f"trc_20260213_{number:016x}", number) for number in range(2, 5)]
        send(assembler, own(RUN, 1, text="x" * 1000), *fine)  # due at one time
        (segment,) = (tmp_path / "_spool/inbox").glob("*.spans")
        with segment.open("r+b") as file:
            file.seek(len(segments.TITLE) + segments.HEADER)
            file.write(b"\xc1" * 500)
        wait_until(lambda: len(written(tmp_path)) == 3, 15)


def test_what_comes_after_an_incomplete_run_was_forgotten_is_kept(tmp_path: Path) -> None:
    """Its document was made from more spans and stays; the others, its root too, go beside it."""
    with assembling_in(tmp_path, limit=MIB, incomplete_after=0.1) as (assembler, _):
        send(assembler, *(stage(f"s{number}", number) for number in range(1, 6)))
        wait_until(lambda: RUN in written(tmp_path))
        # Traces that go on fill the inbox, so that what can be forgotten is.
        send(assembler, stage("going on", 1, run=OTHER, trace=2, text="x" * (MIB // 2)))
        wait_until(lambda: assembler.inbox.count(f"{1:032x}") == 0)
        send(assembler, stage("much later", 7))
        wait_until(lambda: "much later" in late_lines(tmp_path))
        send(assembler, root(), *(stage(f"s{number}", number) for number in range(8, 20)))
        wait_until(lambda: "research_run" in late_lines(tmp_path))
        assert set(written(tmp_path)[RUN].stages) == {f"s{number}" for number in range(1, 6)}


def test_a_run_whose_project_was_not_known_has_one_document(tmp_path: Path) -> None:
    """Spans of others do not name it; once the run's own has come, what was written without is in the way."""
    foreign = stage("chat", 1)
    foreign["attributes"] = [given for given in foreign["attributes"] if given["key"] == "ire.run.id"]
    with assembling_in(tmp_path, incomplete_after=0.1) as (assembler, _):
        send(assembler, foreign)
        wait_until(lambda: RUN in written(tmp_path))
        send(assembler, root())
        wait_until(lambda: written(tmp_path)[RUN].run.completed_at is not None)
        wait_until(lambda: len(list(tmp_path.glob("projects/*/_traces/*.json"))) == 1, 5)
        assert written(tmp_path)[RUN].project_name == "cobot"


def test_clocks_that_were_wrong_hold_nothing_up(tmp_path: Path) -> None:
    """Spans that came while the clock was ten years ahead are due now, not in ten years."""
    inbox = tmp_path / "_spool/inbox"
    inbox.mkdir(parents=True)
    (arrival,) = take(as_protobuf(root(), stage("intake")), "protobuf", MIB, lambda _: True).arrivals
    ahead = time.time() + 10 * 365 * 24 * 3600
    frame = segments.frame(segments.RUN_ENDED, arrival.trace_id, ahead, arrival.payload)
    (inbox / f"{1:012}.spans").write_bytes(segments.TITLE + frame)
    with assembling_in(tmp_path):
        wait_until(lambda: RUN in written(tmp_path), 10)


def test_late_spans_are_let_go_of_once_they_lie_beside_their_file(tmp_path: Path) -> None:
    """They are safe there, so the inbox need not hold them for days."""
    with assembling_in(tmp_path, settle_after=0.1, incomplete_after=0.1) as (assembler, _):
        send(assembler, root())
        wait_until(lambda: RUN in written(tmp_path) and not assembler.inbox.count(f"{1:032x}"))
        send(assembler, stage("late"))
        wait_until(lambda: "late" in late_lines(tmp_path))
        wait_until(lambda: not assembler.inbox.count(f"{1:032x}"), 10)


def test_runs_of_one_trace_are_not_written_again_and_again(tmp_path: Path) -> None:
    """A long trace in which run after run ends: each is written when it has ended, and again when more of it comes."""
    runs = [f"trc_20260213_{number:016x}" for number in range(0x100, 0x108)]
    with assembling_in(tmp_path) as (assembler, exporter):
        for run in runs:
            send(assembler, own(run, 1))
            wait_until(lambda run=run: run in written(tmp_path))  # type: ignore[misc] # called at once
        assert len(exporter.given) == len(runs)
        send(assembler, stage("intake", 1, run=runs[0]))
        wait_until(lambda: "intake" in written(tmp_path)[runs[0]].stages)
        assert len(exporter.given) == len(runs) + 1


def test_many_traces_that_are_done_cost_nothing_when_one_is_due() -> None:
    """Traces are kept for late spans; the next run must not wait for a look at each of them."""
    schedule = TraceSchedule(0.0, 600.0)
    for number in range(100_000):
        schedule.arrived(str(number), run_ended=True)
        schedule.written(str(number), whole=True)
    begun = time.perf_counter()
    for _ in range(100):
        assert schedule.next_due() is None
        assert schedule.due() == []
    assert time.perf_counter() - begun < 0.1


def test_attempts_that_fail_come_less_and_less_often(tmp_path: Path) -> None:
    """Also those to write runs whose own span does not come."""
    (tmp_path / "projects").write_text("no folder")
    with assembling_in(tmp_path, incomplete_after=0.1) as (assembler, exporter):
        send(assembler, stage("intake"))
        wait_until(lambda: exporter.given, 10)
        time.sleep(5 * assembling.FIRST_RETRY)
        assert len(exporter.given) <= 4  # at once, then after 1, 2 and 4 seconds, and the time it takes to look
