"""Every query and view, on databases of a thousand to a million runs."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from benchmarks import postgres
from benchmarks.population import Population, record_seeds
from benchmarks.results import Figure, Figures, Goal, Scale, percentile
from ire_otel import TraceQuery
from ire_otel.db.engine import Database, engine
from ire_otel.db.tables import VIEWS, traces
from ire_otel.query import files, human, patterns, runs
from ire_otel.query.effects import decision_effects
from ire_otel.query.execution import Brain
from ire_otel.query.results import TraceResult, run_result
from ire_otel.query.search import search
from ire_otel.settings import Settings

TITLE: Final = "Queries"
REMARK: Final = (
    "Each query of TraceQuery and each view, on a connection that is open, until all rows are read, a few hundred "
    "different runs multiplied. Views that list runs are read as people read them, the newest 100. `connecting` is "
    "the same query as by_intent, asked as a script asks it: TraceQuery.sync opens a connection each time. Decisions "
    "(40 a run) are measured up to 100,000 runs, searches up to 10,000; the sums of days are up to date. A query that "
    "takes longer than the 30 s after which ire-otel gives up is shown with the time it would have taken. A small "
    "database has fewer rows for some answers than they may hold. `same rows`: such a query once more, with a limit of "
    "as many rows as the smallest database gave; the goal of growth holds these times, where there are any, against "
    "the smallest database's, because more rows take longer however they are found."
)
CHARTS: Final = ()
SAME_ROWS: Final = "p50, same rows"


class Size(NamedTuple):
    """How large the databases are made, and how patiently they are asked."""

    sqlite: tuple[int, ...]
    postgres: tuple[int, ...]
    seeds: int
    samples: int
    seconds: float
    """For each query at each size, at most."""


SIZES: Final = {
    Scale.SMALLEST: Size(sqlite=(20, 40), postgres=(), seeds=10, samples=2, seconds=0.1),
    Scale.QUICK: Size(sqlite=(200, 1_000), postgres=(200, 1_000), seeds=100, samples=7, seconds=0.1),
    Scale.FULL: Size(
        sqlite=(1_000, 10_000, 100_000), postgres=(1_000, 10_000, 100_000, 1_000_000), seeds=200, samples=41, seconds=4
    ),
}
DECIDED: Final = 100_000
"""Most runs with rows in trace_decisions."""
SEARCHED: Final = 10_000
"""Most runs that are searched: their words are taken in at 3 ms each."""
PATIENCE: Final = "120s"
"""After which Postgres itself breaks a query off; it then counts with that."""
SLOW: Final = 10_000
"""Milliseconds; what takes longer is asked once."""
LISTING_VIEWS: Final = ("trace_quality_gaps", "trace_gate_failures")
OVER_EVERYTHING: Final = ("summary", "principle_patterns", "decision_effects")
"""Queries that no index can spare from reading what they sum up."""
AGGREGATES: Final = (*OVER_EVERYTHING, *(view for view in VIEWS if view not in LISTING_VIEWS))
WITH_DECISIONS: Final = (
    *("decisions(type)", "decisions(type, rare)", "decisions(stage)", "decisions(component)"),
    *("decision_effects", "trace_decision_outcomes", "trace_component_outcomes"),
)


class Asked(NamedTuple):
    """What queries are asked with: runs from the middle of those that there are."""

    one: TraceResult
    other: TraceResult


class Answer(NamedTuple):
    """How long a query took, and how many rows it gave."""

    milliseconds: float
    rows: int


Question = Callable[[Brain, Asked], object]
QUESTIONS: Final[Mapping[str, Question]] = {
    "by_intent": lambda brain, _: runs.by_intent(brain, "validating"),
    "by_domain": lambda brain, _: runs.by_domain(brain, "domain-3"),
    "by_project": lambda brain, _: runs.by_project(brain, "project-3"),
    "by_status": lambda brain, _: runs.by_status(brain, "failed"),
    "low_scoring_principle": lambda brain, _: runs.low_scoring_principle(brain, "META-12"),
    "low_scoring_principle, threshold 3": lambda brain, _: runs.low_scoring_principle(brain, "META-12", 3),
    "quality_gate_failures": lambda brain, _: runs.quality_gate_failures(brain),
    "flagged_for_review": lambda brain, _: runs.flagged_for_review(brain),
    "slowest": lambda brain, _: runs.slowest(brain),
    "costliest": lambda brain, _: runs.costliest(brain),
    "search": lambda brain, _: search(brain, '"competitive landscape" variant'),
    "decisions(type)": lambda brain, _: runs.decisions(brain, "intake_choice_3"),
    "decisions(type, rare)": lambda brain, _: runs.decisions(brain, "never_taken"),
    "decisions(stage)": lambda brain, _: runs.decisions(brain, stage="synthesis"),
    "decisions(component)": lambda brain, _: runs.decisions(brain, component="RubricLoader"),
    "iter_runs, first page": lambda brain, _: runs.runs_after(brain, None),
    "iter_runs, page in the middle": lambda brain, asked: runs.runs_after(brain, asked.one),
    "iter_runs, intent and status": lambda brain, _: runs.runs_after(brain, None, intent="deciding", status="failed"),
    "principle_patterns": lambda brain, _: patterns.principle_patterns(brain),
    "decision_effects": lambda brain, _: decision_effects(brain, "META-12"),
    "summary": lambda brain, _: patterns.summary(brain),
    "compare": lambda brain, asked: files.compare(brain, asked.one.trace_id, asked.other.trace_id),
    "full_trace": lambda brain, asked: files.full_trace(brain, asked.one.trace_id),
    "flag": lambda brain, asked: human.flag(brain, asked.one.trace_id, True),  # noqa: FBT003 # as it is called
    "note": lambda brain, asked: human.note(brain, asked.one.trace_id, "seen"),
}
INDEXED: Final = tuple(name for name in QUESTIONS if name not in OVER_EVERYTHING)
"""Queries that an index can serve."""


def measure(scale: Scale) -> list[Figure]:
    """Let databases grow, and ask each of them everything at each size."""
    size = SIZES[scale]
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="ire-otel-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        seeds = record_seeds(folder / "brain", size.seeds)
        urls = {"SQLite": (f"sqlite:///{folder / 'grown.db'}", size.sqlite)}
        if size.postgres:
            urls["Postgres"] = (stack.enter_context(postgres.server(folder / "postgres")), size.postgres)
        for of, (url, numbers) in urls.items():
            population = Population(url, seeds)
            fewest: dict[str, int] = {}
            for number in numbers:
                population.grow(number, DECIDED, SEARCHED)
                chosen = msgspec.structs.replace(seeds, database_url=url)
                figures += _ask_everything(of, population, chosen, size, fewest)
    return figures


def _ask_everything(
    of: str, population: Population, chosen: Settings, size: Size, fewest: dict[str, int]
) -> Iterator[Figure]:
    """Ask all; `fewest` keeps how many rows each answer had in the smallest database."""
    runs = population.runs
    with _connection(population.target) as connection:
        brain = Brain(chosen, connection)
        asked = _asked(connection)
        questions = {**QUESTIONS, **{view: _view(view) for view in VIEWS}, "connecting": _connecting(chosen)}
        for name, question in questions.items():
            if (runs > DECIDED and name in WITH_DECISIONS) or (runs > SEARCHED and name == "search"):
                continue
            ask = partial(_timed, partial(question, brain, asked), connection)
            samples = list(_samples(ask, size))
            figure = partial(Figure, of=f"{name}, {of}", unit="ms", at=runs)
            yield figure(what="p50", samples=samples)
            yield figure(what="p95", samples=[percentile(samples, 95)])
            if name in INDEXED and (rows := ask().rows) > fewest.setdefault(name, rows):
                with _at_most(max(fewest[name], 1), connection):
                    yield figure(what=SAME_ROWS, samples=list(_samples(ask, size)))


@contextmanager
def _at_most(rows: int, connection: sa.Connection) -> Iterator[None]:
    """Have every statement give at most so many rows."""

    def limit(_: sa.Connection, statement: sa.Executable, *parameters: Any) -> tuple[Any, ...]:
        limited = statement.limit(rows) if isinstance(statement, sa.Select) else statement
        return limited, *parameters[:2]

    event.listen(connection, "before_execute", limit, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_execute", limit)


def _samples(ask: Callable[[], Answer], size: Size) -> Iterator[float]:
    """Ask once to warm up, then until there are enough samples or the time is up; what is slow, only once."""
    first = ask().milliseconds
    if first > SLOW:
        yield first
        return
    spent, count = 0.0, 0
    while (count < 3 and spent < SLOW) or (count < size.samples and spent < size.seconds * 1000):
        taken = ask().milliseconds
        spent, count = spent + taken, count + 1
        yield taken


def _timed(question: Callable[[], object], connection: sa.Connection) -> Answer:
    """Give the milliseconds until the answer; where Postgres broke it off, until then."""
    answer: object = []
    began = perf_counter()
    try:
        answer = question()
    except OperationalError as error:
        if "statement timeout" not in str(error):
            raise
        connection.rollback()
    taken = (perf_counter() - began) * 1000
    connection.commit()
    return Answer(taken, len(answer) if isinstance(answer, list) else 1)


def _view(name: str) -> Question:
    query = f"SELECT * FROM {name}" + (" LIMIT 100" if name in LISTING_VIEWS else "")  # noqa: S608 # one of VIEWS
    return lambda brain, _: brain.connection.exec_driver_sql(query).all()


def _connecting(chosen: Settings) -> Question:
    """Ask as a script does, which has its settings in the environment."""

    def ask(_: Brain, __: Asked) -> None:
        with _environment(IRE_OTEL_BRAIN_DIR=str(chosen.brain_dir), IRE_OTEL_DATABASE_URL=chosen.database_url):
            TraceQuery.sync.by_intent("validating")

    return ask


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _connection(target: Database) -> Iterator[sa.Connection]:
    made = engine(target, patient=True)
    with made.connect() as connection:
        if target.file is None:
            connection.exec_driver_sql(f"SET statement_timeout = '{PATIENCE}'")
            connection.commit()
        yield connection


def _asked(connection: sa.Connection) -> Asked:
    number = connection.scalar(sa.select(sa.func.count()).select_from(traces)) or 0
    columns = [traces.c[name] for name in TraceResult.__struct_fields__]
    middle = sa.select(*columns).order_by(traces.c.started_at).offset(number // 2).limit(2)
    first, second = (run_result(row) for row in connection.execute(middle).mappings())
    connection.rollback()
    return Asked(first, second)


def goals(figures: Figures) -> Iterator[Goal]:
    """Indexed queries stay as fast as they were; sums over everything stay bearable."""
    grown = {name: _growth(figures, f"{name}, Postgres") for name in (*INDEXED, *LISTING_VIEWS)}
    yield _worst(
        "queries that an index can serve, Postgres, smallest to largest database: p50 of as many rows grows",
        {name: growth for name, growth in grown.items() if growth is not None},
        bound=2,
        unit="×",
    )
    for of in ("Postgres", "SQLite"):
        sizes = {name: figures.sizes("p50", f"{name}, {of}")[-1:] for name in AGGREGATES}
        medians = {name: figures.median("p50", f"{name}, {of}", at[0]) for name, at in sizes.items() if at}
        seconds = {name: median / 1000 for name, median in medians.items() if median is not None}
        yield _worst(f"sums over all runs of the largest database, {of}: p50", seconds, bound=1, unit="s")


def _growth(figures: Figures, of: str) -> float | None:
    """Give the p50 in the largest database, of as many rows as the smallest has, over that in the smallest."""
    sizes = figures.sizes("p50", of)
    last = figures.median(SAME_ROWS, of, sizes[-1]) if len(sizes) > 1 else None
    first = figures.median("p50", of, sizes[0]) if sizes else None
    return figures.growth("p50", of) if last is None or first is None else last / first


def _worst(what: str, found: Mapping[str, float], bound: float, unit: str) -> Goal:
    """Hold the worst against the bound, and name all that miss it, the worst first."""
    missed = sorted((name for name in found if found[name] > bound), key=lambda name: -found[name])
    remark = ", ".join(f"{name} {found[name]:,.1f}" for name in missed)
    return Goal(
        what=what,
        measured=max(found.values(), default=None),
        bound=bound,
        unit=unit,
        remark=f"missed by {len(missed)} of {len(found)}: {remark}" if missed else "",
    )
