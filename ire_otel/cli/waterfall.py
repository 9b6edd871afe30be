"""A trace document as a waterfall in the terminal: when each stage ran, what it decided and why, what came of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ire_otel import semconv
from ire_otel.cli import usage
from ire_otel.cli.terminal import STATUS_STYLE, moment, one_line, seconds, verdict
from ire_otel.model import Attempt, ChildTrace, Decision, PrincipleScore, Run, StageTrace, TraceDocument

_INDENT = 2
_NARROWEST_AXIS = 10


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a stage, as the waterfall shows it."""

    label: str
    """The stage's name, with `#2` from the second attempt on."""
    attempt: Attempt
    decisions: list[Decision]
    """Those that this attempt took."""


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """The run's time, from left to right."""

    start: float
    """Unix time in seconds."""
    length: float
    """Seconds, above 0."""
    now: float | None = None
    """Unix time in seconds, for a run that goes on."""

    def span(self, attempt: Attempt) -> tuple[float, float] | None:
        """Give where `attempt` begins and ends, each as a share of the axis; None if it was never started."""
        if attempt.started_at is None:
            return None
        begin = moment(attempt.started_at).timestamp()
        end = moment(attempt.completed_at).timestamp() if attempt.completed_at else self.start + self.length
        shares = [min(1.0, max(0.0, (time - self.start) / self.length)) for time in (begin, end)]
        return shares[0], shares[1]

    def taken(self, span: Run | Attempt) -> float | None:
        """Give how many seconds `span` took, or has taken so far; None where nobody knows."""
        if self.now is None or span.started_at is None or span.completed_at is not None:
            return span.duration_seconds
        return max(0.0, self.now - moment(span.started_at).timestamp())


