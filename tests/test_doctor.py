"""doctor: what is wrong with a setup is named with what to do about it, and nothing else is; no password is shown."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

import ire_otel as tracing
from ire_otel.db import migrate
from ire_otel.db.engine import database, engine
from ire_otel.doctor import CHECKS, Finding, Setup, backlog, clock, examine, exporters, places, telemetry, versions
from ire_otel.doctor.settings import check_settings
from ire_otel.journal import reading
from ire_otel.left_over import UNCLAIMED
from ire_otel.outbox import Outbox, Refused, Waiting
from ire_otel.settings import ProjectSettings, Settings
from tests.databases import free_port
from tests.live_pipelines import pipeline
from tests.receivers import JSON, as_json, root, serving, stage
from tests.test_cli import ire_otel


def setup(folder: Path, **fields: Any) -> Setup:
    """Give what is looked at in a folder; keywords are settings, or OTEL_* variables."""
    variables = {name: value for name, value in fields.items() if name.startswith("OTEL_")}
    chosen = Settings(brain_dir=folder / "brain", **{name: fields[name] for name in fields.keys() - variables})
    return Setup(settings=chosen, variables=variables)


def said(findings: Iterator[Finding]) -> list[str]:
    """Give what findings say, in lines."""
    return [f"{one.status}: {one.what}; {one.remedy or ''}" for one in findings]


def worst(findings: Iterator[Finding]) -> Finding:
    """Give the only finding that is not ok."""
    (only,) = (one for one in findings if one.status != "ok")
    return only


def test_a_new_folder_is_well(tmp_path: Path) -> None:
    """Exit code 0, a line for each check, and nothing is left behind."""
    code, out, err = ire_otel(tmp_path, "doctor")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "note"}
    about = {line[9:].partition(":")[0] for line in lines[:-1]}
    assert {"settings", "provider", "exporters", "database", "brain_dir", "journals", "clock", "versions"} <= about
    assert lines[-1].endswith("0 problem")
    assert not list(tmp_path.iterdir())


def test_all_that_is_wrong_is_named(tmp_path: Path) -> None:
    """In one go, with the nearest valid name; exit code 1; no password."""
    variables = {
        "IRE_OTEL_BRAIN_DIT": "x",
        "IRE_OTEL_FINISH_TIMEOUT": "soon",
        "IRE_OTEL_EXPORTERS": "ire,otlp,consol",
        "IRE_OTEL_DATABASE_URL": "postgresql://ire:sesame@127.0.0.1:9/ire",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:sesame@127.0.0.1:{free_port()}/base",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=sesame",
    }
    code, out, err = ire_otel(tmp_path, "doctor", "--json", **variables)
    assert (code, err) == (1, "")
    assert "sesame" not in out
    read = json.loads(out)
    problems = [f"{one['about']}: {one['what']}" for one in read["findings"] if one["status"] == "problem"]
    assert read["counts"]["problem"] == len(problems) == 5
    for problem, wanted in zip(
        problems,
        (
            "did you mean 'brain_dir'?",
            "'finish_timeout'",
            "/base/v1/traces does not answer",
            "'console'?",
            "127.0.0.1:9",
        ),
        strict=True,
    ):
        assert wanted in problem


def test_a_check_that_fails_is_a_problem_and_keeps_no_other_from_being_run(tmp_path: Path) -> None:
    """It is named with its reason, without the database's password."""

    def check_the_weather(made: Setup) -> Iterator[Finding]:
        yield Finding(about="weather", status="ok", what="half of it")
        raise ValueError(f"storm over {made.settings.database_url}, and sesame alone")

    made = setup(tmp_path, database_url="postgresql://ire:sesame@db/ire")
    found = list(examine(made, (check_the_weather, versions.check_versions)))
    assert [one.about for one in found] == ["the weather", "versions"]
    assert found[0].status == "problem"
    assert "storm over postgresql://ire:***@db/ire, and *** alone" in found[0].what


def test_every_check_says_something(tmp_path: Path) -> None:
    """Also where all is well."""
    for check in CHECKS:
        assert list(check(setup(tmp_path))), check


