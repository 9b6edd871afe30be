"""verify: what is wrong with files, reports and reviews is named, each in its own line, and nothing else is."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pytest
import sqlalchemy as sa

from ire_otel import report, reviews
from ire_otel.db import tables
from ire_otel.db.reindex import reindex
from ire_otel.outbox import Outbox, Refused, Waiting
from ire_otel.settings import Settings
from tests.planted import OTHER, RUN, Planted

OLD: Final = 3_600
_BEGUN: Final = {"started_at": datetime(2026, 2, 13, tzinfo=UTC)}


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
        [f"{RUN}: late: */{RUN}.late.jsonl holds what came after the run was settled, and is not in its document: *"],
    ),
    "a row that waits": (
        lambda planted: _set_aside(planted, OTHER, waits=True),
        [f"{OTHER}: row: it waits for its database: run `ire-otel recover`"],
    ),
    "an older row, while the newer waits": (
        lambda planted: _outdated(planted, RUN),
        [f"{RUN}: row: it waits for its database: run `ire-otel recover`"],
    ),
    "a row that waits though it is written": (
        lambda planted: _outbox(planted).put(_waiting(RUN)),
        [],
    ),
    "a row that was refused": (
        lambda planted: _set_aside(planted, OTHER, waits=False),
        [f"{OTHER}: row: its database refuses it: too long"],
    ),
    "a refused row without a file": (
        lambda planted: _outbox(planted).refuse(Refused(trace_id="trc_20260213_00000000000000c3", reason="too long")),
        ["trc_20260213_00000000000000c3: row: its database refuses it: too long"],
    ),
    "a run that goes on": (
        lambda planted: planted.execute(
            sa.insert(tables.traces).values(trace_id="trc_20260213_00000000000000c3", status="in_progress", **_BEGUN)
        ),
        [],
    ),
}


def _outbox(planted: Planted) -> Outbox:
    return Outbox(planted.settings.state_dir)


def _waiting(run: str) -> Waiting:
    return Waiting(trace_id=run, location=f"brain/projects/cobot/_traces/{run}.json")


def _outdated(planted: Planted, run: str) -> None:
    planted.update(query="other", domain="other")
    _outbox(planted).put(_waiting(run))


def _set_aside(planted: Planted, run: str, *, waits: bool) -> None:
    planted.execute(sa.delete(tables.traces).where(tables.traces.c.trace_id == run))
    box = _outbox(planted)
    box.put(_waiting(run)) if waits else box.refuse(Refused(trace_id=run, reason="too long"))


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


def test_relative_reports_are_found_from_the_brain_folder(on_sqlite: Planted) -> None:
    """A run may say `brain/projects/…`, wherever verify is called."""
    named = f"brain/projects/cobot/artifacts/{on_sqlite.report().name}"
    on_sqlite.spoil(outputs={"report_path": named})
    os.chdir("/")
    assert on_sqlite.found() == []


def test_a_reindex_settles_what_waits_and_what_was_refused(on_sqlite: Planted) -> None:
    """Once its row is written, nobody is told of it any more; a run that goes on is not missed."""
    FILES["a run that goes on"][0](on_sqlite)
    _set_aside(on_sqlite, OTHER, waits=False)
    _set_aside(on_sqlite, RUN, waits=True)
    assert reindex(on_sqlite.settings).rows_without_file == []
    assert (len(_outbox(on_sqlite)), list(_outbox(on_sqlite).refused())) == (0, [])
    assert on_sqlite.found() == []
