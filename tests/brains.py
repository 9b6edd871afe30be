"""Brain folders for tests: runs that were really recorded, odd ones among them, and what people said about them."""

import contextlib
import random
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

import ire_otel
from ire_otel.calibration import Calibration
from ire_otel.db import tables
from ire_otel.db.engine import database, engine
from ire_otel.db.migrate import downgrade, upgrade
from ire_otel.query import TraceQuery
from ire_otel.settings import Settings

ODD: Final = "a\0b 'quoted' \"%s\" :name ? {} \\ é 漢字 🤖"
INTENTS: Final = ("validating", "exploring", "learning", "x" * 300, ODD, None)
PROJECTS: Final = ("cobot", "garden", "../../Escape", ODD, None)
PRINCIPLES: Final = ("META-1", "META-5", "META-12", ODD)
MADE_LATER = ("trace_daily_", "trace_stale_", "trace_search_")
"""Tables that say of the runs what is said already, and what of it is still to be said."""
MADE_ANEW: Final = ("id", "created_at", "updated_at")
"""Columns of `traces` that a new row has of its own."""


def configure(brain: Path, database_url: str) -> Settings:
    """Record into that folder and database from now on; give the settings that say so."""
    ire_otel.configure(brain_dir=brain, database_url=database_url, link_reports=True)
    return Settings(brain_dir=brain, database_url=database_url)


def record(brain: Path, runs: int) -> list[str]:
    """Record runs, no two alike, and wait until they are written; give their trace_ids."""
    dice = random.Random(runs)  # noqa: S311 # the same runs each time
    recorded = []
    for number in range(runs):
        with (
            contextlib.suppress(ValueError),
            ire_otel.run(
                f"question {number} {ODD if number % 9 == 0 else ''}",
                project_name=PROJECTS[number % len(PROJECTS)],
                intent=dice.choice(INTENTS),
                domain=dice.choice(("robotics", "edtech", None)),
                report_type=dice.choice(("market_research", None)),
            ) as trace,
        ):
            recorded.append(trace.trace_id)
            _work(trace, number, dice)
            if number % 7:
                trace.set_outputs({"report_path": _report(brain, number), "evidence_paths": ["e1.json", ODD]})
    assert ire_otel.flush(60)
    return recorded


def say(trace_ids: list[str]) -> None:
    """Say something about each of the runs: flag it, take some flags off again, add notes, give scores of one's own."""
    for number, trace_id in enumerate(trace_ids):
        TraceQuery.sync.flag(trace_id, who="dana")
        TraceQuery.sync.note(trace_id, f"look again, {ODD}", who="dana")
        if number % 3 == 0:
            TraceQuery.sync.note(trace_id, "a second look: fine")
            TraceQuery.sync.flag(trace_id, False)
        if any(one.principle_id == "META-12" for one in Calibration.sync.draft(trace_id).principles):
            Calibration.sync.capture(trace_id, {"META-12": 1.5}, note="too strict", reviewer="dana")
        else:
            Calibration.sync.capture(trace_id, note=f"no gate, {ODD}", corrections={"intent": "exploring"})


def content(database_url: str) -> dict[str, list[dict[str, Any]]]:
    """Give all that the database holds of runs and of what people said, whatever the order."""
    found = {}
    with engine(database(database_url)).connect() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name not in {"projects", "trace_flags"} and not table.name.startswith(MADE_LATER):
                columns = [column for column in table.c if table is not tables.traces or column.name not in MADE_ANEW]
                rows = connection.execute(sa.select(*columns)).mappings()
                found[table.name] = sorted((dict(row) for row in rows), key=repr)
    return found


def drop(database_url: str) -> None:
    """Lose the database: the SQLite file, or all tables of ours, which are then made anew."""
    target = database(database_url)
    if target.file is not None:
        for file in target.file.parent.glob(f"{target.file.name}*"):
            file.unlink()
    else:
        downgrade(target)
        upgrade(target)


def _work(trace: ire_otel.Trace, number: int, dice: random.Random) -> None:
    with ire_otel.stage("intake"):
        for kind in ("classified_intent", "bias", ODD):
            ire_otel.decide(kind, what={"choice": number}, why=ODD, confidence=dice.random(), inputs={"n": 10**400})
    if number % 11 == 3:
        raise ValueError(ODD)
    with ire_otel.stage("collection") as collection:
        kept = [{"url": f"https://host{n}.org/{n}", "scores": {"composite": dice.random()}} for n in range(number % 5)]
        collection.evidence(kept=kept, filtered_out=[{"url": ODD, "reason": "?"}], by_source={"exa": 3, ODD: 1})
    for attempt in range(1 + number % 2):
        with ire_otel.stage("synthesis") as synthesis:
            synthesis.usage(model="model-x", input_tokens=number * 10**9, output_tokens=380, cost_usd=dice.random())
        with ire_otel.stage("quality_gate") as gate:
            for principle in PRINCIPLES[: number % 5]:
                gate.score(principle, dice.choice((0, 1, 2.5, 3)), name=principle, feedback=ODD * 40)
            gate.verdict(passed=attempt == 1, overall_score=dice.random() * 3, threshold=2.0)
    if number % 10 == 0:
        with ire_otel.run("evidence", project_name="cobot", output_type="evidence_pack"):
            pass
    if number % 13 == 0:
        trace.mark_failed(ODD)


def _report(brain: Path, number: int) -> str:
    path = brain / "projects" / "reports" / f"report-{number}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Report {number}\n", encoding="utf-8")
    return str(path)
