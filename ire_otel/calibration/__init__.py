"""Calibration: which principle began to fail, what people think of the scores, and whether the gate agrees with them.

from ire_otel.calibration import Calibration, check_calibration_flags

await check_calibration_flags(trace)                                    # after `await TraceContext.finish(trace)`
Calibration.sync.capture(trace_id, {"META-12": 1}, reviewer="dana")     # in a script; await Calibration.capture(…) else
"""

from typing import Final, Protocol

from ire_otel.calibration.agreement import AgreementReport, PrincipleAgreement, agreement
from ire_otel.calibration.capture import CalibrationError, Captured, Draft, HumanScore, capture, draft
from ire_otel.calibration.flags import Finding, FlagError, check, check_run, list_flags, reopen, resolve, snooze
from ire_otel.db.flag_states import FlagRow
from ire_otel.errors import IreOtelError
from ire_otel.query.execution import asynchronous, synchronous
from ire_otel.recording.guard import internal_error, warn_once

__all__ = [
    "AgreementReport",
    "Calibration",
    "CalibrationError",
    "Captured",
    "Draft",
    "Finding",
    "FlagError",
    "FlagRow",
    "HumanScore",
    "PrincipleAgreement",
    "SyncCalibration",
    "check_calibration_flags",
    "check_calibration_flags_sync",
]


class SyncCalibration:
    """Calibration for scripts and notebooks: the same methods, which wait for the answer."""

    draft = staticmethod(synchronous(draft))
    capture = staticmethod(synchronous(capture))
    agreement = staticmethod(synchronous(agreement))
    flags = staticmethod(synchronous(list_flags))
    check = staticmethod(synchronous(check))
    snooze = staticmethod(synchronous(snooze))
    resolve = staticmethod(synchronous(resolve))
    reopen = staticmethod(synchronous(reopen))


class Calibration:
    """What people do to calibrate, in the configured database: every method is a coroutine; `sync` has its twin."""

    draft = staticmethod(asynchronous(draft))
    capture = staticmethod(asynchronous(capture))
    agreement = staticmethod(asynchronous(agreement))
    flags = staticmethod(asynchronous(list_flags))
    check = staticmethod(asynchronous(check))
    snooze = staticmethod(asynchronous(snooze))
    resolve = staticmethod(asynchronous(resolve))
    reopen = staticmethod(asynchronous(reopen))

    sync: Final = SyncCalibration


class Traced(Protocol):
    """A run, live or as a query gives it."""

    @property
    def trace_id(self) -> str:
        """The run's id."""
        ...


async def check_calibration_flags(trace: Traced) -> list[str]:
    """Tell whether a run reveals calibration opportunities: one sentence for each flag, an empty list for none.

    Only principles that this run failed are spoken of, and nothing that somebody snoozed or resolved. Call it when the
    run is saved: after `await TraceContext.finish(trace)`. It never raises: what goes wrong is logged.
    """
    if not getattr(trace, "recording", True):
        return []
    try:
        return await _messages(trace.trace_id)
    except Exception as error:  # noqa: BLE001 # a pipeline calls this, which tracing must not break
        return _none(error)


def check_calibration_flags_sync(trace: Traced) -> list[str]:
    """Do as `check_calibration_flags` does, after `finish_sync`, and wait for the answer."""
    if not getattr(trace, "recording", True):
        return []
    try:
        return _messages_sync(trace.trace_id)
    except Exception as error:  # noqa: BLE001 # as above
        return _none(error)


_messages = asynchronous(check_run)
_messages_sync = synchronous(check_run)


def _none(error: Exception) -> list[str]:
    if isinstance(error, IreOtelError):
        warn_once("%s; no calibration flag was checked", error)
    else:
        internal_error("checking calibration flags")
    return []
