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


TITLES = {"bare": "bare OTel", "ire": "ire-otel", "shared": "ire-otel, shared", "batch": "OTel batch"}
MEASURES: dict[str, Measure] = {
    "caller": lambda turn: median(turn.caller),
    "caller, p95": lambda turn: quantiles(turn.caller, n=20)[18],
    "caller CPU": lambda turn: median(turn.caller_cpu),
    "caller, busy": lambda turn: median(turn.busy_caller),
    "process CPU": lambda turn: turn.process_cpu,
}
TARGETS = (
    Target(what="caller thread", measure=MEASURES["caller"], against="bare", at_most=1.5),
    Target(what="process CPU", measure=MEASURES["process CPU"], against="batch", at_most=1.2),
)

_CAPTION = (
    "caller: the calling thread, with a pause after each run (busy: without). process CPU: until files are synced and "
    "rows written, or the batch is sent. shared: inside a tracer provider of the application."
)


def table(rounds: Rounds) -> Table:
    """Lay out medians, the middle half of the rounds, and the ratios to both of OpenTelemetry's contenders."""
    made = Table(
        title=f"one research run, in µs: {len(rounds)} rounds",
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
    )
    for column in ("", "", "median", "middle half", "× bare", "× batch"):
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    for what, measure in MEASURES.items():
        for name, title in TITLES.items():
            low, middle, high = quantiles([measure(turns[name]) for turns in rounds], n=4)
            ratios = [f"{median(_ratios(rounds, measure, name, other)):.2f}" for other in ("bare", "batch")]
            label = what if name == "bare" else ""
            made.add_row(label, title, f"{middle:,.0f}", f"{low:,.0f} – {high:,.0f}", *ratios)
        made.add_section()
    return made


def verdicts(rounds: Rounds) -> Iterator[str]:
    """Hold the measured ratios against their targets."""
    for target in TARGETS:
        ratio = median(_ratios(rounds, target.measure, "ire", target.against))
        word = "within" if ratio <= target.at_most else "above"
        yield f"{target.what}: {ratio:.2f} × {TITLES[target.against]}, {word} its target of {target.at_most}"


def _ratios(rounds: Rounds, measure: Measure, name: str, other: str) -> list[float]:
    return [measure(turns[name]) / measure(turns[other]) for turns in rounds]
