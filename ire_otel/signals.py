"""Signals that end a process: what is recorded says so, then they do what they do.

Nothing is waited for and no lock is taken that could be held: a signal may come at any point of any code.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process unless somebody handles them. SIGINT raises KeyboardInterrupt, which runs see."""


class EndingSignals:
    """Handlers of ours, only where nobody else has one; whoever sets one later replaces ours."""

    def __init__(self, ending: Callable[[str], None]) -> None:
        """`ending` is called with the signal's name; it must neither wait nor raise."""
        self._ending = ending
        self._ours: dict[int, Callable[[int, FrameType | None], None]] = {}

    def install(self) -> None:
        """Set the handlers. Python allows that in the main thread only; elsewhere nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._ours[number] = self._handle
                signal.signal(number, self._ours[number])

    def remove(self) -> None:
        """Take away the handlers that are still ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, ours in self._ours.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, signal.SIG_DFL)
        self._ours.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._ending(signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
