"""A process whose system calls are counted: python -m benchmarks.counted CONTENDER SINK FOLDER decisions|runs COUNT."""

import sys
from pathlib import Path

from benchmarks import contenders, reference


def main() -> None:
    """Record one run of so many decisions, or so many reference runs."""
    name, sink, folder, task, count = sys.argv[1:]
    contender = contenders.module(name).make(sink, Path(folder))
    contender.record()
    contender.settle()
    if task == "decisions":
        contender.record_decisions(reference.decisions(int(count)))
    else:
        for _ in range(int(count)):
            contender.record()
    contender.settle()
    contender.close()


if __name__ == "__main__":
    main()
