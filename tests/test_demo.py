"""The demo is a real engine: it reads real texts, decides by what it measures, and is recorded completely."""

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ire_otel
from ire_otel.cli import _exit_code
from ire_otel.demo.collection import NoEvidenceError
from ire_otel.demo.completion import CompletionError
from ire_otel.demo.corpus import CorpusError, Document, default_corpus, folder_corpus
from ire_otel.demo.draft import read_report
from ire_otel.demo.intake import QueryError, classify, read_query
from ire_otel.demo.orchestrator import ResearchOrchestrator, slug
from ire_otel.demo.plan import Plan
from ire_otel.demo.retrieval import PassageIndex, any_of, load_index
from ire_otel.demo.rubric import rubric_file
from ire_otel.demo.scoring import WEIGHTS, EvidenceQualityScorer
from ire_otel.demo.synthesis import Model
from ire_otel.settings import load

QUERY = "How do context managers release resources when an exception is raised?"
STAGES = ["intake", "rubric", "collection", "synthesis", "quality_gate"]


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """The brain folder of runs in the test's own folder."""
    return tmp_path / "brain"


def research(
    query: str, *, corpus: Path | None = None, model: Model | None = None, kind: str = "market_research"
) -> Any:
    """The trace document of one run."""
    result = ResearchOrchestrator(load_index(corpus), load(), model=model).run(query, project="demo", report_type=kind)
    saved = ire_otel.finish_sync(result.trace)
    return json.loads(Path(saved["file_path"]).read_text(encoding="utf-8"))


def scores(document: Any) -> dict[str, float]:
    """The principle scores of a trace document."""
    return {one["id"]: one["score"] for one in document["stages"]["quality_gate"]["principle_scores"]}


