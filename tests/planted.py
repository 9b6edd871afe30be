"""A brain folder in which all is well, for tests that spoil it."""

from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ire_otel import report, reviews
from ire_otel.assembly import encode
from ire_otel.db import tables
from ire_otel.db.engine import database, engine
from ire_otel.db.reindex import reindex
from ire_otel.model import TraceDocument
from ire_otel.settings import Settings
from ire_otel.verification import verify
from tests.sample_document import sample_document

RUN: Final = sample_document().trace_id
OTHER: Final = sample_document(0xB2).trace_id


class Planted:
    """A brain folder with two linked, reviewed runs, and ways to spoil it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for number in (0xA1, 0xB2):
            self.write(self.document(number))
            report.link_report(self.report(number), self.document(number))
        for kind, data in (
            (reviews.FLAG, {"flagged": True}),
            (reviews.NOTE, {"text": "look again"}),
            ("calibration", {"principle_id": "META-12", "gate_score": 1.0, "human_score": 2.0, "other": ["x"]}),
        ):
            self.say(RUN, kind, data)
        reindex(settings)

    def document(self, number: int = 0xA1, **fields: Any) -> TraceDocument:
        """Give one of the runs."""
        return sample_document(number, **{"outputs": {"report_path": str(self.report(number))}, **fields})

    def report(self, number: int = 0xA1) -> Path:
        """Give its report's file, after writing it where there is none."""
        path = self.settings.project_dir("cobot") / "artifacts" / f"report-{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("# Cobots\n", encoding="utf-8")
        return path

    def trace(self, trace_id: str = RUN) -> Path:
        """Give a trace file."""
        return self.settings.trace_file("cobot", trace_id)

    def said(self, trace_id: str = RUN) -> Path:
        """Give a file of reviews."""
        return reviews.review_file(self.settings, "cobot", trace_id)

    def say(self, trace_id: str, kind: str, data: dict[str, Any]) -> None:
        """Say something into the file only."""
        reviews.append(self.settings, "cobot", trace_id, reviews.Entry(kind=kind, who="dana", data=data))

    def write(self, document: TraceDocument) -> None:
        """Write a trace file."""
        path = self.trace(document.trace_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(document))

    def spoil(self, **fields: Any) -> None:
        """Write the first run with other fields, and its row too, so that only the document is wrong."""
        self.write(self.document(**fields))
        reindex(self.settings, force=True)

    def execute(self, statement: sa.Executable) -> None:
        """Change the database."""
        with engine(database(self.settings.database_url)).begin() as connection:
            connection.execute(statement)

    def update(self, **values: Any) -> None:
        """Change columns of the first run's row."""
        self.execute(sa.update(tables.traces).where(tables.traces.c.trace_id == RUN).values(values))

    def found(self, project: str | None = None) -> list[str]:
        """Give the lines of verify."""
        return [difference.line for difference in verify(self.settings, project=project)]
