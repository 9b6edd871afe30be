"""What every contender does, so that one loop can measure them all."""

from typing import Protocol


class Contender(Protocol):
    """One way of tracing the reference run."""

    def record(self) -> None:
        """Record the reference run once, on the calling thread."""
        ...

    def settle(self) -> None:
        """Wait until everything recorded so far is where it is meant to end up."""
        ...

    def clean(self) -> None:
        """Take away what was written, or later batches would measure a growing folder. Not measured."""
        ...

    def close(self) -> None:
        """Stop, after checking that nothing was lost. Raises RuntimeError where something was."""
        ...
