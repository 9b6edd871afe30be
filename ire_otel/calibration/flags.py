"""Flags at work: run the policies on the recorded runs, store what they raise, and let people deal with it.

Every function takes a Brain; `ire_otel.calibration` makes of them what is called.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import sqlalchemy as sa

from ire_otel import reviews, values
from ire_otel.calibration import lifecycle, scored_runs
from ire_otel.calibration.lifecycle import FlagState, FlagStatus
from ire_otel.calibration.policies import COUNT_PERIOD, RATE_PERIOD, Flag, Group, count_flags, rate_flags
from ire_otel.calibration.scored_runs import JudgedRun
from ire_otel.db import flag_states
from ire_otel.db.flag_states import FLAG_STATE, FlagRow
from ire_otel.db.tables import trace_flags, traces
from ire_otel.errors import IreOtelError
from ire_otel.query.conditions import checked_limit
from ire_otel.query.execution import Brain
from ire_otel.query.results import Results, RunNotFoundError
from ire_otel.row.columns import NAME_LENGTH
from ire_otel.settings import FlagPolicy

POLICIES: Final[tuple[FlagPolicy, ...]] = get_args(FlagPolicy)
STATUSES: Final[tuple[FlagStatus, ...]] = get_args(FlagStatus)
SPEAKING: Final = ("open", "reopened")
"""What a flag is while it is neither snoozed nor resolved."""
NAMED: Final = 5
"""Flags that are named where more than one fits."""


class FlagError(IreOtelError, ValueError):
    """No flag, or more than one, answers to what was asked for; or it cannot become what it should."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are new: what the policies need not look at, they do not read."""

    groups: frozenset[Group]
    """Their intents and report types, for `rate`."""
    principles: frozenset[str]
    """The principles that they failed, for `count`."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A flag that a policy raises today, whether it is news or not."""

    message: str
    """Today's figures in one sentence."""
    new: bool
    """True: it was not told before, or is worth telling again."""
    flag: FlagRow
    """As it is stored: with the figures that were last told."""

    @property
    def speaks(self) -> bool:
        """False where somebody snoozed or resolved it."""
        return self.flag.status in SPEAKING


def check(
    brain: Brain,
    scope: Scope | None = None,
    *,
    policies: Collection[FlagPolicy] = POLICIES,
    now: datetime | None = None,
) -> Results[Finding]:
    """Run the policies on the runs of `scope`; None: on all that began in the last 30 days.

    Every flag is stored under its policy, principle, intent and report type, and is `new` once, however many processes
    look (ire_otel.calibration.lifecycle says when it is new again). What `rate` raises comes first.
    """
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown:
        raise FlagError(f"no policy {unknown[0]!r}: valid are {', '.join(POLICIES)}")
    now = now or datetime.now(UTC)
    raised = {one.id: one for one in _raised(brain.connection, scope, policies, now)}
    if not raised:
        return Results()
    stored = flag_states.by_id(brain.connection, raised)
    if any(_step(one, stored.get(id_), now).tell for id_, one in raised.items()):
        return _told(brain.connection, raised, now)
    return Results(Finding(message=one.flag.message, new=False, flag=stored[id_]) for id_, one in raised.items())


def check_run(brain: Brain, trace_id: str) -> list[str]:
    """Give what the policies say about the principles that a run failed, but for what somebody snoozed or resolved.

    Raises RunNotFoundError.
    """
    run = scored_runs.one(brain.connection, trace_id)
    if run is None:
        raise RunNotFoundError(f"run {trace_id!r} has no row yet: finish it before its flags are checked")
    failed = frozenset(principle_id for principle_id, is_gap in run.failed.items() if is_gap)
    if not failed:
        return []
    scope = Scope(groups=frozenset({run.group}), principles=failed)
    findings = check(brain, scope, policies=brain.settings.flag_policies or POLICIES)
    return [one.message for one in findings if one.speaks and one.flag.principle_id in failed]


