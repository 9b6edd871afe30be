"""OTLP over gRPC: TraceService/Export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from ire_otel.server import bodies
from ire_otel.server.receiver import Receiver
from ire_otel.server.refusals import RefusedError

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_PLAIN: Final = 0
_FRAMING: Final = 1024


def server(receiver: Receiver) -> grpc.aio.Server:
    """Make the server, without a port yet."""

    async def export(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            receiver.authenticate(_authorization(context))
            with receiver.holding() as held:
                message = await anext(messages, b"")
                held.add(len(message))
                answer = await receiver.take(message, "protobuf", held, compressed=bodies.is_gzip(message))
                return answer.SerializeToString()
        except RefusedError as refusal:
            await _abort(context, refusal)

    # Bytes in and out: what is no protobuf is ours to answer, and so is a message that is still compressed. The library
    # would inflate it whole before it looks at its size. As a stream of one, because a message is then read only once
    # its sender may send: whoever has no token must not fill the memory.
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(export)
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", receiver.limits.body + _FRAMING),
            ("grpc.per_message_decompression", _PLAIN),
            ("grpc.so_reuseport", 0),
        ]
    )
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),))
    return made


def _authorization(context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
    metadata = context.invocation_metadata() or ()
    values = [value for key, value in metadata if key == "authorization"]
    return values[0] if values and isinstance(values[0], str) else None


async def _abort(context: grpc.aio.ServicerContext[Any, Any], refusal: RefusedError) -> NoReturn:
    status = refusal.status()
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_CODES[refusal.code], str(refusal), details)
    raise AssertionError("abort does not return")
