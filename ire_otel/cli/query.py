"""`ire-otel query`: the questions of calibration, each a command."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from ire_otel.cli import listing, terminal
from ire_otel.cli.listing import AsCsv, AsJson, Limit, Since, Until

if TYPE_CHECKING:
    from ire_otel.query import SyncTraceQuery

_WHAT_LENGTH = 40
"""Longest option that the table shows, in characters; --json and --csv have it whole."""

app = typer.Typer(
    name="query",
    help="Ask the recorded runs: which failed, by which principle, in which words.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def intent(
    wanted: Annotated[str, typer.Argument(metavar="INTENT", help="E.g. validating.")],
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the complete runs of an intent."""
    found = _ask().by_intent(wanted, limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


@app.command()
def domain(
    wanted: Annotated[str, typer.Argument(metavar="DOMAIN", help="E.g. edtech.")],
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the complete runs of a domain."""
    found = _ask().by_domain(wanted, limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


@app.command()
def project(
    wanted: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")],
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the runs of a project, however they ended."""
    found = _ask().by_project(wanted, limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


@app.command()
def principle(
    wanted: Annotated[str, typer.Argument(metavar="PRINCIPLE", help="Its id, e.g. META-12.")],
    threshold: Annotated[float, typer.Option(help="Runs that scored below this, 0 to 3.")] = 2,
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the complete runs in which a principle scored low."""
    found = _ask().low_scoring_principle(wanted, threshold, limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


@app.command()
def failures(
    limit: Limit = 50, since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """List the complete runs that the quality gate did not pass."""
    found = _ask().quality_gate_failures(limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


@app.command()
def flagged(
    limit: Limit = 20, since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """List the runs that somebody flagged for review."""
    found = _ask().flagged_for_review(limit, **listing.window(since, until))
    listing.print_runs(found, as_json=as_json, as_csv=as_csv, nothing="no run is flagged: `ire-otel flag` flags one")


@app.command()
def patterns(
    min_runs: Annotated[int, typer.Option(min=1, help="Only principles that failed in so many runs.")] = 3,
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the principles that fail most often."""
    found = _ask().principle_patterns(min_runs, **listing.window(since, until))[:limit]
    columns = ("principle_id", "fail_count", "avg_score", "total_runs")
    listing.print_rows(columns, found, as_json=as_json, as_csv=as_csv)


@app.command()
def decisions(
    principle: Annotated[str, typer.Argument(metavar="PRINCIPLE", help="E.g. META-12.")],
    min_runs: Annotated[int, typer.Option(min=1, help="Only options that so many runs took, and did not.")] = 3,
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tell which decisions go with a principle's failures: each option against the runs that took another."""
    from ire_otel.query import DecisionEffect

    found = _ask().decision_effects(principle, min_runs, **listing.window(since, until))[:limit]
    rows = [msgspec.to_builtins(effect) for effect in found]
    if as_json or as_csv:
        listing.print_rows(DecisionEffect.__struct_fields__, rows, as_json=as_json, as_csv=as_csv)
        return
    short = [{**row, "what": terminal.one_line(row["what"])[:_WHAT_LENGTH]} for row in rows]
    columns = ("decision_type", "what", "runs", "fail_rate", "other_runs", "other_fail_rate", "p_value", "q_value")
    listing.print_rows(columns, short, as_json=False, as_csv=False)


@app.command()
def summary(since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Count the runs, and give the means of the complete ones."""
    found = _ask().summary(**listing.window(since, until))
    if as_json:
        terminal.print_json(found)
    elif as_csv:
        listing.print_csv(list(found), [found])
    else:
        rows = [{"of": name.replace("_", " "), "value": value} for name, value in found.items()]
        listing.print_rows(("of", "value"), rows, as_json=False, as_csv=False)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that must all occur; '\"a phrase\"', begin*.")],
    limit: Limit = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find the runs whose query or decisions hold all the words."""
    times = listing.window(since, until)
    with Console(stderr=True).status("taking in the words of new runs"):
        found = _ask().search(" ".join(words), limit, **times)
    listing.print_runs(found, as_json=as_json, as_csv=as_csv)


def _ask() -> "type[SyncTraceQuery]":
    from ire_otel.query import TraceQuery

    return TraceQuery.sync
