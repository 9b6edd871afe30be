"""Grafana's dashboards: questions run on a real Postgres, as the role that Grafana has; links lead somewhere."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml
from psycopg import errors
from psycopg.rows import dict_row

from ire_otel.db.store import RunStore
from tests.databases import BINARIES, POSTGRES, SUPABASE_ROLES, TEMPLATE, fresh_database
from tests.runs import wait_until
from tests.test_views import runs

DEPLOY: Final = Path(__file__).parent.parent / "deploy"
DASHBOARDS: Final = {
    content["uid"]: content
    for content in (json.loads(file.read_bytes()) for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json")))
}
PANELS: Final = [(uid, panel) for uid, content in DASHBOARDS.items() for panel in content["panels"]]
FILL: Final = """
UPDATE traces SET otel_trace_id = 'of-one' WHERE trace_id = (SELECT min(trace_id) FROM trace_sources);
INSERT INTO trace_flags (policy, principle_id, message, first_raised_at, last_raised_at)
VALUES ('rate', 'META-1', 'fails more often', now(), now());
INSERT INTO trace_calibrations (id, trace_id, principle_id, gate_score, human_score)
SELECT 'a', trace_id, 'META-1', 1, 3 FROM traces WHERE otel_trace_id = 'of-one';
"""


@pytest.fixture(scope="module", params=POSTGRES)
def reader(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """Connect as Grafana does, to a database with runs of every kind and row level security."""
    with fresh_database(request.config, request.param, TEMPLATE, roles=SUPABASE_ROLES) as url:
        with closing(RunStore(url)) as store:
            assert store.save(runs()) == {}
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL)
        for _ in range(2):
            _make_reader(url, BINARIES[request.param] / "psql")
        as_reader = url.replace("//postgres:secret@", "//grafana_reader@")
        connect = psycopg.Connection[dict[str, Any]].connect
        with connect(as_reader, autocommit=True, row_factory=dict_row) as made:
            yield made


def _make_reader(url: str, psql: Path) -> None:
    """Run the script as docker-compose.yml runs it."""
    script = str(DEPLOY / "grafana/reader.sql")
    command = [str(psql), url, "--quiet", "--variable", "reader_password=it's", "--file", script]

    def succeeds() -> bool:
        return subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0

    # Where two processes of these tests make the same role at once, the loser comes again, as the service does.
    wait_until(succeeds)


def as_asked(sql: str, **variables: str) -> str:
    """Give what Grafana makes of a query: its macros and variables replaced."""
    sql = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN '2025-01-01T00:00:00Z' AND '2027-01-01T00:00:00Z'", sql)
    for name, value in variables.items():
        sql = sql.replace(f"${{{name}:sqlstring}}", value)
    assert "$" not in sql, "a macro or variable that this test does not know"
    return sql


def variable(uid: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in DASHBOARDS[uid]["templating"]["list"] if one["name"] == name)
    return dict(found)


@pytest.mark.parametrize(
    ("uid", "panel"), PANELS, ids=lambda given: given if isinstance(given, str) else given["title"]
)
def test_every_panel_shows_something(
    reader: psycopg.Connection[dict[str, Any]], uid: str, panel: dict[str, Any]
) -> None:
    """For all projects and for one, by run and by trace; the columns that it formats are there."""
    (target,) = panel["targets"]
    if "rawSql" not in target:
        assert target["query"] == "${otel_trace_id}"
        return
    every_project = variable("ire-otel-calibration", "project")["allValue"]
    (one,) = reader.execute("SELECT trace_id FROM traces WHERE otel_trace_id = 'of-one'").fetchall()
    for project, run in ((every_project, "'of-one'"), ("'cobot'", f"'{one['trace_id']}'")):
        found = reader.execute(as_asked(target["rawSql"], project=project, run=run).encode()).fetchall()
        assert found, (uid, panel["title"])
        formatted = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        assert formatted <= set(found[0])
        if target["format"] == "time_series":
            assert all(isinstance(entry["time"], datetime) and entry["time"].tzinfo for entry in found)
            assert [entry["time"] for entry in found] == sorted(entry["time"] for entry in found)
        for name in {"pass_rate", "share_below_2"} & set(found[0]):
            shares = [float(entry[name]) for entry in found if entry[name] is not None]
            assert any(0 < share < 1 for share in shares)
            assert all(0 <= share <= 1 for share in shares)


def test_variables_are_answered(reader: psycopg.Connection[dict[str, Any]]) -> None:
    projects = variable("ire-otel-calibration", "project")["query"]
    assert {"cobot"} == {name for entry in reader.execute(projects).fetchall() for name in entry.values()}
    of_run = as_asked(variable("ire-otel-run", "otel_trace_id")["query"], run="'of-one'")
    assert reader.execute(of_run.encode()).fetchall() == [{"otel_trace_id": "of-one"}]


def test_nothing_can_be_changed_through_grafana(reader: psycopg.Connection[dict[str, Any]]) -> None:
    """The role reads, and nothing else, also where somebody lifts its read-only default."""
    with pytest.raises(errors.ReadOnlySqlTransaction):
        reader.execute("DELETE FROM traces")
    reader.execute("SET default_transaction_read_only = off")
    try:
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("DELETE FROM traces")
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("CREATE TABLE mine (id int)")
    finally:
        reader.execute("SET default_transaction_read_only = on")


def test_panels_and_sources_are_whole() -> None:
    """Data sources are provisioned, ids are unique, panels do not lie on each other."""
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/ire-otel.yaml").read_text())
    sources = {(source["type"], source["uid"]) for source in provisioned["datasources"]}
    for uid, content in DASHBOARDS.items():
        of_dashboard = [panel for of, panel in PANELS if of == uid]
        assert len({panel["id"] for panel in of_dashboard}) == len(of_dashboard)
        asked = [panel["datasource"] for panel in of_dashboard]
        asked += [one["datasource"] for one in content["templating"]["list"] if one["type"] == "query"]
        assert {(source["type"], source["uid"]) for source in asked} <= sources
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in of_dashboard):
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_links_lead_to_dashboards_and_their_variables() -> None:
    """Those of the dashboards, and those of Jaeger's page."""
    page = json.loads((DEPLOY / "jaeger/ui.json").read_bytes())
    texts = json.dumps([page, *DASHBOARDS.values()])
    links = re.findall(r"/d/([\w-]+)(?:\?var-(\w+)=([^\"]*))?", texts)
    assert len(links) >= 6
    for uid, name, _ in links:
        assert uid in DASHBOARDS
        assert not name or variable(uid, name)
    for pattern in page["linkPatterns"]:
        named = set(re.findall(r"#\{([\w.]+)\}", pattern["url"]))
        assert named == {pattern["key"] if pattern["type"] == "tags" else "traceID"}
