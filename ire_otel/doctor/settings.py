"""Whether the settings are valid, and ask for anything to be traced."""

from __future__ import annotations

from collections.abc import Iterator

from ire_otel import settings
from ire_otel.doctor.findings import Finding, Setup

ABOUT = "settings"


def check_settings(setup: Setup) -> Iterator[Finding]:
    """Name every setting that cannot be used, and what turns tracing off."""
    for problem in setup.problems:
        yield Finding(about=ABOUT, status="problem", what=problem)
    if not setup.problems:
        yield Finding(about=ABOUT, status="ok", what=f"all are valid; brain_dir is {setup.settings.brain_dir}")
    if settings.tracing_switched_off(setup.variables):
        yield Finding(
            about=ABOUT, status="warning", what="OTEL_SDK_DISABLED=true: nothing is traced", remedy="unset it to trace"
        )
    if not setup.settings.enabled:
        yield Finding(about=ABOUT, status="note", what="enabled is false: nothing is traced", remedy="set it to trace")
    for name, project in setup.settings.projects.items():
        if not project.enabled:
            yield Finding(about=ABOUT, status="note", what=f"project {name!r} is not traced: its enabled is false")
    if setup.settings.durability == "off":
        yield Finding(
            about=ABOUT,
            status="note",
            what="durability is off: runs are lost where their process dies",
            remedy="set it to process",
        )
