"""Full-text search over passages: SQLite's FTS5 with its bm25 ranking, in memory."""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from ire_otel.demo.corpus import Document, default_corpus, folder_corpus
from ire_otel.demo.text import paragraphs, sentences

_PASSAGE_WORDS = 90


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A few neighbouring sentences of one document, which retrieval returns as a unit."""

    number: int
    """Position in the corpus; breaks ties, so that the same search always gives the same order."""
    document: Document
    """Where the passage stands."""
    sentences: tuple[str, ...]
    """Its complete sentences, in order."""

    @property
    def text(self) -> str:
        """The passage as one string."""
        return " ".join(self.sentences)


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that matches a search."""

    passage: Passage
    """The passage found."""
    bm25: float
    """How well it matches, above 0; more is better (FTS5's rank with its sign turned)."""


class PassageIndex:
    """A searchable corpus. Threads may share one: a lock holds each statement."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.passages = tuple(_passages(documents))
        dates = [passage.document.published for passage in self.passages]
        self.newest = max((day for day in dates if day), default=None)
        """The latest date of publication in the corpus, the yardstick of recency; None where no text is dated."""
        self.sources = tuple(sorted({passage.document.source for passage in self.passages}))
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5(title, body, source UNINDEXED, tokenize = 'porter unicode61')"
        )
        self._database.executemany(
            "INSERT INTO passages (rowid, title, body, source) VALUES (?, ?, ?, ?)",
            ((one.number, one.document.title, one.text, one.document.source) for one in self.passages),
        )

    def count(self, match: str, source: str | None = None) -> int:
        """How many passages satisfy the FTS5 expression `match`, in one source or all."""
        rows = self._select(
            "SELECT count(*) FROM passages WHERE passages MATCH ? AND source = ifnull(?, source)", (match, source)
        )
        return int(rows[0][0])

    def search(self, match: str, *, source: str, limit: int) -> list[Hit]:
        """The best passages of `source` for the FTS5 expression `match`; a match in the title weighs double."""
        rows = self._select(
            "SELECT rowid, -bm25(passages, 2.0, 1.0) AS score FROM passages "
            "WHERE passages MATCH ? AND source = ? ORDER BY score DESC, rowid LIMIT ?",
            (match, source, limit),
        )
        return [Hit(passage=self.passages[number], bm25=score) for number, score in rows]

    def _select(self, statement: str, parameters: Sequence[object]) -> list[tuple[int, float]]:
        with self._lock:
            return self._database.execute(statement, parameters).fetchall()


def any_of(terms: Iterable[str]) -> str:
    """The FTS5 expression for passages with at least one of `terms`."""
    return " OR ".join(_quoted(term) for term in terms)


def all_of(terms: Iterable[str]) -> str:
    """The FTS5 expression for passages with every one of `terms`."""
    return " AND ".join(_quoted(term) for term in terms)


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


@cache
def load_index(folder: Path | None) -> PassageIndex:
    """The index of `folder`, or of the default corpus; built once in a process.

    Raises:
        CorpusError: `folder` cannot be read.
    """
    return PassageIndex(default_corpus() if folder is None else folder_corpus(folder))


def _passages(documents: Iterable[Document]) -> Iterable[Passage]:
    number = 0
    for document in documents:
        for group in _groups(document.text):
            yield Passage(number=number, document=document, sentences=group)
            number += 1


def _groups(text: str) -> Iterable[tuple[str, ...]]:
    group: list[str] = []
    seen: set[str] = set()
    for paragraph in paragraphs(text):
        fresh = [sentence for sentence in dict.fromkeys(sentences(paragraph)) if sentence not in seen]
        seen.update(fresh)
        group.extend(fresh)
        if sum(len(sentence.split()) for sentence in group) >= _PASSAGE_WORDS:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)
