"""The inbox of `ire-otel serve`: what it said it has is there after a restart, whatever the disk or the clock did."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ire_otel.records import SpanRecord
from ire_otel.server import segments
from ire_otel.server.inbox import Arrival, Inbox, Listener

TRACE = f"{1:032x}"


def arrival(name: str, trace: str = TRACE, size: int = 0) -> Arrival:
    """Give one span of that name to be stored, of at least `size` bytes."""
    span = SpanRecord(trace_id=trace, span_id=f"{1:016x}", name=name, start_ns=1, attributes={"text": "x" * size})
    return Arrival(trace, run_ended=False, payload=segments.encode_spans([span]), spans=1)


def store(inbox: Inbox, name: str, trace: str = TRACE, size: int = 0) -> None:
    inbox.append([arrival(name, trace, size)]).result(10)


def names(inbox: Inbox, trace: str = TRACE) -> list[str]:
    return [record.name for record in inbox.read(trace)[0]]


@contextmanager
def opened(folder: Path, listener: Listener = lambda *_: None, segment: int = 2**24) -> Iterator[Inbox]:
    inbox = Inbox(folder, listener, segment=segment)
    inbox.open()
    try:
        yield inbox
    finally:
        inbox.close()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Have writes come short at this size and then fail, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "inbox").glob("*.spans"))


def test_spans_that_are_stored_in_part_are_not_said_to_be_stored(tmp_path: Path) -> None:
    """A write comes short where the disk has room for a part; the sender has to learn of it."""
    with opened(tmp_path) as inbox:
        store(inbox, "whole")
        with no_file_larger_than(files(tmp_path)[0].stat().st_size + 100), pytest.raises(OSError, match="large"):
            store(inbox, "half", size=1000)
        store(inbox, "after")
        assert names(inbox) == ["whole", "after"]
    with opened(tmp_path) as inbox:
        assert names(inbox) == ["whole", "after"]


def test_a_full_disk_is_not_filled_with_segments(tmp_path: Path) -> None:
    """However often senders try again, what could not be begun leaves no file."""
    with opened(tmp_path) as inbox:
        store(inbox, "before")
        with no_file_larger_than(10):
            for _ in range(20):
                with pytest.raises(OSError, match="large"):
                    store(inbox, "refused")
        assert len(files(tmp_path)) == 1
        store(inbox, "after")
    with opened(tmp_path) as inbox:
        assert names(inbox) == ["before", "after"]


def test_forgetting_a_trace_takes_nothing_that_comes_at_that_moment(tmp_path: Path) -> None:
    """Spans that are on their way to the disk when their trace is forgotten are there after a restart."""
    other = f"{2:032x}"
    reached, go_on = threading.Event(), threading.Event()

    def slowly(trace_id: str, _run_ended: object, _at: object) -> None:
        if trace_id == other:  # holds the writer up, as a slow fsync does
            reached.set()
            go_on.wait(10)

    with opened(tmp_path, slowly) as inbox:
        store(inbox, "old")
        inbox.append([arrival("other", other)])
        assert reached.wait(10)
        stored = inbox.append([arrival("new")])
        assert inbox.forget(TRACE, 1)
        go_on.set()
        stored.result(10)
        assert names(inbox) == ["new"]
    with opened(tmp_path) as inbox:
        assert "new" in names(inbox)


def test_forgotten_is_forgotten_after_a_restart(tmp_path: Path) -> None:
    """Also what was moved since, and a trace that came again keeps what came again."""
    with opened(tmp_path, segment=1000) as inbox:
        store(inbox, "old", size=900)
        store(inbox, "other", f"{2:032x}")
        assert inbox.forget(TRACE, 1)
        store(inbox, "again")
        inbox.clean()
    with opened(tmp_path) as inbox:
        assert names(inbox) == ["again"]
        assert names(inbox, f"{2:032x}") == ["other"]


def test_the_size_of_a_trace_is_known_without_counting(tmp_path: Path) -> None:
    """Asked for with every request, so it must not take longer the more of them came."""
    with opened(tmp_path) as inbox:
        futures = [inbox.append([arrival(str(number))]) for number in range(30_000)]
        for future in futures:
            future.result(30)
        begun = time.perf_counter()
        for _ in range(1000):
            assert inbox.size(TRACE) > 30_000
        assert time.perf_counter() - begun < 0.5


def test_a_fault_of_ours_costs_one_answer_and_no_more(tmp_path: Path) -> None:
    """Whoever waits is told to come again; those after are stored."""
    failing = True

    def listener(*_: object) -> None:
        if failing:
            raise ValueError("a fault of ours")

    with opened(tmp_path, listener) as inbox:
        with pytest.raises(OSError, match="ire-otel failed"):
            store(inbox, "first")
        failing = False
        store(inbox, "second")
        assert names(inbox)[-1] == "second"
