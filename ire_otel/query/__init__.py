"""Questions about recorded runs, answered from the database and the trace files. No SQL needed.

`await TraceQuery.by_intent("validating")` in a coroutine, `TraceQuery.sync.by_intent("validating")` in a script.
"""

from typing import Final

from ire_otel.query import files, human, patterns, runs
from ire_otel.query.effects import DecisionEffect, decision_effects
from ire_otel.query.execution import asynchronous, iterating, iterating_on_loop, synchronous
from ire_otel.query.results import DecisionResult, QueryError, Results, RunNotFoundError, TraceResult
from ire_otel.query.runs import find_run, list_runs
from ire_otel.query.search import search

__all__ = [
    "DecisionEffect",
    "DecisionResult",
    "QueryError",
    "Results",
    "RunNotFoundError",
    "SyncTraceQuery",
    "TraceQuery",
    "TraceResult",
    "find_run",
    "list_runs",
]


class SyncTraceQuery:
    """TraceQuery for scripts and notebooks: the same methods, which wait for the answer."""

    by_intent = staticmethod(synchronous(runs.by_intent))
    by_domain = staticmethod(synchronous(runs.by_domain))
    by_project = staticmethod(synchronous(runs.by_project))
    by_status = staticmethod(synchronous(runs.by_status))
    low_scoring_principle = staticmethod(synchronous(runs.low_scoring_principle))
    quality_gate_failures = staticmethod(synchronous(runs.quality_gate_failures))
    flagged_for_review = staticmethod(synchronous(runs.flagged_for_review))
    slowest = staticmethod(synchronous(runs.slowest))
    costliest = staticmethod(synchronous(runs.costliest))
    search = staticmethod(synchronous(search))
    decisions = staticmethod(synchronous(runs.decisions))
    iter_runs = staticmethod(iterating(runs.runs_after))
    principle_patterns = staticmethod(synchronous(patterns.principle_patterns))
    decision_effects = staticmethod(synchronous(decision_effects))
    summary = staticmethod(synchronous(patterns.summary))
    compare = staticmethod(synchronous(files.compare))
    full_trace = staticmethod(synchronous(files.full_trace))
    flag = staticmethod(synchronous(human.flag))
    note = staticmethod(synchronous(human.note))


class TraceQuery:
    """Questions about recorded runs, in the configured database: every method is a coroutine; `sync` has its twin.

    The database is that of `ire_otel.configure()`, else of ire_otel.toml and the environment. Runs come newest first.
    """

    by_intent = staticmethod(asynchronous(runs.by_intent))
    by_domain = staticmethod(asynchronous(runs.by_domain))
    by_project = staticmethod(asynchronous(runs.by_project))
    by_status = staticmethod(asynchronous(runs.by_status))
    low_scoring_principle = staticmethod(asynchronous(runs.low_scoring_principle))
    quality_gate_failures = staticmethod(asynchronous(runs.quality_gate_failures))
    flagged_for_review = staticmethod(asynchronous(runs.flagged_for_review))
    slowest = staticmethod(asynchronous(runs.slowest))
    costliest = staticmethod(asynchronous(runs.costliest))
    search = staticmethod(asynchronous(search))
    decisions = staticmethod(asynchronous(runs.decisions))
    iter_runs = staticmethod(iterating_on_loop(runs.runs_after))
    principle_patterns = staticmethod(asynchronous(patterns.principle_patterns))
    decision_effects = staticmethod(asynchronous(decision_effects))
    summary = staticmethod(asynchronous(patterns.summary))
    compare = staticmethod(asynchronous(files.compare))
    full_trace = staticmethod(asynchronous(files.full_trace))
    flag = staticmethod(asynchronous(human.flag))
    note = staticmethod(asynchronous(human.note))

    sync: Final = SyncTraceQuery