def list_flags(
    brain: Brain,
    status: FlagStatus | Literal["all"] | None = None,
    limit: int = 50,
    *,
    policy: FlagPolicy | None = None,
    principle: str | None = None,
) -> Results[FlagRow]:
    """Give the flags of a status, the last told first; None: those that are neither snoozed nor resolved."""
    if status not in {None, "all", *STATUSES}:
        raise FlagError(f"no status {status!r}: valid are all, {', '.join(STATUSES)}")
    columns = trace_flags.c
    wanted = {columns.policy: policy, columns.principle_id: principle}
    conditions = [column == value for column, value in wanted.items() if value is not None]
    if status != "all":
        conditions.append(columns.status.in_(SPEAKING if status is None else (status,)))
    return Results(flag_states.matching(brain.connection, *conditions, limit=checked_limit(limit)))


def snooze(brain: Brain, flag: str, until: datetime, *, note: str | None = None, who: str | None = None) -> FlagRow:
    """Be silent about a flag until then (a time without a zone is local).

    flag: its id, the beginning of its id, or its principle's id. Raises FlagError and ReviewError.
    """
    now = datetime.now(UTC)
    end = until.astimezone(UTC)
    if end <= now:
        raise FlagError(f"a flag cannot be snoozed until {until}: give a time to come")
    return _change(brain, flag, lambda state: lifecycle.snooze(state, end), action="snooze", note=note, who=who)


def resolve(brain: Brain, flag: str, *, note: str | None = None, who: str | None = None) -> FlagRow:
    """Close a flag, because its cause is found: only runs that begin from now on can raise it again.

    Arguments and errors as those of `snooze`.
    """
    now = datetime.now(UTC)
    return _change(brain, flag, lambda state: lifecycle.resolve(state, now), action="resolve", note=note, who=who)


def reopen(brain: Brain, flag: str, *, note: str | None = None, who: str | None = None) -> FlagRow:
    """Take back that a flag was snoozed or resolved. Arguments and errors as those of `snooze`."""
    return _change(brain, flag, _reopened, action="reopen", note=note, who=who)


class _Raised(NamedTuple):
    """What a policy says today, and the newest run that failed."""

    flag: Flag
    run: JudgedRun

    @property
    def id(self) -> str:
        return flag_states.flag_id(*_key(self.flag))


def _key(flag: Flag) -> tuple[str, str, str, str]:
    return flag.policy, flag.principle_id[:NAME_LENGTH], flag.intent or "", flag.report_type or ""


def _raised(
    connection: sa.Connection, scope: Scope | None, policies: Collection[FlagPolicy], now: datetime
) -> Iterator[_Raised]:
    if "rate" in policies:
        groups = scope.groups if scope else scored_runs.groups_since(connection, now - RATE_PERIOD)
        looks = scored_runs.looks(connection, now)
        for group in groups:
            runs = scored_runs.newest_of(connection, group)
            yield from _with_run(rate_flags(scored_runs.histories(runs), now, looks=looks), runs)
    if "count" in policies:
        week = scored_runs.started_since(connection, now - COUNT_PERIOD)
        histories = scored_runs.histories(week, scope.principles if scope else None)
        yield from _with_run(count_flags(histories, now), week)


def _with_run(raised: Iterable[Flag], runs: Sequence[JudgedRun]) -> Iterator[_Raised]:
    for flag in raised:
        yield _Raised(flag, next(run for run in runs if run.failed.get(flag.principle_id)))


def _told(connection: sa.Connection, raised: dict[str, _Raised], now: datetime) -> Results[Finding]:
    """Store what is news, with nobody else at it, and give all of it."""
    _begin_to_write(connection)
    stored = flag_states.by_id(connection, raised, lock=True)
    findings = {}
    # By id, as the rows are locked: two processes that store the same flags wait for each other once, not both.
    for id_ in sorted(raised):
        one, before = raised[id_], stored.get(id_)
        step = _step(one, before, now)
        row = before
        if step.tell and step.state is not None:
            row = _row(one, step.state, before)
            if before is not None:
                flag_states.put(connection, row)
            elif not flag_states.add(connection, row):
                continue  # another process raised it at this moment, and tells it
        if row is not None:
            findings[id_] = Finding(message=one.flag.message, new=step.tell, flag=row)
    return Results(findings[id_] for id_ in raised if id_ in findings)


def _step(one: _Raised, stored: FlagRow | None, now: datetime) -> lifecycle.Step:
    return lifecycle.advance(None if stored is None else _state(stored), one.flag, now)


