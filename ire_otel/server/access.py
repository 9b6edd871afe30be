"""Who may send: everybody of this machine, from elsewhere who has the token."""

import hmac
import ipaddress
import socket
from collections.abc import Callable
from typing import Final

from ire_otel.errors import ConfigurationError
from ire_otel.server.refusals import UnauthenticatedError

_SCHEME: Final = "bearer"

Check = Callable[[str | None], None]
"""Looks at the Authorization header of a request; raises UnauthenticatedError."""


def checked_address(host: str, token: str | None) -> str:
    """Give the address to listen on. Raises ConfigurationError where `host` is none, or others reach it tokenless."""
    try:
        found = socket.getaddrinfo(host or "127.0.0.1", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name"
        raise ConfigurationError(f"host {host!r} cannot be found: {reason}; name an own address") from error
    address = str(found[0][4][0])
    if token is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise ConfigurationError(
            f"host {host!r} can be reached from other machines, and there is no token: set IRE_OTEL_SERVE_TOKEN or "
            "--token-file, or listen on 127.0.0.1"
        )
    return address


def access_check(token: str | None) -> Check:
    """Make the check; without a token everybody passes."""
    if token is None:
        return lambda _: None
    expected = token.encode()

    def check(authorization: str | None) -> None:
        scheme, _, given = (authorization or "").partition(" ")
        # Compared whether or not the scheme is right, and in constant time.
        same = hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), expected)
        if not same or scheme.lower() != _SCHEME:
            raise UnauthenticatedError("the bearer token is missing or wrong; send `Authorization: Bearer <token>`")

    return check
