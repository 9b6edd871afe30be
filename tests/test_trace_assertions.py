"""The assertions on captured runs: what passes, and what a failure says."""

import re
from collections.abc import Callable
from typing import Any

import pytest

import ire_otel
from ire_otel.demo.collection import CollectorCoordinator
from ire_otel.demo.orchestrator import ResearchOrchestrator
from ire_otel.demo.retrieval import PassageIndex, load_index
from ire_otel.demo.rubric import RubricLoader
from ire_otel.demo.scoring import EvidenceQualityScorer
from ire_otel.demo.synthesis import TRACE_SCHEMA
from ire_otel.settings import load
from ire_otel.testing import CapturedTraces


@ire_otel.traced_stage("intake", component="QueryIntake")
def intake(query: str) -> dict[str, str]:
    ire_otel.decide(
        "classified_intent",
        what="exploring",
        why="no hypothesis is stated",
        confidence=0.6,
        alternatives=("validating (0.4)",),
        inputs={"query": query},
    )
    ire_otel.decide("bias_classification", what=None, why="neutral wording")
    return {"intent": "exploring"}


@ire_otel.traced_run(project_name="cobot")
def research(query: str) -> str:
    intake(query)
    return "report"


def message(assertion: Callable[[], object]) -> str:
    """Give what a failing assertion says."""
    with pytest.raises(AssertionError) as caught:
        assertion()
    return str(caught.value)


def test_a_decision_is_found_by_what_it_says(ire_traces: CapturedTraces) -> None:
    """Values by ==, so approx serves; expressions are searched for; None means that none was given."""
    research("q")
    taken = ire_traces.assert_decision(
        "classified_intent",
        stage="intake",
        component="QueryIntake",
        what="exploring",
        why=re.compile("no hypothesis"),
        confidence=pytest.approx(0.59, abs=0.02),
        alternatives=["validating (0.4)"],
        inputs={"query": "q"},
        attempt=1,
    )
    assert taken == ire_traces.decisions()[0]
    ire_traces.assert_decision("bias_classification", what=None, confidence=None, inputs={})
    with pytest.raises(AssertionError):
        ire_traces.assert_decision("bias_classification", what="")
    with pytest.raises(AssertionError):
        ire_traces.assert_decision("classified_intent", attempt=re.compile("1"))


def test_a_failure_shows_what_was_recorded_beside_what_was_expected(ire_traces: CapturedTraces) -> None:
    """The nearest first; what differs everywhere is marked in front."""
    for intent, confidence in (("learning", 0.4), ("validating", 0.5), ("executing", 0.3), ("exploring", 0.2)):
        with ire_otel.run(query="q"), ire_otel.stage("intake", component="C"):
            ire_otel.decide("classified_intent", what=intent, why="y", confidence=confidence)
    said = message(lambda: ire_traces.assert_decision("classified_intent", what="validating", confidence=0.85))
    head, columns, _, *rows = said.splitlines()
    assert head == "no decision 'classified_intent' is as expected; 1 more of this type differ at least as much"
    assert columns.split() == ["expected", "recorded", "recorded", "recorded"]
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert ["component", "(any)", "'C'", "'C'", "'C'"] in cells
    assert ["what", "'validating'", "'validating'", "≠ 'learning'", "≠ 'executing'"] in cells
    assert ["≠", "confidence", "0.85", "≠ 0.5", "≠ 0.4", "≠ 0.3"] in cells


def test_a_type_that_was_never_recorded_is_met_with_those_that_were(ire_traces: CapturedTraces) -> None:
    """And with the one that may have been meant."""
    assert message(lambda: ire_traces.assert_decision("x")) == "no decision 'x' was recorded, nor any other"
    research("q")
    said = message(lambda: ire_traces.assert_decision("clasified_intent"))
    assert said.startswith("no decision 'clasified_intent' was recorded; did you mean 'classified_intent'?\n")
    assert re.search(r"intake +classified_intent +'exploring' +QueryIntake", said)
    assert re.search(r"intake +bias_classification +None +QueryIntake", said)


