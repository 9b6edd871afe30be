"""The crash journal: what was stored is there for whoever reads it, whole, torn or written over."""

import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ire_otel
from ire_otel import runlog
from ire_otel.errors import JournalVersionError
from ire_otel.journal import arena, settled, spool, writing
from ire_otel.journal.arena import SLOT
from ire_otel.journal.reading import FoundLog, JournalFolder
from ire_otel.journal.spool import Spool
from ire_otel.journal.writing import Journal
from ire_otel.runlog import RunLog
from tests.children import Child
from tests.runs import document, wait_until

TRACE = "0123456789abcdef0123456789abcdef"


def started(own: Spool, run_id: str = "trc_1", trace_id: str = TRACE) -> RunLog:
    """Begin the log of a run with a journal."""
    return RunLog(run_id, "process", {"service.name": "engine"}, trace_id=trace_id, journal=own.journal())


def start(span_id: str, name: str = "stage") -> bytes:
    return runlog.encode("start", span_id, TRACE, None, name, 1, {}, [])


def event(span_id: str, number: int, length: int = 0) -> bytes:
    return runlog.encode("event", span_id, number, "x" * length, {"n": number})


def logs(folder: Path) -> list[FoundLog]:
    with JournalFolder(folder) as journals:
        return journals.logs()


def numbers(log: FoundLog) -> list[int]:
    return [event.attributes["n"] for record in log.records() for event in record.events]


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.sampled_from([0, 1, 500, SLOT - 200, SLOT, 3 * SLOT]), max_size=12))
def test_lines_of_any_length_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    """They run on from slot to slot."""
    own = Spool(tmp_path_factory.mktemp("spool"))
    log = started(own)
    lines = log.begin("a", start("a"))
    for number, length in enumerate(lengths):
        log.put(lines, event("a", number, length))
    (found,) = logs(own.folder)
    assert numbers(found) == list(range(len(lengths)))
    assert (found.run_id, found.trace_id, found.damaged) == ("trc_1", TRACE, 0)
    assert log.records() == found.records()
    assert log.spill()
    assert log.records() == found.records()
    own.close(settled=True)


def test_many_logs_share_the_files_of_their_process(tmp_path: Path) -> None:
    """Each is read on its own, by its trace too, and what is released leaves no trace."""
    own = Spool(tmp_path)
    kept = [started(own, f"trc_{number}", f"{number:032x}") for number in range(100)]
    for log in kept:
        log.begin("a", start("a"))
    assert {log.run_id for log in logs(own.folder)} == {log.run_id for log in kept}
    with JournalFolder(own.folder) as journals:
        assert [log.run_id for log in journals.logs(f"{7:032x}")] == ["trc_7"]
    for log in kept:
        assert isinstance(log.journal, Journal)
        assert own.release(log.journal)
    assert logs(own.folder) == []
    again = started(own, "trc_new")
    again.begin("b", start("b"))
    assert [log.run_id for log in logs(own.folder)] == ["trc_new"]
    own.close(settled=True)


def test_a_journal_that_was_let_go_of_passes_on_what_comes_later(tmp_path: Path) -> None:
    """To the log that its host names, and to none that was told otherwise in the meantime."""
    own = Spool(tmp_path)
    successor = started(own, "trc_1")
    log = RunLog("trc_1", "p", {}, trace_id=TRACE, journal=own.journal(), successor=lambda: successor)
    lines = log.begin("a", start("a"))
    position = log.position
    log.put(lines, event("a", 1))
    assert isinstance(log.journal, Journal)
    assert not own.release(log.journal, position)
    assert own.release(log.journal, log.position)
    log.put(lines, event("a", 2))
    (found,) = logs(own.folder)
    assert [entry.attributes for entry in found.entries if isinstance(entry, runlog.Event)] == [{"n": 2}]
    own.close(settled=True)


