"""What writing runs leaves to be done later, a small piece at a time: sums of days, and the words of a search."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from ire_otel.db.daily_sums import due, is_about_others, sum_up
from ire_otel.db.engine import Database, engine
from ire_otel.db.failures import wrapped
from ire_otel.db.migrate import ensure_current
from ire_otel.db.search_index import take_in


def catch_up(target: Database) -> bool:
    """Do the next piece: sum up a day, and take in the words of some runs; gives whether there is more.

    Who writes runs on SQLite holds the lock of its RunStore meanwhile. Raises StoreUnavailableError.
    """
    ensure_current(target)
    with wrapped(target), engine(target).connect() as connection:
        # Both, whatever the first says.
        return sum(_if_allowed(piece, connection) for piece in (sum_up_next, take_in)) > 0


def _if_allowed(piece: Callable[[sa.Connection], bool], connection: sa.Connection) -> bool:
    """Do a piece, unless the role that we are may not: the tables' owner does, or whoever asks."""
    try:
        return piece(connection)
    except exc.DBAPIError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
            raise
        return False


_NOT_ALLOWED: Final = "42501"


def sum_up_next(connection: sa.Connection) -> bool:
    """Sum up a day; gives whether there is another."""
    days = due(connection)
    try:
        return bool(days) and sum_up(connection, days[0]) and len(days) > 1
    except exc.DBAPIError as error:
        connection.rollback()
        if not is_about_others(error):
            raise
        return False
