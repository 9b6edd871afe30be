"""The inbox: spans on the disk before their sender is told so, and until their runs are settled.

Appends are committed in groups: those that wait while one fsync is under way share the next.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from ire_otel.errors import IreOtelError
from ire_otel.locations import INBOX
from ire_otel.records import SpanRecord
from ire_otel.server import segments

logger = logging.getLogger("ire_otel")

SEGMENT: Final = 16 * 1024 * 1024
"""Bytes from which a segment is followed by a new one."""
GROUP: Final = 256
"""Most appends that share one fsync."""


class InboxError(IreOtelError):
    """The inbox cannot be used."""


class Arrival(NamedTuple):
    """Spans of one trace, to be stored."""

    trace_id: str
    run_ended: bool
    """Whether the ended span of a run is among them."""
    payload: bytes
    spans: int


class Place(NamedTuple):
    """Where a frame lies."""

    segment: int
    offset: int
    length: int


class _Append(msgspec.Struct, eq=False):
    frames: list[tuple[str, int, float, bytes]]
    """Trace id, kind, time and bytes of each."""
    done: Future[None]
    new: bool = True
    """False where frames are only moved."""


Listener = Callable[[str, bool, float], None]
"""Learns of stored spans: trace id, whether a run ended in them, when they came (Unix time in seconds)."""


class Inbox:
    """Stores spans by trace. Any thread may append; one other reads, forgets and cleans."""

    def __init__(self, state_dir: Path, listener: Listener, *, segment: int = SEGMENT) -> None:
        """Nothing is opened before `open`. listener: called on the writer's thread."""
        self._folder = state_dir / INBOX
        self._listener = listener
        self._segment_size = segment
        self._places: dict[str, list[Place]] = {}
        self._sizes: dict[str, int] = defaultdict(int)
        self._used: dict[int, int] = {}
        self._live: dict[int, int] = defaultdict(int)
        self._file: BinaryIO | None = None
        self._current = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="ire-otel inbox", daemon=True)
        self._handle = -1
        self.failing = False
        """Whether the last attempt to store something failed."""

    @property
    def held(self) -> int:
        """Bytes of spans that are still needed."""
        with self._lock:
            return sum(self._live.values())

    def open(self) -> list[str]:
        """Take the folder, tell the listener of the traces in it, and begin to write; gives their ids.

        Raises InboxError, OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            self._handle = -1
            reason = "is in use by another `ire-otel serve`; stop that, or name another state_dir"
            raise InboxError(f"{self._folder} {reason}") from error
        told: dict[str, tuple[bool, float]] = {}
        for path in sorted(self._folder.glob(f"*{segments.SUFFIX}")):
            self._current = int(path.stem)
            self._load(path, told)
        for trace_id, (run_ended, at) in told.items():
            self._listener(trace_id, run_ended, at)
        self._thread.start()
        return list(told)

    def append(self, arrivals: Iterable[Arrival]) -> Future[None]:
        """Store spans. They survive the machine once the future has its result; OSError where they cannot be stored."""
        now = time.time()
        frames = []
        for trace_id, run_ended, payload, _ in arrivals:
            kind = segments.RUN_ENDED if run_ended else segments.SPANS
            frames.append((trace_id, kind, now, segments.frame(kind, trace_id, now, payload)))
        return self._put(frames)

    def count(self, trace_id: str) -> int:
        """Give the number that `read` would give with the spans of a trace."""
        with self._lock:
            return len(self._places.get(trace_id, ()))

    def size(self, trace_id: str) -> int:
        """Give the bytes that are stored of a trace."""
        with self._lock:
            return self._sizes.get(trace_id, 0)

    def read(self, trace_id: str) -> tuple[list[SpanRecord], int]:
        """Give the spans of a trace, and a number that says how much of it this is. Raises OSError."""
        with self._lock:
            places = list(self._places.get(trace_id, ()))
        return [record for place in places for record in segments.decode_spans(self._bytes_at(place))], len(places)

    def forget(self, trace_id: str, seen: int) -> bool:
        """Let go of a trace; False, and nothing done, where more has come than was `seen`."""
        with self._lock:
            places = self._places.get(trace_id, [])
            if len(places) != seen:
                return False
            self._drop(trace_id, places)
        now = time.time()
        self._put([(trace_id, segments.FORGOTTEN, now, segments.frame(segments.FORGOTTEN, trace_id, now))], new=False)
        return True

    def clean(self) -> None:
        """Remove segments that nobody needs, the oldest first; what is left of one that mostly nobody needs is moved.

        In this order, so that no segment outlives the note that its spans are forgotten.
        """
        while True:
            with self._lock:
                closed = sorted(number for number in self._used if number != self._current)
                wasteful = sum(self._used.values()) > 2 * sum(self._live.values()) + 4 * self._segment_size
                if not closed or (self._live[closed[0]] and not wasteful):
                    return
            if not self._move(closed[0]):
                return
            with self._lock:
                self._path(closed[0]).unlink(missing_ok=True)
                del self._used[closed[0]], self._live[closed[0]]

    def close(self) -> None:
        """Store what waits, and let go of the folder; segments that nobody needs go."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._file is not None:
            self._file.close()
        if not self._places:
            for number in self._used:
                self._path(number).unlink(missing_ok=True)
        if self._handle >= 0:
            os.close(self._handle)

    # -- within -------------------------------------------------------------------------------------------------------

    def _put(self, frames: list[tuple[str, int, float, bytes]], *, new: bool = True) -> Future[None]:
        append = _Append(frames, Future(), new)
        self._queue.put(append)
        return append.done

    def _load(self, path: Path, told: dict[str, tuple[bool, float]]) -> None:
        """Learn what is in a segment; `told`: of each trace, whether a run ended in it, and its last change."""
        with path.open("rb") as file:
            title = file.read(len(segments.TITLE))
        if title != segments.TITLE[: len(title)]:
            logger.error("%s was written by another version of ire-otel; it stays, unread", path)
            return
        number = int(path.stem)
        self._used[number] = path.stat().st_size
        for found in segments.scan(path):
            place = Place(number, found.offset, found.length)
            if found.kind == segments.FORGOTTEN:
                self._drop(found.trace_id, self._places.get(found.trace_id, []))
                told.pop(found.trace_id, None)
            else:
                self._add(found.trace_id, place)
                ended, at = told.get(found.trace_id, (False, 0.0))
                told[found.trace_id] = ended or found.kind == segments.RUN_ENDED, max(at, found.at)

    def _add(self, trace_id: str, place: Place) -> None:
        self._places.setdefault(trace_id, []).append(place)
        self._sizes[trace_id] += place.length
        self._live[place.segment] += place.length

    def _drop(self, trace_id: str, places: Sequence[Place]) -> None:
        for place in places:
            self._live[place.segment] -= place.length
        self._places.pop(trace_id, None)
        self._sizes.pop(trace_id, None)

    def _move(self, segment: int) -> bool:
        """Store what is left of a segment once more; False where that cannot be done now."""
        with self._lock:
            left = [
                (key, place) for key, places in self._places.items() for place in places if place.segment == segment
            ]
        if not left:
            return True
        try:
            data = {place: self._bytes_at(place) for _, place in left}
            # The bytes say themselves which kind and when; the index needs only that they are spans.
            frames = [(key, segments.SPANS, 0.0, data[place]) for key, place in left]
            self._put(frames, new=False).result()
        except OSError as error:
            logger.error("%s cannot be cleaned: %s", self._path(segment), error.strerror)  # noqa: TRY400 # in one line
            return False
        with self._lock:
            for key, place in left:
                self._sizes[key] -= place.length
                self._live[segment] -= place.length
            for key in {key for key, _ in left}:
                self._places[key] = [place for place in self._places[key] if place.segment != segment]
        return True

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}{segments.SUFFIX}"

    def _bytes_at(self, place: Place) -> bytes:
        with self._path(place.segment).open("rb") as file:
            return os.pread(file.fileno(), place.length, place.offset)

    # -- on the writer's thread ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        stop = False
        while not stop:
            group: list[_Append | None] = [self._queue.get()]
            with suppress(queue.Empty):
                while len(group) < GROUP:
                    group.append(self._queue.get_nowait())
            stop = None in group
            appends = [append for append in group if append is not None]
            try:
                self._commit(appends)
            except Exception:
                # Nobody must wait for ever for an answer, and those who come later are stored.
                logger.exception("spans could not be stored; their senders are told to try again")
                for append in appends:
                    if not append.done.done():
                        append.done.set_exception(OSError(errno.EIO, "ire-otel failed"))

    def _commit(self, appends: Sequence[_Append]) -> None:
        if not appends:
            return
        self._leave_out_overtaken(appends)
        try:
            number, offset = self._stored([data for append in appends for *_, data in append.frames])
        except OSError as error:
            if not self.failing:
                logger.error("%s takes no more: %s; senders are told to try again", self._folder, error.strerror)  # noqa: TRY400 # in one line
            self.failing = True
            for append in appends:
                append.done.set_exception(error)
            return
        self.failing = False
        for append in appends:
            for trace_id, kind, at, data in append.frames:
                if kind != segments.FORGOTTEN:
                    with self._lock:
                        self._add(trace_id, Place(number, offset, len(data)))
                    if append.new:
                        self._listener(trace_id, kind == segments.RUN_ENDED, at)
                offset += len(data)
            append.done.set_result(None)

    def _leave_out_overtaken(self, appends: Sequence[_Append]) -> None:
        """Leave out the note that a trace is forgotten where more of it was on its way: that lies before the note."""
        came: set[str] = set()
        for append in appends:
            for note in [frame for frame in append.frames if frame[1] == segments.FORGOTTEN]:
                if note[0] in came or self.count(note[0]):
                    append.frames.remove(note)
            came.update(trace_id for trace_id, *_ in append.frames)

    def _stored(self, frames: Sequence[bytes]) -> tuple[int, int]:
        """Write frames and bring them to the disk; gives the segment, and where in it they begin."""
        try:
            file = self._file or self._next_segment()
            offset = file.tell()
            _write_all(file, b"".join(frames))
            os.fsync(file.fileno())
        except OSError:
            # What reached the disk is not known, so nothing is written behind it.
            self._leave_segment()
            self._remove_unused()
            raise
        number = self._current
        with self._lock:
            self._used[number] = file.tell()
        if file.tell() >= self._segment_size:
            self._leave_segment()
        return number, offset

    def _next_segment(self) -> BinaryIO:
        with self._lock:
            self._current += 1
            self._used[self._current] = 0
        self._file = file = self._path(self._current).open("xb", buffering=0)
        _write_all(file, segments.TITLE)
        os.fsync(self._handle)
        return file

    def _remove_unused(self) -> None:
        """Remove a segment that holds nothing, or each try on a full disk would leave one."""
        with self._lock, suppress(OSError):
            if self._used.get(self._current) == 0:
                self._path(self._current).unlink(missing_ok=True)
                del self._used[self._current]

    def _leave_segment(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write on where a write comes short, as on a disk that fills up. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
