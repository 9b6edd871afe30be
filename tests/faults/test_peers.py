"""The comparison with peers still measures; what it found stands in docs/reliability.md."""

import pytest

from tests.faults.peers.report import results
from tests.faults.peers.trial import Job, trial


@pytest.mark.parametrize("name", ["ire-otel", "otel-batch"])
def test_a_system_keeps_everything_when_nothing_goes_wrong(name: str) -> None:
    """A normal exit loses nothing, so what the comparison counts as lost was lost by a fault."""
    (found,) = results([trial(Job(name, "exit", 0))])
    assert (found.decisions, found.decisions_kept) == (800, 800)
    assert (found.runs, found.runs_kept) == (20, 20)


def test_a_batch_that_was_not_sent_is_counted_as_lost() -> None:
    """OpenTelemetry's batch processor sends every five seconds; the process is killed before that."""
    found = trial(Job("otel-batch", "killed", 3))
    assert 0 < found.decisions < 40
    assert found.decisions_kept == 0
    assert (found.runs, found.runs_kept) == (1, 0)