@pytest.mark.parametrize("seed", range(20))
def test_torn_and_damaged_files_are_borne(tmp_path: Path, seed: int) -> None:
    """What can be read is read, the rest is counted, and nothing raises."""
    chance = random.Random(seed)  # noqa: S311 # damage, not cryptography
    own = Spool(tmp_path)
    log = started(own)
    lines = log.begin("a", start("a"))
    for number in range(500):
        log.put(lines, event("a", number, chance.randrange(400)))
    own.close(settled=False)
    (path,) = own.folder.glob("*.arena")
    data = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(400, len(data))
        damage = chance.choice([b"\0" * 300, b"\n", b'{"', os.urandom(50), b"\xff"])
        data[at : at + len(damage)] = damage
    del data[chance.randrange(SLOT, len(data)) :]
    path.write_bytes(data)
    for found in logs(own.folder):
        kept = numbers(found)
        assert kept == sorted(set(kept))
        assert set(kept) <= set(range(500))


def test_only_their_owner_reads_journals(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, whatever the umask says."""
    before = os.umask(0)
    try:
        own = Spool(tmp_path / "state")
        started(own)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in own.folder.iterdir()}
    assert modes == {"0000.arena": 0o600, "lock": 0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (own.folder, own.folder.parent)} == {0o700}
    own.close(settled=True)


def test_a_process_is_live_until_it_dies() -> None:
    """A folder whose lock is held belongs to a process that lives."""
    child = Child(brain_dir="brain")
    child.do("run", "q")
    (folder,) = spool.processes(Path("brain/_spool"))
    assert spool.is_live(folder)
    with spool.claimed(folder) as ours:
        assert not ours
    child.kill()
    assert not spool.is_live(folder)
    with spool.claimed(folder) as ours, spool.claimed(folder) as again:
        assert ours
        assert not again


def test_a_journal_of_another_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the version and the remedy."""
    monkeypatch.setattr(writing, "SLOT_VERSION", 9)
    own = Spool(tmp_path)
    started(own)
    own.close(settled=False)
    with pytest.raises(JournalVersionError, match="version 9, this ire-otel reads version 1: recover it with the"):
        JournalFolder(own.folder).__enter__()


def test_without_room_for_a_journal_the_run_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives in memory alone, which is said once."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        for number in range(10):
            ire_otel.decide("numbered", what=number)
    assert len(document().stages["intake"].decisions) == 10
    assert sum("the journal cannot grow (No space left on device)" in line for line in caplog.messages) == 1


def test_a_folder_that_cannot_be_made_costs_the_journal_only(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so."""
    Path("brain").mkdir()
    Path("brain/_spool").write_text("in the way")
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        ire_otel.decide("one", what=1)
    assert len(document().stages["intake"].decisions) == 1
    assert sum("no journal in " in line for line in caplog.messages) == 1


def test_the_disk_is_written_where_a_span_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durability = "disk"`; by default no run waits for a disk."""
    synced: list[int] = []
    monkeypatch.setattr(arena.Slot, "sync", lambda slot: synced.append(slot.start))
    ire_otel.configure(durability="disk")
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        ire_otel.decide("one", what=1)
        assert synced == []
    assert len(synced) == 2
    ire_otel.configure(durability="process")
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        pass
    assert len(synced) == 2


def test_without_durability_there_is_no_journal() -> None:
    """Only runs over several processes have one then."""
    ire_otel.configure(durability="off")
    with ire_otel.run(query="q"):
        ire_otel.decide("one", what=1)
    assert document().run.status == "complete"
    assert not Path("brain/_spool/journals").exists()


def test_slots_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there are, the journals of finished ones take up a bounded space."""
    monkeypatch.setattr(settled, "IN_JOURNAL", 8 * SLOT)
    ire_otel.configure()
    for number in range(200):
        with ire_otel.run(query="q"):
            ire_otel.decide("numbered", what=number)
        if number % 20 == 0:
            ire_otel.flush(30)
    assert ire_otel.flush(30)
    (folder,) = spool.processes(Path("brain/_spool"))
    wait_until(lambda: len(logs(folder)) <= 8)
    assert len(list(folder.glob("*.arena"))) <= 2
