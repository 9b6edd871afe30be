"""One contender in a process of its own: told on stdin which task to do, it says on stdout what came of it.

Called as python -m benchmarks.child CONTENDER SINK FOLDER.
"""

import importlib
import os
import sys
from pathlib import Path

import msgspec

from benchmarks import contenders


def main() -> None:
    """Do tasks, `module:function` and whole numbers each, until stdin ends; then say what was kept."""
    # Some contenders print, so the answers go where only this function writes.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    name, sink, folder = sys.argv[1:]
    contender = contenders.module(name).make(sink, Path(folder))
    answers.write(b"ready\n")
    for line in sys.stdin:
        task, *sizes = line.split()
        module, _, function = task.partition(":")
        result = getattr(importlib.import_module(module), function)(contender, *map(int, sizes))
        answers.write(msgspec.json.encode(result) + b"\n")
    answers.write(msgspec.json.encode(contender.close()) + b"\n")


if __name__ == "__main__":
    main()
