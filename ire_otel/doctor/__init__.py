"""Whether everything that ire-otel needs works here: each check looks at one thing, and says what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ire_otel.doctor import backlog, clock, exporters, places, telemetry, versions
from ire_otel.doctor import settings as configured
from ire_otel.doctor.findings import Check, Finding, Setup, Status

__all__ = ["CHECKS", "Check", "Finding", "Setup", "Status", "examine"]

CHECKS: Final[tuple[Check, ...]] = (
    configured.check_settings,
    telemetry.check_provider,
    telemetry.check_sampler,
    telemetry.check_limits,
    exporters.check_exporters,
    places.check_database,
    places.check_folders,
    places.check_state_dir,
    backlog.check_journals,
    backlog.check_outbox,
    backlog.check_inbox,
    backlog.check_leftovers,
    clock.check_clock,
    versions.check_versions,
    versions.check_extras,
)
"""In the order in which they are run."""

_USER_INFO: Final = re.compile(r"(://[^\s:/@]*):[^\s/]*@")


def examine(setup: Setup, checks: tuple[Check, ...] = CHECKS) -> Iterator[Finding]:
    """Run the checks, one after the other. One that fails is a problem itself, and keeps no other from being run."""
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            found = list(check(setup))
        except Exception as error:  # noqa: BLE001 # whatever is broken here is what one wants to hear of
            reason = _masked(f"{type(error).__name__}: {error}", setup)
            found = [Finding(about=name, status="problem", what=f"it could not be looked at ({reason})")]
        yield from found


def _masked(text: str, setup: Setup) -> str:
    """Take passwords out of what others' errors say."""
    known = _USER_INFO.search(setup.settings.database_url)
    password = known[0].removeprefix(known[1])[1:-1] if known else ""
    text = text.replace(password, "***") if password else text
    return _USER_INFO.sub(r"\1:***@", text)
