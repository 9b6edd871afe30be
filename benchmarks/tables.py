"""Figures and goals as tables: on a terminal, and as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table

from benchmarks import contenders
from benchmarks.results import Figure, Figures, Goal, Measured, ratio

AGAINST: Final = ("bare", "otel_batch")
"""What other contenders are held against."""
Row = Sequence[str]


def header(measured: Measured) -> Row:
    """Name the columns."""
    sizes = _sizes(measured.figures)
    if sizes:
        return ["", "", *(f"{size:,.0f}" for size in sizes)]
    against = [f"× {contenders.module(name).TITLE}" for name in AGAINST] if _compared(measured.figures) else []
    return ["", "", "median", "middle half", *against, *(["detail"] if _detailed(measured.figures) else [])]


def rows(measured: Measured) -> Iterator[Row]:
    """Give one row a figure, those of the same kind together; all sizes of a figure in one row."""
    before = ""
    for row in _by_size(measured.figures) if _sizes(measured.figures) else _one_by_one(measured.figures):
        yield [row[0] if row[0] != before else "", *row[1:]]
        before = row[0]


def _by_size(figures: Sequence[Figure]) -> Iterator[Row]:
    look_up, sizes = Figures(figures), _sizes(figures)
    for what, of, unit in dict.fromkeys((figure.what, figure.of, figure.unit) for figure in figures):
        found = [look_up.median(what, of, size) for size in sizes]
        yield [f"{what}, {unit}", title(of), *("" if median is None else number(median) for median in found)]


def _one_by_one(figures: Sequence[Figure]) -> Iterator[Row]:
    look_up, compared, detailed = Figures(figures), _compared(figures), _detailed(figures)
    for figure in figures:
        low, high = figure.spread
        row = [figure.what, title(figure.of), f"{number(figure.median)} {figure.unit}".strip()]
        row += [f"{number(low)} – {number(high)}" if len(figure.samples) > 1 else ""]
        row += [_ratio(look_up, figure, name) for name in AGAINST] if compared else []
        yield row + ([figure.remark] if detailed else [])


def goal_rows(goals: Iterable[Goal]) -> Iterator[Row]:
    """Give one row a goal."""
    for goal in goals:
        bound = f"{'at least' if goal.at_least else 'at most'} {number(goal.bound)} {goal.unit}"
        aim = f", aim {number(goal.aim)}" if goal.aim is not None else ""
        found = "–" if goal.measured is None else f"{number(goal.measured)} {goal.unit}"
        yield [goal.what, bound + aim, found, goal.verdict, goal.remark]


GOAL_HEADER: Final = ["goal", "bound", "measured", "", "detail"]


def terminal(title_: str, columns: Row, content: Iterable[Row], caption: str = "") -> Table:
    """Lay a table out for a terminal."""
    made = Table(title=title_, title_justify="left", caption=caption, caption_justify="left")
    for column in columns:
        made.add_column(column, justify="right" if _is_number(column) else "left")
    for row in content:
        made.add_row(*row)
    return made


def markdown(columns: Row, content: Iterable[Row]) -> str:
    """Lay a table out in Markdown."""
    align = ["---:" if _is_number(column) else "---" for column in columns]
    lines = [columns, align, *content]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _is_number(column: str) -> bool:
    return column in {"median", "middle half"} or column[:1] == "×" or column[:1].isdigit()


def title(of: str) -> str:
    """Give the name by which people know a contender."""
    return contenders.module(of).TITLE if of in contenders.names() else of


def number(value: float) -> str:
    """Show three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _sizes(figures: Sequence[Figure]) -> list[float]:
    return sorted({figure.at for figure in figures if figure.at is not None})


def _compared(figures: Sequence[Figure]) -> bool:
    return {figure.of for figure in figures} >= set(AGAINST)


def _detailed(figures: Sequence[Figure]) -> bool:
    return any(figure.remark for figure in figures)


def _ratio(figures: Figures, figure: Figure, against: str) -> str:
    other = figures.get(figure.what, against, figure.at)
    if other is None or other is figure or other.median == 0:
        return ""
    return number(ratio(figure, other)) if all(other.samples) else number(figure.median / other.median)
