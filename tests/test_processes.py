"""One run over several processes of a machine, without any server: all of it is in one document."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from opentelemetry import propagate
from opentelemetry.context import attach

import ire_otel
from ire_otel.journal import spool
from tests.runs import decisions, document, wait_until

WORK = "from tests.test_processes import work; work({number})"


def work(number: int) -> None:
    """Take part in a run: a decision in a stage of its own, one in the stage around, one in a stage by its name."""
    with ire_otel.stage("collection"):
        ire_otel.decide("inside", what=number)
    ire_otel.decide("around", what=number)
    run = ire_otel.current_run()
    assert run is not None
    run.record("rubric", "named", {"what": number})


def carried(number: int, carrier: dict[str, str]) -> None:
    """Take part in a run that arrives as headers do."""
    attach(propagate.extract(carrier))
    work(number)


def all_there(*numbers: int) -> bool:
    """Tell whether the document has what each of them recorded, once."""
    made = document()
    taken = {
        (stage, decision.decision): sorted(
            other.what for other in trace.decisions if other.decision == decision.decision
        )
        for stage, trace in made.stages.items()
        for decision in trace.decisions
    }
    wanted = list(numbers)
    return taken == {
        ("collection", "inside"): wanted,
        ("synthesis", "around"): wanted,
        ("rubric", "named"): wanted,
    }


def python(program: str, **variables: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **variables}
    return subprocess.Popen([sys.executable, "-c", program], env=environment)


def test_forked_children_take_part() -> None:
    """What they inherit says where they are; they record into journals of their own."""
    with ire_otel.run("q"), ire_otel.stage("synthesis"):
        for number in (1, 2):
            pid = os.fork()
            if pid == 0:
                work(number)
                os._exit(0)
            os.waitpid(pid, 0)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(work, [3, 4]))
    assert all_there(1, 2, 3, 4)


def test_headers_carry_a_run() -> None:
    """Baggage names run and stage; spawned processes inherit nothing else."""
    with ire_otel.run("q"), ire_otel.stage("synthesis"):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(carried, 1, carrier).result()
    assert all_there(1)


@pytest.mark.parametrize("names", [("traceparent", "baggage"), ("traceparent",)])
def test_the_environment_carries_a_run(names: tuple[str, ...]) -> None:
    """With TRACEPARENT alone, run and stage are found by what the spans descend from."""
    with ire_otel.run("q"), ire_otel.stage("synthesis"):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        variables = {name.upper(): carrier[name] for name in names}
        assert python(WORK.format(number=1), **variables).wait() == 0
    assert all_there(1)


def test_what_outlives_the_run_is_merged() -> None:
    """The process that comes last writes the document again."""
    with ire_otel.run("q"), ire_otel.stage("synthesis"):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
    assert ire_otel.flush(30)
    variables = {name.upper(): value for name, value in carrier.items()}
    assert python(WORK.format(number=1), **variables).wait() == 0
    assert all_there(1)
    ire_otel.shutdown(30)
    assert python(WORK.format(number=2), **variables).wait() == 0
    assert all_there(1, 2)
    assert len(spool.processes(Path("brain/_spool"))) == 3
    environment = {**os.environ, "IRE_OTEL_SETTLE_AFTER": "0"}
    subprocess.run([Path(sys.executable).with_name("ire-otel"), "recover"], env=environment, check=True)
    assert spool.processes(Path("brain/_spool")) == list(Path("brain/_spool/traces").iterdir()) == []


def test_a_process_of_the_run_that_is_killed_has_left_its_part() -> None:
    """Its journal is read when the run ends."""
    with ire_otel.run("q"), ire_otel.stage("synthesis"):
        pid = os.fork()
        if pid == 0:
            work(1)
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
    assert all_there(1)


def test_the_run_that_is_killed_is_recovered_with_its_processes() -> None:
    """All of it, from all journals."""
    program = f"""
import os, subprocess, sys
import ire_otel
from opentelemetry import propagate
ire_otel.run("q").start_stage("synthesis")
carrier = {{}}
propagate.inject(carrier)
environment = {{**os.environ, **{{name.upper(): value for name, value in carrier.items()}}}}
subprocess.run([sys.executable, "-c", {WORK.format(number=1)!r}], env=environment, check=True)
os.kill(os.getpid(), 9)
"""
    assert python(program).wait() == -9
    subprocess.run([Path(sys.executable).with_name("ire-otel"), "recover"], check=True, capture_output=True)
    assert all_there(1)
    assert document().metadata.recovered is True


def test_facts_learnt_elsewhere_are_facts_of_the_run() -> None:
    """The run's own word counts more, but a failure anywhere is one."""
    with ire_otel.run("q", intent="validating") as trace, ire_otel.stage("quality_gate") as gate:
        pid = os.fork()
        if pid == 0:
            trace.intent = "exploring"
            trace.domain = "robotics"
            gate.score("META-1", 1)
            gate.evidence(kept=[{"url": "u"}])
            trace.record_iteration({"iteration": 1, "passed": False})
            trace.mark_failed("no room")
            os._exit(0)
        os.waitpid(pid, 0)
    made = document()
    assert (made.run.intent, made.run.domain) == ("validating", "robotics")
    assert (made.run.status, made.run.error) == ("failed", "no room")
    assert [score.id for score in made.stages["quality_gate"].principle_scores] == ["META-1"]  # type: ignore[union-attr] # set
    assert made.quality_gate_failures == 1


def test_a_child_that_falls_out_of_the_block_does_not_end_the_run() -> None:
    """A run is ended by the process that began it."""
    pid = -1
    with ire_otel.run("q") as trace:
        pid = os.fork()
        ire_otel.decide("both", what=pid)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert document().trace_id == trace.trace_id
    assert sorted(decisions(document(), "run")) == ["both", "both"]


def test_a_forked_child_has_runs_of_its_own() -> None:
    """Written by itself, with a journal of its own."""
    ire_otel.configure()
    with ire_otel.run("parent"):
        pass
    pid = os.fork()
    if pid == 0:
        with ire_otel.run("child"):
            ire_otel.decide("one", what=1)
        os._exit(0 if ire_otel.flush(30) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert ire_otel.flush(30)
    assert len(list(Path("brain").glob("projects/*/_traces/*.json"))) == 2


def test_what_belongs_to_no_run_is_kept_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that no run of this machine is in: its entries are in a file that is named."""
    monkeypatch.setenv("IRE_OTEL_SETTLE_AFTER", "0")
    carrier = {"TRACEPARENT": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
    assert python(WORK.format(number=1), **carrier).wait() == 0
    ire_otel.configure()
    unclaimed = Path("brain/_spool/unclaimed/0123456789abcdef0123456789abcdef.jsonl")
    wait_until(unclaimed.exists)
    assert unclaimed.read_text().count('"ire.decision.what":1') == 3
    wait_until(lambda: len(spool.processes(Path("brain/_spool"))) <= 1)
