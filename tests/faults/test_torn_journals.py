"""Journals that are torn: what can be read of them is kept, and nothing that reads them fails."""

import os
from pathlib import Path

import pytest

from ire_otel.journal.reading import JournalFolder
from tests.faults.processes import killed_after

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_a_journal_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    """A journal that its process, or another recovery, cuts off while it is read does not kill the reader."""
    killed_after("endless", tmp_path, 0.01)
    (arena,) = tmp_path.glob("brain/_spool/journals/*/0000.arena")
    with JournalFolder(arena.parent) as journals:
        os.truncate(arena, 0)
        (log,) = journals.logs()
    assert log.entries == []
