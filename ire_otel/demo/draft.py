"""A written report, read back from its Markdown: the checks measure this, whoever wrote it. Pure."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from ire_otel.demo.corpus import Document
from ire_otel.demo.text import CAPITAL, stems

SOURCES_HEADING = "Sources"
LIMITS_HEADING = "Limits"
_CITATION = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_LATE_CITATION = re.compile(r"([.!?])((?:\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\])+)")
_SENTENCE = re.compile(rf"(?<=[.!?])\s+(?=[\"“'(_]?[{CAPITAL}0-9\"“_])")
_ENTRY = re.compile(r"^(?:[-*] )?\[(\d{1,3})\]:?\s+(.+)$")


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of the report."""

    text: str
    """The sentence without its citations."""
    citations: tuple[int, ...]
    """The numbers of the sources it cites."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading with its sentences."""

    heading: str
    """The heading's text."""
    statements: tuple[Statement, ...]
    """The sentences, in order."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A report as the gate sees it."""

    title: str
    """The first-level heading; empty where there is none."""
    sections: tuple[Section, ...]
    """Everything but the list of sources."""
    listed: dict[int, str]
    """The list of sources: number to entry."""
    documents: tuple[Document, ...]
    """The documents that the writer was given; citation `n` means the n-th."""

    @property
    def findings(self) -> list[Statement]:
        """The sentences that report something: all but those on the report's own limits."""
        return [one for section in self.sections if section.heading != LIMITS_HEADING for one in section.statements]

    @property
    def cited(self) -> list[Document]:
        """The documents that the findings cite, once for each citation; numbers that lead nowhere are left out."""
        numbers = (number for statement in self.findings for number in statement.citations)
        return [self.documents[number - 1] for number in numbers if 1 <= number <= len(self.documents)]

    def stem_sets(self) -> list[set[str]]:
        """The stems of each finding."""
        return [stems(statement.text) for statement in self.findings]


def read_report(markdown: str, documents: Sequence[Document]) -> Draft:
    """The report that `markdown` holds; `documents` are what citation numbers stand for, from 1."""
    title, blocks = "", [("", list[str]())]
    for line in markdown.splitlines():
        if line.startswith("# "):
            title = line[2:].strip()
        elif line.startswith("##"):
            blocks.append((line.lstrip("#").strip(), []))
        else:
            blocks[-1][1].append(line)
    listed = (line for heading, lines in blocks if heading == SOURCES_HEADING for line in lines)
    sections = [
        Section(heading=heading, statements=tuple(_statements(lines)))
        for heading, lines in blocks
        if heading != SOURCES_HEADING
    ]
    return Draft(
        title=title,
        sections=tuple(section for section in sections if section.heading or section.statements),
        listed={int(match[1]): match[2] for line in listed if (match := _ENTRY.match(line.strip()))},
        documents=tuple(documents),
    )


def _statements(lines: Sequence[str]) -> Iterator[Statement]:
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] )", "\n".join(lines)):
        flat = re.sub(r"^[-*] ", "", " ".join(paragraph.split()))
        moved = _LATE_CITATION.sub(lambda match: f"{match[2]}{match[1]}", flat)
        for sentence in filter(None, _SENTENCE.split(moved)):
            numbers = [int(number) for found in _CITATION.findall(sentence) for number in found.split(",")]
            yield Statement(text=_CITATION.sub("", sentence).strip(), citations=tuple(numbers))
