"""The files of the inbox: frames of spans, each with its length and checksum, appended and never changed.

A segment begins with a line that says its version. A frame: magic, checksum of all that follows, kind, length of its
payload, when it came (Unix time in microseconds), OpenTelemetry trace id, payload.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ire_otel.records import Attributes, SpanRecord

logger = logging.getLogger("ire_otel")

SUFFIX: Final = ".spans"
TITLE: Final = b"ire-otel inbox 1\n"
SPANS: Final = 0
"""Kind of a frame: spans of one trace."""
RUN_ENDED: Final = 1
"""The same, the ended span of a run among them."""
FORGOTTEN: Final = 2
"""What came of its trace before this frame is needed no more."""
_MAGIC: Final = b"\xf1ire"
_START: Final = struct.Struct(">4sI")
_REST: Final = struct.Struct(">BIq16s")
HEADER: Final = _START.size + _REST.size


class Found(NamedTuple):
    """A frame, as a scan finds it."""

    offset: int
    length: int
    """Of the whole frame."""
    kind: int
    at: float
    """Unix time in seconds."""
    trace_id: str


class _Group(msgspec.Struct, array_like=True):
    """Spans that share one resource, which is stored once."""

    resource: Attributes
    spans: list[SpanRecord]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Group])


def encode_spans(records: Iterable[SpanRecord]) -> bytes:
    """Give the payload of a frame."""
    groups = []
    for _, alike in groupby(records, key=lambda record: id(record.resource)):
        spans = list(alike)
        bare = [msgspec.structs.replace(span, resource={}) for span in spans]
        groups.append(_Group(spans[0].resource, bare))
    return _encoder.encode(groups)


def decode_spans(frame: bytes) -> list[SpanRecord]:
    """Give the spans of a whole frame."""
    groups = _decoder.decode(frame[HEADER:])
    return [msgspec.structs.replace(span, resource=group.resource) for group in groups for span in group.spans]


def frame(kind: int, trace_id: str, at: float, payload: bytes = b"") -> bytes:
    """Give the bytes of a frame."""
    rest = _REST.pack(kind, len(payload), int(at * 1e6), bytes.fromhex(trace_id)) + payload
    return _START.pack(_MAGIC, zlib.crc32(rest)) + rest


def scan(path: Path) -> Iterator[Found]:
    """Give the whole frames of a segment; what is torn or damaged is passed over. Raises OSError."""
    data = path.read_bytes()
    at = len(TITLE)
    while 0 <= at < len(data):
        found = _frame_at(data, at)
        if found is None:
            following = data.find(_MAGIC, at + 1)
            if following >= 0:
                logger.error("%s is damaged at byte %d; what follows is read", path, at)
            at = following
        else:
            yield found
            at += found.length


def _frame_at(data: bytes, at: int) -> Found | None:
    if at + HEADER > len(data):
        return None
    magic, checksum = _START.unpack_from(data, at)
    kind, length, micros, trace_id = _REST.unpack_from(data, at + _START.size)
    end = at + HEADER + length
    if magic != _MAGIC or end > len(data) or zlib.crc32(memoryview(data)[at + _START.size : end]) != checksum:
        return None
    return Found(at, end - at, kind, micros / 1e6, trace_id.hex())
