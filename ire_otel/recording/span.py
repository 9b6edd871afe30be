"""A span that is recorded twice at once: as entries of the run log, and as an OpenTelemetry span."""

from __future__ import annotations

import re
import traceback
from abc import abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.trace import StatusCode, get_current_span

from ire_otel import runlog, semconv
from ire_otel.recording.guard import logger
from ire_otel.recording.process import Clock, identity, next_seq
from ire_otel.values import well_formed

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from ire_otel.records import Status
    from ire_otel.runlog import RunLog

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def safe_name(text: str) -> str:
    """Make a span or event name: no control characters, no surrogates, at most 100 characters."""
    if text.isascii() and text.isprintable() and len(text) <= semconv.NAME_LENGTH:
        return text
    return _UNPRINTABLE.sub(" ", text)[: semconv.NAME_LENGTH]


def described(error: BaseException) -> str:
    """Say what an exception is, as `ValueError: message`."""
    kind = type(error).__qualname__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 # somebody else's __str__
        text = "(its message cannot be had)"
    return well_formed(f"{kind}: {text}" if text else kind)


class RecordedSpan:
    """One open run or stage span. All its methods may be called from any thread."""

    __slots__ = (
        "_clock",
        "_lines",
        "_log",
        "_process",
        "ended",
        "mirrored",
        "otel_span",
        "span_id",
        "start_ns",
        "trace_id_hex",
    )

    def __init__(self, otel_span: Span, clock: Clock, start_ns: int, *, mirrored: bool) -> None:
        """Take over a span that was just started; `begin` files it in a log.

        mirrored: whether somebody reads the OpenTelemetry span, so that it has to hold what the log holds.
        """
        context = otel_span.get_span_context()
        self.otel_span = otel_span
        self.span_id = format(context.span_id, "016x")
        self.trace_id_hex = format(context.trace_id, "032x")
        self.start_ns = start_ns
        self.ended = False
        self.mirrored = mirrored
        self._clock = clock
        self._process = identity.id
        self._lines: list[bytes] = []
        self._log: RunLog

    @property
    def owned(self) -> bool:
        """Whether this process began the span; a forked child must not end what its parent runs."""
        return self._process is identity.id

    def begin(
        self,
        log: RunLog,
        name: str,
        parent_span_id: str | None,
        attributes: Mapping[str, Any],
        links: list[tuple[str, str]],
    ) -> None:
        """File the span's start in the log of its run."""
        entry = ("start", self.span_id, self.trace_id_hex, parent_span_id, name, self.start_ns, attributes, links)
        self._log = log
        self._lines = log.begin(self.span_id, runlog.encode(*entry))

    def elsewhere(self, name: str, attributes: dict[str, Any]) -> None:
        """Record an event in a process that did not begin the span: a forked child writes to a log of its own."""

    def event(self, name: str, attributes: dict[str, Any], time_ns: int | None = None) -> None:
        """Record an event; `attributes` are attribute values, and become this span's."""
        if self._process is not identity.id:
            self.elsewhere(name, attributes)
            return
        moment = self._clock() if time_ns is None else time_ns
        try:
            line = runlog.encode("event", self.span_id, moment, name, attributes)
        except TypeError:
            name, attributes = safe_name(name), runlog.mended(attributes)
            line = runlog.encode("event", self.span_id, moment, name, attributes)
        self._log.put(self._lines, line)
        if self.mirrored and not self.ended:
            self.otel_span.add_event(name, attributes, moment)

    def set(self, attributes: dict[str, Any]) -> None:
        """Set attributes; those that are None are left out."""
        given = {key: value for key, value in attributes.items() if value is not None}
        if not given:
            return
        if self._process is not identity.id:
            self.elsewhere(semconv.RUN_FACTS_EVENT, given)
            return
        try:
            line = runlog.encode("set", self.span_id, given)
        except TypeError:
            given = runlog.mended(given)
            line = runlog.encode("set", self.span_id, given)
        self._log.put(self._lines, line)
        if self.mirrored and not self.ended:
            self.otel_span.set_attributes(given)

    def exception(self, error: BaseException) -> None:
        """Record an exception as OpenTelemetry's conventions have it."""
        try:
            stack = "".join(traceback.format_exception(error))
        except Exception:  # noqa: BLE001 # an exception with impossible fields
            stack = "(cannot be formatted)"
        attributes = {
            "exception.message": described(error).partition(": ")[2],
            "exception.stacktrace": well_formed(stack),
            "exception.type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
            semconv.SEQ: next_seq(),
        }
        self.event("exception", attributes)

    def end(self, status: Status, description: str | None, end_ns: int) -> None:
        """End the span. A second end moves the end in the log; the OpenTelemetry span is out of our hands by then."""
        text = None if description is None else well_formed(description)
        self._log.put(self._lines, runlog.encode("end", self.span_id, end_ns, status, text))
        self._log.span_ended()
        if self.ended:
            return
        self.ended = True
        try:
            if status == "ERROR":
                self.otel_span.set_status(StatusCode.ERROR, text)
            self.otel_span.end(end_ns)
        except Exception:  # noqa: BLE001 # somebody else's code
            # Ending calls every span processor of the application, and what one of them raises would cost us the run.
            logger.exception("a span processor failed on span %s; the run is recorded all the same", self.span_id)


def parent_span_id(context: Context | None) -> str | None:
    """Give the id of the span that is current in `context`."""
    parent = get_current_span(context).get_span_context()
    return format(parent.span_id, "016x") if parent.is_valid else None


def well_formed_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Give the attributes with lone surrogates replaced, and the very same ones where there are none."""
    plain = all(value.isascii() for value in attributes.values() if type(value) is str)
    return attributes if plain else runlog.mended(attributes)


class Block:
    """A run or stage as a context manager, `with` or `async with`; an exception is recorded and goes on."""

    __slots__ = ()
    silent: bool = False

    @abstractmethod
    def leave_block(self, error: BaseException | None) -> None:
        """End what the block stands for. A generator that is closed early is not an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave_block(None if isinstance(error, GeneratorExit) else error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)
