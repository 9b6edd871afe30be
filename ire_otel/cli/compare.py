"""`ire-otel compare`: two runs side by side, the first decision that differs on top."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ire_otel.cli import listing, terminal
from ire_otel.cli.review import run_id
from ire_otel.errors import IreOtelError

SHOWN = 12
"""Entries of each list in the picture; --json has all."""
INDENT = 4
"""Columns before what stands under a title."""
_DIFF_STYLE = {"+": "green", "-": "red", "@": "cyan"}
_Found = Mapping[str, Any]


def compare(
    a: Annotated[str, typer.Argument(help="One run: its trace_id, enough of it to know it by, or `last`.")],
    b: Annotated[str, typer.Argument(help="The other run.")],
    as_json: listing.AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the principles of both runs as CSV.")] = False,
) -> None:
    """Compare two runs: decisions (and which differed first), evidence, prompts, principles."""
    from ire_otel.query import TraceQuery

    found = TraceQuery.sync.compare(run_id(a), run_id(b))
    if "error" in found:
        raise IreOtelError(f"{found['error']}: {', '.join(found['not_found'])}")
    if as_json:
        terminal.print_json(found)
    elif as_csv:
        columns = ("id", "name", "score_a", "score_b", "delta")
        listing.print_csv(columns, found["principles"] or [])
    else:
        terminal.console().print(picture(found))


def picture(found: _Found) -> RenderableType:
    """Draw what `TraceQuery.compare` gave."""
    parts: list[RenderableType] = [_summaries(found)]
    for side, state in found["trace_files"].items():
        if state != "read":
            parts.append(Text(f"\ntrace file of {side}: {terminal.one_line(state)}", style="yellow"))
    if found["decisions"] is not None:
        parts += [*_decisions(found["decisions"]), *_principles(found["principles"])]
        parts += [*_evidence(found["evidence"]), *_prompts(found["prompts"])]
    return Group(*parts)


def _summaries(found: _Found) -> Table:
    a, b, diff = found["trace_a"], found["trace_b"], found["diff"]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("", "a", "b", "b – a"):
        table.add_column(name, overflow="fold")
    deltas = {"quality_score": "quality_delta", "duration_seconds": "duration_delta", "cost_usd": "cost_delta"}
    for name, of_a in a.items():
        delta = diff[deltas[name]] if name in deltas else None
        cells = [_words(of_a), _words(b[name]), "" if delta is None else f"{delta:+.4g}"]
        table.add_row(name.replace("_", " "), *cells)
    return table


def _decisions(found: _Found) -> Iterator[RenderableType]:
    differing = found["differing"]
    yield _title(f"decisions: {found['same']} alike, {len(differing)} different")
    for number, entry in enumerate(differing[:SHOWN]):
        times = f" (no. {entry['occurrence']})" if entry["occurrence"] > 1 else ""
        name = f"{_words(entry['stage'])}: {_words(entry['decision'])}{times}"
        if entry["only_in"]:
            name += f"  only in {entry['only_in']}: {_words(entry['what'])}"
        elif number:
            name += f"  {_in_short(entry['changes'])}"
        yield _line(f"first → {name}" if number == 0 else name, style="bold" if number == 0 else "")
        # What came before the first one was decided alike, so that one is shown in full.
        for change in entry["changes"] if number == 0 else ():
            yield _line(f"  {change['field']}: {_words(change['a'])}", style="red")
            yield _line(f"  {' ' * len(change['field'])}→ {_words(change['b'])}", style="green")
    yield from _rest(differing)


def _in_short(changes: list[_Found]) -> str:
    what = next(
        (f"{_words(change['a'])} → {_words(change['b'])}" for change in changes if change["field"] == "what"), ""
    )
    return what or f"differs in {', '.join(change['field'] for change in changes)}"


def _principles(found: list[_Found]) -> Iterator[RenderableType]:
    changed = [change for change in found if change["score_a"] != change["score_b"]]
    yield _title(f"principles: {len(found) - len(changed)} alike, {len(changed)} different")
    for change in changed[:SHOWN]:
        scores = f"{_words(change['score_a']):>5} → {_words(change['score_b']):<5}"
        style = "" if change["delta"] is None else "red" if change["delta"] < 0 else "green"
        yield _line(f"{scores} {_words(change['id'])} {terminal.one_line(change['name'])}", style=style)
    yield from _rest(changed)


def _evidence(found: _Found) -> Iterator[RenderableType]:
    yield _title(f"evidence: {found['kept_in_both']} kept in both")
    for side, other in (("a", "b"), ("b", "a")):
        turned = found[f"kept_in_{side}_filtered_in_{other}"]
        for entry in turned[:SHOWN]:
            reason = f": {_words(entry['reason'])}" if entry["reason"] else ""
            yield _line(f"kept in {side}, filtered in {other}{reason}  {_words(entry['item'])}")
        yield from _rest(turned)
        if only := found[f"kept_only_in_{side}"]:
            yield _line(f"{len(only)} kept in {side} that {other} never saw")


def _prompts(found: list[_Found]) -> Iterator[RenderableType]:
    yield _title(f"prompts: {len(found)} different")
    for prompt in found:
        difference = prompt["difference"]
        counts = f"{difference['removed']} lines out, {difference['added']} in"
        yield _line(f"{_words(prompt['stage'])}: {_words(prompt['prompt'])}  {counts}", style="bold")
        for line in difference["lines"][:SHOWN]:
            yield _line(f"{terminal.one_line(line)}", style=_DIFF_STYLE.get(line[:1], ""))
        yield from _rest(difference["lines"])


def _rest(entries: list[Any]) -> Iterator[RenderableType]:
    if len(entries) > SHOWN:
        yield _line(f"… {len(entries) - SHOWN} more: --json shows all", style="dim")


def _line(text: str, style: str = "") -> Text:
    return Text(f"{' ' * INDENT}{text}", style=style, no_wrap=True, overflow="ellipsis")


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _words(value: Any) -> str:
    return "–" if value is None else terminal.one_line(value)
