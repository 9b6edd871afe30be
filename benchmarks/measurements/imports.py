"""How long an import takes, and how much memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from benchmarks import contenders
from benchmarks.lockstep import OFFLINE
from benchmarks.results import Figure, Figures, Goal, Scale

TITLE: Final = "Import"
REMARK: Final = (
    "A fresh interpreter that does just this, in turn, and its largest memory. `first run`: configured, one small run "
    "traced and written, and the interpreter's end. Each with what is installed beside it: OpenTelemetry looks through "
    "all packages, so its import takes longer where there are many."
)
CHARTS: Final = ()
ROUNDS: Final = {Scale.SMALLEST: 1, Scale.QUICK: 3, Scale.FULL: 15}
PROGRAMS: Final[Mapping[str, tuple[str, str]]] = {
    "nothing": ("", ""),
    "opentelemetry.trace": ("", "import opentelemetry.trace"),
    "ire_otel": ("", "import ire_otel"),
    "opentelemetry.sdk.trace": ("", "import opentelemetry.sdk.trace"),
    "OTLP exporter": ("otel_batch", "import opentelemetry.exporter.otlp.proto.http.trace_exporter"),
    "ire_otel, first run": (
        "",
        "import ire_otel\nwith ire_otel.run('q', project_name='p'), ire_otel.stage('s'): ire_otel.decide('d')",
    ),
    "logfire": ("logfire_sdk", "import logfire"),
    "langfuse": ("langfuse_sdk", "import langfuse; langfuse.Langfuse"),
    "langsmith": ("langsmith_sdk", "import langsmith; langsmith.Client, langsmith.trace"),
    "mlflow": ("mlflow_sqlite", "import mlflow; mlflow.start_span"),
}
"""What is done: the contender that must be there for it, and the program."""


def measure(scale: Scale) -> list[Figure]:
    """Start interpreters in turn."""
    present = {"", *contenders.present()} if scale is not Scale.SMALLEST else {""}
    programs = {name: text for name, (needs, text) in PROGRAMS.items() if needs in present}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    with TemporaryDirectory(prefix="ire-otel-bench-") as folder:
        for name, text in programs.items():
            _run(text, folder)  # for the files that Python makes of modules
            found[name].clear()
        for _ in range(ROUNDS[scale]):
            for name, text in programs.items():
                found[name].append(_run(text, folder))
    return [
        Figure(what=what, of=name, unit=unit, samples=[sample[place] for sample in samples])
        for place, (what, unit) in enumerate((("time", "ms"), ("CPU", "ms"), ("memory", "MB")))
        for name, samples in found.items()
    ]


def _run(program: str, folder: str) -> tuple[float, float, float]:
    """Give milliseconds, milliseconds of CPU time, and megabytes."""
    used, began = _cpu_of_children(), perf_counter()
    command = [sys.executable, "-c", f"{program}\n{_MEMORY}"]
    done = subprocess.run(command, cwd=folder, env=os.environ | OFFLINE, check=True, capture_output=True)
    taken, cpu = perf_counter() - began, _cpu_of_children() - used
    return taken * 1000, cpu * 1000, int(done.stdout.split()[-1]) / 1024


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# Not the usage that the system gives for a child: that begins with what its parent had.
_MEMORY: Final = (
    "print(next(line.split()[1] for line in open('/proc/self/status', encoding='ascii') if line.startswith('VmHWM')))"
)


def goals(figures: Figures) -> Iterator[Goal]:
    """None has been set."""
    del figures
    yield from ()
