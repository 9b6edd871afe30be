"""What becomes of a flag: open, snoozed, resolved, reopened, and when to speak of it. Pure."""

from datetime import datetime
from typing import Literal

import msgspec

from ire_otel.calibration.policies import Flag

FlagStatus = Literal["open", "snoozed", "resolved", "reopened"]


class FlagState(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as it is stored, under its policy, principle, intent and report type."""

    status: FlagStatus
    told: Flag
    """The figures that the user was last told."""
    told_at: datetime
    """When; aware."""
    snoozed_until: datetime | None = None
    """End of the silence; set where, and only where, the status is `snoozed`."""
    resolved_at: datetime | None = None
    """When somebody last resolved it; kept when it is reopened."""

    def __post_init__(self) -> None:
        """Refuse a state that could not say when it ends."""
        if (self.status == "snoozed") != (self.snoozed_until is not None):
            raise ValueError(f"status={self.status!r}, snoozed_until={self.snoozed_until}: only a snooze ends")
        if self.status in {"resolved", "reopened"} and self.resolved_at is None:
            raise ValueError(f"status={self.status!r}: give resolved_at, which reopening goes by")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next state of a flag, and whether it is worth a word."""

    state: FlagState | None
    """None where there was no flag and is none."""
    tell: bool
    """True: say it to the user, once."""


def advance(state: FlagState | None, today: Flag | None, now: datetime) -> Step:
    """Take a stored flag (None: never raised) on to what its policy says `now` (None: nothing).

    A new flag is told. An open one is told again only when it became clearly worse, a snoozed one when its time is
    over and it still stands, a resolved one (as `reopened`) when the runs since its resolution would raise it alone.
    An open flag stays open when the figures recover: closing it is for the person who finds out why.
    """
    if today is None:
        return Step(state=state, tell=False)
    if state is None:
        return _told(FlagState(status="open", told=today, told_at=now))
    match state.status:
        case "snoozed":
            speak = state.snoozed_until is not None and now >= state.snoozed_until
        case "resolved":
            speak = state.resolved_at is not None and today.since > state.resolved_at
        case "open" | "reopened":
            speak = _clearly_worse(today, state.told)
    if not speak:
        return Step(state=state, tell=False)
    status: FlagStatus = "open" if state.resolved_at is None else "reopened"
    return _told(msgspec.structs.replace(state, status=status, told=today, told_at=now, snoozed_until=None))


def snooze(state: FlagState, until: datetime) -> FlagState:
    """Be silent about a flag until then. Raises ValueError for one that is resolved, which is silent already."""
    if state.status == "resolved":
        raise ValueError(f"flag of {state.told.principle_id} is resolved: it is silent until new runs reopen it")
    return msgspec.structs.replace(state, status="snoozed", snoozed_until=until)


def resolve(state: FlagState, now: datetime) -> FlagState:
    """Close a flag: its cause is found. Only runs that start after `now` can reopen it."""
    return msgspec.structs.replace(state, status="resolved", snoozed_until=None, resolved_at=now)


def _told(state: FlagState) -> Step:
    return Step(state=state, tell=True)


def _clearly_worse(today: Flag, told: Flag) -> bool:
    """Tell whether even the low end of today's interval lies above the rate that was told."""
    return today.low > told.rate
