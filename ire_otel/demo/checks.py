"""Find a principle's check by name and grade a draft with it."""

from collections.abc import Callable, Mapping

import msgspec

from ire_otel.demo import checks_sources, checks_text
from ire_otel.demo.draft import Draft
from ire_otel.demo.intake import Brief
from ire_otel.demo.measurement import Measurement
from ire_otel.demo.rubric import Principle

CHECKS: Mapping[str, Callable[[Draft, Brief], Measurement]] = {**checks_text.CHECKS, **checks_sources.CHECKS}
"""Every check by the name that the rubric uses."""


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """A principle's score."""

    principle: Principle
    """What was checked."""
    score: int
    """0 to 3."""
    measure: float
    """The figure behind the score."""
    feedback: str
    """What the check saw, with the bands it was held against."""


def grade(principle: Principle, draft: Draft, brief: Brief) -> Graded:
    """The score of `draft` on `principle`; a draft without findings scores 0 on everything."""
    if not draft.findings:
        return Graded(principle=principle, score=0, measure=0.0, feedback="The report holds no findings.")
    seen = CHECKS[principle.check](draft, brief)
    score = principle.grade(round(seen.value, 3))
    bands = "/".join(f"{band:g}" for band in principle.bands)
    feedback = f"{seen.feedback} Measure {seen.value:.2f}, bands {bands}."
    return Graded(principle=principle, score=score, measure=round(seen.value, 3), feedback=feedback)
