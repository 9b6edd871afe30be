"""Turn the SpanRecords of a run into one trace document. Pure: no clock, no files, no globals."""

from ire_otel.assembly.document import assemble, encode
from ire_otel.assembly.merging import merge

__all__ = ["assemble", "encode", "merge"]