def test_what_turns_tracing_off_is_said(tmp_path: Path) -> None:
    """As a whole, or for a project; and what the crash of a process would cost."""
    made = setup(
        tmp_path,
        enabled=False,
        durability="off",
        projects={"cobot": ProjectSettings(enabled=False)},
        OTEL_SDK_DISABLED="true",
    )
    lines = said(iter(check_settings(made)))
    assert [line.partition(":")[0] for line in lines] == ["ok", "warning", "note", "note", "note"]


@pytest.mark.parametrize(
    ("name", "argument", "status"),
    [
        ("", "", "ok"),
        ("always_on", "", "ok"),
        ("parentbased_always_on", "", "ok"),
        ("TraceIdRatio", "1.0", "ok"),
        ("traceidratio", "0.1", "warning"),
        ("parentbased_traceidratio", "much", "warning"),
        ("always_off", "", "warning"),
        ("parentbased_always_off", "", "warning"),
        ("alway_on", "", "warning"),
    ],
)
def test_samplers_that_thin_out_are_named(tmp_path: Path, name: str, argument: str, status: str) -> None:
    """And those that OpenTelemetry does not know."""
    (found,) = telemetry.check_sampler(setup(tmp_path, OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG=argument))
    assert found.status == status
    assert (found.remedy is None) == (status == "ok")
    assert name != "alway_on" or found.remedy == "did you mean always_on?"


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100", "warning"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100", "warning"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0", "warning"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1000", "note"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "", "ok"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1", "problem"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "many", "problem"),
    ],
)
def test_limits_are_named_with_what_they_cut(tmp_path: Path, variable: str, value: str, status: str) -> None:
    """And with what they leave alone."""
    *found, last = telemetry.check_limits(setup(tmp_path, **{variable: value}))
    assert [one.status for one in found] == ([] if status == "ok" else [status])
    assert all(variable in one.what for one in found)
    assert "no limit" in last.what


