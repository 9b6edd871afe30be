"""A traced pipeline in a process of its own, told what to do step by step, so that tests can kill it at any step."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

import ire_otel


class Child:
    """A forked process that records what it is told."""

    def __init__(self, **settings: Any) -> None:
        told, self._tell = os.pipe()
        self._heard, says = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._tell)
            os.close(self._heard)
            _leave(lambda: _obey(told, says, settings))
        os.close(told)
        os.close(says)
        self._answers = os.fdopen(self._heard, "rb")

    def send(self, step: str, *values: Any) -> None:
        """Tell it to do something, and wait for nothing."""
        with suppress(BrokenPipeError):
            os.write(self._tell, msgspec.json.encode([step, *values]) + b"\n")

    def answer(self) -> Any:
        """Give its next answer, which is there once the step is done; None where it has died before."""
        line = self._answers.readline()
        return msgspec.json.decode(line) if line.endswith(b"\n") else None

    def do(self, step: str, *values: Any) -> Any:
        """Tell it to do something, and wait until it is done."""
        self.send(step, *values)
        return self.answer()

    def kill(self) -> list[Any]:
        """Kill it; gives the answers that nobody has asked for yet."""
        os.kill(self.pid, signal.SIGKILL)
        return self._ended()

    def leave(self) -> list[Any]:
        """Let it end as a process does that has nothing more to do; gives the answers as above."""
        self.send("leave")
        return self._ended()

    def _ended(self) -> list[Any]:
        os.waitpid(self.pid, 0)
        os.close(self._tell)
        with self._answers:
            return [msgspec.json.decode(line) for line in self._answers if line.endswith(b"\n")]


def _leave(main: Callable[[], None]) -> None:
    """Run the child's life and end it, without ever coming back to the test that forked it."""
    code = 1
    try:
        main()
        code = 0
    except BaseException as error:  # noqa: BLE001 # a forked child must not run the rest of pytest
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def _obey(told: int, says: int, settings: dict[str, Any]) -> None:
    ire_otel.configure(**settings)
    stages: list[Any] = []
    trace: Any = None
    with os.fdopen(told, "rb") as steps:
        for line in steps:
            step, *values = msgspec.json.decode(line)
            answer: Any = True
            if step == "run":
                trace = ire_otel.run(values[0], project_name="cobot")
                answer = trace.trace_id
            elif step == "stage":
                stages.append(ire_otel.stage(values[0]))
            elif step == "decide":
                ire_otel.decide("numbered", what=values[0], why="x" * values[1])
                answer = values[0]
            elif step == "end_stage":
                stages.pop().end_stage()
            elif step == "end_run":
                trace.end_run()
                stages.clear()
            elif step == "flush":
                answer = ire_otel.flush(30)
            elif step == "leave":
                ire_otel.shutdown(30)
                return
            os.write(says, msgspec.json.encode(answer) + b"\n")
