"""Run one function that queries a database in two ways: at once, and on an event loop.

Each query is written once, as a plain function of a Brain; `synchronous` and `asynchronous` make of it what is called.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from inspect import signature
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from ire_otel import settings
from ire_otel.db.engine import Database, async_engine, database, engine
from ire_otel.db.failures import unavailable
from ire_otel.db.migrate import ensure_current
from ire_otel.errors import StoreUnavailableError
from ire_otel.recording import host
from ire_otel.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Brain(NamedTuple):
    """What a query reads: an open connection to the database, and the settings that say where the files are."""

    settings: Settings
    connection: sa.Connection
    on_loop: bool = False
    """True: an event loop waits for this query, so nothing may block but the connection (which does not)."""

    def off_loop(self, work: Callable[[], R]) -> R:
        """Do what works on files or for long: on a thread, where an event loop waits."""
        return await_only(asyncio.to_thread(work)) if self.on_loop else work()


Ask = Callable[Concatenate[Brain, P], R]


def existing(url: str, pooler: str = "") -> Database:
    """Give the database at `url`, after making sure that it has our tables. Raises StoreUnavailableError."""
    target = database(url, pooler)
    if target.file is not None and not target.file.exists():
        raise StoreUnavailableError(
            f"no database at {target.file}: the first traced run makes it; check brain_dir or database_url"
        )
    _ensure_current_once(target)
    return target


def at_once(target: Database, chosen: Settings, work: Callable[[Brain], R]) -> R:
    """Do `work` on a connection of its own."""
    with _driver_errors(target), _engine(target).connect() as connection:
        result = work(Brain(chosen, connection))
        connection.commit()
        return result


async def on_loop(target: Database, chosen: Settings, work: Callable[[Brain], R]) -> R:
    """Do `work` on a connection of the running event loop."""
    with _driver_errors(target):
        async with (await _engine_of_loop(target)).connect() as connection:
            result = await connection.run_sync(lambda plain: work(Brain(chosen, plain, on_loop=True)))
            await connection.commit()
            return result


def synchronous(ask: Callable[Concatenate[Brain, P], R]) -> Callable[P, R]:
    """Make a function that asks the configured database, and waits for the answer."""

    @wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        chosen = configured()
        target = existing(chosen.database_url, chosen.pooler)
        return at_once(target, chosen, lambda brain: ask(brain, *args, **kwargs))

    return _as_called(ask, asked)


def asynchronous(ask: Callable[Concatenate[Brain, P], R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a coroutine function that asks the configured database."""

    @wraps(ask)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        chosen = configured()
        target = await asyncio.to_thread(existing, chosen.database_url, chosen.pooler)
        return await on_loop(target, chosen, lambda brain: ask(brain, *args, **kwargs))

    return _as_called(ask, asked)


def iterating(page: Callable[Concatenate[Brain, R | None, P], Sequence[R]]) -> Callable[P, Iterator[R]]:
    """Make an iterator of a query that gives one page: what comes after the last entry of the page before."""
    ask = synchronous(page)

    @wraps(page)
    def asked(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        last: R | None = None
        while entries := ask(last, *args, **kwargs):
            yield from entries
            last = entries[-1]

    return _as_called(page, asked, hidden=2)


def iterating_on_loop(page: Callable[Concatenate[Brain, R | None, P], Sequence[R]]) -> Callable[P, AsyncIterator[R]]:
    """Make an asynchronous iterator of a query that gives one page."""
    ask = asynchronous(page)

    @wraps(page)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        last: R | None = None
        while entries := await ask(last, *args, **kwargs):
            for entry in entries:
                yield entry
            last = entries[-1]

    return _as_called(page, asked, hidden=2)


def configured() -> Settings:
    """Give the settings of the runtime that is configured, else those of the working directory and environment."""
    runtime = host.installed()
    return settings.load() if runtime is None else runtime.settings


F = TypeVar("F", bound=Callable[..., Any])


def _as_called(ask: Callable[..., Any], asked: F, hidden: int = 1) -> F:
    """Show only the parameters that a caller gives: without the Brain, and without an iterator's position."""
    shown = signature(ask)
    asked.__signature__ = shown.replace(parameters=list(shown.parameters.values())[hidden:])  # type: ignore[attr-defined] # read by inspect.signature
    return asked


_ensure_current_once = lru_cache(maxsize=64)(ensure_current)
"""Looked up once a process and database: later on, a missing table is an error of the query itself."""
_engine = lru_cache(maxsize=64)(engine)
"""Kept because an engine remembers the SQL that it made of a query; it pools no connection."""

_Engines = dict[Database, tuple[AsyncEngine, AsyncGenerator[AsyncEngine, None]]]
_engines: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Engines]] = WeakKeyDictionary()


async def _engine_of_loop(target: Database) -> AsyncEngine:
    """Give the running loop's engine: a pooled connection belongs to the loop that opened it."""
    of_loop = _engines.setdefault(asyncio.get_running_loop(), {})
    if target not in of_loop:
        kept = _until_the_loop_ends(target)
        of_loop[target] = await anext(kept), kept
    return of_loop[target][0]


async def _until_the_loop_ends(target: Database) -> AsyncGenerator[AsyncEngine, None]:
    """Give an engine, and dispose of it when the loop closes its asynchronous generators, as asyncio.run does."""
    made = async_engine(target)
    try:
        yield made
    finally:
        _engines.pop(asyncio.get_running_loop(), None)
        await made.dispose()


@contextmanager
def _driver_errors(target: Database) -> Iterator[None]:
    """Turn errors of driver and network into a StoreUnavailableError; a mistake in a query stays what it is."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError) as error:
        raise unavailable(error, target) from error
    except Exception as error:
        # asyncpg's own errors come as they are while it connects.
        if type(error).__module__.startswith("asyncpg"):
            raise unavailable(error, target) from error
        raise
