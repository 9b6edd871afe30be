"""The rounds of a contest as a table. A ratio is the median over the rounds, each against what it is compared with."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median, quantiles

import msgspec
from rich.table import Table

from benchmarks.measured import Turn

Rounds = Sequence[dict[str, Turn]]
Measure = Callable[[Turn], float]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio that ire-otel means to keep."""

    what: str
    measure: Measure
    against: str
    at_most: float


TITLES = {"bare": "bare OpenTelemetry", "ire": "ire-otel", "batch": "OTel batch + OTLP/HTTP"}
MEASURES: dict[str, Measure] = {
    "caller, wall": lambda turn: median(turn.caller),
    "caller, CPU": lambda turn: median(turn.caller_cpu),
    "caller, wall, no pauses": lambda turn: median(turn.busy_caller),
    "process, CPU": lambda turn: turn.process_cpu,
}
TARGETS = (
    Target(what="caller thread", measure=MEASURES["caller, wall"], against="bare", at_most=1.5),
    Target(what="process CPU", measure=MEASURES["process, CPU"], against="batch", at_most=1.2),
)


def table(rounds: Rounds) -> Table:
    """Lay out medians, the middle half of the rounds, and the ratios to both of OpenTelemetry's contenders."""
    made = Table(title=f"one research run, in microseconds; {len(rounds)} rounds, median [middle half]")
    for column in ("", "", "µs a run", "× bare", "× batch"):
        made.add_column(column, justify="left" if not column else "right")
    for what, measure in MEASURES.items():
        for name, title in TITLES.items():
            cells = [_spread([measure(turns[name]) for turns in rounds], "{:,.0f}")]
            cells += [_spread(_ratios(rounds, measure, name, other), "{:.2f}") for other in ("bare", "batch")]
            made.add_row(what if name == "bare" else "", title, *cells)
        made.add_section()
    for name, title in TITLES.items():
        calls = [time for turns in rounds for time in turns[name].caller]
        worst = quantiles(calls, n=100)[98]
        made.add_row("caller, wall, p99" if name == "bare" else "", title, f"{worst:,.0f}")
    return made


def verdicts(rounds: Rounds) -> Iterator[str]:
    """Hold the measured ratios against their targets."""
    for target in TARGETS:
        ratio = median(_ratios(rounds, target.measure, "ire", target.against))
        word = "within" if ratio <= target.at_most else "above"
        yield f"{target.what}: {ratio:.2f} × {TITLES[target.against]}, {word} its target of {target.at_most}"


def _ratios(rounds: Rounds, measure: Measure, name: str, other: str) -> list[float]:
    return [measure(turns[name]) / measure(turns[other]) for turns in rounds]


def _spread(numbers: Sequence[float], form: str) -> str:
    low, middle, high = quantiles(numbers, n=4)
    return f"{form.format(middle)} [{form.format(low)} … {form.format(high)}]"