def test_the_only_document_is_asked_for_in_vain(ire_traces: CapturedTraces) -> None:
    """None, several, or one that is still open."""
    assert message(lambda: ire_traces.document) == "no run has finished"
    with ire_otel.run(query="open"):
        said = message(lambda: ire_traces.json)
        assert said.splitlines()[1] == "trc_20260101_0000000000000001 is still open (query 'open'); end it first"
    research("q")
    said = message(lambda: ire_traces.document)
    assert said.splitlines() == [
        "2 runs have finished, not one; `documents` has them all",
        "trc_20260101_0000000000000001 complete (query 'open')",
        "trc_20260101_0000000000000002 complete (query 'q')",
    ]


def test_valid_is_a_why_for_every_decision_and_no_warning(ire_traces: CapturedTraces) -> None:
    """Everything that is wrong is named at once."""
    assert message(ire_traces.assert_valid) == "no run has finished"
    research("q")
    ire_traces.assert_valid()
    with ire_otel.run(query="r"), ire_otel.stage("intake", component="C"):
        ire_otel.decide("guessed", what=1, why=" ")
        ire_otel.decide("oversure", what=1, why="y", confidence=85)
    run = "trc_20260101_0000000000000003"
    assert message(ire_traces.assert_valid).splitlines() == [
        f"{run}: decision oversure of stage intake: confidence 85 is not between 0 and 1; recorded as null",
        f"{run}: decision 'guessed' of stage 'intake' has no why; C took it",
    ]


class Loader:
    """A component that does not derive from TracingComponent."""

    component_name = "Loader"

    def __init__(self, **schema: list[str]) -> None:
        self.schema = schema

    def get_trace_schema(self) -> dict[str, Any]:
        return self.schema

    def load(self, *keys: str) -> None:
        with ire_otel.stage("rubric") as stage:
            ire_otel.decide("rubric_loaded", what=1, why="y", component=self.component_name)
            stage.set_outputs(dict.fromkeys(keys, 1))


def test_a_component_may_record_what_it_declares(ire_traces: CapturedTraces) -> None:
    """What it declares and never recorded is in the result, and no failure."""
    loader = Loader(decisions=["rubric_loaded", "intent_activation"], outputs=["total", "active"])
    with ire_otel.run(query="q"):
        loader.load("total")
    found = ire_traces.check_component(loader)
    assert (found.component, found.unseen_decisions, found.unseen_outputs) == (
        "Loader",
        ["intent_activation"],
        ["active"],
    )


def test_what_a_component_does_not_declare_is_shown_beside_what_it_does(ire_traces: CapturedTraces) -> None:
    """Decisions and outputs, in every attempt of the stage."""
    loader = Loader(decisions=["intent_activation"], outputs=["total"])
    with ire_otel.run(query="q"):
        loader.load("extra")
        loader.load("total")
    said = message(lambda: ire_traces.check_component(loader))
    head, columns, _, *rows, remedy = said.splitlines()
    assert head == "Loader recorded what its trace schema does not declare"
    assert columns.split() == ["declared", "recorded"]
    assert [re.split(r"\s{2,}", row) for row in rows] == [
        ["decision", "intent_activation", "not seen in this test"],
        ["decision", "rubric_loaded", "≠ not declared"],
        ["output", "extra", "≠ not declared"],
        ["output", "total", "total"],
    ]
    assert remedy == "declare it in get_trace_schema(), or do not record it"


