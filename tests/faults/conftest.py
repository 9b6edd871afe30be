"""What the fault suite shares: `--fault-figures FILE`, and the fixture by which tests say what they did and found."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import FIGURE, SHOWS, Result, Value, write

RecordFigure = Callable[[str, Value], None]
"""Records one figure of a test: what was counted or measured (with its unit), and how much it was."""

_RESULTS: Final = pytest.StashKey[dict[str, Result]]()
_OPTION: Final = "--fault-figures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, metavar="FILE", help="write what the fault suite did and found to FILE, as JSON")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> RecordFigure:
    """Record a figure of this test: `figures("runs killed", 200)`.

    With the first paragraph of the test's docstring, which says what it shows, it goes to the file of --fault-figures.
    """
    properties = request.node.user_properties
    shows = inspect.getdoc(request.function) or request.node.name
    properties.append((SHOWS, " ".join(shows.partition("\n\n")[0].split())))
    return lambda name, value: properties.append((FIGURE + name, value))


class _Collected:
    """Collects the results of a session; under xdist in the controller, where all reports arrive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, Result] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.nodeid.startswith("tests/faults/") or (report.when != "call" and report.passed):
            return
        properties = dict(report.user_properties)
        self._results[report.nodeid] = Result(
            test=report.nodeid,
            shows=str(properties.get(SHOWS, report.nodeid)),
            outcome=report.outcome,
            seconds=round(report.duration, 1),
            figures={
                name.removeprefix(FIGURE): value
                for name, value in properties.items()
                if name.startswith(FIGURE) and isinstance(value, Value)
            },
            why=report.longrepr[2].removeprefix("Skipped: ")
            if report.skipped and isinstance(report.longrepr, tuple)
            else None,
        )

    def pytest_sessionfinish(self) -> None:
        write(self._path, list(self._results.values()))


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption(_OPTION, default=None)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collected(Path(path).absolute()))
