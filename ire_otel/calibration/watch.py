"""Check the flags by itself, some seconds after runs were written, and say once what is new."""

import logging
import threading
from collections.abc import Iterable
from contextvars import copy_context
from time import monotonic
from typing import Final

from ire_otel.calibration.flags import Finding, Scope, check
from ire_otel.errors import IreOtelError
from ire_otel.query.execution import at_once, existing
from ire_otel.row import RunRow
from ire_otel.settings import Settings

logger: Final = logging.getLogger("ire_otel")

PAUSE: Final = 10.0
"""Seconds after a run for which further ones are waited for, to be checked with it."""
SHARE: Final = 0.005
"""Most of the time that checks may take: after a long one, the next waits longer than PAUSE."""


class FlagWatch:
    """Checks the runs that it is told of, several at a time and on a thread of its own. Never raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: list[RunRow] = []
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        self._timer: threading.Timer | None = None
        self._took = 0.0

    def saved(self, runs: Iterable[RunRow]) -> None:
        """Learn of runs whose rows were written. Those that failed no principle can raise no flag."""
        if not self._settings.flag_policies:
            return
        failing = [run for run in runs if run.status == "complete" and run.gap_principles]
        if not failing:
            return
        with self._lock:
            self._waiting += failing
            if self._timer is None:
                # In this thread's context, which keeps instrumentations of the database from tracing our own work.
                wait = max(PAUSE, self._took / SHARE)
                self._timer = threading.Timer(wait, copy_context().run, [self._check])
                self._timer.name = "ire-otel-flags"
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Check what is still waiting, now."""
        with self._lock:
            timer = self._timer
        if timer is not None:
            timer.cancel()
            self._check()

    def _check(self) -> None:
        # One after the other: whoever closes waits for the check that is under way.
        with self._checking:
            with self._lock:
                runs, self._waiting, self._timer = self._waiting, [], None
            if runs:
                began = monotonic()
                self._look(runs)
                self._took = monotonic() - began

    def _look(self, runs: list[RunRow]) -> None:
        scope = Scope(
            groups=frozenset((run.intent, run.report_type) for run in runs),
            principles=frozenset(gap for run in runs for gap in run.gap_principles or ()),
        )
        policies = self._settings.flag_policies
        try:
            target = existing(self._settings.database_url, self._settings.pooler)
            findings = at_once(target, self._settings, lambda brain: check(brain, scope, policies=policies))
        except IreOtelError as error:
            logger.error("%s; calibration flags are not checked", error)  # noqa: TRY400 # one line: the cause is named
        except Exception:
            # Tracing must never break the run it watches.
            logger.exception("calibration flags could not be checked")
        else:
            for finding in findings:
                if finding.new:
                    _tell(finding)


def _tell(finding: Finding) -> None:
    # What `count` raises may well be chance, so it is told to those who ask for it.
    level = logging.WARNING if finding.flag.policy == "rate" else logging.INFO
    logger.log(level, "%s (`ire-otel flags list`)", finding.message)
