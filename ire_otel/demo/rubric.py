"""Load the rubric, choose the principles of the report type and switch them by intent."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

import ire_otel
from ire_otel.demo.intake import Brief
from ire_otel.demo.plan import Remedy


class Principle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a good report does."""

    id: str
    """Such as META-1, or MR-1 for market research."""
    name: str
    """Its title."""
    check: str
    """The name of the function that measures it."""
    bands: tuple[float, float, float]
    """The measures that earn 1, 2 and 3; falling where less is better."""
    remedy: str
    """What a failed gate does about a gap here."""
    weight: float = 1.0
    """How much it counts in the overall score."""
    critical: bool = False
    """Whether a score of 0 fails the gate alone."""
    report_type: str | None = None
    """The only report type it is for; None for all."""
    idle_for: tuple[str, ...] = ()
    """The intents under which it does not count."""
    because: str = ""
    """Why it does not count under them."""

    def grade(self, measure: float) -> int:
        """The score, 0 to 3: how many bands `measure` reaches."""
        first, _, last = self.bands
        return sum(measure >= band if first < last else measure <= band for band in self.bands)


class RubricFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `rubric.toml` holds."""

    version: int
    """Goes up when bands or weights change."""
    threshold: float
    """The overall score, 0 to 3, that passes."""
    principles: tuple[Principle, ...]
    """All principles, of all report types."""
    remedies: dict[str, Remedy]
    """What a failed gate may change."""


class Rubric(msgspec.Struct, frozen=True, kw_only=True):
    """The principles for one report."""

    principles: tuple[Principle, ...]
    """Every principle that is scored."""
    idle: frozenset[str]
    """The ids of those that do not count under the brief's intent."""
    threshold: float
    """The overall score, 0 to 3, that passes."""
    remedies: dict[str, Remedy]
    """What a failed gate may change."""

    @property
    def active(self) -> tuple[Principle, ...]:
        """The principles that count."""
        return tuple(principle for principle in self.principles if principle.id not in self.idle)


@cache
def rubric_file() -> RubricFile:
    """The rubric as shipped."""
    raw = files("ire_otel.demo").joinpath("rubric.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(raw), RubricFile)


class RubricLoader(ire_otel.TracingComponent):
    """Loads the rubric. Records the way that existing engines do: the current trace, if any, and `record`."""

    @property
    def component_name(self) -> str:
        """The name under which decisions appear."""
        return "RubricLoader"

    def get_trace_schema(self) -> dict[str, Any]:
        """The decisions and outputs of this component."""
        return {
            "decisions": ["rubric_loaded", "intent_activation", "intent_deactivation", "gate_threshold"],
            "outputs": [
                "total_principles",
                "activated_count",
                "deactivated_count",
                "critical_principles",
                "principle_list",
            ],
        }

    def load(self, brief: Brief, report_type: str) -> Rubric:
        """The rubric for `brief`; a report type without principles of its own gets the general ones."""
        file = rubric_file()
        chosen = tuple(one for one in file.principles if one.report_type in {None, report_type})
        idle = frozenset(one.id for one in chosen if brief.intent in one.idle_for)
        rubric = Rubric(principles=chosen, idle=idle, threshold=file.threshold, remedies=file.remedies)
        trace = ire_otel.TraceContext.current()
        if trace:
            trace.start_stage("rubric")
            self._record_loading(trace, rubric, file, report_type)
            self._record_activation(trace, rubric, brief)
            trace.end_stage("rubric", outputs=_outputs(rubric))
        return rubric

    def _record_loading(self, trace: ire_otel.Trace, rubric: Rubric, file: RubricFile, report_type: str) -> None:
        general = sum(1 for one in rubric.principles if one.report_type is None)
        total, special = len(rubric.principles), len(rubric.principles) - general
        trace.record(
            "rubric",
            "rubric_loaded",
            {
                "what": f"{total} principles ({general} META + {special} for {report_type})",
                "why": f"report_type={report_type}; version {file.version} has {len(file.principles)} principles",
                "confidence": 1.0,
                "alternatives_considered": [f"{general} META principles alone"] if special else [],
                "inputs": {"report_type": report_type, "rubric_version": file.version},
                "component": self.component_name,
            },
        )
        critical = [one.id for one in rubric.active if one.critical]
        trace.record(
            "rubric",
            "gate_threshold",
            {
                "what": rubric.threshold,
                "why": f"the rubric file sets it; {', '.join(critical)} are critical: each fails the gate at score 0",
                "confidence": 1.0,
                "inputs": {"critical": critical, "total_weight": sum(one.weight for one in rubric.active)},
                "component": self.component_name,
            },
        )

    def _record_activation(self, trace: ire_otel.Trace, rubric: Rubric, brief: Brief) -> None:
        trace.record(
            "rubric",
            "intent_activation",
            {
                "what": [one.id for one in rubric.active],
                "why": f"{len(rubric.active)} of {len(rubric.principles)} principles count for {brief.intent} readers",
                "confidence": 1.0,
                "alternatives_considered": ["count every principle under every intent"],
                "inputs": {"intent": brief.intent},
                "component": self.component_name,
            },
        )
        idle = [one for one in rubric.principles if one.id in rubric.idle]
        reasons = "; ".join(f"{one.id} {one.name}: {one.because}" for one in idle)
        trace.record(
            "rubric",
            "intent_deactivation",
            {
                "what": [one.id for one in idle],
                "why": reasons or f"no principle excludes the intent {brief.intent}",
                "confidence": 1.0,
                "inputs": {"intent": brief.intent},
                "component": self.component_name,
            },
        )


def _outputs(rubric: Rubric) -> dict[str, Any]:
    return {
        "total_principles": len(rubric.principles),
        "activated_count": len(rubric.active),
        "deactivated_count": len(rubric.idle),
        "critical_principles": [one.id for one in rubric.active if one.critical],
        "principle_list": [one.id for one in rubric.principles],
    }
