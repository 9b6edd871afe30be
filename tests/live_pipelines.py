"""Real pipelines in processes of their own, with a run that stays open until they are told to end it."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

PIPELINE: Final = textwrap.dedent("""
    import sys, ire_otel

    with ire_otel.run("Are cobots winning?", project_name="cobot", intent="validating", domain="robotics") as run:
        with ire_otel.stage("intake"):
            ire_otel.decide("classified_intent", what="validating", why="it assumes a winner", confidence=0.8)
        with ire_otel.stage("synthesis"):
            ire_otel.decide("prompt_construction", what="prompt 1", why="the rubric asks for sources")
            print(run.trace_id, flush=True)
            for line in sys.stdin:
                exec(line)
                print("done", flush=True)
""")


class Pipeline(NamedTuple):
    """A process with an open run."""

    process: subprocess.Popen[str]
    trace_id: str

    def do(self, statement: str) -> None:
        """Let it do something inside the run's second stage, and wait until it is done."""
        stdin, stdout = self._pipes()
        stdin.write(f"{statement}\n")
        stdin.flush()
        assert stdout.readline() == "done\n"

    def end(self) -> None:
        """Let it end its run, and itself."""
        self._pipes()[0].close()
        assert self.process.wait(60) == 0

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """Start one that works in `folder`; it is killed in the end if it still goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", PIPELINE], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Pipeline(process, process.stdout.readline().strip())
        finally:
            process.kill()
