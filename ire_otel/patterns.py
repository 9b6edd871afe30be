"""Regular expressions that take linear time, whatever text and pattern are: RE2, which also lets other threads run."""

import os
from typing import Any, Final

import re2

SYNTAX: Final = "https://github.com/google/re2/wiki/Syntax"
MEMORY: Final = 64 * 1024 * 1024
"""Most bytes that a pattern's automata may take. They take some 7 MB; but under RE2's own limit of 8 MiB it has no room
for large patterns, and turns to an engine that is fifty times slower."""


def compiled(pattern: str) -> Any:
    """Compile a pattern, once; gives what `re.compile` would. Raises ValueError, which says what RE2 does not take."""
    if pattern not in _compiled:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MEMORY
        try:
            _compiled[pattern] = re2.compile(pattern, options)
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            remedy = f"RE2's syntax, without look-around and back-references: {SYNTAX}"
            raise ValueError(f"{reason} ({remedy})") from error
    return _compiled[pattern]


_compiled: dict[str, Any] = {}
_inherited: list[Any] = []


def _compile_anew() -> None:
    """In a forked child: a pattern has locks, which another thread may have held; nor may those be freed."""
    _inherited.extend(_compiled.values())
    _compiled.clear()
    re2.purge()


os.register_at_fork(after_in_child=_compile_anew)
