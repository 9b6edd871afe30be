"""`ire-otel calibrate`: keep what a person thinks of a run's scores, and compare people with the gate."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from ire_otel.cli import interview, listing, terminal
from ire_otel.cli.interview import Said, unusable
from ire_otel.cli.listing import AsCsv, AsJson
from ire_otel.cli.review import TraceId, run_id, user
from ire_otel.cli.show import LAST

if TYPE_CHECKING:
    from ire_otel.calibration import AgreementReport, Captured, Draft
    from ire_otel.calibration.statistics import Agreement

app = typer.Typer(
    name="calibrate",
    help="Keep what people think of the gate's scores, and see whether the gate agrees.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def capture(
    trace_id: TraceId = LAST,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="META-12=1 (a score, 0 to 3), META-12.note=…, intent=…, domain=…, report_type=…, "
            "quality_gate_passed=yes|no, note=…; may be repeated.",
        ),
    ] = None,
    agree: Annotated[bool, typer.Option("--agree", help="Score all other principles as the gate did.")] = False,
    reviewer: Annotated[str | None, typer.Option(help="Who thinks so; default: the user of this machine.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, and keep it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep what you think of a run: confirm or correct its intent, its scores and its verdict.

    Asks for each, with the run's own answer filled in. With --yes only what --set (and --agree) says is a score of
    yours.
    """
    from ire_otel.calibration import Calibration

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("needs a terminal to ask at, or --yes to keep what --set says", param_hint="capture")
    form = Calibration.sync.draft(run_id(trace_id))
    said = interview.from_options(settings or (), form)
    if agree:
        gate = {one.principle_id: one.gate_score for one in form.principles if one.gate_score is not None}
        said.scores = gate | said.scores
    if not yes:
        interview.ask(form, said)
        typer.confirm(f"Keep {_summary(said, form)}?", abort=True, err=True)
    kept = _keep(form, said, reviewer or user())
    if as_json:
        terminal.print_json(kept)
    else:
        _print_kept(kept)


@app.command()
def agreement(
    principle: Annotated[str | None, typer.Option(help="Only this principle, e.g. META-12.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only what this person said.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what was said since: 7d, 24h, 30m, or a date or time (ISO 8601, UTC).")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare people's scores with the gate's: weighted kappa, mean difference and counts, for each principle."""
    from ire_otel.calibration import Calibration

    window = listing.window(since, None)
    report = Calibration.sync.agreement(principle=principle, reviewer=reviewer, since=window["since"])
    if as_json:
        terminal.print_json(report)
    elif as_csv:
        listing.print_csv(("principle_id", "n", "kappa", "mean_difference", "confusion"), _agreement_rows(report))
    elif report.overall is None:
        typer.echo("no score of a person matches: `ire-otel calibrate capture` gives some")
    else:
        terminal.console().print(_agreement_table(report, report.overall))


def _keep(form: "Draft", said: Said, reviewer: str | None) -> "Captured":
    from ire_otel.calibration import Calibration, CalibrationError

    try:
        return Calibration.sync.capture(form.trace_id, said.scores, reviewer=reviewer, **said.words())
    except CalibrationError as error:
        raise unusable(str(error)) from error


def _summary(said: Said, form: "Draft") -> str:
    other = sum(score != gate for score, gate in _pairs(said, form))
    changes = _counted(len(said.corrections), "correction")
    return f"{_counted(len(said.scores), 'score')} ({other} other than the gate's) and {changes}"


def _pairs(said: Said, form: "Draft") -> list[tuple[float, float | None]]:
    gate = {one.principle_id: one.gate_score for one in form.principles}
    return [(score, gate[principle_id]) for principle_id, score in said.scores.items()]


def _print_kept(kept: "Captured") -> None:
    scored = [one for one in kept.scores if one.human_score is not None]
    by = f" by {terminal.one_line(kept.reviewer)}" if kept.reviewer else ""
    typer.echo(f"{kept.trace_id}: {_counted(len(scored), 'score')} kept{by}")
    for name, value in kept.corrected.items():
        typer.echo(f"  {name} is {terminal.one_line(value)}")
    for one in kept.scores:
        if one.human_score != one.gate_score or one.note:
            gate, human = (_figure(score) for score in (one.gate_score, one.human_score))
            note = f": {terminal.one_line(one.note)}" if one.note else ""
            typer.echo(f"  {terminal.one_line(one.principle_id)} gate {gate}, you {human}{note}")


def _agreement_rows(report: "AgreementReport") -> list[dict[str, Any]]:
    overall = [] if report.overall is None else [("all", report.overall)]
    return [
        {"principle_id": name, **msgspec.to_builtins(one), "confusion": msgspec.to_builtins(list(one.confusion))}
        for name, one in [*((one.principle_id, one) for one in report.principles), *overall]
    ]


def _agreement_table(report: "AgreementReport", overall: "Agreement") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("principle", no_wrap=True)
    for name in ("n", "kappa", "human - gate"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("human/gate (times)", ratio=1)
    for name, one in [*((one.principle_id, one) for one in report.principles), ("all", overall)]:
        counts = " ".join(f"{pair.human:g}/{pair.gate:g} ({pair.count})" for pair in one.confusion)
        kappa = "–" if one.kappa is None else f"{one.kappa:.2f}"
        table.add_row(terminal.one_line(name), str(one.n), kappa, f"{one.mean_difference:+.2f}", counts)
    return table


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _figure(score: float | None) -> str:
    return "–" if score is None else f"{score:g}"
