"""Reviews: what people say about runs is in a file before it is in the row, and can be replayed."""

import asyncio
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ire_otel import reviews, settings
from ire_otel.db.engine import database, engine
from ire_otel.db.store import RunStore
from ire_otel.db.tables import traces
from ire_otel.query import QueryError, RunNotFoundError, TraceQuery
from ire_otel.reviews import Entry, ReviewError, Standing
from ire_otel.row import row
from tests.sample_document import LOCATION, sample_document

SYNC = TraceQuery.sync
RUN = "trc_20260213_00000000000000a1"


@pytest.fixture
def recorded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured database, holding one run of the project cobot."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    with closing(RunStore(database_url)) as store:
        store.save([row(sample_document(), LOCATION)])
    return database_url


def in_row(url: str) -> tuple[Any, Any]:
    """Give what the row says: whether it is flagged, and the notes."""
    with engine(database(url)).connect() as connection:
        flagged, notes = connection.execute(sa.select(traces.c.flagged_for_review, traces.c.review_notes)).one()
    return flagged, notes


def test_a_flag_is_in_file_and_row(recorded: str) -> None:
    """Set by one twin, taken off by the other; the file keeps both."""
    SYNC.flag(RUN, who="ada")
    assert [result.trace_id for result in SYNC.flagged_for_review()] == [RUN]
    asyncio.run(TraceQuery.flag(RUN, flagged=False))
    assert SYNC.flagged_for_review() == []
    said = reviews.entries(settings.load(), "cobot", RUN)
    assert [(entry.kind, entry.who, entry.data) for entry in said] == [
        ("flag", "ada", {"flagged": True}),
        ("flag", None, {"flagged": False}),
    ]
    assert said[0].when < said[1].when


def test_notes_add_up(recorded: str) -> None:
    """The row holds all of them, the file each with who said it when."""
    SYNC.note(RUN, "Sources are *thin*.", who="ada")
    asyncio.run(TraceQuery.note(RUN, "line one\nline two\0 \ud800", who="grace"))
    assert in_row(recorded) == (False, "Sources are *thin*.\n\nline one\nline two� �")
    said = reviews.entries(settings.load(), "cobot", RUN)
    assert reviews.standing(said) == Standing(flagged=False, notes=in_row(recorded)[1])


def test_a_note_that_somebody_wrote_into_the_row_stays(recorded: str) -> None:
    """A note is added to what the database holds, also where it came another way."""
    with engine(database(recorded)).begin() as connection:
        connection.execute(sa.update(traces).values(review_notes="by hand"))
    SYNC.note(RUN, "and more")
    assert in_row(recorded)[1] == "by hand\n\nand more"


def test_many_notes_at_once_lose_none(recorded: str) -> None:
    """In file and row alike."""

    async def all_at_once() -> None:
        await asyncio.gather(*(TraceQuery.note(RUN, f"note {number}") for number in range(8)))

    asyncio.run(all_at_once())
    wanted = sorted(f"note {number}" for number in range(8))
    assert sorted(in_row(recorded)[1].split("\n\n")) == wanted
    assert sorted(entry.data["text"] for entry in reviews.entries(settings.load(), "cobot", RUN)) == wanted


def test_the_exporter_leaves_what_people_said(recorded: str) -> None:
    """A run that is written again keeps flag and notes."""
    SYNC.flag(RUN)
    SYNC.note(RUN, "look at the sources")
    with closing(RunStore(recorded)) as store:
        store.save([row(sample_document(), LOCATION)])
    assert in_row(recorded) == (True, "look at the sources")


def test_nothing_is_written_about_a_run_that_is_not_there(recorded: str) -> None:
    """A misspelt trace_id is an error, and leaves no file."""
    with pytest.raises(RunNotFoundError, match=r"'trc_none'.*ire-otel runs"):
        SYNC.flag("trc_none")
    with pytest.raises(QueryError, match="give words"):
        SYNC.note(RUN, "  \n")
    assert not settings.load().project_dir("cobot").exists()


