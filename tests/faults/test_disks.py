"""Disks that are full or read-only for a while: no pipeline notices, and everything arrives afterwards."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import RecordFigure
from tests.faults.findings import Brain, held_against, said_by
from tests.faults.processes import WAIT, Process

SIZE: Final = 32
"""MB of a disk: room for two arenas and a long run's document."""
TINY: Final = 1
"""MB of a disk on which not even one arena has room."""
SHORT_RUNS: Final = 10
LONG: Final = 9_000
"""Decisions of a run that outgrows its first arena."""
PATIENCE: Final = 15
"""Seconds within which a worker has tried everything: no full disk is waited for."""
NO_JOURNAL: Final = "the journal cannot grow"


class Disk:
    """A disk of memory."""

    def __init__(self, path: Path, size: int) -> None:
        """Mount a disk of `size` MB. Raises OSError where that is not allowed."""
        self.path = path
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(done.stderr.strip())

    def fill(self) -> None:
        """Leave not one byte."""
        with suppress(OSError), (self.path / "ballast").open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Make space again."""
        (self.path / "ballast").unlink()

    def grow(self, size: int) -> None:
        """Make it a disk of `size` MB."""
        subprocess.run(["mount", "-o", f"remount,size={size}m", str(self.path)], check=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nothing that is opened anew be written to; what is open already goes on, as on a real remount."""
        aside = self.path.with_name("aside")
        aside.mkdir()
        # Made read-only aside, because nobody may have a file open for writing there at that moment.
        subprocess.run(["mount", "--bind", str(self.path), str(aside)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(aside)], check=True)
        subprocess.run(["mount", "--bind", str(aside), str(self.path)], check=True)
        try:
            yield
        finally:
            for mounted in (self.path, aside):
                subprocess.run(["umount", "--lazy", str(mounted)], check=True)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Give a disk of SIZE MB, or as many as the test says."""
    try:
        made = Disk(tmp_path / "disk", getattr(request, "param", SIZE))
    except OSError as error:
        pytest.skip(f"cannot mount a disk ({error}): be root, or run in `unshare --user --map-root-user --mount`")
    yield made
    made.close()


def settings_on(disk: Disk, elsewhere: Path, what: str) -> dict[str, Path]:
    """Give settings under which the brain folder, the state folder or both are on the disk."""
    return {
        "brain_dir": (elsewhere if what == "state" else disk.path) / "brain",
        "state_dir": (elsewhere if what == "brain" else disk.path) / "state",
    }


def everything_arrives(process: Process) -> float:
    """Wait until the process says that everything is written, and end it; gives the seconds that took."""
    began = time.monotonic()
    while True:
        process.tell("flush 30")
        if process.hear("flush") == ["flush", "True"]:
            break
        assert time.monotonic() - began < WAIT, process.log()
        time.sleep(0.1)
    took = time.monotonic() - began
    process.tell("shutdown 30")
    assert process.hear("shutdown") == ["shutdown", "True"]
    process.tell("end")
    assert process.wait() == 0
    return round(took, 1)


def check(brain: Brain, process: Process, figures: RecordFigure) -> None:
    """Check that every run is there once, complete, in file and row."""
    assert "Traceback" not in process.log(), process.log()
    documents = brain.documents()
    said = said_by([process])
    assert set(documents) == set(said)
    counted = held_against(said, documents)
    assert {document.run.status for document in documents.values()} == {"complete"}
    assert set(brain.rows()) == set(documents)
    assert brain.differences() == []
    figures("runs", counted.runs)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)


@pytest.mark.parametrize("when", ["in the middle", "from the start"])
@pytest.mark.parametrize("what", ["brain", "state", "both"])
def test_a_disk_that_is_full_for_a_while(
    what: str, when: str, disk: Disk, tmp_path: Path, figures: RecordFigure
) -> None:
    """A disk is full for a while: pipelines go on, files and rows come when it has space, and the log says it once."""
    settings = settings_on(disk, tmp_path, what)
    brain = Brain(tmp_path, **settings)
    if when == "from the start":
        disk.fill()
    with Process("driven", tmp_path, **settings) as process:
        process.tell("run 3")
        process.tell("open")
        process.tell("decide 0 500")
        process.hear("decided")
        if when == "in the middle":
            disk.fill()
        process.tell(f"decide 500 {LONG}")
        process.hear("decided")
        for _ in range(SHORT_RUNS):
            process.tell("run 3")
        process.tell("close")
        process.tell("flush 30")
        asked = time.monotonic()
        while_full = process.hear("flush")
        assert time.monotonic() - asked < PATIENCE, process.log()
        disk.free()
        took = everything_arrives(process)
    assert while_full == ["flush", str(what == "state")], process.log()
    said = process.log().count(NO_JOURNAL)
    assert said <= 1, process.log()
    assert said == 1 or what == "brain" or when == "in the middle"  # an arena may have been waiting
    check(brain, process, figures)
    figures("seconds until all was written", took)


@pytest.mark.parametrize("disk", [TINY], indirect=True)
def test_a_disk_too_small_for_any_journal(disk: Disk, tmp_path: Path, figures: RecordFigure) -> None:
    """A disk without room for a journal: runs live in memory, which is said once, and are written all the same."""
    settings = settings_on(disk, tmp_path, "state")
    brain = Brain(tmp_path, **settings)
    with Process("driven", tmp_path, **settings) as process:
        for _ in range(SHORT_RUNS):
            process.tell("run 3")
        process.tell("open")
        process.tell("decide 0 500")
        process.tell("close")
        everything_arrives(process)
    assert process.log().count(NO_JOURNAL) == 1, process.log()
    check(brain, process, figures)


@pytest.mark.parametrize("disk", [TINY], indirect=True)
def test_a_disk_too_small_for_anything(disk: Disk, tmp_path: Path, figures: RecordFigure) -> None:
    """A disk of 1 MB that grows: what had no room on it waits in memory, and is written then."""
    settings = settings_on(disk, tmp_path, "both")
    brain = Brain(tmp_path, **settings)
    with Process("driven", tmp_path, **settings) as process:
        for _ in range(SHORT_RUNS):
            process.tell("run 3")
        process.tell("open")
        process.tell(f"decide 0 {LONG}")
        process.tell("close")
        process.tell("flush 30")
        assert process.hear("flush") == ["flush", "False"]
        disk.grow(SIZE)
        everything_arrives(process)
    assert process.log().count(NO_JOURNAL) == 1, process.log()
    check(brain, process, figures)


@pytest.mark.parametrize("what", ["brain", "state", "both"])
def test_a_disk_that_is_read_only_for_a_while(what: str, disk: Disk, tmp_path: Path, figures: RecordFigure) -> None:
    """A disk is mounted read-only for a while: pipelines go on, and everything is written when it is back."""
    settings = settings_on(disk, tmp_path, what)
    brain = Brain(tmp_path, **settings)
    with Process("driven", tmp_path, **settings) as process:
        process.tell("run 3")
        process.tell("open")
        process.tell("decide 0 500")
        process.hear("decided")
        with disk.read_only():
            process.tell(f"decide 500 {LONG}")
            for _ in range(SHORT_RUNS):
                process.tell("run 3")
            process.tell("close")
            process.tell("flush 30")
            process.hear("flush")
        took = everything_arrives(process)
    check(brain, process, figures)
    figures("seconds until all was written", took)


def test_a_process_that_dies_while_its_disk_is_full(disk: Disk, tmp_path: Path, figures: RecordFigure) -> None:
    """The brain's disk is full and the process is killed: recovery fails, says so, and writes everything later."""
    settings = settings_on(disk, tmp_path, "brain")
    brain = Brain(tmp_path, **settings)
    with Process("driven", tmp_path, **settings) as process:
        process.tell("run 3")
        process.tell("flush 30")
        process.hear("flush")
        disk.fill()
        for _ in range(SHORT_RUNS):
            process.tell("run 3")
        process.tell("open")
        process.tell("decide 0 500")
        process.hear("decided")
    failed = brain.recover()
    assert failed.returncode == 1
    assert os.strerror(28) in failed.stdout, failed
    disk.free()

    assert brain.recover().returncode == 0

    documents = brain.documents()
    said = said_by([process])
    assert set(documents) == set(said)
    counted = held_against(said, documents)
    assert set(brain.rows()) == set(documents)
    assert brain.differences() == []
    figures("runs", counted.runs)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)
