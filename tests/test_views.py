"""The SQL views: on both databases what plain Python makes of the same runs, and as docs/sql-views.md says."""

import random
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import UNSET

from ire_otel.db.engine import database, engine
from ire_otel.db.store import RunStore
from ire_otel.db.tables import VIEWS
from ire_otel.db.types import JsonObject, TextList, UtcDateTime
from ire_otel.model import PrincipleScore, ScoreNote, StageTrace, TokenUsage, TraceDocument
from ire_otel.row import Row, RunRow, row
from tests.sample_document import LOCATION, decision, sample_document

PAGE = Path(__file__).parent.parent / "docs/sql-views.md"
TYPES: dict[str, Any] = {
    "gap_principles": TextList,
    "principle_scores": JsonObject,
    "quality_gate_passed": sa.Boolean,
    "started_at": UtcDateTime,
    "week": sa.Date,
}
Rows = Iterable[dict[str, Any]]


@cache
def runs() -> list[Row]:
    """Give runs of every kind: unfinished ones, some without gate, scores, usage, source or intent."""
    chance = random.Random(7)  # noqa: S311 # nothing here is secret
    return [row(_document(number, chance), LOCATION) for number in range(120)]


def _document(number: int, chance: random.Random) -> TraceDocument:
    started = datetime(2025, 12, 20, tzinfo=UTC) + timedelta(hours=9.7 * number)
    stages = {"intake": _intake(chance), "collection": _collection(chance), "synthesis": _synthesis(chance)}
    if chance.random() < 0.8:
        stages["quality_gate"] = _gate(chance)
    return sample_document(
        number,
        stages=stages,
        intent=chance.choice(["validating", "exploring", None]),
        domain=chance.choice(["robotics", "edtech", None]),
        report_type=chance.choice(["market_research", "roadmap"]),
        status=chance.choice(["complete", "complete", "complete", "failed", "incomplete"]),
        started_at=started.isoformat(),
        duration_seconds=chance.choice([None, chance.uniform(1, 300)]),
    )


def _intake(chance: random.Random) -> StageTrace:
    taken = [
        decision(
            chance.choice(["classified_intent", "bias"]),
            what=chance.choice(["validating", ["two", "parts"], "größer 漢字"]),
            component=chance.choice(["Intake", "Bias", None]),
            confidence=chance.choice([None, chance.random()]),
        )
        for _ in range(chance.randrange(5))
    ]
    return StageTrace(duration_seconds=chance.choice([None, chance.uniform(0, 9)]), decisions=taken)


def _collection(chance: random.Random) -> StageTrace:
    items: list[dict[str, Any]] = [
        {"url": f"https://e.org/{number}", "source": source, "scores": {"composite": chance.random()}}
        for number, source in enumerate(chance.choices(["exa", "reddit", "ifr"], k=chance.randrange(6)))
    ]
    evidence = {"by_source": {"exa": chance.randrange(30)}, "kept": items[::2], "filtered_out": items[1::2]}
    return StageTrace(duration_seconds=chance.uniform(10, 60), evidence=evidence)


def _synthesis(chance: random.Random) -> StageTrace:
    usage = TokenUsage(input_tokens=chance.randrange(50_000), output_tokens=chance.choice([None, 3_000]))
    cost: Any = chance.choice([UNSET, chance.random()])
    model = chance.choice(["claude-opus-4-6", "small"])
    return StageTrace(duration_seconds=chance.uniform(60, 200), model=model, token_usage=usage, cost_usd=cost)


def _gate(chance: random.Random) -> StageTrace:
    scores = [PrincipleScore(id=f"META-{number}", score=chance.choice([0, 1.5, 2, 3, None])) for number in range(4)]
    overall: Any = chance.choice([UNSET, chance.uniform(0, 3)])
    passing: Any = chance.choice([True, True, False, UNSET])
    return StageTrace(
        duration_seconds=chance.uniform(1, 30),
        principle_scores=scores,
        gaps=[ScoreNote(id=score.id, score=score.score) for score in scores if score.score in {0, 1.5}],
        overall_score=overall,
        passing=passing,
    )