def demo(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`ire-otel demo` as a process of its own in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", "from ire_otel.cli import main; main()", "demo", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("IRE_OTEL")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with one text of each kind."""
    folder = tmp_path / "texts"
    (folder / "wiki").mkdir(parents=True)
    (folder / "wiki" / "bees.md").write_text(
        "---\ntitle: On bees\nauthor: Maya\ndate: 2024-05-01\n---\n\n# Bees\n\n"
        "Bees visit [flowers](https://example.org/f) and carry pollen from one plant to another.\n\n"
        "```python\nThis code is no prose at all, whatever it says.\n```\n\n"
        "A hive holds about 40000 bees in summer, but fewer than 10000 in winter.\n"
    )
    (folder / "honey.html").write_text(
        "<html><head><title>Honey &amp; wax</title><meta name='author' content='Willy'>"
        "<meta property='article:published_time' content='2020-05-01T10:00:00Z'><style>p {color: red}</style></head>"
        "<body><nav>Home</nav><p>Bees make honey from nectar and store it in <b>wax</b> cells for the winter.</p>"
        "<script>var honey = 'Bees are not in scripts at all, are they.';</script>"
        "<p>Honey keeps for years unless it takes up water from the air.</p></body></html>"
    )
    (folder / "2022-03-04-keeping.txt").write_text(
        "Keepers open the hive in spring and look for the queen.\n\n"
        "A keeper should not open a hive when bees are cold.\n"
    )
    return folder


def test_a_run_is_recorded_completely(brain: Path) -> None:
    """A run on Python's own texts: five stages, decisions with reasons, scored evidence, 21 scores, and its row."""
    document = research(QUERY)
    decisions = [decision for stage in STAGES for decision in document["stages"][stage]["decisions"]]
    assert len(decisions) >= 25
    for decision in decisions:
        assert len(decision["why"]) > 20
        assert decision["component"]
        assert 0 <= decision["confidence"] <= 1
    assert {decision["component"] for decision in decisions} >= {
        "CollectorCoordinator", "EvidenceQualityScorer", "QualityGate", "QueryIntake", "RubricLoader",
        "synthesize_report",
    }  # fmt: skip
    evidence = document["stages"]["collection"]["evidence"]
    items = [*evidence["kept"], *evidence["filtered_out"]]
    assert len(items) >= 30
    named = {"relevance", "specificity", "credibility", "recency", "composite"}
    assert all(set(item["scores"]) == named for item in items)
    assert all(item["reason"] for item in evidence["filtered_out"])
    assert len(scores(document)) == 21
    assert document["run"]["status"] == "complete"
    assert document["iteration_count"] == len(document["iterations"])
    assert Path(document["outputs"]["report_path"]).is_file()
    with sqlite3.connect(brain / "traces.db") as database:
        database.row_factory = sqlite3.Row
        row = database.execute("SELECT * FROM traces WHERE trace_id = ?", (document["trace_id"],)).fetchone()
    assert json.loads(row["principle_scores"]) == scores(document)
    assert row["overall_quality_score"] == document["stages"]["quality_gate"]["overall_score"]
    assert (row["intent"], row["domain"], row["status"]) == ("learning", "language", "complete")
    assert row["evidence_passed"] == len(evidence["kept"])


def test_the_orchestrator_says_why_it_routes_and_stops() -> None:
    """Routing, order and acceptance are decisions of the run, by the orchestrator."""
    taken = {one["decision"]: one for one in research(QUERY)["stages"]["run"]["decisions"]}
    assert set(taken) >= {"routing", "stage_order", "acceptance"}
    assert {one["component"] for one in taken.values()} == {"ResearchOrchestrator"}


def test_the_same_query_gives_the_same_scores_and_another_does_not(corpus: Path) -> None:
    """Nothing is random; query, wording, corpus and report type make a difference."""
    first, again = (
        research("How do bees make honey?", corpus=corpus),
        research("How do bees make honey?", corpus=corpus),
    )
    assert scores(first) == scores(again)
    for stage in ("collection", "quality_gate"):
        assert first["stages"][stage].get("evidence") == again["stages"][stage].get("evidence")
    other = research("Is it true that bees always make honey?", corpus=corpus)
    assert other["run"]["intent"] != first["run"]["intent"]
    assert other["stages"]["collection"]["evidence"]["kept"] != first["stages"]["collection"]["evidence"]["kept"]
    assert scores(research("How do bees make honey?")) != scores(first)
    assert len(scores(research("How do bees make honey?", corpus=corpus, kind="briefing"))) == 13


def test_a_failed_gate_leads_to_a_second_iteration_that_says_what_it_changed(corpus: Path) -> None:
    """Two sentences make a bad report; the retry names its gaps and the remedy, and both attempts are kept."""
    document = research("Compare queen and keeper and price and taste", corpus=corpus)
    retry = next(one for one in document["stages"]["run"]["decisions"] if one["decision"] == "retry")
    first, second = document["iterations"]
    assert first["quality_gate_result"] == "FAIL"
    assert first["gaps"][0] in retry["why"]
    assert second["changes_from_previous"] == retry["what"]
    assert len(document["stages"]["quality_gate"]["attempts"]) == 2
    assert document["quality_gate_failures"] >= 1


def test_built_in_queries_end_in_every_way(brain: Path, tmp_path: Path) -> None:
    """Some built-in queries pass at once, some the second time, some never; each leaves a file and a row."""
    done = demo("--runs", "50", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len({outcome["trace_file"] for outcome in outcomes}) == 50
    assert {(outcome["passed"], outcome["iterations"]) for outcome in outcomes} == {(True, 1), (True, 2), (False, 2)}
    with sqlite3.connect(brain / "traces.db") as database:
        assert database.execute("SELECT count(*) FROM traces").fetchone() == (50,)


def test_the_command_ends_with_the_places_and_the_next_commands(tmp_path: Path, corpus: Path) -> None:
    """Report, trace file and row are named and exist; what to do next stands below."""
    done = demo("How do bees make honey?", "--corpus", str(corpus), "--project", "../Bees", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line[:1].strip()}
    assert Path(lines["report"]).is_relative_to(tmp_path / "brain" / "projects")
    assert Path(lines["report"]).read_text(encoding="utf-8").startswith("# How do bees make honey?")
    assert json.loads(Path(lines["trace"]).read_text(encoding="utf-8"))["trace_id"] in lines["row"]
    assert "sqlite:///" in lines["row"]
    assert lines["next"] == "ire-otel show last"


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["the of and"], 2, "'the of and'"),
        (["bees", "--corpus", "nowhere"], 2, "nowhere"),
        (["bees", "--runs", "2"], 2, "--runs"),
        (["bees", "--llm-url", "http://localhost:1"], 2, "--llm-url"),
        (["--runs", "0"], 2, "--runs"),
        (["xyzzyplugh"], 1, "xyzzyplugh"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was wrong is named on one line, and the exit code tells misuse from failure."""
    assert _exit_code(["demo", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_a_run_without_evidence_is_recorded_as_failed(brain: Path) -> None:
    """The engine refuses to write from nothing, and the trace says why."""
    with pytest.raises(NoEvidenceError, match="xyzzyplugh"):
        research("xyzzyplugh")
    assert ire_otel.flush(timeout=10)
    (file,) = (brain / "projects" / "demo" / "_traces").glob("*.json")
    run = json.loads(file.read_text(encoding="utf-8"))["run"]
    assert run["status"] == "failed"
    assert "xyzzyplugh" in run["error"]


def test_a_folder_is_read_with_what_its_texts_say_of_themselves(corpus: Path) -> None:
    """Titles, authors and dates come from front matter, HTML head or file name; markup and code are left out."""
    texts = {document.url: document for document in folder_corpus(corpus)}
    bees, honey, keeping = texts["wiki/bees.md"], texts["honey.html"], texts["2022-03-04-keeping.txt"]
    assert (bees.title, bees.author, bees.published, bees.source) == ("On bees", "Maya", date(2024, 5, 1), "wiki")
    assert (honey.title, honey.author, honey.published) == ("Honey & wax", "Willy", date(2020, 5, 1))
    assert (keeping.published, keeping.author, keeping.source) == (date(2022, 3, 4), None, "txt-files")
    sentences = [sentence for passage in PassageIndex(texts.values()).passages for sentence in passage.sentences]
    assert "Bees visit flowers and carry pollen from one plant to another." in sentences
    assert "Bees make honey from nectar and store it in wax cells for the winter." in sentences
    assert not any("code" in sentence or "scripts" in sentence for sentence in sentences)


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what it lacks."""
    with pytest.raises(CorpusError, match="holds no txt, md or html"):
        folder_corpus(tmp_path)


def test_the_default_corpus_is_real_and_always_the_same() -> None:
    """Three sources, an address on every text, dates only where stated, and no module imported for it."""
    before = set(sys.modules)
    documents = default_corpus()
    assert documents == default_corpus()
    assert {document.source for document in documents} == {"python-reference", "stdlib-docstrings", "package-readmes"}
    assert all(document.url for document in documents)
    assert any(document.published is None for document in documents)
    assert not {"antigravity", "this", "turtle", "tkinter"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("query", "intent", "bias"),
    [
        ("What are the options for HTTP clients?", "exploring", "no_bias"),
        ("Isn't the lock obviously broken?", "validating", "confirmation_bias"),
        ("How do I parse dates?", "executing", "no_bias"),
        ("How does the import system work?", "learning", "no_bias"),
        ("What is the best and most popular linter?", "learning", "superlative_bias"),
    ],
)
def test_intent_and_bias_come_from_the_wording(query: str, intent: str, bias: str) -> None:
    """Cue phrases of the query decide, and the confidence is their share of all weight."""
    reading = classify(query, "intents", "exploring")
    assert reading.label == intent
    assert classify(query, "biases", "no_bias").label == bias
    assert 0 < reading.confidence < 1
    assert all(cue.strip() in query.lower() for cue in reading.cues)


def test_instructions_are_not_searched_for() -> None:
    """The words that say what to do with the subject are no search terms, unless there is nothing else."""
    assert read_query("Explain the best options for compression").terms == ("compression",)
    assert read_query("Explain").terms == ("explain",)
    with pytest.raises(QueryError, match="no word to search for"):
        read_query("?!")


def test_a_query_in_any_script_or_broken_encoding_is_answered(tmp_path: Path) -> None:
    """Words of other alphabets are searched for, and lone surrogates from the command line harm nothing."""
    folder = tmp_path / "texte"
    folder.mkdir()
    (folder / "bienen.txt").write_text("Über die Bienen weiß man viel. Älter als der Mensch ist die Biene.\n", "utf-8")
    document = research("Über Bienen \udcff", corpus=folder)
    report = Path(document["outputs"]["report_path"]).read_text(encoding="utf-8")
    assert "Über die Bienen weiß man viel [1]." in report


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_words_can_be_searched_for(terms: list[str]) -> None:
    """No text in a query reaches FTS5 as an operator."""
    index = PassageIndex([Document(url="a", title="A", source="s", text="Locks protect the queues of a program well.")])
    assert index.count(any_of([*(term.replace("\0", "") for term in terms), "locks"])) == 1


@given(st.text())
def test_a_report_name_is_safe(query: str) -> None:
    """Whatever is asked, the file's name is short and holds letters, digits and hyphens only."""
    assert len(slug(query)) <= 69
    assert set(slug(query)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def _document(name: str, text: str, published: date | None = None) -> Document:
    return Document(url=f"https://e.example/{name}", title=name, source="web", text=text, published=published)


def test_evidence_is_scored_and_filtered_for_stated_reasons() -> None:
    """Recency halves in four years and is neutral without a date; duplicates and the surplus of a document go."""
    text = "Locks protect shared queues against two threads that write at once."
    documents = [
        _document("new", text, date(2024, 1, 1)),
        _document("old", f"{text} Nobody minds this other sentence about cats and dogs and rain.", date(2020, 1, 1)),
        _document("copy", text),
    ]
    index = PassageIndex(documents)
    brief = read_query("What is a lock for queues?")
    scorer = EvidenceQualityScorer(index)
    scored = scorer.score(index.search(any_of(brief.terms), source="web", limit=9), brief)
    recency = {one.passage.document.title: one.scores.recency for one in scored}
    assert recency == {"new": 1.0, "old": pytest.approx(0.5, abs=0.001), "copy": 0.5}
    kept, rejected = scorer.filter(scored, Plan(quality_threshold=0.1))
    assert [one.passage.document.title for one in kept] == ["new", "old"]
    assert [one.rule for one in rejected] == ["duplicate"]
    _, refused = scorer.filter(scored, Plan(quality_threshold=0.99))
    assert {one.rule for one in refused} == {"low_quality"}
    assert all("0.99" in one.reason for one in refused)


def test_composite_weights_sum_to_one_and_remedies_change_known_knobs() -> None:
    """The data that steers the engine is consistent."""
    assert all(sum(row.values()) == pytest.approx(1) for row in WEIGHTS.values())
    for remedy in rubric_file().remedies.values():
        assert remedy.apply(Plan()) != Plan()
        assert set(remedy.changes) <= set(msgspec.structs.asdict(Plan()))


class _Endpoint(http.server.BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible endpoint does; under /none as one that knows no model."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = "# Bees\n\n## Summary\n\nBees make honey from nectar. [1] Nobody cites this sentence.\n"
        answer = {
            "id": "answer-1",
            "object": "chat.completion",
            "created": 0,
            "model": f"{request['model']}-2026",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 321, "completion_tokens": 45, "total_tokens": 366},
        }
        found = not self.path.startswith("/none")
        body = json.dumps(answer if found else {"error": {"message": "no such model"}}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Keep the test's output quiet."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a local endpoint."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_model_can_write_the_report(corpus: Path, endpoint: str) -> None:
    """Prompts, model and tokens are recorded, and the gate measures what the model wrote."""
    document = research("How do bees make honey?", corpus=corpus, model=Model(name="tiny", base_url=f"{endpoint}/v1"))
    synthesis = document["stages"]["synthesis"]
    attempts = synthesis.get("attempts") or [synthesis]
    assert synthesis["model"] == "tiny-2026"
    assert attempts[0]["token_usage"]["input_tokens"] == 321
    assert attempts[0]["token_usage"]["output_tokens"] == 45
    assert "META-5 Inline Source" in synthesis["prompts"]["system_prompt"]
    assert "Bees make honey from nectar" in synthesis["prompts"]["user_message"]
    report = Path(document["outputs"]["report_path"]).read_text(encoding="utf-8")
    assert read_report(report, []).findings[0].text == "Bees make honey from nectar."
    assert "## Sources" in report


def test_an_endpoint_that_fails_fails_the_run_in_words(brain: Path, corpus: Path, endpoint: str) -> None:
    """The error names model, address and remedy; the trace keeps it, with the stages before."""
    with pytest.raises(CompletionError, match=r"--llm tiny: .*/none/.*OPENAI_API_KEY"):
        research("How do bees make honey?", corpus=corpus, model=Model(name="tiny", base_url=f"{endpoint}/none"))
    assert ire_otel.flush(timeout=10)
    (file,) = (brain / "projects" / "demo" / "_traces").glob("*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["run"]["status"] == "failed"
    assert "no such model" in document["stages"]["synthesis"]["error"]
    assert document["stages"]["collection"]["evidence"]["kept"]


def test_a_missing_client_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    """Without the openai package --llm says what to install."""
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CompletionError, match=r"ire-otel\[llm\]"):
        research("How do bees make honey?", corpus=corpus, model=Model(name="tiny"))
