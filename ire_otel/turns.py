"""Letting other threads have their turn."""

import time


def give_way() -> None:
    """Let a thread run that waits for the interpreter, say one with an event loop.

    Otherwise it waits until the interpreter's switch interval (5 ms) is over, or a run is written. The calling thread
    sleeps for the shortest time that the system has, some 70 µs, so that whoever waits wins.
    """
    time.sleep(0)
