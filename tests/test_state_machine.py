"""Whatever happens in whichever order, no decision is lost, none is invented, and none is there twice."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ire_otel import reader
from ire_otel.recovery import Recovery
from ire_otel.settings import Settings
from ire_otel_exporters.research import ResearchExporter
from tests.children import Child

STAGES = ["intake", "synthesis", "quality_gate"]
LENGTHS = st.sampled_from([0, 100, 5_000, 70_000, 200_000])


class Model:
    """What one run must hold in the end."""

    def __init__(self) -> None:
        self.sure: list[int] = []
        """Decisions whose call had returned."""
        self.possible: set[int] = set()
        """Decisions whose call may not have returned."""
        self.ended = False


class Runs(RuleBasedStateMachine):
    """A process that records, dies and is recovered, while folders and database fail and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ire-otel-states-"))
        self.database = self.folder / "database"
        for folder in (self.folder / "brain", self.database):
            _may_be_in_the_way(folder)
        self.settings: dict[str, Any] = {
            "brain_dir": self.folder / "brain",
            "state_dir": self.folder / "state",
            "database_url": f"sqlite:///{self.database / 'traces.db'}",
        }
        self.runs: dict[str, Model] = {}
        self.current: str | None = None
        self.child: Child | None = None
        self.depth = 0
        self.number = 0

    @property
    def model(self) -> Model:
        assert self.current is not None
        return self.runs[self.current]

    @precondition(lambda self: self.current is None)
    @rule()
    def start_run(self) -> None:
        self.child = self.child or Child(**self.settings)
        self.current = self.child.do("run", "q")
        assert self.current is not None
        self.runs[self.current] = Model()
        self.depth = 0

    @precondition(lambda self: self.current is not None)
    @rule(stage=st.sampled_from(STAGES))
    def start_stage(self, stage: str) -> None:
        assert self.child is not None
        self.child.do("stage", stage)
        self.depth += 1

    @precondition(lambda self: self.current is not None and self.depth)
    @rule()
    def end_stage(self) -> None:
        assert self.child is not None
        self.child.do("end_stage")
        self.depth -= 1

    @precondition(lambda self: self.current is not None)
    @rule(length=LENGTHS)
    def decide(self, length: int) -> None:
        assert self.child is not None
        self.number += 1
        assert self.child.do("decide", self.number, length) == self.number
        self.model.sure.append(self.number)

    @precondition(lambda self: self.current is not None)
    @rule(lengths=st.lists(LENGTHS, min_size=1, max_size=10))
    def decide_and_be_killed(self, lengths: list[int]) -> None:
        """It dies somewhere in the middle of these calls."""
        assert self.child is not None
        for length in lengths:
            self.number += 1
            self.child.send("decide", self.number, length)
            self.model.possible.add(self.number)
        self.model.sure += self.child.kill()
        self.child = self.current = None

    @precondition(lambda self: self.current is not None)
    @rule()
    def end_run(self) -> None:
        assert self.child is not None
        self.child.do("end_run")
        self.model.ended = True
        self.current = None

    @precondition(lambda self: self.current is not None)
    @rule()
    def end_run_and_be_killed(self) -> None:
        """It dies while its worker writes, or just before, or just after."""
        assert self.child is not None
        self.child.do("end_run")
        self.model.ended = True
        self.child.kill()
        self.child = self.current = None

    @precondition(lambda self: self.child is not None)
    @rule()
    def flush(self) -> None:
        assert self.child is not None
        self.child.do("flush")

    @precondition(lambda self: self.child is not None)
    @rule()
    def leave(self) -> None:
        assert self.child is not None
        self.child.leave()
        self.child = self.current = None

    @rule()
    def recover(self) -> None:
        """While the process lives, too."""
        recovered(Settings(**self.settings))

    @rule()
    def break_files(self) -> None:
        _put_in_the_way(self.folder / "brain")

    @rule()
    def mend_files(self) -> None:
        _out_of_the_way(self.folder / "brain")

    @rule()
    def break_database(self) -> None:
        _put_in_the_way(self.database)

    @rule()
    def mend_database(self) -> None:
        _out_of_the_way(self.database)

    def teardown(self) -> None:
        """With everything mended, all that was recorded is in file and row."""
        if self.child is not None:
            self.child.kill()
        for folder in (self.folder / "brain", self.database):
            _out_of_the_way(folder)
        recovered(Settings(**self.settings))
        self._compare()
        shutil.rmtree(self.folder)

    def _compare(self) -> None:
        found = {path.stem: reader.decode(path.read_bytes(), str(path)) for path in self._files()}
        assert found.keys() == self.runs.keys()
        for trace_id, model in self.runs.items():
            taken = Counter(decision.what for stage in found[trace_id].stages.values() for decision in stage.decisions)
            assert set(taken.values()) <= {1}, "a decision is there twice"
            assert set(model.sure) <= set(taken), "a decision is lost"
            assert set(taken) <= {*model.sure, *model.possible}, "a decision is invented"
            assert found[trace_id].run.status == ("complete" if model.ended else "incomplete")
        assert self._rows() == dict.fromkeys(self.runs, True)

    def _files(self) -> list[Path]:
        return list(self.folder.glob("brain/projects/*/_traces/*.json"))

    def _rows(self) -> dict[str, bool]:
        if not self.runs:
            return {}
        with closing(sqlite3.connect(self.database / "traces.db")) as connection:
            rows = connection.execute("SELECT trace_id, trace_file_path FROM traces")
            return {trace_id: path is not None for trace_id, path in rows}


def recovered(chosen: Settings) -> None:
    """Do what `ire-otel recover` does."""
    exporter = ResearchExporter(chosen)
    recovery = Recovery(chosen, exporter)
    for _ in recovery.steps(recovery.pending()):
        pass
    while exporter.retry(now=True) == 0.0:
        pass
    exporter.shutdown()


def _may_be_in_the_way(folder: Path) -> None:
    """Make a folder that can be a file for a while."""
    folder.with_name(f"{folder.name}.folder").mkdir()
    folder.with_name(f"{folder.name}.file").touch()
    _out_of_the_way(folder)


def _put_in_the_way(folder: Path) -> None:
    """Let a folder be a file, from one moment to the next; what is open in it stays open."""
    _point(folder, f"{folder.name}.file")


def _out_of_the_way(folder: Path) -> None:
    _point(folder, f"{folder.name}.folder")


def _point(link: Path, name: str) -> None:
    fresh = link.with_name(f"{link.name}.next")
    fresh.symlink_to(name)
    fresh.replace(link)


def test_no_decision_is_lost_invented_or_there_twice() -> None:
    """Processes that are really killed, and folders that really fail."""
    chosen: Any = settings(
        max_examples=20,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        phases=(Phase.generate,),
    )
    run_state_machine_as_test(Runs, settings=chosen)
