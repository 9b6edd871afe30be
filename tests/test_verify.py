"""verify: each difference between files, rows, reports and reviews is named, and nothing else is."""

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ire_otel import report, reviews
from ire_otel.assembly import encode
from ire_otel.db import tables
from ire_otel.db.engine import database, engine
from ire_otel.db.reindex import reindex
from ire_otel.db.stored import KEYS, TABLES
from ire_otel.errors import ConfigurationError, StoreUnavailableError
from ire_otel.model import Metadata, StageTrace, TraceDocument
from ire_otel.row import RunRow
from ire_otel.settings import Settings
from ire_otel.verification import verify
from ire_otel.verification.rows import contrast
from tests import brains
from tests.sample_document import STARTED, decision, sample_document
from tests.test_reindex import command

RUN: Final = sample_document().trace_id
OTHER: Final = sample_document(0xB2).trace_id
OLD: Final = 3_600


class Planted:
    """A brain folder with two linked, reviewed runs, and ways to spoil it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for number in (0xA1, 0xB2):
            self.write(self.document(number))
            report.link_report(self.report(number), self.document(number))
        for kind, data in (
            (reviews.FLAG, {"flagged": True}),
            (reviews.NOTE, {"text": "look again"}),
            ("calibration", {"principle_id": "META-12", "gate_score": 1.0, "human_score": 2.0, "other": ["x"]}),
        ):
            self.say(RUN, kind, data)
        reindex(settings)

    def document(self, number: int = 0xA1, **fields: Any) -> TraceDocument:
        """Give one of the runs."""
        return sample_document(number, **{"outputs": {"report_path": str(self.report(number))}, **fields})

    def report(self, number: int = 0xA1) -> Path:
        """Give its report's file, after writing it where there is none."""
        path = self.settings.project_dir("cobot") / "artifacts" / f"report-{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("# Cobots\n", encoding="utf-8")
        return path

    def trace(self, trace_id: str = RUN) -> Path:
        """Give a trace file."""
        return self.settings.trace_file("cobot", trace_id)

    def said(self, trace_id: str = RUN) -> Path:
        """Give a file of reviews."""
        return reviews.review_file(self.settings, "cobot", trace_id)

    def say(self, trace_id: str, kind: str, data: dict[str, Any]) -> None:
        """Say something into the file only."""
        reviews.append(self.settings, "cobot", trace_id, reviews.Entry(kind=kind, who="dana", data=data))

    def write(self, document: TraceDocument) -> None:
        """Write a trace file."""
        path = self.trace(document.trace_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(document))

    def spoil(self, **fields: Any) -> None:
        """Write the first run with other fields, and its row too, so that only the document is wrong."""
        self.write(self.document(**fields))
        reindex(self.settings, force=True)

    def execute(self, statement: sa.Executable) -> None:
        """Change the database."""
        with engine(database(self.settings.database_url)).begin() as connection:
            connection.execute(statement)

    def update(self, **values: Any) -> None:
        """Change columns of the first run's row."""
        self.execute(sa.update(tables.traces).where(tables.traces.c.trace_id == RUN).values(values))

    def found(self, project: str | None = None) -> list[str]:
        """Give the lines of verify."""
        return [difference.line for difference in verify(self.settings, project=project)]


@pytest.fixture
def planted(tmp_path: Path, database_url: str) -> Planted:
    """The same on each database."""
    return Planted(Settings(brain_dir=tmp_path / "brain", database_url=database_url))


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_url: str) -> Planted:
    """The same on SQLite only: for what the database has no part in."""
    return Planted(Settings(brain_dir=tmp_path / "brain", database_url=sqlite_url))


def old(path: Path, content: str = "") -> None:
    """Write a file that is an hour old."""
    path.write_text(content, encoding="utf-8")
    then = time.time() - OLD
    os.utime(path, (then, then))


def test_where_all_is_well_nothing_is_named(planted: Planted) -> None:
    """Right after a reindex."""
    assert planted.found() == []