class Bar:
    """A bar from one share of the available width to another; at least one cell, so that a short stage is seen."""

    def __init__(self, span: tuple[float, float] | None, style: str) -> None:
        """Draw `span`, two shares of 0 to 1; None draws an empty line."""
        self.span = span
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bar as wide as rich allows."""
        width = options.max_width
        full, empty = ("#", ".") if options.ascii_only else ("━", "·")
        if self.span is None:
            yield Text(empty * width, style="dim")
            return
        begin = min(width - 1, int(self.span[0] * width))
        length = max(1, round(self.span[1] * width) - begin)
        yield Text.assemble(
            (empty * begin, "dim"), (full * length, self.style), (empty * (width - begin - length), "dim")
        )


def overview(document: TraceDocument, *, now: float | None = None, jaeger_url: str | None = None) -> RenderableType:
    """Give the whole run, texts shortened to a line each.

    now: Unix time in seconds, for a run that goes on. jaeger_url: where the run is in Jaeger's page.
    """
    axis = _axis(document, now)
    steps = _steps(document)
    label_width = max((len(step.label) for step in steps), default=0)
    parts: list[RenderableType] = [*_heading(document, axis)]
    parts += [] if jaeger_url is None else [Text(jaeger_url, style="dim", overflow="fold")]
    for step in steps:
        parts += [Text(), _bar_line(step, axis, label_width), _indented(_step_lines(step, full=False))]
    parts += _section("iterations", map(_iteration, document.iterations))
    parts += _section("child runs", map(_child, document.child_traces))
    parts += _section("outputs", _values(document.outputs, full=False))
    parts += _section("warnings", map(_plain, document.metadata.warnings))
    return Group(*parts)


def stage_in_full(document: TraceDocument, name: str, *, now: float | None = None) -> RenderableType:
    """Give one stage with everything it recorded, nothing shortened; KeyError where the run has no such stage."""
    axis = _axis(document, now)
    parts: list[RenderableType] = [_title(document, axis)]
    for step in _steps_of(name, document.stages[name]):
        parts += [Text(), _bar_line(step, axis, len(step.label)), _indented(_step_lines(step, full=True))]
    return Group(*parts)


def _title(document: TraceDocument, axis: Axis) -> Text:
    run, gate = document.run, document.stages.get("quality_gate")
    line = Text.assemble((document.trace_id, "bold"), "  ", (run.status, STATUS_STYLE[run.status]))
    if gate is not None:
        line.append("  gate ").append_text(_verdict(gate))
    return line.append(f"  {seconds(axis.taken(run))}")


def _heading(document: TraceDocument, axis: Axis) -> Iterator[Text]:
    run, metadata = document.run, document.metadata
    yield _title(document, axis)
    yield Text(one_line(run.query), style="italic")
    facts = {
        "project": document.project_name,
        "intent": run.intent,
        "domain": run.domain,
        "report": run.report_type,
        "research": run.research_type,
        "part of": None if document.parent_trace_id is UNSET else document.parent_trace_id,
    }
    yield Text("  ".join(f"{name}: {one_line(fact)}" for name, fact in facts.items() if fact))
    counts = [
        f"started {run.started_at}",
        usage.counted(sum(len(s.decisions) for s in document.stages.values()), "decision"),
    ]
    if document.iteration_count > 1:
        counts.append(f"{document.iteration_count} iterations, {document.quality_gate_failures} failed at the gate")
    if metadata.tracing_overhead_ms is not None:
        counts.append(f"tracing took {metadata.tracing_overhead_ms:.1f} ms")
    if metadata.recovered is True:
        counts.append("recovered from the journal")
    yield Text("  ".join(counts), style="dim")
    if metadata.llm_calls:
        yield Text("  ".join(usage.totals(metadata.llm_calls)), style="dim")
    if run.error:
        yield Text(one_line(run.error), style="bold red")


def _axis(document: TraceDocument, now: float | None) -> Axis:
    spans: list[Run | Attempt] = [document.run, *(step.attempt for step in _steps(document))]
    moments = [moment(time).timestamp() for span in spans for time in (span.started_at, span.completed_at) if time]
    moments += [] if now is None else [now]
    return Axis(start=min(moments), length=max(max(moments) - min(moments), 1e-6), now=now)


def _steps(document: TraceDocument) -> list[Step]:
    steps = [step for name, stage in document.stages.items() for step in _steps_of(name, stage)]
    return sorted(steps, key=lambda step: (step.attempt.started_at is None, step.attempt.started_at or ""))


def _steps_of(name: str, stage: StageTrace) -> list[Step]:
    if not stage.attempts:
        return [Step(label=one_line(name), attempt=stage, decisions=stage.decisions)]
    last = len(stage.attempts)
    return [
        Step(
            label=one_line(name) if number == 1 else f"{one_line(name)} #{number}",
            attempt=attempt,
            # A decision of an attempt that was never recorded is shown with the last.
            decisions=[decision for decision in stage.decisions if min(decision.attempt, last) == number],
        )
        for number, attempt in enumerate(stage.attempts, start=1)
    ]


def _bar_line(step: Step, axis: Axis, label_width: int) -> Table:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True, min_width=label_width)
    line.add_column(ratio=1, min_width=_NARROWEST_AXIS)
    line.add_column(no_wrap=True, justify="right", min_width=9)
    style = "red" if step.attempt.error else "cyan"
    line.add_row(Text(step.label, style="bold"), Bar(axis.span(step.attempt), style), seconds(axis.taken(step.attempt)))
    return line


def _step_lines(step: Step, *, full: bool) -> Iterator[RenderableType]:
    attempt = step.attempt
    if attempt.error:
        yield _line(Text(one_line(attempt.error), style="red"), full=full)
    for decision in step.decisions:
        yield from _decision(decision, full=full)
    if attempt.evidence:
        yield from _evidence(attempt.evidence, attempt.outputs, full=full)
    yield from _model(attempt)
    if attempt.principle_scores:
        yield from _scores(attempt, full=full)
    if full:
        yield from _section("prompts", _values(attempt.prompts or {}, full=True))
        yield from _section("outputs", _values(attempt.outputs, full=True))


def _decision(decision: Decision, *, full: bool) -> Iterator[RenderableType]:
    confidence = "" if decision.confidence is None else f"  ({decision.confidence:.2f})"
    yield _line(
        Text.assemble(
            ("• ", "dim"),
            (one_line(decision.decision), "bold"),
            ("  " + one_line(decision.component) if decision.component else "", "dim"),
            confidence,
        ),
        full=full,
    )
    yield _line(Text(one_line(decision.what)), full=full, indent=_INDENT)
    if decision.why:
        yield _line(Text.assemble(("because ", "dim"), one_line(decision.why)), full=full, indent=_INDENT)
    if full and decision.alternatives_considered:
        yield _line(
            Text.assemble(("instead of ", "dim"), one_line(decision.alternatives_considered)), full=True, indent=_INDENT
        )
    if full and decision.inputs:
        yield _line(Text.assemble(("given ", "dim"), one_line(decision.inputs)), full=True, indent=_INDENT)


def _evidence(evidence: Mapping[str, Any], outputs: Any, *, full: bool) -> Iterator[RenderableType]:
    kept, out = _listed(evidence, "kept"), _listed(evidence, "filtered_out")
    said = outputs if isinstance(outputs, Mapping) else {}
    # The stage may list only some of what it kept; what it counted, in the order of trust of the row, comes first.
    passed = said.get("evidence_passed", evidence.get("kept_count", len(kept)))
    filtered = said.get("evidence_filtered", evidence.get("filtered_count", len(out)))
    collected = evidence.get("collected_count", len(kept) + len(out))
    funnel = f"{one_line(collected)} collected → {one_line(passed)} kept, {one_line(filtered)} filtered out"
    yield Text.assemble(("evidence ", "bold"), funnel)
    if isinstance(by_source := evidence.get("by_source"), Mapping):
        yield _line(_pairs("by source", by_source), full=full, indent=_INDENT)
    reasons = Counter(one_line(item.get("reason")) or "no reason given" for item in out if isinstance(item, Mapping))
    if reasons:
        yield _line(_pairs("filtered out", dict(reasons.most_common())), full=full, indent=_INDENT)
    if full:
        yield from (_line(Text.assemble(("+ ", "green"), one_line(item)), full=True, indent=_INDENT) for item in kept)
        yield from (_line(Text.assemble(("- ", "red"), one_line(item)), full=True, indent=_INDENT) for item in out)


def _listed(evidence: Mapping[str, Any], key: str) -> list[Any]:
    items = evidence.get(key)
    return items if isinstance(items, list) else []


def _model(attempt: Attempt) -> Iterator[Text]:
    facts: list[str] = []
    if attempt.model:
        facts.append(one_line(attempt.model))
    if attempt.token_usage:
        facts.append(usage.tokens(attempt.token_usage))
    if attempt.cost_usd is not UNSET:
        facts.append(usage.cost(attempt.cost_usd))
    if attempt.llm_calls:
        facts += usage.calls(attempt.llm_calls)
    if facts:
        yield Text.assemble(("model ", "bold"), "  ".join(facts))


def _scores(attempt: Attempt, *, full: bool) -> Iterator[RenderableType]:
    scores = attempt.principle_scores or []
    threshold = "" if attempt.threshold is UNSET else f" (threshold {attempt.threshold})"
    counts = f"  {usage.counted(len(scores), 'principle')}, {usage.counted(len(attempt.gaps or ()), 'gap')}"
    yield Text.assemble(("scores ", "bold"), _verdict(attempt), threshold, counts)
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in ("mark", "score", "id", "name"):
        table.add_column(no_wrap=True)
    # The ratio gives the feedback what the others leave; without it a long one would squeeze them out.
    table.add_column(no_wrap=not full, overflow="fold" if full else "ellipsis", ratio=1)
    for score in scores:
        table.add_row(*_score_cells(score))
    yield Padding(table, (0, 0, 0, _INDENT), expand=False)


def _verdict(attempt: Attempt) -> Text:
    passing = None if attempt.passing is UNSET else attempt.passing
    return verdict(passing, None if attempt.overall_score is UNSET else attempt.overall_score)


def _score_cells(score: PrincipleScore) -> list[Text]:
    value = score.score
    mark, style = ("", "")
    if value is not None and value < semconv.GAP_BELOW:
        mark, style = "gap", "bold red"
    elif value is not None and value >= semconv.STRENGTH_AT:
        mark, style = "strength", "green"
    number = "–" if value is None else f"{value:g}"
    cells = [
        (mark, style),
        (number, style),
        (one_line(score.id), style),
        (one_line(score.name), ""),
        (one_line(score.feedback), "dim"),
    ]
    return [Text(text, style=cell_style) for text, cell_style in cells]


def _iteration(iteration: Mapping[str, Any]) -> Text:
    rest = dict(iteration)
    number, result, score = (rest.pop(key, None) for key in ("iteration", "quality_gate_result", "overall_score"))
    facts = "  ".join(f"{key} {one_line(value)}" for key, value in rest.items() if value not in (None, [], {}))
    style = {"PASS": "green", "FAIL": "bold red"}.get(one_line(result), "")
    return Text.assemble(f"{one_line(number)}  ", (one_line(result), style), f"  {one_line(score)}  ", (facts, "dim"))


def _child(child: ChildTrace) -> Text:
    return Text("  ".join(one_line(fact) for fact in (child.trace_id, child.output_type, child.path) if fact))


def _section(title: str, lines: Iterable[Text]) -> list[RenderableType]:
    body = list(lines)
    return [Text(), Text(title, style="bold"), _indented(body)] if body else []


def _values(values: Any, *, full: bool) -> Iterator[Text]:
    for name, value in values.items() if isinstance(values, Mapping) else [("", values)] if values else []:
        text = one_line(value)
        line = Text.assemble((f"{one_line(name)} ", "dim"), text)
        line.no_wrap, line.overflow = (False, "fold") if full else (True, "ellipsis")
        yield line


def _pairs(title: str, counts: Mapping[Any, Any]) -> Text:
    listed = ", ".join(f"{one_line(name)} ({one_line(count)})" for name, count in counts.items())
    return Text.assemble((f"{title}: ", "dim"), listed)


def _line(text: Text, *, full: bool, indent: int = 0) -> RenderableType:
    text.no_wrap, text.overflow = (False, "fold") if full else (True, "ellipsis")
    return Padding(text, (0, 0, 0, indent), expand=False) if indent else text


def _indented(lines: Iterable[RenderableType]) -> Padding:
    return Padding(Group(*lines), (0, 0, 0, _INDENT), expand=False)


def _plain(text: str) -> Text:
    return Text(one_line(text))
