"""Runs that are recorded here and sent away too, and whether the documents there are those of here."""

import subprocess
from pathlib import Path

import ire_otel
from ire_otel import assembly
from tests.receivers import COMMAND, written
from tests.runs import documents, stored_rows, wait_until


def record_runs() -> None:
    """Two runs: more events than the SDK keeps, odd values, a child run, facts of a stage that is not open."""
    with ire_otel.run(query="lone \ud800 surrogate", project_name="cobot", report_type="market_research") as trace:
        for number in range(2):
            with ire_otel.stage("collection") as stage:
                for step in range(150):
                    ire_otel.decide("scored", what=[number, step], why="each", inputs={"nan": float("nan"), "n": 2**70})
                stage.evidence(kept=[{"url": "u", "scores": {"composite": 0.5}}])
        with ire_otel.run(query="inner", project_name="Cobot & Söhne"), ire_otel.stage("intake"):
            ire_otel.decide("classified_intent", what="validating", why="y", confidence=0.5)
        trace.record("rubric", "rubric_loaded", {"what": '{"cut', "confidence": 1})
        trace.set_outputs({"report_path": "r.md"})


def run_demo(runs: int = 2) -> None:
    """Run the demo in a process of its own; it is configured by the environment of the test."""
    done = subprocess.run([COMMAND, "demo", "--runs", str(runs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def same_as_here(there: Path, runs: int = 2) -> None:
    """Wait until the documents there are those of this folder, byte for byte but for `metadata.source`."""
    here = {made.trace_id: assembly.encode(made) for made in documents()}
    assert len(here) == runs
    wait_until(lambda: len(written(there)) == len(here))

    def of_there() -> dict[str, bytes]:
        return {
            run_id: assembly.encode(made).replace(b'"source": "otlp"', b'"source": "runlog"')
            for run_id, made in written(there).items()
        }

    wait_until(lambda: of_there() == here)
    wait_until(lambda: {row["trace_id"] for row in stored_rows(there)} == set(here))
