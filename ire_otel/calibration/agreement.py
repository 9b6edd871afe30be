"""Do people and the gate score alike? Weighted kappa for each principle and for all of them."""

from collections import defaultdict
from datetime import datetime

import msgspec
import sqlalchemy as sa

from ire_otel.calibration.statistics import Agreement
from ire_otel.calibration.statistics import agreement as compared
from ire_otel.db.tables import trace_calibrations
from ire_otel.query.conditions import equal, window
from ire_otel.query.execution import Brain


class PrincipleAgreement(Agreement, frozen=True, kw_only=True):
    """How far people and the gate score one principle alike."""

    principle_id: str


class AgreementReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far people and the gate score alike."""

    overall: Agreement | None
    """Over all principles together; None where nobody scored anything."""
    principles: list[PrincipleAgreement]
    """The one that differs most first: by mean difference, either way, then by id."""


def agreement(
    brain: Brain,
    *,
    principle: str | None = None,
    reviewer: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AgreementReport:
    """Compare every score that a person gave with the gate's.

    Of several scores that one reviewer gave to a principle of a run, the last counts; every reviewer counts. `since`
    and `until` are about when they were given; a time without a zone is local.
    """
    columns = trace_calibrations.c
    conditions = [
        columns.human_score.is_not(None),
        columns.gate_score.is_not(None),
        *window(since, until, columns.created_at),
    ]
    wanted = {columns.principle_id: principle, columns.reviewer: reviewer}
    conditions += [equal(column, value) for column, value in wanted.items() if value is not None]
    given = (columns.principle_id, columns.trace_id, columns.reviewer, columns.human_score, columns.gate_score)
    oldest_first = sa.select(*given).where(*conditions).order_by(columns.created_at, columns.id)
    last = {tuple(about): (human, gate) for *about, human, gate in brain.connection.execute(oldest_first)}
    pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for (principle_id, *_), pair in last.items():
        pairs[principle_id].append(pair)
    principles = [_of_principle(principle_id, scores) for principle_id, scores in pairs.items()]
    return AgreementReport(
        overall=compared(list(last.values())) if last else None,
        principles=sorted(principles, key=lambda one: (-abs(one.mean_difference), one.principle_id)),
    )


def _of_principle(principle_id: str, scores: list[tuple[float, float]]) -> PrincipleAgreement:
    return PrincipleAgreement(principle_id=principle_id, **msgspec.structs.asdict(compared(scores)))
