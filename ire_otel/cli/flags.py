"""`ire-otel flags`: the principles that the policies say to look at, and what was done about them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from ire_otel.cli import listing, terminal
from ire_otel.cli.listing import AsCsv, AsJson, Limit
from ire_otel.cli.review import Who, user
from ire_otel.settings import FlagPolicy

if TYPE_CHECKING:
    from ire_otel.calibration import FlagRow, SyncCalibration

app = typer.Typer(
    name="flags",
    help="List the principles that began to fail; snooze, resolve and reopen what is flagged.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Status = Literal["open", "snoozed", "resolved", "reopened", "all"]
FlagId = Annotated[
    str, typer.Argument(metavar="FLAG", help="Its id, the beginning of it, or the principle if it has one flag only.")
]
Note = Annotated[str | None, typer.Option(help="Why, in words.")]

_AHEAD: Final = re.compile(r"(\d{1,4})d")
_ID_SHOWN: Final = 8
_STYLE: Final = {"open": "bold red", "reopened": "bold red", "snoozed": "yellow", "resolved": "green"}


@app.command("list")
def list_flags(
    status: Annotated[Status | None, typer.Option(help="Only these; without it, those open or reopened.")] = None,
    policy: Annotated[FlagPolicy | None, typer.Option(help="Only what this policy raised.")] = None,
    principle: Annotated[str | None, typer.Option(help="Only this principle, e.g. META-12.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List flags, the last told first."""
    found = _calibration().flags(status, limit, policy=policy, principle=principle)
    _print_flags(found, as_json=as_json, as_csv=as_csv, nothing="no flag" if status == "all" else "no such flag now")


@app.command()
def check(
    policy: Annotated[FlagPolicy | None, typer.Option(help="Only this policy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the policies now, on the runs of the last 30 days, and say what they raise."""
    from ire_otel.calibration.flags import POLICIES

    findings = _calibration().check(policies=POLICIES if policy is None else (policy,))
    if as_json:
        terminal.print_json(findings)
        return
    console = terminal.console()
    for finding in findings:
        if finding.speaks:
            mark = "new" if finding.new else finding.flag.status
            line = Text.assemble(f"{finding.flag.id[:_ID_SHOWN]} ", (f"{mark}: ", _STYLE.get(finding.flag.status, "")))
            console.print(line.append(terminal.one_line(finding.message)), soft_wrap=True)
    silent = sum(not finding.speaks for finding in findings)
    typer.echo(f"{len(findings) - silent} flags, {sum(finding.new for finding in findings)} new; {silent} silenced")


@app.command()
def snooze(
    flag: FlagId,
    until: Annotated[str, typer.Option(help="So many days ahead (14d), or a date or time (ISO 8601, UTC).")] = "14d",
    note: Note = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Be silent about a flag for a while."""
    end = ending(until, datetime.now(UTC))
    changed = _calibration().snooze(flag, end, note=note, who=who or user())
    _print_change(changed, f"snoozed until {end:%Y-%m-%d %H:%M} UTC", as_json=as_json)


@app.command()
def resolve(flag: FlagId, note: Note = None, who: Who = None, as_json: AsJson = False) -> None:
    """Close a flag, because its cause is found; only runs from now on can raise it again."""
    changed = _calibration().resolve(flag, note=note, who=who or user())
    _print_change(changed, "resolved", as_json=as_json)


@app.command()
def reopen(flag: FlagId, note: Note = None, who: Who = None, as_json: AsJson = False) -> None:
    """Take back that a flag was snoozed or resolved."""
    changed = _calibration().reopen(flag, note=note, who=who or user())
    _print_change(changed, "open again", as_json=as_json)


def ending(until: str, now: datetime) -> datetime:
    """Give the moment that `--until` names: so many days after `now`, or an ISO 8601 date or time to come."""
    days = _AHEAD.fullmatch(until.strip())
    try:
        end = now + timedelta(days=int(days[1])) if days else terminal.moment(until.strip())
    except (ValueError, OverflowError):
        message = f"{until!r} is neither an age like 14d nor a date like 2026-02-13"
        raise typer.BadParameter(message, param_hint="'--until'") from None
    if end <= now:
        raise typer.BadParameter(f"{until!r} is not to come", param_hint="'--until'")
    return end


def _calibration() -> "type[SyncCalibration]":
    from ire_otel.calibration import Calibration

    return Calibration.sync


def _print_change(changed: "FlagRow", done: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(changed)
    else:
        typer.echo(
            f"flag {changed.id[:_ID_SHOWN]} ({changed.policy} {terminal.one_line(changed.principle_id)}) is {done}"
        )


def _print_flags(found: "Sequence[FlagRow]", *, as_json: bool, as_csv: bool, nothing: str) -> None:
    from ire_otel.calibration import FlagRow

    if as_json:
        terminal.print_json(found)
    elif as_csv:
        listing.print_csv(FlagRow.__struct_fields__, [msgspec.to_builtins(flag) for flag in found])
    elif found:
        terminal.console().print(_table(found))
    else:
        typer.echo(nothing)


def _table(found: "Sequence[FlagRow]") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("flag", "status", "policy", "last raised"):
        table.add_column(name, no_wrap=True)
    table.add_column("what it says", ratio=1)
    for flag in found:
        table.add_row(
            flag.id[:_ID_SHOWN],
            Text(_standing(flag), style=_STYLE.get(flag.status, "")),
            flag.policy,
            f"{flag.last_raised_at:%Y-%m-%d %H:%M}",
            Text(terminal.one_line(flag.message) + (f" ({terminal.one_line(flag.note)})" if flag.note else "")),
        )
    return table


def _standing(flag: "FlagRow") -> str:
    return f"snoozed to {flag.snoozed_until:%m-%d}" if flag.snoozed_until else flag.status