@pytest.fixture
def filled_url(database_url: str) -> str:
    """URL of a database that holds `runs()`."""
    with closing(RunStore(database_url)) as store:
        assert store.save(runs()) == {}
    return database_url


def test_every_view_gives_what_python_computes(filled_url: str) -> None:
    """Column by column, on both databases: so they also agree with each other."""
    assert set(EXPECTED) == set(VIEWS)
    for view, compute in EXPECTED.items():
        assert _comparable(_asked(filled_url, view)) == _comparable(compute()), view


def test_views_of_an_empty_database_are_empty(database_url: str) -> None:
    """No run: no line, no error."""
    assert [view for view in VIEWS if _asked(database_url, view)] == []


def test_no_number_is_a_decimal(filled_url: str) -> None:
    """Postgres makes NUMERIC of some sums and means, which programs could not add to a float."""
    types = {type(value).__name__ for view in VIEWS for entry in _asked(filled_url, view) for value in entry.values()}
    assert types == {"NoneType", "bool", "date", "datetime", "dict", "float", "int", "list", "str"}


def test_the_page_explains_every_column(filled_url: str) -> None:
    """One section a view, and in it one line a column, in their order."""
    sections = dict(re.findall(r"(?ms)^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8")))
    assert list(sections) == list(VIEWS)
    for view, text in sections.items():
        cells = re.findall(r"(?m)^\| (`.*?) \|", text)
        named = re.findall(r"`(\w+)`", " ".join(cells))
        assert named == list(_asked(filled_url, view)[0]), view


def test_the_examples_of_the_page_run(filled_url: str) -> None:
    """Each view has one, it runs on both databases as it stands, and finds something."""
    examples = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [re.findall(r"FROM (trace_\w+)", example)[0] for example in examples] == list(VIEWS)
    with engine(database(filled_url)).connect() as connection:
        assert [example for example in examples if not connection.execute(sa.text(example)).all()] == []


def _asked(url: str, view: str) -> list[dict[str, Any]]:
    with engine(database(url)).connect() as connection:
        statement = sa.select(sa.text("*")).select_from(sa.table(view))
        names = connection.execute(statement).keys()
        columns: list[sa.ColumnClause[Any]] = [sa.column(name, TYPES.get(name)) for name in names]
        found = connection.execute(sa.select(*columns).select_from(sa.table(view))).mappings()
        return [dict(entry) for entry in found]


def _comparable(rows: Rows) -> list[list[tuple[str, Any]]]:
    """Give the lines in an order of their own, without the last digits, which depend on the order of adding."""
    return sorted(([(name, _rounded(value)) for name, value in entry.items()] for entry in rows), key=str)