@pytest.mark.parametrize(
    ("before", "status"),
    [
        ("", "note"),
        ("ire_otel.configure()", "ok"),
        ("otel.set_tracer_provider(TracerProvider())", "ok"),
        ("otel.set_tracer_provider(otel.NoOpTracerProvider())", "warning"),
        ("ire_otel.run('q').end_run()\notel.set_tracer_provider(TracerProvider())", "note"),
    ],
)
def test_the_provider_of_a_process_is_looked_at(tmp_path: Path, before: str, status: str) -> None:
    """From inside an application, which may see spans of others or not."""
    program = (
        "import ire_otel\nfrom opentelemetry import trace as otel\nfrom opentelemetry.sdk.trace import TracerProvider\n"
        f"{before}\n"
        "from ire_otel.doctor import Setup, telemetry\nfrom ire_otel.settings import Settings\n"
        "print(*[found.status for found in telemetry.check_provider(Setup(settings=Settings()))])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout == f"{status}\n", ended


def test_the_sampler_of_a_provider_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may have set one by itself."""
    provider = TracerProvider(sampler=TraceIdRatioBased(0.5), shutdown_on_exit=False)
    monkeypatch.setattr(otel, "get_tracer_provider", lambda: provider)
    assert "TraceIdRatioBased" in worst(telemetry.check_provider(setup(tmp_path))).what


@pytest.mark.parametrize(
    ("protocol", "variables", "expected"),
    [
        ("http/protobuf", {}, "http://localhost:4318/v1/traces"),
        ("grpc", {}, "http://localhost:4317"),
        ("http/protobuf", {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1/"}, "https://c:1/v1/traces"),
        ("grpc", {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:1"}, "http://c:1"),
        ("http/protobuf", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x"}, "http://c:1/x"),
    ],
)
def test_collectors_are_looked_for_where_opentelemetry_does(
    tmp_path: Path, protocol: str, variables: dict[str, str], expected: str
) -> None:
    """By the variables, else where its exporters look."""
    assert exporters.endpoint(protocol, setup(tmp_path, **variables)).geturl() == expected


def test_a_collector_that_answers_is_well(tmp_path: Path) -> None:
    """And one that does not is a problem, within two seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        found = said(iter(exporters.check_exporters(setup(tmp_path, exporters=("ire", "otlp"), **where))))
    assert [line.partition(":")[0] for line in found] == ["ok", "ok", "ok"]
    began = time.monotonic()
    assert exporters.reach("127.0.0.1", port) is not None
    assert exporters.reach("no.such.host.invalid", port) is not None
    assert exporters.reach("127.0.0.1", 99999999) is not None
    assert time.monotonic() - began < 3 * exporters.PATIENCE + 2


def test_without_our_exporter_nothing_is_written(tmp_path: Path) -> None:
    """Which may be meant so."""
    assert worst(iter(exporters.check_exporters(setup(tmp_path, exporters=("none",))))).status == "note"


def test_databases_are_looked_at(tmp_path: Path, empty_database_url: str) -> None:
    """Empty, migrated, older, and of a later version."""
    made = setup(tmp_path, database_url=empty_database_url)
    target = database(empty_database_url)
    (empty,) = places.check_database(made)
    assert empty.status == ("note" if target.file else "problem")
    assert not (target.file and target.file.exists())
    migrate.upgrade(target)
    assert [one.status for one in places.check_database(made)] == ["ok"]
    version = sa.table(migrate.VERSION_TABLE, sa.column("version_num"))
    for revision, status in (("0001", "note" if target.file else "problem"), ("9999", "problem")):
        with engine(target).begin() as connection:
            connection.execute(sa.update(version).values(version_num=revision))
        (found,) = places.check_database(made)
        assert (found.status, revision in found.what) == (status, True)


@pytest.mark.parametrize("url", ["mysql://u:sesame@h/d", "no url:sesame", "sqlite:////proc/none.db/traces.db"])
def test_databases_that_cannot_be_used_are_a_problem(tmp_path: Path, url: str) -> None:
    """Without a word of what the URL keeps secret."""
    (found,) = examine(setup(tmp_path, database_url=url), (places.check_database,))
    assert found.status in {"problem", "note"}
    assert "sesame" not in found.what


def test_a_file_in_the_place_of_a_folder_is_a_problem(tmp_path: Path) -> None:
    """Of the brain folder, or of one above."""
    (tmp_path / "brain").write_text("")
    found = list(places.check_folders(setup(tmp_path)))
    assert [(one.about, one.status) for one in found] == [("brain_dir", "problem"), ("state_dir", "problem")]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a file system takes root on Linux")
def test_disks_are_looked_at(tmp_path: Path) -> None:
    """Little room is a warning; none, or one that is read only, a problem."""
    (tmp_path / "brain").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path / "brain")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        few = list(places.check_folders(setup(tmp_path)))
        assert [one.status for one in few] == ["warning", "warning"]
        (tmp_path / "brain" / "full").write_bytes(bytes(1 << 20))
        assert [one.status for one in places.check_folders(setup(tmp_path))] == ["problem", "problem"]
        assert [one.status for one in places.check_state_dir(setup(tmp_path))] == ["problem"]
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "brain"], check=True)
        assert [one.status for one in places.check_folders(setup(tmp_path))] == ["problem", "problem"]
    finally:
        subprocess.run(["umount", tmp_path / "brain"], check=True)


def test_network_file_systems_are_known(tmp_path: Path) -> None:
    """By the deepest mount that a path is in; blanks in its name are octal."""
    mounts = tmp_path / "mounts"
    share = tmp_path / "a share"
    (share / "local").mkdir(parents=True)
    escaped = str(share).replace(" ", r"\040")
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\ntmpfs {escaped}/local tmpfs rw 0 0\nbroken\n"
    )
    assert places.network_file_system(share / "brain", mounts) == "nfs4"
    assert places.network_file_system(share / "local" / "brain", mounts) is None
    assert places.network_file_system(tmp_path, mounts) is None
    assert places.network_file_system(tmp_path, tmp_path / "none") is None


