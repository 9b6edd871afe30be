"""Write docs/performance.md and its plots from a report."""

from pathlib import Path
from string import Template
from typing import Any, Final

from benchmarks import measurements, tables
from benchmarks.results import Figure, Measured, Report

TEMPLATE: Final = Path(__file__).with_name("performance.md.template")
PLOTS: Final = "performance"
"""Folder beside the page."""


def write(report: Report, folder: Path) -> None:
    """Write the page into a folder, and its plots into a folder in there. Needs pygal."""
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    for old in (folder / PLOTS).glob("*.svg"):
        old.unlink()
    sections = "\n\n".join(_section(one, folder) for one in report.measured)
    goals = [goal for one in report.measured for goal in one.goals]
    packages = report.surroundings["packages"]
    text = Template(TEMPLATE.read_text()).substitute(
        goals=tables.markdown(tables.GOAL_HEADER, tables.goal_rows(goals)),
        sections=sections,
        machine="{cores} cores, {processor}, {memory_gb} GB, {system}, Python {python}".format(**report.surroundings),
        packages=", ".join(f"{name} {version}" for name, version in packages.items()),
        absent=", ".join(f"{tables.title(name)} ({why})" for name, why in report.absent.items()) or "none",
        load=_loads(report),
    )
    (folder / "performance.md").write_text(text)


def _loads(report: Report) -> str:
    loads = [load for one in report.measured for load in one.load]
    return f"{min(loads, default=0):.1f} to {max(loads, default=0):.1f}"


def _section(measured: Measured, folder: Path) -> str:
    made = measurements.measurement(measured.name)
    head = f"## {measured.title}\n\n{made.REMARK}"
    if measured.failed is not None:
        return f"{head}\n\nNot measured: {measured.failed}"
    plots = [_plot(measured, what, folder) for what in made.CHARTS]
    pictures = "\n".join(plot for plot in plots if plot)
    table = tables.markdown(tables.header(measured), tables.rows(measured))
    load = f"Load average {measured.load[0]:.1f} before, {measured.load[1]:.1f} after; sizes: {measured.scale.value}."
    return "\n\n".join(part for part in (head, load, pictures, table) if part)


def _plot(measured: Measured, what: str, folder: Path) -> str:
    """Draw a line for each contender over the sizes; without sizes, a bar. Gives the Markdown that shows it."""
    figures = [figure for figure in measured.figures if figure.what == what]
    if not figures:
        return ""
    chart = _lines(figures) if figures[0].at is not None else _bars(figures)
    chart.title = f"{measured.title}: {what}, {figures[0].unit}"
    name = f"{measured.name}-{''.join(sign if sign.isalnum() else '-' for sign in what)}.svg"
    chart.render_to_file(str(folder / PLOTS / name))
    return f"![{chart.title}]({PLOTS}/{name})"


def _bars(figures: list[Figure]) -> Any:
    import pygal  # pyright: ignore[reportMissingImports] # in the dependency group `peers`

    chart = pygal.HorizontalBar(show_legend=False, print_values=True, logarithmic=_wide(figures), **_style())
    from_below = figures[::-1]
    chart.x_labels = [tables.title(figure.of) for figure in from_below]
    chart.add("", [figure.median for figure in from_below], formatter=tables.number)
    return chart


def _lines(figures: list[Figure]) -> Any:
    import pygal  # pyright: ignore[reportMissingImports] # in the dependency group `peers`

    chart = pygal.Line(logarithmic=_wide(figures), legend_at_bottom=True, **_style())
    sizes = sorted({figure.at for figure in figures if figure.at is not None})
    chart.x_labels = [f"{size:,.0f}" for size in sizes]
    chart.value_formatter = tables.number
    medians = {(figure.of, figure.at): figure.median for figure in figures}
    for of in dict.fromkeys(figure.of for figure in figures):
        chart.add(tables.title(of), [medians.get((of, size)) for size in sizes])
    return chart


def _wide(figures: list[Figure]) -> bool:
    values = [figure.median for figure in figures]
    return min(values) > 0 and max(values) > 20 * min(values)


def _style() -> dict[str, Any]:
    from pygal.style import CleanStyle  # pyright: ignore[reportMissingImports] # as above

    style = CleanStyle(font_family="sans-serif", background="white", plot_background="white", guide_stroke_color="#ddd")
    return {"style": style, "width": 760, "height": 360, "js": [], "disable_xml_declaration": True}