def _state(row: FlagRow) -> FlagState:
    return FlagState(
        status=msgspec.convert(row.status, FlagStatus),
        # The row does not keep since when these figures ran, which nobody asks of a flag that was told already.
        told=msgspec.convert({**_figures(row), "since": row.last_raised_at}, Flag),
        told_at=row.last_raised_at,
        snoozed_until=row.snoozed_until,
        resolved_at=row.resolved_at,
    )


def _row(one: _Raised, state: FlagState, before: FlagRow | None) -> FlagRow:
    policy, principle_id, intent, report_type = _key(one.flag)
    told: dict[str, Any] = {
        **_figures(one.flag),
        "id": one.id,
        "policy": policy,
        "principle_id": principle_id,
        "intent": intent,
        "report_type": report_type,
        "trace_id": one.run.trace_id,
        "project_name": one.run.project_name,
        "times_raised": before.times_raised + 1 if before else 1,
        "first_raised_at": before.first_raised_at if before else state.told_at,
        "last_raised_at": state.told_at,
        "note": before.note if before else None,
    }
    return FlagRow(**told, **_standing(state))


def _figures(flag: Flag | FlagRow) -> dict[str, Any]:
    return {name: getattr(flag, name) for name in Flag.__struct_fields__ if name in FlagRow.__struct_fields__}


def _standing(state: FlagState) -> dict[str, Any]:
    return {"status": state.status, "snoozed_until": state.snoozed_until, "resolved_at": state.resolved_at}


def _reopened(state: FlagState) -> FlagState:
    if state.status in SPEAKING:
        raise ValueError(f"the flag is {state.status} already")
    status: FlagStatus = "open" if state.resolved_at is None else "reopened"
    return msgspec.structs.replace(state, status=status, snoozed_until=None)


def _change(
    brain: Brain,
    wanted: str,
    change: Callable[[FlagState], FlagState],
    *,
    action: Literal["snooze", "resolve", "reopen"],
    note: str | None,
    who: str | None,
) -> FlagRow:
    """Change a flag: into the review file of the run that it names first, then into its row."""
    _begin_to_write(brain.connection)
    found = _the_flag(brain.connection, wanted)
    # A reindex holds the run's row while it reads the file: either it sees what is said here, or it is done before.
    brain.connection.execute(sa.select(traces.c.id).where(traces.c.trace_id == found.trace_id).with_for_update())
    before = flag_states.by_id(brain.connection, [found.id], lock=True)[found.id]
    try:
        state = change(_state(before))
    except ValueError as error:
        raise FlagError(f"cannot {action} flag {before.id[:8]} ({_about(before)}): {error}") from error
    said = values.well_formed(note).replace("\0", "\ufffd").strip() if note else None
    after = msgspec.structs.replace(before, note=said or before.note, **_standing(state))
    data = {"action": action, **msgspec.to_builtins(after)}
    entry = reviews.Entry(kind=FLAG_STATE, who=who, data=data)
    brain.off_loop(lambda: reviews.append(brain.settings, after.project_name, after.trace_id, entry))
    flag_states.put(brain.connection, after)
    return after


def _the_flag(connection: sa.Connection, wanted: str) -> FlagRow:
    columns = trace_flags.c
    # A UUID is compared as text, so that its beginning can be.
    begins = sa.cast(columns.id, sa.Text).startswith(wanted.lower(), autoescape=True)
    fits = (columns.principle_id == wanted) | begins
    found = flag_states.matching(connection, fits, limit=NAMED + 1) if wanted else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise FlagError(f"no flag {wanted!r}: `ire-otel flags list --status all` lists what there is")
    named = ", ".join(f"{row.id[:8]} ({_about(row)})" for row in found[:NAMED])
    more = " and more" if len(found) > NAMED else ""
    raise FlagError(f"{wanted!r} fits more than one flag: {named}{more}; give the id")


def _about(row: FlagRow) -> str:
    return " ".join(part for part in (row.policy, row.principle_id, row.intent, row.report_type) if part)


def _begin_to_write(connection: sa.Connection) -> None:
    """Begin anew, so that SQLite knows from the start that this will write."""
    connection.rollback()
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