def test_every_column_is_compared(planted: Planted) -> None:
    """A row that says something else than the file is named with each column, and both values."""
    by_type: dict[type, Any] = {sa.Boolean: False, sa.Float: 17.25, sa.Integer: 1717}
    wrong: dict[str, Any] = {
        name: by_type.get(type(tables.traces.c[name].type), "other")
        for name in RunRow.__struct_fields__
        if name not in {"trace_id", "project_id"}
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


def _without_files(planted: Planted) -> None:
    planted.trace(OTHER).unlink()
    planted.report(0xB2).unlink()


FILES: Final[dict[str, tuple[Callable[[Planted], object], list[str]]]] = {
    "no row": (
        lambda planted: planted.execute(sa.delete(tables.traces).where(tables.traces.c.trace_id == OTHER)),
        [f"{OTHER}: row: there is none: run `ire-otel db reindex`"],
    ),
    "no file": (
        _without_files,
        [f"{OTHER}: row: its file brain/projects/cobot/_traces/{OTHER}.json is not there"],
    ),
    "a row that names no file": (
        lambda planted: planted.update(trace_file_path=None),
        [
            f'{RUN}: trace_file_path: file says "brain/projects/cobot/_traces/{RUN}.json", row says null',
            f"{RUN}: row: it names no trace file",
        ],
    ),
    "a corrupt file": (
        lambda planted: planted.trace().write_bytes(planted.trace().read_bytes()[:300]),
        [
            f"{RUN}: file: */{RUN}.json is no JSON (*",
            f"{RUN}: report: report */report-161.md names it, and it has no trace file",
        ],
    ),
    "a file of another type": (
        lambda planted: planted.trace().write_text('{"trace_id": 1}'),
        [f"{RUN}: file: */{RUN}.json is no trace document: *", f"{RUN}: report: * and it has no trace file"],
    ),
    "a newer schema": (
        lambda planted: planted.trace().write_text('{"schema_version": 2, "metadata": {"otel_trace_id": "1"}}'),
        [f"{RUN}: file: * has schema version 2, this ire-otel reads up to 1; *", f"{RUN}: report: * no trace file"],
    ),
    "a copy under another name": (
        lambda planted: planted.trace().with_name("copy.json").write_bytes(planted.trace().read_bytes()),
        [f"copy: file: */copy.json holds run '{RUN}': rename it after its run, or remove it"],
    ),
    "a file in the wrong project": (
        lambda planted: planted.trace(OTHER).rename(_folder(planted, "garden") / f"{OTHER}.json"),
        [
            f"{OTHER}: file: it is at */garden/_traces/{OTHER}.json, and belongs to */cobot/_traces/{OTHER}.json",
            f'{OTHER}: trace_file_path: file says "*garden/_traces/*, row says "*cobot/_traces/*',
            f"{OTHER}: row: its file brain/projects/cobot/_traces/{OTHER}.json is not there",
        ],
    ),
    "an old temporary file": (
        lambda planted: old(planted.trace().with_name(f".{RUN}.0a1b2c3d.tmp")),
        [f"*/.{RUN}.0a1b2c3d.tmp: file: nothing refers to it; look at it and remove it"],
    ),
    "a report's old temporary file": (
        lambda planted: old(planted.report().with_name(".report.x.tmp")),
        ["*/.report.x.tmp: file: nothing refers to it; look at it and remove it"],
    ),
    "a fresh temporary file": (
        lambda planted: planted.trace().with_name(f".{RUN}.0a1b2c3d.tmp").touch(),
        [],
    ),
    "spans that came too late": (
        lambda planted: planted.trace().with_name(f"{RUN}.late.jsonl").touch(),
        [f"*/{RUN}.late.jsonl: file: nothing refers to it; look at it and remove it"],
    ),
}


def _folder(planted: Planted, project: str) -> Path:
    folder = planted.settings.trace_file(project, "x").parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy(planted: Planted, name: str, run: str, named: str) -> None:
    text = planted.report().read_text(encoding="utf-8")
    planted.report().with_name(name).write_text(text.replace(run, named), encoding="utf-8")


def _written_anew(planted: Planted) -> None:
    later = planted.document(
        0xC3, outputs={"report_path": str(planted.report())}, started_at="2026-02-14T10:30:00.000000Z"
    )
    later = msgspec.structs.replace(later, run=msgspec.structs.replace(later.run, completed_at=None), stages={})
    planted.report().write_text("# Cobots, again\n", encoding="utf-8")
    planted.write(later)
    report.link_report(planted.report(), later)
    reindex(planted.settings)


REPORTS: Final[dict[str, tuple[Callable[[Planted], object], list[str]]]] = {
    "a missing report": (
        lambda planted: planted.report(0xB2).unlink(),
        [f"{OTHER}: report: report */report-178.md of run {OTHER} is not there"],
    ),
    "an edited report": (
        lambda planted: planted.report().write_text(f"{planted.report().read_text()}More.\n"),
        [f"{RUN}: report: report */report-161.md was edited after run {RUN} was traced"],
    ),
    "another verdict": (
        lambda planted: planted.report().write_text(planted.report().read_text().replace("passed", "failed")),
        [f"{RUN}: report: report */report-161.md says quality_gate failed, run {RUN} says passed"],
    ),
    "a report of a run that is not there": (
        lambda planted: _copy(planted, "lost.md", RUN, "trc_20260213_00000000000000ff"),
        ["trc_20260213_00000000000000ff: report: report */lost.md names it, and it has no trace file"],
    ),
    "a report that names no path of a run": (
        lambda planted: _copy(planted, "lost.md", RUN, "../../../etc/passwd"),
        ["../../../etc/passwd: report: report */lost.md names it, and it has no trace file"],
    ),
    "a second report of a run": (
        lambda planted: _copy(planted, "copy.md", RUN, RUN),
        [f"{RUN}: report: report */copy.md names it, but it names */report-161.md"],
    ),
    "a report that names another run": (
        lambda planted: planted.report().write_text(planted.report().read_text().replace(RUN, OTHER)),
        [
            f"{RUN}: report: report */report-161.md names run {OTHER}, not {RUN}",
            f"{OTHER}: report: report */report-161.md names it, but it names */report-178.md",
        ],
    ),
    "a report that was never linked": (
        lambda planted: planted.report().write_text("# Cobots\n"),
        [],
    ),
    "a report that a later run wrote anew": (
        _written_anew,
        [],
    ),
    "a path that is none": (
        lambda planted: planted.spoil(outputs={"report_path": f"{'x' * 5_000}.md"}),
        [
            f"{RUN}: report: *cannot be read*",
            f"{RUN}: report: report */report-161.md names it, but it names x*.md",
        ],
    ),
    "a path with NUL": (
        lambda planted: planted.spoil(outputs={"report_path": "a\0b.md"}),
        [f"{RUN}: report: *", f"{RUN}: report: report */report-161.md names it, but it names *"],
    ),
}


REVIEWS: Final[dict[str, tuple[Callable[[Planted], object], list[str]]]] = {
    "a flag that nobody set": (
        lambda planted: planted.execute(
            sa.update(tables.traces).where(tables.traces.c.trace_id == OTHER).values(flagged_for_review=True)
        ),
        [f"{OTHER}: flagged_for_review: file says false, row says true"],
    ),
    "a flag that is gone": (
        lambda planted: planted.update(flagged_for_review=False),
        [f"{RUN}: flagged_for_review: file says true, row says false"],
    ),
    "a note that is gone": (
        lambda planted: planted.update(review_notes=None),
        [f'{RUN}: review_notes: file says "look again", row says null'],
    ),
    "a note that never came": (
        lambda planted: planted.say(RUN, reviews.NOTE, {"text": "and again"}),
        [f'{RUN}: review_notes: file says "look again\\n\\nand again", row says "look again"'],
    ),
    "a calibration that is gone": (
        lambda planted: planted.execute(sa.delete(tables.trace_calibrations)),
        [f'{RUN}: trace_calibrations: file says {{"id":"*, row says null'],
    ),
    "another score": (
        lambda planted: planted.execute(sa.update(tables.trace_calibrations).values(human_score=3)),
        [f"{RUN}: trace_calibrations.human_score: file says 2.0, row says 3.0"],
    ),
    "lost reviews": (
        lambda planted: planted.said().unlink(),
        [
            f"{RUN}: flagged_for_review: file says false, row says true",
            f'{RUN}: review_notes: file says null, row says "look again"',
            f"{RUN}: trace_calibrations: file says null, row says *",
        ],
    ),
    "a spoilt line": (
        lambda planted: planted.said().write_bytes(b'{"kind": "no' + b"\n" + planted.said().read_bytes()),
        [f"{RUN}: reviews: line 1 of */{RUN}.jsonl is no entry: mend or remove it"],
    ),
    "a kind of a later version": (
        lambda planted: planted.say(RUN, "applause", {}),
        [f"{RUN}: reviews: kind 'applause' is unknown to this ire-otel; upgrade it"],
    ),
    "an entry that says nothing": (
        lambda planted: planted.say(RUN, "flag_state", {}),
        [f"{RUN}: reviews: an entry of kind flag_state cannot be read (*): mend or remove it"],
    ),
}


@pytest.mark.parametrize("name", REVIEWS)
def test_reviews_and_rows_are_compared(planted: Planted, name: str) -> None:
    """Each difference in its own line, and no other."""
    plant, expected = REVIEWS[name]
    plant(planted)
    assert_named(planted.found(), expected)


@pytest.mark.parametrize("name", FILES | REPORTS)
def test_files_rows_and_reports_are_compared(on_sqlite: Planted, name: str) -> None:
    """Likewise; reports and runs are looked at from both sides."""
    plant, expected = (FILES | REPORTS)[name]
    plant(on_sqlite)
    assert_named(on_sqlite.found(), expected)


def assert_named(found: list[str], expected: list[str]) -> None:
    """Hold lines against patterns in which * stands for anything."""
    assert len(found) == len(expected), found
    for line, pattern in zip(found, expected, strict=True):
        at = 0
        for number, part in enumerate(pattern.split("*")):
            at = line.find(part, at)
            assert at >= 0, (line, part)
            assert number or at == 0, (line, part)
            at += len(part)


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


def test_relative_reports_are_found_from_the_brain_folder(on_sqlite: Planted) -> None:
    """A run may say `brain/projects/…`, wherever verify is called."""
    named = f"brain/projects/cobot/artifacts/{on_sqlite.report().name}"
    on_sqlite.spoil(outputs={"report_path": named})
    os.chdir("/")
    assert on_sqlite.found() == []


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
