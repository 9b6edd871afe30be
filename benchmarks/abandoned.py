"""A process that is killed in the middle of all its runs: python -m benchmarks.abandoned BRAIN RUNS."""

import os
import signal
import sys
from contextvars import copy_context
from pathlib import Path

import ire_otel
from benchmarks import reference
from benchmarks.contenders.ire import record_stage


def main() -> None:
    """Record everything of each run but its end."""
    brain, runs = sys.argv[1:]
    ire_otel.configure(brain_dir=Path(brain))
    held = [copy_context().run(_begin) for _ in range(int(runs))]
    print(f"recorded {len(held)}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _begin() -> object:
    run = ire_otel.run(reference.QUERY, project_name=reference.PROJECT, report_type=reference.REPORT_TYPE)
    run.__enter__()  # it is never left
    for stage in reference.STAGES:
        with ire_otel.stage(stage.name, component=stage.component) as open_stage:
            record_stage(open_stage, stage)
    return run


if __name__ == "__main__":
    main()
