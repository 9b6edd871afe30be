"""Letting other threads have their turn."""

import os
import time


def give_way() -> None:
    """Let a thread run that waits for the interpreter, say one with an event loop.

    Otherwise it waits until the interpreter's switch interval (5 ms) is over, or a run is written. Where no thread
    waits this takes a microsecond; `time.sleep(0)` would take 70.
    """
    _yield()


_yield = getattr(os, "sched_yield", lambda: time.sleep(0))
