"""The pytest plugin in other people's test suites: readable failures, the same bytes, no cost where it is not used."""

import re

import pytest

pytest_plugins = ["pytester"]

PIPELINE = """
import ire_otel
import pytest

@ire_otel.traced_stage("intake", component="QueryIntake")
def intake(query):
    ire_otel.decide("classified_intent", what="exploring", why="no hypothesis is stated", confidence=0.6)
    return {"intent": "exploring"}

@ire_otel.traced_run(project_name="cobot")
def research(query):
    intake(query)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite of its own, which knows nothing of ire-otel's."""
    monkeypatch.delenv("IRE_OTEL_RAISE")
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def test_a_failure_in_pytest_ends_at_the_test(suite: pytest.Pytester) -> None:
    """The line of the test, then the table; nothing of ire-otel's own code."""
    suite.makepyfile(
        PIPELINE
        + """
def test_passes(ire_traces):
    research("q")
    ire_traces.assert_decision("classified_intent", confidence=pytest.approx(0.6))

def test_fails(ire_traces):
    research("q")
    ire_traces.assert_decision("classified_intent", what="validating", confidence=pytest.approx(0.85))

async def test_undeclared(ire_traces):
    research("q")
    ire_traces.check_component("QueryIntake", {"decisions": ["bias"], "outputs": ["intent"]})
"""
    )
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            '>*ire_traces.assert_decision("classified_intent", what="validating"*',
            "E *AssertionError: no decision 'classified_intent' is as expected",
            "E *expected *recorded",
            "E *stage *(any) *'intake'",
            "E *≠ *what *'validating' *≠ 'exploring'",
            "E *≠ *confidence *0.85 ± 8.5e-07 *≠ 0.6",
            ">*ire_traces.check_component(*",
            "E *AssertionError: QueryIntake recorded what its trace schema does not declare",
            "E *decision *bias *not seen in this test",
            "E *decision *classified_intent *≠ not declared",
            "E *output *intent *intent",
        ]
    )
    result.stdout.no_fnmatch_line("*ire_otel/testing*")


def test_documents_are_the_same_in_any_order_and_process(suite: pytest.Pytester) -> None:
    """Alone, in a parallel session, and in the reverse order, with tests that leave runs open in between."""
    suite.makeconftest(
        """
import pytest
def pytest_addoption(parser):
    parser.addoption("--into")
    parser.addoption("--backwards", action="store_true")
def pytest_collection_modifyitems(config, items):
    if config.getoption("backwards"):
        items.reverse()
@pytest.fixture
def keep(request, ire_traces):
    yield
    path = request.config.rootpath / request.config.getoption("into") / request.node.name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(made.trace_id for made in ire_traces.documents) + ire_traces.json)
"""
    )
    suite.makepyfile(
        PIPELINE
        + """
import asyncio

def test_sync(keep):
    research("q")

@pytest.mark.asyncio(loop_scope="session")
async def test_leaves_a_run_open(ire_traces):
    ire_otel.TraceContext.start(query="open").start_stage("intake")
    await asyncio.sleep(0)

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("query", ["a", "b"])
async def test_async(keep, query):
    async with ire_otel.TraceContext.start(query=query):
        await asyncio.gather(*(asyncio.to_thread(lambda: None), asyncio.sleep(0)))
        intake(query)
"""
    )
    orders: dict[str, list[str]] = {"alone": [], "parallel": ["-n", "2"], "backwards": ["--backwards"]}
    kept = {}
    for name, arguments in orders.items():
        result = suite.runpytest_subprocess("--into", name, *arguments)
        result.assert_outcomes(passed=4)
        kept[name] = {path.name: path.read_bytes() for path in (suite.path / name).iterdir()}
    assert len(kept["alone"]) == 3
    assert kept["alone"] == kept["parallel"] == kept["backwards"]


def test_unused_it_loads_nothing_and_prints_nothing(suite: pytest.Pytester) -> None:
    """Neither SDK nor SQLAlchemy, before or after a test that uses the fixture; the output is as without the plugin."""
    suite.makepyfile(
        test_plain="""
import sys
HEAVY = ("opentelemetry.sdk", "sqlalchemy", "alembic", "sqlite3", "rich", "ire_otel.testing", "ire_otel.runtime")

def test_unused(request):
    assert request.config.pluginmanager.has_plugin("ire_otel")
    assert "ire_otel" in sys.modules
    assert [name for name in sys.modules if name.startswith(HEAVY)] == []

def test_used(ire_traces):
    import ire_otel
    with ire_otel.run(query="q"):
        pass
    assert ire_traces.document
    assert [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "sqlalchemy", "sqlite3"))] == []
"""
    )
    suite.runpytest_subprocess().assert_outcomes(passed=2)
    with_plugin, without = (
        suite.runpytest_subprocess("-q", "-k", "nothing", *disabled) for disabled in ([], ["-p", "no:ire_otel"])
    )
    assert [re.sub(r"[\d.]+s", "", line) for line in with_plugin.outlines] == [
        re.sub(r"[\d.]+s", "", line) for line in without.outlines
    ]
    assert with_plugin.errlines == without.errlines
