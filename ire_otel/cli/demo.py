"""`ire-otel demo`: a small research engine, really run and really traced."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import ire_otel
from ire_otel.cli import terminal, usage
from ire_otel.errors import IreOtelError
from ire_otel.model import LlmCalls, given
from ire_otel.reader import decode
from ire_otel.settings import Settings, load

if TYPE_CHECKING:
    from ire_otel.demo.orchestrator import ResearchOrchestrator

_PASSWORD = re.compile(r"(?<=://)([^:@/]*):[^@/]*@")
_HIDDEN = r"\1:***@"
_INSTRUMENTOR = "opentelemetry-instrumentation-genai-openai"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the demo, as `--json` prints it."""

    query: str
    """The question."""
    trace_id: str | None = None
    """The run's id; None where the run failed, or tracing is off."""
    passed: bool | None = None
    """The gate's verdict; None where the run failed before it."""
    overall_score: float | None = None
    """The gate's overall score, 0 to 3."""
    iterations: int = 0
    """How often the report was written."""
    report_path: str | None = None
    """The report's file."""
    trace_file: str | None = None
    """The trace document's file."""
    llm_calls: LlmCalls | None = None
    """The model calls that were seen, with tokens and cost; None where none was, or an instrumentor is missing."""
    row: str | None = None
    """Where the row stands: database and table; or why it is not there yet."""
    untraced: str | None = None
    """Why nothing was recorded, where tracing is off."""
    error: str | None = None
    """What went wrong in the run, or in writing its file or row."""