def test_journals_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of processes that live, of those that died, and of another version."""
    made = setup(tmp_path)
    with pipeline(tmp_path) as process:
        assert said(iter(backlog.check_journals(made))) == ["ok: 1 live process, 1 run not settled yet; "]
        process.kill()
    found = worst(backlog.check_journals(made))
    assert found.what.startswith("1 run of processes that died, 0.1 MB")
    assert "ire-otel recover" in (found.remedy or "")
    with monkeypatch.context() as patch:
        patch.setattr(reading, "SLOT_VERSION", 9)
        assert "journal of version 1, this ire-otel reads version 9" in worst(backlog.check_journals(made)).what
    assert ire_otel(tmp_path, "recover").code == 0
    assert said(iter(backlog.check_journals(made))) == ["ok: no live process; "]


def test_rows_that_wait_or_were_refused_are_named(tmp_path: Path) -> None:
    """Since when, and why."""
    made = setup(tmp_path)
    box = Outbox(made.settings.state_dir)
    box.put(Waiting(trace_id="trc_a", location="brain/x.json"))
    box.put(Waiting(trace_id="trc_b", location="brain/y.json"))
    os.utime(made.settings.state_dir / "outbox" / "trc_b.json", (1e9, 1e9))
    for number in range(7):
        box.refuse(Refused(trace_id=f"trc_{number}", reason="too long"))
    first, *refused, more = backlog.check_outbox(made)
    assert "2 rows wait for the database, the first since 2001-09-09T01:46:40Z" in first.what
    assert {one.what for one in refused} == {f"the row of run trc_{number} is refused: too long" for number in range(5)}
    assert more.what.startswith("2 more")
    assert {one.status for one in (first, *refused, more)} == {"warning"}


def test_spans_that_were_received_are_counted(tmp_path: Path) -> None:
    """And whether anybody is there to assemble them."""
    made = setup(tmp_path)
    assert said(iter(backlog.check_inbox(made))) == ["ok: nothing was received by `ire-otel serve`; "]
    with serving(made.settings.brain_dir, grace_period=60) as server:
        server.post(as_json(root(), stage("intake")), JSON)
        (found,) = said(iter(backlog.check_inbox(made)))
        assert found.startswith("ok: `ire-otel serve` runs, 0.0 MB")
        server.kill()
    (found,) = said(iter(backlog.check_inbox(made)))
    assert found.startswith("warning: `ire-otel serve` does not run, 0.0 MB of spans are kept; start it")


def test_what_came_too_late_or_belongs_to_no_run_is_counted(tmp_path: Path) -> None:
    """Where it is."""
    made = setup(tmp_path)
    late = made.settings.trace_file("cobot", "trc_1").with_suffix(".late.jsonl")
    for path in (late, made.settings.state_dir / UNCLAIMED / "0a.jsonl"):
        path.parent.mkdir(parents=True)
        path.touch()
    unclaimed, came_late = said(iter(backlog.check_leftovers(made)))
    assert unclaimed.startswith("warning: 1 file in ")
    assert "trc_1.late.jsonl" in came_late


def test_a_clock_that_goes_wrong_is_named(tmp_path: Path) -> None:
    """By files and rows from the future."""
    tracing.configure(brain_dir=tmp_path / "brain")
    with tracing.run("q", project_name="cobot"):
        pass
    assert tracing.flush(30)
    made = setup(tmp_path)
    assert [one.status for one in clock.check_clock(made)] == ["ok"]
    folder = made.settings.trace_file("cobot", "x").parent
    os.utime(folder, (time.time() + 3600, time.time() + 3600))
    assert "a trace file is of" in worst(clock.check_clock(made)).what
    os.utime(folder)
    target = database(made.settings.database_url)
    with engine(target).begin() as connection:
        connection.execute(sa.text("UPDATE traces SET started_at = '2999-01-01 00:00:00.000000'"))
    assert "a row is of 2999" in worst(clock.check_clock(made)).what


def test_extras_are_named_with_how_to_get_them(tmp_path: Path) -> None:
    """As the package's own metadata have them."""
    known = versions.extras()
    assert known["otlp"] == ["opentelemetry-exporter-otlp-proto-grpc", "opentelemetry-exporter-otlp-proto-http"]
    assert known["postgres"] == ["asyncpg", "psycopg"]
    assert len(list(versions.check_extras(setup(tmp_path)))) == len(known)
