"""verify: where rows and documents are wrong, each difference is named, and nothing else is."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ire_otel.assembly import encode
from ire_otel.db import tables
from ire_otel.db.reindex import reindex
from ire_otel.db.stored import KEYS, TABLES
from ire_otel.errors import ConfigurationError, StoreUnavailableError
from ire_otel.model import Metadata, StageTrace
from ire_otel.row import RunRow
from ire_otel.settings import Settings
from ire_otel.verification.rows import contrast
from tests import brains
from tests.planted import RUN, Planted
from tests.sample_document import STARTED, decision, sample_document
from tests.test_reindex import command


@pytest.fixture
def planted(tmp_path: Path, database_url: str) -> Planted:
    """The same on each database."""
    return Planted(Settings(brain_dir=tmp_path / "brain", database_url=database_url))


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_url: str) -> Planted:
    """The same on SQLite only: for what the database has no part in."""
    return Planted(Settings(brain_dir=tmp_path / "brain", database_url=sqlite_url))


def test_where_all_is_well_nothing_is_named(planted: Planted) -> None:
    """Right after a reindex."""
    assert planted.found() == []


def test_every_column_is_compared(planted: Planted) -> None:
    """A row that says something else than the file is named with each column, and both values."""
    by_type: dict[type, Any] = {sa.Boolean: False, sa.Float: 17.25, sa.Integer: 1717}
    wrong: dict[str, Any] = {
        name: by_type.get(type(tables.traces.c[name].type), "other")
        for name in RunRow.__struct_fields__
        if name not in {"trace_id", "project_id", "jaeger_url"}
    }
    wrong |= dict.fromkeys(("started_at", "completed_at"), datetime(2020, 1, 1, tzinfo=UTC))
    wrong |= {name: ["other"] for name in ("gap_principles", "strength_principles", "output_file_paths")}
    wrong["principle_scores"] = {"META-1": 3, "META-12": 2}
    planted.update(**wrong)
    lines = [re.fullmatch(rf"{RUN}: (\w+): file says .+, row says .+", line) for line in planted.found()]
    assert [line[1] if line else None for line in lines] == [*wrong, None]  # the last: there is no file at "other"


def test_a_project_that_the_row_does_not_name_is_compared(planted: Planted) -> None:
    """Only where the database knows the project: the row of a run may come before its project's."""
    project = "0b4cdf52-6ac0-4f7c-8a86-0d5bb3b2a1a1"
    planted.spoil(project_id=project)
    assert planted.found() == []
    planted.execute(sa.insert(tables.projects).values(id=project, name="cobot"))
    assert planted.found() == [f'{RUN}: project_id: file says "{project}", row says null']
    reindex(planted.settings, force=True)
    assert planted.found() == []


@pytest.mark.parametrize("field", TABLES)
def test_child_rows_are_counted_and_compared(planted: Planted, field: str) -> None:
    """A row that is missing, one under another key, and one with another value."""
    planted.spoil(stages=_every_child())
    table = tables.metadata.tables[TABLES[field]]
    assert planted.found() == []
    key = table.c[KEYS[field][0]]
    value = next(column for column in reversed(table.c.values()) if isinstance(column.type, sa.Float | sa.Integer))
    first = (table.c.trace_id == RUN) & (
        key == sa.select(sa.func.min(key)).where(table.c.trace_id == RUN).scalar_subquery()
    )
    planted.execute(sa.update(table).where(first).values({value.name: 17}))
    if value.name not in KEYS[field]:
        (line,) = planted.found()
        assert line.startswith(f"{RUN}: {table.name} ")
        assert f"{value.name}: file says " in line
        assert line.endswith(", row says 17.0" if isinstance(value.type, sa.Float) else ", row says 17")
    planted.execute(sa.delete(table).where(first))
    (line,) = planted.found()
    assert line.startswith(f"{RUN}: {table.name}: file says ")
    assert " rows, row says " in line


def test_a_child_row_under_another_key_is_named(planted: Planted) -> None:
    """As one that is only in the file, and one that is only in the database."""
    scores = tables.trace_principle_scores
    renamed = (scores.c.trace_id == RUN) & (scores.c.principle_id == "META-12")
    planted.execute(sa.update(scores).where(renamed).values(principle_id="META-13"))
    assert planted.found() == [
        f'{RUN}: trace_principle_scores META-12: file says "there", row says "not there"',
        f'{RUN}: trace_principle_scores META-13: file says "not there", row says "there"',
    ]