def test_whose_outputs_a_stage_has(ire_traces: CapturedTraces) -> None:
    """Those of the component that the stage names, else of the only one that decided in it; a run's likewise."""
    with ire_otel.run(query="q") as run:
        ire_otel.decide("routing", what=1, why="y", component="Boss")
        with ire_otel.stage("named", component="Coordinator") as stage:
            ire_otel.decide("scored", what=1, why="y", component="Scorer")
            stage.set_outputs({"of_coordinator": 1})
        with ire_otel.stage("shared") as stage:
            ire_otel.decide("scored", what=1, why="y", component="Scorer")
            ire_otel.decide("routing", what=1, why="y", component="Boss")
            stage.set_outputs({"of_nobody": 1})
        run.set_outputs({"report_path": "x.md"})
        run.mark_failed("the gate broke")
    schema = {"decisions": ["scored", "routing"]}
    assert ire_traces.check_component("Scorer", schema).recorded.outputs == frozenset()
    assert "of_coordinator" in message(lambda: ire_traces.check_component("Coordinator", schema))
    said = message(lambda: ire_traces.check_component("Boss", schema))
    assert "report_path" in said
    assert "error" not in said


def test_a_component_that_recorded_nothing_is_no_success(ire_traces: CapturedTraces) -> None:
    """A check that looked at nothing would pass for ever."""
    research("q")
    said = message(lambda: ire_traces.check_component("QueryIntakes", {}))
    assert (
        said == "component 'QueryIntakes' recorded nothing; did you mean 'QueryIntake'?\ncomponents seen: QueryIntake"
    )


def test_a_schema_of_another_form_is_refused(ire_traces: CapturedTraces) -> None:
    """With the value, the place and the remedy."""
    with pytest.raises(TypeError, match=r"trace schema of Loader is \{'decisions': 'a'\}.*\"outputs\": \[keys\]"):
        ire_traces.check_component(Loader(decisions="a"))  # type: ignore[arg-type] # the mistake
    with pytest.raises(TypeError, match="needs the schema"):
        ire_traces.check_component("Loader")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PassageIndex:
    """A small corpus with something to keep, something to filter out, and too little to pass at once."""
    folder = tmp_path_factory.mktemp("texts")
    for number in range(8):
        (folder / f"text-{number}.md").write_text(
            f"---\ntitle: On bees {number}\ndate: 20{10 + number}-05-01\n---\n\n"
            f"Bees visit flowers near hive number {number} and carry pollen from one plant to another.\n\n"
            f"A hive holds about {number}0000 bees in summer, but it is said that fewer than 10000 live in winter.\n\n"
            "Keepers open the hive in spring, look for the queen and count the frames of honey.\n"
        )
    return load_index(folder)


@pytest.fixture
def demo_runs(ire_traces: CapturedTraces, index: PassageIndex) -> CapturedTraces:
    """Runs of the demo engine under several intents."""
    engine = ResearchOrchestrator(index, load())
    for query in ("How many bees live in a hive?", "Are bees really better in summer?", "Compare hives and flowers"):
        engine.run(query, project="bees", report_type="market_research")
    return ire_traces


COMPONENTS: list[Callable[[PassageIndex], ire_otel.TracingComponent]] = [
    EvidenceQualityScorer,
    CollectorCoordinator,
    lambda _: RubricLoader(),
    lambda index: ResearchOrchestrator(index, load()),
]


@pytest.mark.parametrize("make", COMPONENTS)
def test_the_demos_components_record_what_they_declare(
    make: Callable[[PassageIndex], ire_otel.TracingComponent], demo_runs: CapturedTraces, index: PassageIndex
) -> None:
    """Nothing else, and nothing that they declare is idle but the filters that found nothing to do."""
    found = demo_runs.check_component(make(index))
    assert [kind for kind in found.unseen_decisions if not kind.startswith("filter_")] == []
    assert found.unseen_outputs == []


def test_the_demos_synthesis_records_what_it_declares(demo_runs: CapturedTraces) -> None:
    """A function may declare, too."""
    found = demo_runs.check_component("synthesize_report", TRACE_SCHEMA)
    assert found.unseen_decisions == found.unseen_outputs == []


def test_the_demos_documents_are_valid(demo_runs: CapturedTraces) -> None:
    """Every decision of the demo says why."""
    demo_runs.assert_valid()
