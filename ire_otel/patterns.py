"""Regular expressions that take linear time, whatever text and pattern are: RE2, which also lets other threads run."""

from typing import Any, Final

import re2

SYNTAX: Final = "https://github.com/google/re2/wiki/Syntax"
MEMORY: Final = 64 * 1024 * 1024
"""Most bytes that a pattern's automata may take. They take some 7 MB; but under RE2's own limit of 8 MiB it has no room
for large patterns, and turns to an engine that is fifty times slower."""


def compiled(pattern: str) -> Any:
    """Compile a pattern; gives what `re.compile` would. Raises ValueError, which says what RE2 does not take."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ValueError(f"{reason} (RE2's syntax, without look-around and back-references: {SYNTAX})") from error
