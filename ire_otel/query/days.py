"""Which days of a window of time are read from their sums, and which times are read from the runs themselves."""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc

from ire_otel.db.daily_sums import due, sum_up
from ire_otel.db.daily_tables import stale_days
from ire_otel.db.tables import traces
from ire_otel.query.conditions import Condition, utc
from ire_otel.query.execution import Brain

logger = logging.getLogger("ire_otel")

ARREARS: Final = 7
"""Days that nobody has summed up, of which a query rather reads the runs."""
PATIENCE: Final = 5.0
"""Seconds after which a query that sums up days leaves the others to the next."""
_DAY: Final = timedelta(days=1)


class Days(NamedTuple):
    """A window of time, cut into whole days whose sums hold, and the rest."""

    first: date | None
    """The first whole day; None: there is no beginning."""
    end: date | None
    """The day after the last whole one; None: there is no end."""
    stale: list[date]
    """Of these, the days whose sums are out of date, in order."""
    edges: list[tuple[datetime, datetime]]
    """What of the window lies in no whole day: from, and before when."""

    def summed(self, day: sa.ColumnElement[date]) -> Iterator[Condition]:
        """Give the conditions for rows of daily sums."""
        if self.first is not None:
            yield day >= self.first
        if self.end is not None:
            yield day < self.end
        if self.stale:
            yield day.not_in(self.stale)

    def other(self) -> Condition:
        """Give the condition for runs that are in no sum, but in the window."""
        began = traces.c.started_at
        spans = [(_midnight(first), _midnight(end)) for first, end in _joined(self.stale)] + self.edges
        return sa.or_(sa.false(), *(sa.and_(began >= first, began < end) for first, end in spans))


def days(brain: Brain, since: datetime | None, until: datetime | None) -> Days:
    """Cut the window of runs that began at `since` or later and before `until` into days.

    Sums up what nobody has summed up for long, where this connection may write.
    """
    _sum_up_arrears(brain.connection)
    begin, end = utc("since", since), utc("until", until)
    first = None if begin is None else _first_whole(begin)
    last = None if end is None else end.date()
    if first is not None and last is not None and first > last:
        # Both are within one day.
        return Days(first, first, [], [] if begin is None or end is None else [(begin, end)])
    edges = []
    if begin is not None and first is not None:
        edges.append((begin, _midnight(first)))
    if end is not None and last is not None:
        edges.append((_midnight(last), end))
    whole = Days(first, last, [], [])
    stale = sa.select(stale_days.c.day).distinct().where(*whole.summed(stale_days.c.day)).order_by(stale_days.c.day)
    return whole._replace(
        stale=list(brain.connection.scalars(stale)), edges=[(start, stop) for start, stop in edges if start < stop]
    )


def _sum_up_arrears(connection: sa.Connection) -> None:
    deadline = monotonic() + PATIENCE
    try:
        arrears = due(connection)
        if len(arrears) > ARREARS:
            for day in arrears:
                if monotonic() > deadline or not sum_up(connection, day):
                    break
    except (exc.DBAPIError, TimeoutError) as error:
        # Who may only read, or comes second, gets the same answer, later.
        connection.rollback()
        logger.debug("days are not summed up: %s", error)


def _first_whole(begin: datetime) -> date:
    """Give the first day that begins at `begin` or later; the last one that there is has no next."""
    return begin.date() if begin == _midnight(begin.date()) or begin.date() == date.max else begin.date() + _DAY


def _joined(found: list[date]) -> Iterator[tuple[date, date]]:
    """Give days that follow one another as one span: the first, and the day after the last."""
    if found:
        starts = [found[0], *(day for before, day in pairwise(found) if day - before > _DAY)]
        ends = [*(before for before, day in pairwise(found) if day - before > _DAY), found[-1]]
        yield from zip(starts, (end + _DAY for end in ends), strict=True)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def added(*parts: sa.Select[*tuple[Any, ...]]) -> sa.Subquery:
    """Give what sums and runs say, one after the other."""
    return sa.union_all(*parts).subquery()


def whole(total: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """Add up counts. Postgres would make a decimal of it."""
    return sa.cast(sa.func.sum(total), sa.BigInteger)


def mean(total: sa.ColumnElement[Any], count: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Divide a sum by a count; NULL where nothing was counted."""
    return sa.func.sum(total) / sa.cast(sa.func.nullif(sa.func.sum(count), 0), sa.Float)