def test_a_file_that_cannot_be_written_changes_no_row(recorded: str) -> None:
    """The file comes first; where it fails, nothing else happens."""
    folder = settings.load().project_dir("cobot")
    folder.mkdir(parents=True)
    (folder / reviews.FOLDER).write_text("in the way")
    with pytest.raises(ReviewError, match="cannot be written"):
        SYNC.flag(RUN)
    assert in_row(recorded) == (False, None)


def test_entries_of_any_kind_are_kept(tmp_path: Path) -> None:
    """Other parts of ire-otel have kinds of their own; a standing leaves them out."""
    chosen = settings.load({"brain_dir": tmp_path})
    entry = Entry(kind="calibration", who="ada", data={"scores": {"META-1": 2.5}, "odd": {1, 2}})
    path = reviews.append(chosen, "A Project/..", RUN, entry)
    assert path.relative_to(tmp_path).parts[0] == "projects"
    (found,) = reviews.entries(chosen, "A Project/..", RUN)
    assert (found.kind, found.when, found.data) == (
        "calibration",
        entry.when,
        {"scores": {"META-1": 2.5}, "odd": [1, 2]},
    )
    assert reviews.standing([found]) == Standing()


def test_each_run_has_a_file_of_its_own(tmp_path: Path) -> None:
    """In the folder of its project; entries keep their order."""
    chosen = settings.load({"brain_dir": tmp_path})
    runs = [("b", "trc_1"), ("a", "trc_1"), ("a", "trc_2"), (None, "trc_3")]
    for project, trace_id in runs:
        for text in ("one", "two"):
            reviews.append(chosen, project, trace_id, Entry(kind=reviews.NOTE, data={"text": text}))
    files = [reviews.review_file(chosen, project, trace_id) for project, trace_id in runs]
    assert sorted(tmp_path.rglob("*.jsonl")) == sorted(files)
    assert {tuple(entry.data["text"] for entry in reviews.read(file).entries) for file in files} == {("one", "two")}
    assert reviews.entries(chosen, "a", "trc_9") == []


def test_a_line_that_was_cut_costs_only_itself(tmp_path: Path) -> None:
    """What is appended after a crash begins a line of its own, and reading goes on behind it."""
    chosen = settings.load({"brain_dir": tmp_path})
    path = reviews.append(chosen, "p", RUN, Entry(kind=reviews.NOTE, data={"text": "one"}))
    path.write_bytes(path.read_bytes() + b'\xff{"kind": "note", "da')
    reviews.append(chosen, "p", RUN, Entry(kind=reviews.NOTE, data={"text": "two"}))
    found = reviews.read(path)
    assert ([entry.data["text"] for entry in found.entries], found.spoilt) == (["one", "two"], [2])


@pytest.mark.parametrize("trace_id", ["", "../x", "a/b", ".hidden", "a\0", "x" * 200])
def test_a_trace_id_cannot_leave_the_folder(tmp_path: Path, trace_id: str) -> None:
    """What is no file name is refused."""
    chosen = settings.load({"brain_dir": tmp_path})
    with pytest.raises(ReviewError, match="cannot name a review file"):
        reviews.append(chosen, "p", trace_id, Entry(kind=reviews.FLAG))
    assert list(tmp_path.iterdir()) == []


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    """No line is torn."""
    program = textwrap.dedent("""
        import sys
        from ire_otel import reviews, settings
        chosen = settings.load({"brain_dir": sys.argv[1]})
        for number in range(20):
            reviews.append(chosen, "p", "trc_1", reviews.Entry(kind="note", data={"text": sys.argv[2] * 9_000}))
    """)
    processes = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), sign]) for sign in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    said = reviews.entries(settings.load({"brain_dir": tmp_path}), "p", "trc_1")
    assert sorted(entry.data["text"][0] for entry in said) == sorted("abc" * 20)
    assert {len(entry.data["text"]) for entry in said} == {9_000}
