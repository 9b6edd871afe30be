"""A psycopg connection on which nothing waits for ever, not even for a server that is up but stalled."""

from typing import Any

import psycopg
from psycopg.abc import PQGen

from ire_otel.db.engine import COMMAND_TIMEOUT


class BoundedConnection(psycopg.Connection[Any]):
    """Gives up on a command after a while, and closes: a late answer would be taken for that to the next question.

    The server's own `statement_timeout` cannot help where nothing comes back from it.
    """

    command_timeout: float = COMMAND_TIMEOUT
    """Seconds."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for a command, at most `command_timeout` where the caller sets no limit of its own."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.command_timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 # has no public name; an OperationalError to others
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.command_timeout:g} s") from error
