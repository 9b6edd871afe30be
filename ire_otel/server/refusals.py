"""Why a request is not taken, in the terms of both protocols: whether its sender stops or tries again."""

from typing import Final

from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

RETRY_AFTER: Final = 1
"""Seconds after which a sender is asked to try again."""


class RefusedError(Exception):
    """A request is not taken. Its message is what the sender is told."""

    http: int
    """Status of the HTTP answer."""
    code: int
    """Status of the gRPC answer, and in the body of the HTTP one."""
    again: bool = False
    """Whether the sender is to try again."""

    def status(self) -> Status:
        """Give the OTLP error body."""
        made = Status(code=self.code, message=str(self))
        if self.again:
            retry = RetryInfo()
            retry.retry_delay.seconds = RETRY_AFTER
            made.details.add().Pack(retry)
        return made


class MalformedError(RefusedError):
    """It is no OTLP trace request."""

    http, code = 400, Code.INVALID_ARGUMENT


class UnknownFormError(RefusedError):
    """Its content type or encoding is not known."""

    http, code = 415, Code.INVALID_ARGUMENT


class TooLargeError(RefusedError):
    """It is larger than is taken, compressed or not. Without a delay in it, this code makes gRPC senders stop."""

    http, code = 413, Code.RESOURCE_EXHAUSTED


class UnauthenticatedError(RefusedError):
    """It carries no token, or a wrong one."""

    http, code = 401, Code.UNAUTHENTICATED


class BusyError(RefusedError):
    """It cannot be stored just now."""

    http, code, again = 503, Code.UNAVAILABLE, True
