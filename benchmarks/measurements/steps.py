"""What each step of the worker costs, and the least that a step of its kind could."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Final

import msgspec

import ire_otel
from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.contenders.ire import record_stage
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, Size
from ire_otel import assembly, patterns, redaction, runlog
from ire_otel.db.store import RunStore
from ire_otel.recording.run import Trace
from ire_otel.records import SpanRecord
from ire_otel.redaction.kinds import KINDS
from ire_otel.row import Row, row
from ire_otel.settings import Settings
from ire_otel.steps import apply
from ire_otel_exporters import trace_file

TITLE: Final = "Steps of the worker"
REMARK: Final = (
    "CPU time of each step from the log of a reference run to its file and rows, the same step again and again on "
    "one thread with nothing beside it: its floor, as caches are warm. Between them the worker gives way to other "
    "threads, and in a run everything costs about a third more. `least`: what is left of a step if all of its Python "
    "is taken away: RE2 looking through the same texts, the decoder reading the same lines, the system's calls that "
    "write, fsync and name such a file. Rows are saved ten runs at a time."
)
CHARTS: Final = ()
RUNS: Final = 10
"""Runs whose rows share a transaction."""


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, each=1),
    Scale.QUICK: Size(rounds=7, each=30),
    Scale.FULL: Size(rounds=21, each=100),
}
"""How many times each step."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of a run."""

    own: dict[str, float]
    least: dict[str, float]


def costs(contender: Contender, repeats: int) -> Costs:
    """Do each step of one run again and again."""
    log = _recorded().log
    contender.settle()
    lines = [log.header, *(line for of_span in log.spans.values() for line in of_span)]
    settings = Settings(brain_dir=Path("steps").absolute())
    redactor, records = redaction.steps(settings), log.records()
    clean = apply(redactor, records)
    document = assembly.assemble(clean)
    path = settings.trace_file(document.project_name, document.trace_id)
    made, data = row(document, settings.location(path)), assembly.encode(document)
    files, store = _File(path, data), RunStore(settings.database_url)
    several = [_as_another(made, number) for number in range(RUNS)]
    texts, joined = _texts(records), b"".join(lines)
    own: dict[str, Callable[[], object]] = {
        "fold the log": lambda: runlog.fold(lines),
        "look for secrets": lambda: apply(redactor, records),
        "assemble": lambda: assembly.assemble(clean),
        "make rows": lambda: row(document, None),
        "encode": lambda: assembly.encode(document),
        "write the file": files.write,
    }
    least: dict[str, Callable[[], object]] = {
        "fold the log": lambda: _decoder.decode_lines(joined),
        "look for secrets": lambda: _secrets.search(texts),
        "encode": lambda: msgspec.json.format(msgspec.json.encode(document), indent=2),
        "write the file": files.write_by_hand,
    }
    saving = _timed(lambda: store.save(several), max(1, repeats // RUNS)) / RUNS
    store.close()
    return Costs(
        own={name: _timed(step, repeats) for name, step in own.items()} | {"save the rows": saving},
        least={name: _timed(step, repeats) for name, step in least.items()},
    )


def _recorded() -> Trace:
    """Record the reference run, and keep hold of it."""
    with ire_otel.run(reference.QUERY, project_name=reference.PROJECT, report_type=reference.REPORT_TYPE) as trace:
        for stage in reference.STAGES:
            with ire_otel.stage(stage.name, component=stage.component) as open_stage:
                record_stage(open_stage, stage)
        trace.intent = reference.INTENT
        trace.set_outputs(reference.OUTPUTS)
    return trace


_decoder: Final = msgspec.json.Decoder()
_secrets: Final = patterns.compiled("|".join(kind.pattern for kind in KINDS))


def _texts(records: list[SpanRecord]) -> str:
    mappings = [
        mapping for record in records for mapping in (record.attributes, *(event.attributes for event in record.events))
    ]
    return "\0".join(value for mapping in mappings for value in mapping.values() if isinstance(value, str))


def _as_another(made: Row, number: int) -> Row:
    """Give the rows of a run as those of one that has another id."""
    named = {"trace_id": f"trc_20260213_{number:016x}"}
    children = {
        name: [msgspec.structs.replace(child, **named) for child in getattr(made, name)]
        for name in ("principle_scores", "stages", "decisions", "sources", "model_usage")
    }
    return msgspec.structs.replace(made, run=msgspec.structs.replace(made.run, **named), **children)


_numbers = itertools.count()


class _File:
    """A trace file, written under ever new names."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._data = data

    def write(self) -> None:
        path = self._path.with_name(f"trc_{next(_numbers)}.json")
        trace_file.write(path, self._data, 1)

    def write_by_hand(self) -> None:
        name = f"{self._path.parent}/{next(_numbers)}"
        handle = os.open(f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(handle, self._data)
        os.fsync(handle)
        os.close(handle)
        os.rename(f"{name}.tmp", name)  # noqa: PTH104 # nothing but the call to the system


def _timed(step: Callable[[], object], repeats: int) -> float:
    step()
    began = thread_time_ns()
    for _ in range(repeats):
        step()
    return (thread_time_ns() - began) / repeats / 1000


def measure(scale: Scale) -> list[Figure]:
    """Do all steps, round after round."""
    size = SIZES[scale]
    with contest(["ire"]) as held:
        rounds = [held.one("ire", Costs, costs, size.each) for _ in range(size.rounds)]
    figures = [
        Figure(what=what, of=step, unit="µs", samples=[getattr(one, field)[step] for one in rounds])
        for what, field in (("step", "own"), ("least", "least"))
        for step in getattr(rounds[0], field)
    ]
    together = sum(median(figure.samples) for figure in figures if figure.what == "step")
    return [*figures, Figure(what="step", of="together", unit="µs", samples=[together])]


def goals(figures: Figures) -> Iterator[Goal]:  # noqa: ARG001 # as all measurements have them
    """Nothing is held against these; they say where the time of others goes."""
    return iter(())
