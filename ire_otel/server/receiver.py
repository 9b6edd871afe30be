"""What both protocols share: a request is answered when its spans are on the disk, or refused with a reason."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ire_otel.server import bodies
from ire_otel.server.access import Check, access_check
from ire_otel.server.assembler import Assembler
from ire_otel.server.inbox import Arrival
from ire_otel.server.refusals import BusyError, TooLargeError

logger = logging.getLogger("ire_otel")

MIB: Final = 1024 * 1024
DECODERS: Final = 2
"""Requests that are decompressed and parsed at once; a body takes up several times its size meanwhile."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is taken, in bytes."""

    body: int = 20 * MIB
    """Of one request, compressed or not."""
    inbox: int = 4096 * MIB
    """Of spans in the inbox."""
    in_flight: int = 64 * MIB
    """Of requests that are not answered yet."""
    trace: int = 256 * MIB
    """Of one trace: its runs are assembled in memory."""


class Holding:
    """Bytes of one request that is under way."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.bytes = 0

    def add(self, count: int) -> None:
        """Hold more. Raises BusyError where others hold too much for that; alone it would be refused for ever."""
        others = self._receiver.in_flight - self.bytes
        if others and others + self.bytes + count > self._receiver.limits.in_flight:
            raise BusyError("too many requests are under way; try again")
        self.bytes += count
        self._receiver.in_flight += count


class Receiver:
    """Takes requests; used on one event loop."""

    def __init__(self, assembler: Assembler, limits: Limits, token: str | None) -> None:
        """token: None lets everybody send."""
        self._assembler = assembler
        self.limits = limits
        self.authenticate: Check = access_check(token)
        self.in_flight = 0
        self.stopping = False
        self._pool = ThreadPoolExecutor(DECODERS, "ire-otel decoder")

    @property
    def alive(self) -> bool:
        """Whether what is taken is assembled."""
        return self._assembler.alive

    def why_busy(self) -> str | None:
        """Say why nothing can be taken now; None where it can."""
        if self.stopping:
            return "ire-otel serve is stopping"
        if self._assembler.inbox.held >= self.limits.inbox:
            return "the inbox is full"
        return None

    @contextmanager
    def holding(self) -> Iterator[Holding]:
        """Count what a request takes up. Raises BusyError where none can be taken."""
        why = self.why_busy()
        if why is not None:
            raise BusyError(f"{why}; try again")
        held = Holding(self)
        try:
            yield held
        finally:
            self.in_flight -= held.bytes

    async def take(
        self, body: bytes, form: bodies.Form, held: Holding, *, compressed: bool
    ) -> ExportTraceServiceResponse:
        """Store the spans of a request; gives the answer once they are safe. Raises RefusedError."""
        taken = await asyncio.get_running_loop().run_in_executor(self._pool, self._decoded, body, form, compressed)
        held.add(taken.bytes)
        arrivals = []
        rejected = taken.rejected
        for arrival in taken.arrivals:
            if self._assembler.inbox.size(arrival.trace_id) + len(arrival.payload) > self.limits.trace:
                rejected[f"their trace is larger than {self.limits.trace} bytes"] += arrival.spans
            else:
                arrivals.append(arrival)
        if arrivals:
            await self._stored(arrivals)
        return _answer(rejected)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown()

    def _decoded(self, body: bytes, form: bodies.Form, compressed: bool) -> bodies.Taken:  # noqa: FBT001 # to a thread
        if len(body) > self.limits.body:
            raise TooLargeError(f"the body is larger than {self.limits.body} bytes; send smaller batches")
        plain = bodies.inflate(body, self.limits.body) if compressed else body
        return bodies.take(plain, form, self.limits.body, self._assembler.ends)

    async def _stored(self, arrivals: list[Arrival]) -> None:
        # Shielded: where the sender goes away meanwhile, its spans are stored all the same.
        try:
            await asyncio.shield(asyncio.wrap_future(self._assembler.inbox.append(arrivals)))
        except OSError as error:
            raise BusyError(f"the spans cannot be stored: {error.strerror}; try again") from error


def _answer(rejected: Counter[str]) -> ExportTraceServiceResponse:
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.rejected_spans = sum(rejected.values())
        said = "; ".join(f"{count}: {reason}" for reason, count in rejected.items())
        answer.partial_success.error_message = f"spans were left out: {said}"
        logger.warning("%d spans were left out: %s", sum(rejected.values()), said)
    return answer