def demo(
    query: Annotated[str | None, typer.Argument(help="The question; without one, a built-in one.")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder of txt, md and html files to read instead of Python's own texts.")
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Work through so many built-in queries.")] = None,
    project: Annotated[str, typer.Option(help="Project to record under.")] = "demo",
    report_type: Annotated[
        str, typer.Option(help="Kind of report; market_research has eight principles of its own.")
    ] = "market_research",
    llm: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Have this model write the report (extra: llm).")
    ] = None,
    llm_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Its OpenAI-compatible endpoint; default OPENAI_BASE_URL.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a small research engine over texts of this machine, without network, and record it."""
    if query is not None and runs is not None:
        raise typer.BadParameter(
            "--runs works through built-in queries; give either QUERY or --runs", param_hint="--runs"
        )
    if llm_url and not llm:
        raise typer.BadParameter("needs --llm MODEL, which says what to ask for there", param_hint="--llm-url")
    settings = load()
    console = terminal.console()
    watched = _watch_calls() if llm else True
    engine = _engine(settings, corpus, llm, llm_url, console)
    queries = [query] if query is not None else list(islice(cycle(_built_in_queries()), runs or 1))
    outcomes: list[Outcome] = []
    with _progress(console, len(queries), quiet=as_json) as report:
        for question in queries:
            outcomes.append(_one(engine, settings, question, project, report_type, alone=len(queries) == 1))
            report(outcomes[-1])
    if as_json:
        terminal.print_json(outcomes)
    else:
        _print_end(outcomes, console, unseen_calls=not watched)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


def _built_in_queries() -> list[str]:
    import tomllib
    from importlib.resources import files

    text = files("ire_otel.demo").joinpath("queries.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text)["queries"], list[str])


def _watch_calls() -> bool:
    from ire_otel.demo.completion import watch_calls

    return watch_calls()


def _engine(
    settings: Settings, corpus: Path | None, llm: str | None, llm_url: str | None, console: Console
) -> "ResearchOrchestrator":
    from ire_otel.demo.corpus import CorpusError
    from ire_otel.demo.orchestrator import ResearchOrchestrator
    from ire_otel.demo.retrieval import load_index
    from ire_otel.demo.synthesis import Model

    try:
        with console.status("reading the corpus"):
            index = load_index(corpus)
    except CorpusError as error:
        raise typer.BadParameter(str(error), param_hint="--corpus") from error
    return ResearchOrchestrator(index, settings, model=Model(name=llm, base_url=llm_url) if llm else None)


def _one(
    engine: "ResearchOrchestrator", settings: Settings, query: str, project: str, report_type: str, *, alone: bool
) -> Outcome:
    """Run one query. A failure ends the command when it is the only run; among several it is one failed run."""
    from ire_otel.demo.intake import QueryError

    try:
        result = engine.run(query, project=project, report_type=report_type)
    except QueryError as error:
        raise typer.BadParameter(str(error), param_hint="QUERY") from error
    except IreOtelError as error:
        if alone:
            raise
        return Outcome(query=query, error=str(error))
    saved = ire_otel.finish_sync(result.trace)
    return Outcome(
        query=query,
        trace_id=saved.get("trace_id"),
        passed=result.verdict.passed,
        overall_score=result.verdict.overall_score,
        iterations=result.iterations,
        report_path=str(result.report_path),
        trace_file=saved.get("file_path"),
        llm_calls=_llm_calls(saved.get("file_path")),
        row=_row(saved, settings),
        untraced=saved.get("reason"),
        error=saved.get("file_error") or saved.get("supabase_error"),
    )


def _llm_calls(trace_file: str | None) -> LlmCalls | None:
    if trace_file is None:
        return None
    return given(decode(Path(trace_file).read_bytes(), trace_file).metadata.llm_calls)


def _row(saved: Mapping[str, Any], settings: Settings) -> str | None:
    if saved.get("supabase") != "saved":
        return saved.get("supabase")
    return f"{_PASSWORD.sub(_HIDDEN, settings.database_url)}, table traces, trace_id {saved['trace_id']}"


class _Report:
    """Tells of each finished run: by a bar on a terminal, by a line elsewhere, or not at all."""

    def __init__(self, total: int, bar: Progress | None, *, quiet: bool) -> None:
        self._total, self._bar, self._quiet, self._done = total, bar, quiet, 0
        self._task = bar.add_task("research runs", total=total) if bar else None

    def __call__(self, outcome: Outcome) -> None:
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, description=terminal.one_line(outcome.query)[:50])
        elif not self._quiet and self._total > 1:
            typer.echo(f"{self._done}/{self._total} {_verdict(outcome)}: {terminal.one_line(outcome.query)}")


@contextmanager
def _progress(console: Console, total: int, *, quiet: bool) -> Iterator[_Report]:
    if quiet or total == 1 or not console.is_terminal:
        yield _Report(total, None, quiet=quiet)
        return
    columns = (TextColumn("{task.description:50}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Report(total, bar, quiet=quiet)


def _verdict(outcome: Outcome) -> str:
    if outcome.overall_score is None:
        return "ERROR"
    turns = "1 iteration" if outcome.iterations == 1 else f"{outcome.iterations} iterations"
    return f"{'PASS' if outcome.passed else 'FAIL'} {outcome.overall_score:.2f} after {turns}"


def _print_end(outcomes: list[Outcome], console: Console, *, unseen_calls: bool) -> None:
    last = next((one for one in reversed(outcomes) if one.overall_score is not None), outcomes[-1])
    lines = {"query": terminal.one_line(last.query), "gate": _verdict(last)}
    if len(outcomes) > 1:
        passed, errors = sum(one.passed is True for one in outcomes), [one for one in outcomes if one.error]
        retried = sum(one.iterations > 1 for one in outcomes)
        lines = {"runs": f"{len(outcomes)}: {passed} passed the gate, {retried} needed a second iteration"}
        lines["last run"] = terminal.one_line(last.query)
        lines |= {"error": terminal.one_line(errors[0].error)} if errors else {}
    elif last.error:
        lines["error"] = terminal.one_line(last.error)
    untraced = f"none ({last.untraced})" if last.untraced else "none"
    if last.llm_calls is not None:
        lines["model"] = "  ".join(usage.totals(last.llm_calls))
    elif unseen_calls:
        lines["model"] = f"its calls were not seen: {_INSTRUMENTOR} is not installed; install ire-otel[llm]"
    lines["report"] = last.report_path or "none"
    lines["trace"] = last.trace_file or untraced
    lines["row"] = last.row or untraced
    for name, value in lines.items():
        console.print(f"{name:9}", value, markup=False, soft_wrap=True)
    console.print(
        "next      ire-otel show last",
        "          ire-otel runs",
        "          ire-otel runs --json",
        sep="\n",
        markup=False,
    )