def _every_child() -> dict[str, StageTrace]:
    stages = dict(sample_document().stages)
    stages["intake"] = msgspec.structs.replace(stages["intake"], decisions=[decision("a"), decision("b")])
    return stages


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"started_at": "2026-02-13T10:35:00Z"}, "run ended at 2026-02-13T10:34:22.000000Z, before it started at"),
        ({"completed_at": "later"}, "run: 'later' is no ISO 8601 time"),
        ({"duration_seconds": -1.0}, "run took -1.0 seconds"),
        ({"parent_trace_id": RUN}, "it is its own parent"),
        (
            {"stages": {"intake": StageTrace(started_at=STARTED, completed_at="2026-02-13T10:29:59Z")}},
            "stage intake ended",
        ),
        (
            {"stages": {"x": StageTrace(decisions=[decision(), decision(timestamp="2026-02-13T10:00:00Z")])}},
            "decisions of stage x are not in time order at 2026-02-13T10:00:00Z",
        ),
        (
            {"metadata": Metadata(generator="test", otel_trace_id="0" * 32, otel_span_id="00000000000000a2")},
            "otel_span_id '00000000000000a2' is not that of the trace_id",
        ),
        (
            {"metadata": Metadata(generator="test", otel_trace_id="xyz", otel_span_id="00000000000000a1")},
            "otel_trace_id 'xyz' is no OpenTelemetry id",
        ),
    ],
)
def test_a_document_of_the_right_types_can_be_wrong(on_sqlite: Planted, fields: dict[str, Any], fault: str) -> None:
    """Ids that do not fit one another, and times out of order."""
    on_sqlite.report().unlink()
    on_sqlite.spoil(**{"outputs": {}, **fields})
    (line,) = on_sqlite.found()
    assert line.startswith(f"{RUN}: document: {fault}")


def test_one_project_can_be_looked_at_alone(planted: Planted) -> None:
    """What is wrong with another is not named."""
    elsewhere = planted.document(0xD4, project_name="garden", outputs={})
    path = planted.settings.trace_file("garden", elsewhere.trace_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(elsewhere))
    assert [line.split(":")[0] for line in planted.found()] == [elsewhere.trace_id]
    assert len(planted.found("garden")) == 1
    assert planted.found("cobot") == []
    with pytest.raises(ConfigurationError, match="no project 'cobbot'"):
        planted.found("cobbot")


def test_a_missing_database_is_named_and_not_made(on_sqlite: Planted) -> None:
    """With the command that makes it."""
    brains.drop(on_sqlite.settings.database_url)
    with pytest.raises(StoreUnavailableError, match="ire-otel db reindex"):
        on_sqlite.found()
    assert not list(on_sqlite.settings.brain_dir.parent.glob("traces.db*"))


texts = st.text(max_size=200) | st.text("ab", max_size=200)


@given(texts, texts)
def test_two_values_never_look_alike(a: str, b: str) -> None:
    """However long they are and wherever they differ, what is shown of them differs."""
    said, _, stored = contrast(a, b).removeprefix("file says ").partition(", row says ")
    assert a == b or said != stored
    assert len(contrast(a, b)) < 200


def test_the_command_names_differences(tmp_path: Path) -> None:
    """One line each, or as JSON; the exit code is 1 where there is any, else 0."""
    planted = Planted(Settings(brain_dir=tmp_path / "brain"))
    clean = command(tmp_path, "verify")
    assert (clean.returncode, clean.stdout, clean.stderr) == (0, "2 trace files, no differences\n", "")
    planted.update(domain="edtech")
    named = command(tmp_path, "verify", "--project", "cobot")
    line = f'{RUN}: domain: file says "robotics", row says "edtech"'
    assert (named.returncode, named.stdout) == (1, f"{line}\n2 trace files, 1 difference\n")
    as_json = command(tmp_path, "verify", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout) == {
        "files": 2,
        "differences": [
            {"subject": RUN, "aspect": "domain", "says": 'file says "robotics", row says "edtech"'},
        ],
    }
