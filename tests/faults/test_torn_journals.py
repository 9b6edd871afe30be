"""Journals that are torn: what can be read is kept, what cannot is counted, and nothing that reads them fails."""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ire_otel.journal.reading import JournalFolder
from ire_otel.recovery import Recovered, Recovery
from ire_otel_exporters.research import ResearchExporter
from tests.faults.conftest import RecordFigure
from tests.faults.findings import Brain, decisions
from tests.faults.processes import killed_after

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS: Final = 60
VITAL: Final = 2
"""Lines without which there is no run: what begins the log, and the run's own span."""
PAGE: Final = 4096
SLOT: Final = 64 * 1024
ARENA: Final = "0000.arena"
_NUMBER: Final = re.compile(rb'\\"number\\":(\d+)')


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a journal, and where its bytes lie in the arena."""

    kind: str
    number: int | None
    """Of the decision that it is."""
    places: frozenset[int]
    """Offsets of its bytes, of the newline before it, and of the first lines of its slots."""


def lines_of(arena: bytes) -> Iterator[Line]:
    """Read an arena in which one log lies, slot after slot, without any of the code under test."""
    content = bytearray()
    places: list[int] = []
    headers: dict[int, range] = {}
    for slot in range(0, len(arena), SLOT):
        header, _, rest = arena[slot : slot + SLOT].partition(b"\n")
        if header.startswith(b"slot 1 0 "):
            headers[slot] = range(slot, slot + len(header) + 1)
            rest = rest.rstrip(b"\0")
            content += rest
            places += range(slot + len(header) + 1, slot + len(header) + 1 + len(rest))
    begin = 0
    for line in bytes(content).split(b"\n")[:-1]:
        own = places[max(0, begin - 1) : begin + len(line) + 1]
        slots = {place // SLOT * SLOT for place in own}
        number = _NUMBER.search(line) if line.startswith(b'["event"') else None
        yield Line(
            kind=line[2:].partition(b'"')[0].decode(),
            number=int(number[1]) if number else None,
            places=frozenset(own).union(*(headers[slot] for slot in slots)),
        )
        begin += len(line) + 1


def cut(arena: bytearray, dice: random.Random, used: int) -> set[int]:
    """Cut it off somewhere; gives the offsets of the bytes that were harmed."""
    end = dice.randrange(used)
    del arena[end:]
    return set(range(end, used))


def flip(arena: bytearray, dice: random.Random, used: int) -> set[int]:
    """Flip bits of a few bytes."""
    offsets = {dice.randrange(used) for _ in range(dice.randrange(1, 6))}
    for offset in offsets:
        arena[offset] ^= dice.randrange(1, 256)
    return offsets


def blank(arena: bytearray, dice: random.Random, used: int) -> set[int]:
    """Zero a few pages, as a machine that crashes leaves those which it had not written."""
    harmed: set[int] = set()
    for _ in range(dice.randrange(1, 4)):
        page = dice.randrange(used) // PAGE * PAGE
        arena[page : page + PAGE] = bytes(PAGE)
        harmed |= set(range(page, page + PAGE))
    return harmed


@pytest.mark.parametrize("damage", [cut, flip, blank])
def test_a_damaged_journal(
    damage: Callable[[bytearray, random.Random, int], set[int]],
    tmp_path: Path,
    dice: random.Random,
    figures: RecordFigure,
) -> None:
    """Arenas cut off, with flipped bytes, with zeroed pages: every decision whose line is whole is in the document."""
    killed_after("endless", tmp_path, 0.02)
    (whole,) = tmp_path.glob(f"brain/_spool/journals/*/{ARENA}")
    Brain(tmp_path).make_database()
    arena = whole.read_bytes()
    lines = list(lines_of(arena))
    recorded = {line.number for line in lines if line.number is not None}
    counted = dict.fromkeys(("whole", "found", "no run"), 0)
    for trial in range(TRIALS):
        torn = bytearray(arena)
        harmed = damage(torn, dice, 1 + max(max(line.places) for line in lines))
        brain = Brain(tmp_path / str(trial))
        shutil.copytree(tmp_path / "brain", brain.settings.brain_dir, ignore=shutil.ignore_patterns(ARENA))
        (brain.folder / whole.relative_to(tmp_path)).write_bytes(torn)
        made = recovered(brain)
        documents = list(brain.documents().values())
        if not documents:
            assert any(line.places & harmed for line in lines[:VITAL])
            counted["no run"] += 1
            continue
        taken = decisions(documents[0], may_differ=True)
        readable = {line.number for line in lines if line.number is not None and not line.places & harmed}
        # A stage whose line names another run now is no part of this one: it is kept, and waits for that.
        assert readable <= taken.keys() or made[0].left, sorted(readable - taken.keys())
        # A flipped byte may leave a line that reads well, and says something else; never one decision fewer unsaid.
        assert len(recorded) <= taken.total() or made[0].damaged or beginnings(lines) & harmed or damage is cut
        counted["whole"] += len(readable)
        counted["found"] += len(taken.keys() & recorded)
    figures("arenas damaged", TRIALS)
    figures("decisions recorded in them", TRIALS * len(recorded))
    figures("decisions whose lines were whole", counted["whole"])
    figures("decisions found", counted["found"])
    figures("arenas in which the run's own beginning was lost", counted["no run"])


def beginnings(lines: list[Line]) -> set[int]:
    """Give the offsets of the bytes with which the slots in use begin: who owns a slot is said nowhere else."""
    return {place for line in lines for place in line.places if place % SLOT < len(b"slot 1 0 00 01234567\n")}


def recovered(brain: Brain) -> list[Recovered]:
    """Recover what is in a brain folder, in this process."""
    exporter = ResearchExporter(brain.settings)
    try:
        recovery = Recovery(brain.settings, exporter)
        return list(recovery.steps(recovery.pending()))
    finally:
        exporter.shutdown()


def test_a_journal_that_is_cut_off_while_it_is_read(tmp_path: Path, figures: RecordFigure) -> None:
    """A journal that its process, or another recovery, cuts off while it is read does not kill the reader."""
    killed_after("endless", tmp_path, 0.01)
    (arena,) = tmp_path.glob(f"brain/_spool/journals/*/{ARENA}")
    with JournalFolder(arena.parent) as journals:
        os.truncate(arena, 0)
        (log,) = journals.logs()
    assert log.entries == []
    figures("readers killed", 0)
