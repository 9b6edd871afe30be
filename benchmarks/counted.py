"""A process whose system calls are counted: python -m benchmarks.counted CONTENDER SINK FOLDER DECISIONS RUNS.

Looks for files that are not there tell a reader of strace's log where each part begins and ends.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks import contenders, reference

MARK: Final = "/marked-by-the-benchmarks"


def main() -> None:
    """Record one run of so many decisions, then so many reference runs."""
    name, sink, folder, decisions, runs = sys.argv[1:]
    contender = contenders.module(name).make(sink, Path(folder))
    many = reference.decisions(int(decisions))
    for _ in range(3):
        contender.record()
    contender.record_decisions(many)
    contender.settle()
    _mark("decision")
    contender.record_decisions(many)
    contender.settle()
    _mark("run")
    for _ in range(int(runs)):
        contender.record()
    contender.settle()
    _mark("end")
    contender.close()


def _mark(part: str) -> None:
    with suppress(FileNotFoundError):
        Path(f"{MARK}/{part}").stat()


if __name__ == "__main__":
    main()
