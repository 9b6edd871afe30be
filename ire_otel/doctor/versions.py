"""Which versions are installed, and which optional extras."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from ire_otel.doctor.findings import Finding, Setup

DISTRIBUTION: Final = "ire-otel"
_OPTIONAL: Final = re.compile(r"([\w.-]+).*;.*\bextra\s*==\s*['\"]([\w-]+)['\"]")


def check_versions(_setup: Setup) -> Iterator[Finding]:
    """Name the versions that a report of a fault should name."""
    api, sdk = version("opentelemetry-api"), version("opentelemetry-sdk")
    what = f"ire-otel {version(DISTRIBUTION)}, Python {platform.python_version()}, opentelemetry-api {api}, -sdk {sdk}"
    if api == sdk:
        yield Finding(about="versions", status="ok", what=what)
    else:
        remedy = f"pip install opentelemetry-api=={sdk}"
        yield Finding(about="versions", status="warning", what=f"{what}: these two belong together", remedy=remedy)


def check_extras(_setup: Setup) -> Iterator[Finding]:
    """Say of each optional extra whether it is there, and how to get it."""
    for extra, names in sorted(extras().items()):
        missing = [name for name in names if _installed(name) is None]
        if missing:
            what = f"extra {extra} is not installed ({', '.join(missing)})"
            remedy = f"if you need it: pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(about="extras", status="note", what=what, remedy=remedy)
        else:
            found = ", ".join(f"{name} {_installed(name)}" for name in names)
            yield Finding(about="extras", status="ok", what=f"extra {extra} is installed ({found})")


def extras() -> dict[str, list[str]]:
    """Give the distributions of each extra, as ire-otel's own metadata have them."""
    found: dict[str, list[str]] = {}
    for requirement in requires(DISTRIBUTION) or ():
        optional = _OPTIONAL.match(requirement)
        if optional:
            found.setdefault(optional[2], []).append(optional[1])
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
