"""Driver errors, wrapped once: what they mean for a row, and what to do about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc

from ire_otel.db.engine import Database
from ire_otel.errors import IreOtelError, RowRefusedError, StoreUnavailableError

_CONTENT_STATES = ("22", "23", "54")
"""SQLSTATE classes: data exception, integrity constraint violation, program limit exceeded."""
_MISSING_STATES = ("42P01", "42703", "3F000")
"""Undefined table, undefined column, undefined schema."""
_EXISTS_STATE = "42P07"
"""Duplicate table."""
_DENIED_STATE = "42501"
"""Insufficient privilege, row level security included."""
_WHO = ("password", "authentication", 'role "', "Tenant or user")
"""Refusals while connecting, which come without a state; the last is a Supabase pooler's."""
_SUPABASE_DIRECT = ".supabase.co"
"""Ends the name of a Supabase server itself; its poolers are at `.pooler.supabase.com`."""
_MISSING_IN_SQLITE = ("no such table", "no such column")
_CONTENT_ERRORS = ("DataError", "IntegrityError", "ProgrammingError", "NotSupportedError", "InterfaceError")


@contextmanager
def wrapped(target: Database) -> Iterator[None]:
    """Turn every error of driver and operating system into a StoreUnavailableError; not for writing rows."""
    try:
        yield
    except IreOtelError:
        raise
    except Exception as error:
        raise unavailable(error, target) from error


def refusal(error: Exception, target: Database) -> RowRefusedError:
    """Give the error for a row that the database refused for its content."""
    made = RowRefusedError(f"{target.place} refused a row for its content: {_reason(_driver_error(error))}")
    made.__cause__ = error
    return made


def unavailable(error: Exception, target: Database) -> StoreUnavailableError:
    """Give the error for a database that could not do what was asked: where it is, why, and the remedy."""
    original = _driver_error(error)
    reason = _reason(original)
    state = getattr(original, "sqlstate", None) or ""
    if is_missing_table(original):
        return StoreUnavailableError(f"{target.place} lacks our tables ({reason}): run `ire-otel db upgrade`")
    if state == _EXISTS_STATE or "already exists" in reason:
        return StoreUnavailableError(f"{target.place} has a table that is not ours ({reason}): name another database")
    return StoreUnavailableError(f"{target.place} cannot be used ({reason}): {_remedy(target, state, reason)}")


def is_about_content(error: Exception) -> bool:
    """Tell whether the same row would be refused again, on a database that works."""
    state = getattr(error, "sqlstate", None)
    if state:
        return str(state).startswith(_CONTENT_STATES)
    if "closed" in str(error) or "no such" in str(error):
        return False
    return type(error).__name__ in _CONTENT_ERRORS or isinstance(error, ValueError | TypeError | OverflowError)


def is_missing_table(error: Exception) -> bool:
    """Tell whether the database lacks a table or column that the statement names."""
    original = _driver_error(error)
    return getattr(original, "sqlstate", None) in _MISSING_STATES or str(original).startswith(_MISSING_IN_SQLITE)


def _driver_error(error: Exception) -> Any:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig else error


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _remedy(target: Database, state: str, reason: str) -> str:
    if target.file is None:
        return _postgres_remedy(target, state, reason)
    if "locked" in reason:
        return "another process holds it; it will be tried again"
    if "full" in reason:
        return "make room on its disk"
    return "check that the folder exists and is writable, and that the file is a SQLite database"


def _postgres_remedy(target: Database, state: str, reason: str) -> str:
    if state == _DENIED_STATE:
        return "grant its role the right, or a row level security policy, or connect as the tables' owner"
    if state.startswith("28") or any(word in reason for word in _WHO):
        return "check user and password in database_url"
    if "certificate" in reason or "SSL" in reason:
        return "check sslmode and sslrootcert in database_url"
    if "no answer" in reason or "timeout" in reason:
        return "it is overloaded or stalled, or a firewall swallows what is sent; it will be tried again"
    if (target.url.host or "").endswith(_SUPABASE_DIRECT):
        return "direct Supabase hosts have IPv6 addresses only: use the address of its pooler"
    return "check that it runs and that database_url is right"
