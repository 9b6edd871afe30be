"""OTLP over HTTP: POST /v1/traces, in protobuf and JSON; GET /healthz and /readyz."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ire_otel.server.bodies import Form
from ire_otel.server.receiver import Holding, Receiver
from ire_otel.server.refusals import RETRY_AFTER, BusyError, RefusedError, TooLargeError, UnknownFormError

BODY_TIMEOUT: Final = 30.0
"""Seconds within which a body has to come."""
DRAINED: Final = 8
"""How many times the largest body is read of one that is refused."""
_FORMS: Final[dict[str, Form]] = {"application/x-protobuf": "protobuf", "application/json": "json"}
_TYPES: Final = {form: content_type for content_type, form in _FORMS.items()}
_ENCODINGS: Final = {"": False, "identity": False, "gzip": True, "deflate": True}


def application(receiver: Receiver) -> Starlette:
    """Make the ASGI application."""

    async def traces(request: Request) -> Response:
        form = _FORMS.get(_media_type(request))
        try:
            receiver.authenticate(request.headers.get("authorization"))
            return _response(await _taken(receiver, request, form), form)
        except RefusedError as refusal:
            await _read_off(request, DRAINED * receiver.limits.body)
            return _refused(refusal, form)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it

    async def healthy(_: Request) -> Response:
        return _told(None if receiver.alive else "runs are not assembled any more; restart it")

    async def ready(_: Request) -> Response:
        return _told(receiver.why_busy() if receiver.alive else "runs are not assembled any more; restart it")

    return Starlette(
        routes=[
            Route("/v1/traces", traces, methods=["POST"]),
            Route("/healthz", healthy),
            Route("/readyz", ready),
        ]
    )


async def _taken(receiver: Receiver, request: Request, form: Form | None) -> Message:
    if form is None:
        known = " or ".join(_FORMS)
        raise UnknownFormError(f"content type {_media_type(request)[:100]!r} is not taken; send {known}")
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise UnknownFormError(f"content encoding {encoding[:100]!r} is not taken; send gzip, deflate or none")
    with receiver.holding() as held:
        body = await _body(request, held, receiver.limits.body)
        return await receiver.take(body, form, held, compressed=_ENCODINGS[encoding])


async def _body(request: Request, held: Holding, limit: int) -> bytes:
    """Read a body, refusing one that is too large as soon as that is known."""
    too_large = TooLargeError(f"the body is larger than {limit} bytes; send smaller batches")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large
    chunks = []
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                held.add(len(chunk))
                chunks.append(chunk)
                if held.bytes > limit:
                    raise too_large
    except TimeoutError as error:
        raise BusyError(f"the body did not come within {BODY_TIMEOUT:.0f} s; try again") from error
    return b"".join(chunks)


async def _read_off(request: Request, most: int) -> None:
    """Read what is left of a body that is refused, or its sender sees a broken connection instead of the answer."""
    # Starlette raises RuntimeError where the whole body was read before.
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                most -= len(chunk)
                if most < 0:
                    return


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _response(message: Message, form: Form | None, status: int = 200) -> Response:
    content = MessageToJson(message, indent=None) if form == "json" else message.SerializeToString()
    return Response(content, status, media_type=_TYPES[form or "protobuf"])


def _refused(refusal: RefusedError, form: Form | None) -> Response:
    response = _response(refusal.status(), form, refusal.http)
    if refusal.again:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    if refusal.http == 401:  # noqa: PLR2004 # the status that must name a scheme
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _told(problem: str | None) -> Response:
    return PlainTextResponse(f"{problem or 'ok'}\n", 503 if problem else 200)
