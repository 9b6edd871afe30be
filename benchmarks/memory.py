"""How much memory this process uses, as Linux counts it."""

from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def resident() -> float:
    """Give the megabytes that the process has for itself; files that it has mapped, such as journals, are left out."""
    return _field("RssAnon")


def forget_peak() -> None:
    """Let `peak` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Give the most megabytes, mapped files included, since `forget_peak`."""
    return _field("VmHWM")


def _field(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{_STATUS} has no {name}: memory is measured on Linux only")
