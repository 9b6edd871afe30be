"""Errors inside ire-otel never reach the pipeline: they are logged, or raised where IRE_OTEL_RAISE asks for it."""

import functools
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from ire_otel.recording.host import installed
from ire_otel.settings import raises_errors

P = ParamSpec("P")
R = TypeVar("R")

logger: Final = logging.getLogger("ire_otel")
REMEMBERED: Final = 1_000
"""Most warnings that are remembered as given; a process that finds more kinds of mistake has been told enough."""

_given: dict[str, object] = {}


def internal_error(doing: str) -> None:
    """Handle the exception being handled now: tracing must never break the run it watches."""
    error = sys.exception()
    if error is not None and _raises():
        raise error
    level = logging.ERROR if _first(f"error:{doing}") else logging.DEBUG
    with suppress(Exception):  # a handler that cannot print the error is no reason to raise it
        logger.log(level, "ire-otel failed while %s; the run goes on", doing, exc_info=error)


def warn_once(message: str, *values: object) -> None:
    """Warn of a mistake in the pipeline's use of ire-otel, once for each such mistake."""
    try:
        text = message % values if values else message
    except Exception:  # noqa: BLE001 # somebody else's __repr__
        text = message
    if _first(text):
        logger.warning("%s", text)


def guarded(doing: str, otherwise: Callable[[], Any] = lambda: None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function that never raises: after an error of ours it returns `otherwise()`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception:  # noqa: BLE001 # the one guard that DESIGN asks for
                internal_error(doing)
                return otherwise()  # type: ignore[no-any-return] # of the same type, by the caller's word

        return wrapper

    return decorate


def _raises() -> bool:
    host = installed()
    return raises_errors() or (host is not None and host.settings.raise_errors)


def _first(key: str) -> bool:
    if len(_given) >= REMEMBERED and key not in _given:
        return False
    # One atomic step instead of a lock, which a forked child could inherit while another thread holds it.
    mine = object()
    return _given.setdefault(key, mine) is mine
