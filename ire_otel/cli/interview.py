"""What a person is asked about a run, and how they answer: at a terminal, or by `--set KEY=VALUE`."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from ire_otel.cli import terminal

if TYPE_CHECKING:
    from ire_otel.calibration import Draft
    from ire_otel.calibration.capture import PrincipleDraft

SOURCES: Final = 8
"""Most sources of evidence that are shown."""
NOTE: Final = "note"
"""Key of --set for words on the run; on a principle, `<principle>.note`."""
SKIP: Final = "-"
"""What a person types instead of a score that they do not want to give."""
_WORDS: Final = {"pass": True, "true": True, "yes": True, "fail": False, "false": False, "no": False}


class Said(msgspec.Struct):
    """What a person says about a run, as it is being put together."""

    scores: dict[str, float] = {}
    notes: dict[str, str] = {}
    corrections: dict[str, Any] = {}
    note: str | None = None

    def words(self) -> dict[str, Any]:
        """Give all but the scores, as `capture` takes it."""
        return {"notes": self.notes, "corrections": self.corrections, "note": self.note}


def from_options(given: Iterable[str], form: "Draft") -> Said:
    """Read every KEY=VALUE of --set."""
    from ire_otel.calibration.capture import CORRECTABLE

    said = Said()
    principles = {one.principle_id for one in form.principles}
    for setting in given:
        key, equals, value = setting.partition("=")
        on_principle = key.removesuffix(f".{NOTE}")
        if not equals:
            raise unusable(f"{setting!r} is not KEY=VALUE")
        if key == NOTE:
            said.note = value
        elif key in CORRECTABLE:
            said.corrections[key] = _yes_or_no(value) if key == "quality_gate_passed" else value
        elif on_principle != key and key not in principles:
            said.notes[on_principle] = value
        else:
            said.scores[key] = _number(key, value)
    check(form, said)
    return said


def check(form: "Draft", said: Said) -> None:
    """Refuse what could not be kept, before anybody is asked anything."""
    from ire_otel.calibration import CalibrationError
    from ire_otel.calibration.capture import judged

    try:
        judged(form, said.scores, **said.words())
    except CalibrationError as error:
        raise unusable(str(error)) from error


def ask(form: "Draft", said: Said) -> None:
    """Ask a person about everything that --set did not say."""
    for line in _about(form):
        typer.echo(line, err=True)
    typer.echo(f"Enter takes what is in brackets; {SKIP} gives no score.", err=True)
    for name in ("intent", "domain", "report_type"):
        recorded = getattr(form, name)
        if name not in said.corrections:
            answer = _prompt(name, recorded)
            if answer and answer != recorded:
                said.corrections[name] = answer
    if "quality_gate_passed" not in said.corrections and form.quality_gate_passed is not None:
        passed = typer.confirm("quality gate passed", default=form.quality_gate_passed, err=True)
        if passed != form.quality_gate_passed:
            said.corrections["quality_gate_passed"] = passed
    for one in form.principles:
        if one.principle_id not in said.scores:
            _ask_score(one, said)
    said.note = said.note or _prompt("note on the run", None)


def _about(form: "Draft") -> Iterator[str]:
    verdict = terminal.verdict(form.quality_gate_passed, form.overall_quality_score).plain
    yield f"{form.trace_id}  {form.started_at[:16].replace('T', ' ')}  {form.status}  gate {verdict}"
    yield terminal.one_line(form.query)
    counts = (form.evidence_collected, form.evidence_passed, form.evidence_filtered)
    collected, kept, filtered = ("?" if count is None else count for count in counts)
    yield f"evidence: {collected} collected, {kept} kept, {filtered} filtered out"
    for one in form.sources[:SOURCES]:
        score = "" if one.mean_score is None else f", mean score {one.mean_score:.2f}"
        counted = "? kept" if one.kept is None else f"{one.kept} kept, {one.filtered or 0} filtered out"
        yield f"  {terminal.one_line(one.source)}: {counted}{score}"


def _ask_score(one: "PrincipleDraft", said: Said) -> None:
    feedback = f": {terminal.one_line(one.feedback)}" if one.feedback else ""
    name = f" {terminal.one_line(one.name)}" if one.name else ""
    gate = "gave no score" if one.gate_score is None else f"{one.gate_score:g}"
    typer.echo(f"\n{terminal.one_line(one.principle_id)}{name} – gate {gate}{feedback}", err=True)
    default = SKIP if one.gate_score is None else f"{one.gate_score:g}"
    answer = typer.prompt("your score", default=default, value_proc=_score_or_skip, err=True)
    if answer == SKIP:
        return
    said.scores[one.principle_id] = answer
    if answer != one.gate_score and one.principle_id not in said.notes:
        why = _prompt("why", None)
        said.notes |= {one.principle_id: why} if why else {}


def _prompt(label: str, default: str | None) -> str:
    answer: str = typer.prompt(label, default=terminal.one_line(default), show_default=bool(default), err=True)
    return answer.strip()


def _score_or_skip(text: str) -> float | str:
    from ire_otel.calibration.capture import HIGHEST, LOWEST

    if text.strip() == SKIP:
        return SKIP
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not LOWEST <= score <= HIGHEST:
        raise typer.BadParameter(f"give a number from {LOWEST} to {HIGHEST}, or {SKIP}")
    return score


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise unusable(f"score of {key} cannot be {value!r}: give a number from 0 to 3") from None


def _yes_or_no(value: str) -> bool:
    if value.strip().lower() not in _WORDS:
        raise unusable(f"quality_gate_passed cannot be {value!r}: give yes or no")
    return _WORDS[value.strip().lower()]


def unusable(message: str) -> typer.BadParameter:
    """Give the error for a --set that cannot be kept."""
    return typer.BadParameter(message, param_hint="'--set'")