def _rounded(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def _complete() -> list[Row]:
    return [made for made in runs() if made.run.status == "complete"]


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _percentile(values: list[float], share: float) -> float:
    place = share * (len(values) - 1)
    below, values = int(place), [*sorted(values), 0]
    return values[below] + (place - below) * (values[below + 1] - values[below])


def _moment(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def _week(run: RunRow) -> date:
    day = _moment(run.started_at).date()
    return day - timedelta(days=day.weekday())


def _columns(run: RunRow, names: str) -> dict[str, Any]:
    return {name: getattr(run, name) for name in names.split()} | {"started_at": _moment(run.started_at)}


def _counts(group: list[RunRow]) -> dict[str, Any]:
    verdicts = [run.quality_gate_passed for run in group]
    return {"passed": verdicts.count(True), "failed": verdicts.count(False)}


def _outcome(group: list[RunRow]) -> dict[str, Any]:
    return _counts(group) | {
        "pass_rate": _mean(run.quality_gate_passed for run in group),
        "avg_quality": _mean(run.overall_quality_score for run in group),
    }


def _quality_gaps() -> Rows:
    names = (
        "trace_id project_id intent domain report_type overall_quality_score quality_gate_passed gap_principles "
        "principle_scores started_at project_name"
    )
    return [_columns(made.run, names) for made in _complete() if made.run.gap_principles]


def _gate_failures() -> Rows:
    names = (
        "trace_id project_name query intent domain report_type overall_quality_score gap_principles iteration_count "
        "quality_gate_failures started_at trace_file_path report_file_path"
    )
    return [_columns(made.run, names) for made in _complete() if made.run.quality_gate_passed is False]


def _summary(column: str) -> Rows:
    for key, group in _grouped((getattr(made.run, column), made.run) for made in _complete()).items():
        means = {
            "avg_quality": _mean(run.overall_quality_score for run in group),
            "avg_duration": _mean(run.duration_seconds for run in group),
            "avg_cost": _mean(run.synthesis_cost_usd for run in group),
        }
        yield {column: key, "total_runs": len(group)} | _counts(group) | means


def _principle_summary() -> Rows:
    scored = (
        ((score.principle_id, score.intent, score.report_type), score.score)
        for made in _complete()
        for score in made.principle_scores
        if score.score is not None
    )
    for (principle, intent, report_type), scores in _grouped(scored).items():
        low = [score for score in scores if score < 2]
        yield {"principle_id": principle, "intent": intent, "report_type": report_type, "runs": len(scores)} | {
            "avg_score": statistics.fmean(scores),
            "below_threshold": len(low),
            "share_below_threshold": len(low) / len(scores),
        }


def _weekly_quality() -> Rows:
    for week, group in _grouped((_week(made.run), made.run) for made in _complete()).items():
        cost = {"avg_cost": _mean(run.cost_usd for run in group)}
        yield {"week": week, "runs": len(group)} | _outcome(group) | cost


def _stage_timing() -> Rows:
    timed = ((stage.stage, stage.duration_seconds) for made in _complete() for stage in made.stages)
    for stage, found in _grouped(timed).items():
        seconds = [duration for duration in found if duration is not None]
        # No stage of these runs has a second attempt.
        yield {"stage": stage, "runs": len(seconds), "attempts": len(seconds), "avg_duration": _mean(seconds)} | {
            "p50": _percentile(seconds, 0.5),
            "p95": _percentile(seconds, 0.95),
            "longest": max(seconds),
        }


def _cost_summary() -> Rows:
    used = (((_week(made.run), use.model, made.run.intent), use) for made in runs() for use in made.model_usage)
    for (week, model, intent), uses in _grouped(used).items():
        sums = {
            name: _sum(getattr(use, name) for use in uses)
            for name in ("calls", "input_tokens", "output_tokens", "cost_usd")
        }
        yield {"week": week, "model": model, "intent": intent, "runs": len(uses)} | sums


def _decision_outcomes() -> Rows:
    taken = ((key, made.run) for made in _complete() for key in {(d.decision_type, d.what) for d in made.decisions})
    for (kind, what), group in _grouped(taken).items():
        yield {"decision_type": kind, "what": what, "runs": len(group)} | _outcome(group)


def _component_outcomes() -> Rows:
    taken = (((d.component, d.decision_type), (made.run, d)) for made in _complete() for d in made.decisions)
    for (component, kind), found in _grouped(taken).items():
        group = list({run.trace_id: run for run, _ in found}.values())
        yield (
            {"component": component, "decision_type": kind, "runs": len(group), "decisions": len(found)}
            | {"avg_confidence": _mean(d.confidence for _, d in found)}
            | _outcome(group)
        )


def _source_outcomes() -> Rows:
    used = ((found.source, (made.run, found)) for made in _complete() for found in made.sources)
    for source, pairs in _grouped(used).items():
        sums = {name: _sum(getattr(found, name) for _, found in pairs) for name in ("collected", "kept", "filtered")}
        score = {"avg_evidence_score": _mean(found.mean_score for _, found in pairs)}
        yield {"source": source, "runs": len(pairs)} | sums | score | _outcome([run for run, _ in pairs])


EXPECTED: dict[str, Callable[[], Rows]] = {
    "trace_quality_gaps": _quality_gaps,
    "trace_intent_summary": lambda: _summary("intent"),
    "trace_domain_summary": lambda: _summary("domain"),
    "trace_principle_summary": _principle_summary,
    "trace_gate_failures": _gate_failures,
    "trace_weekly_quality": _weekly_quality,
    "trace_stage_timing": _stage_timing,
    "trace_cost_summary": _cost_summary,
    "trace_decision_outcomes": _decision_outcomes,
    "trace_component_outcomes": _component_outcomes,
    "trace_source_outcomes": _source_outcomes,
}
