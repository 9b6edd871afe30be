"""The demo's checks measure the report: each is tried on texts whose figure a reader can count."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ire_otel.demo.checks import CHECKS, grade
from ire_otel.demo.corpus import Document
from ire_otel.demo.draft import Draft, read_report
from ire_otel.demo.intake import Brief
from ire_otel.demo.rubric import rubric_file

BRIEF = Brief(
    query="How do locks protect queues?",
    intent="learning",
    bias="no_bias",
    research_type="explanatory",
    domain="concurrency",
    terms=("locks", "protect", "queues"),
    facets=(("locks",), ("protect",), ("queues",), ("locks", "protect"), ("protect", "queues")),
)
DOCUMENTS = (
    Document(url="https://a.example/locks", title="Locks", source="web", text="", author="Ada", maturity=0.8),
    Document(url="notes/queues.md", title="Queues", source="notes", text=""),
)


def draft(*sentences: str, summary: str = "Locks protect queues [1].") -> Draft:
    """A report with `summary`, a section of `sentences` and a list of two sources."""
    body = " ".join(sentences)
    listed = "[1] Locks. Ada, date unknown. https://a.example/locks\n\n[2] Queues. author unknown. notes/queues.md"
    return read_report(
        f"# Locks\n\n## Summary\n\n{summary}\n\n## Locks in use\n\n{body}\n\n"
        f"## Limits\n\nNothing was found on prices.\n\n## Sources\n\n{listed}\n",
        DOCUMENTS,
    )


def measure(check: str, report: Draft) -> float:
    """The figure that `check` gives."""
    return CHECKS[check](report, BRIEF).value


def test_every_principle_of_the_rubric_has_its_own_check_and_a_known_remedy() -> None:
    """The rubric holds 13 general and 8 market research principles, no check twice, no remedy that does not exist."""
    file = rubric_file()
    ids = [principle.id for principle in file.principles]
    assert ids == [*(f"META-{n}" for n in range(1, 14)), *(f"MR-{n}" for n in range(1, 9))]
    assert sorted(principle.check for principle in file.principles) == sorted(CHECKS)
    assert {principle.remedy for principle in file.principles} == set(file.remedies)


def test_citations_count_wherever_they_stand_in_a_sentence() -> None:
    """A citation before or after the full stop belongs to the sentence before it; lists and runs are taken apart."""
    report = draft("Queues hold items. [2] A lock has an owner [1, 2]. It may wait [1][2]. Nobody knows.")
    assert [statement.citations for statement in report.findings] == [(1,), (2,), (1, 2), (1, 2), ()]
    assert report.findings[1].text == "Queues hold items."
    assert measure("citation_share", report) == pytest.approx(4 / 5)


def test_the_reports_own_limits_are_no_findings() -> None:
    """What the report says about itself needs no citation."""
    assert "Nothing was found on prices." not in [statement.text for statement in draft().findings]


@pytest.mark.parametrize(
    ("check", "sentence", "value"),
    [
        ("specific_share", "Use acquire_lock() twice [1].", 1 / 2),
        ("number_share", "It holds 3 items [1].", 1 / 2),
        ("contrast_share", "However, waiting is slow [1].", 1 / 2),
        ("comparison_share", "Waiting is slower than polling [1].", 1 / 2),
        ("risk_share", "Releasing twice raises an error [1].", 1 / 2),
        ("hedging", "Waiting may take long [1].", 1 / 2),
    ],
)
def test_wording_checks_count_the_sentences_that_show_it(check: str, sentence: str, value: float) -> None:
    """Of two sentences one shows the feature; without it the measure is 0."""
    assert measure(check, draft(sentence)) == pytest.approx(value)
    assert measure(check, draft("People wait in line [1].")) == 0


def test_coverage_names_the_facets_that_are_missing() -> None:
    """A facet of two words is covered only by a sentence with both."""
    seen = CHECKS["facet_coverage"](draft(summary="Locks are old [1]. Queues are older [1]."), BRIEF)
    assert seen.value == pytest.approx(2 / 5)
    assert "missing: protect, locks protect, protect queues" in seen.feedback


def test_opening_and_headings_are_held_against_the_query() -> None:
    """The first section is searched for the query's words, the headings as well."""
    assert measure("summary_coverage", draft(summary="Locks wait [1].")) == pytest.approx(1 / 3)
    assert measure("heading_match", draft("Locks wait [1].")) == pytest.approx(1 / 2)


def test_repetition_and_novelty_see_a_sentence_said_twice() -> None:
    """Saying it again raises repetition and lowers novelty."""
    fresh = draft("Semaphores count permits down [1].", summary="Barriers gather threads [1].")
    stale = draft("Barriers gather threads [1].", summary="Barriers gather threads [1].")
    assert measure("repetition", fresh) == 0
    assert measure("repetition", stale) == 1
    assert measure("novelty", fresh) == 1
    assert measure("novelty", stale) == pytest.approx(1 / 2)


def test_sentence_length_and_balance_are_counted() -> None:
    """Words a sentence, and sections with two sentences of the three that a report should have."""
    report = draft("One two three four [1]. One two three four [1].", summary="One two three four [1].")
    assert measure("sentence_length", report) == 4
    assert measure("balance", report) == pytest.approx(1 / 3)


def test_source_checks_follow_the_citations() -> None:
    """Authors, credibility and spread are those of the documents that the findings cite."""
    one, both = draft("Locks wait [1]."), draft("Queues wait [2].")
    assert measure("largest_share", one) == 1
    assert measure("largest_share", both) == pytest.approx(1 / 2)
    assert measure("named_authors", both) == 1
    assert measure("mean_credibility", one) > measure("mean_credibility", both)
    assert measure("corroboration", both) == pytest.approx(1 / 3)
    assert measure("recency", both) == pytest.approx(1 / 2)


def test_a_citation_that_leads_nowhere_is_named() -> None:
    """A number without an entry in the list of sources lowers attribution and stands in the feedback."""
    seen = CHECKS["attribution"](draft("Locks wait [7]."), BRIEF)
    assert seen.value == pytest.approx(1 / 2)
    assert "[7]" in seen.feedback


def test_a_report_without_findings_or_citations_scores_nothing_for_them() -> None:
    """An empty report gets 0 everywhere, an uncited one 0 for its sources."""
    principles = rubric_file().principles
    assert {grade(principle, read_report("", DOCUMENTS), BRIEF).score for principle in principles} == {0}
    bare = draft(summary="Locks protect queues.")
    by_check = {principle.check: grade(principle, bare, BRIEF).score for principle in principles}
    assert {by_check[name] for name in ("citation_share", "attribution", "recency", "largest_share")} == {0}


@given(st.lists(st.sampled_from(["Locks wait [1].", "It may fail 3 times.", "Why? [2]", "[9]", "## More", "- x"])))
def test_every_check_bears_any_report(lines: list[str]) -> None:
    """Whatever a model writes, every principle gets a whole score from 0 to 3 and feedback with its figure."""
    report = read_report("\n".join(lines), DOCUMENTS)
    for principle in rubric_file().principles:
        graded = grade(principle, report, BRIEF)
        assert graded.score in {0, 1, 2, 3}
        assert re.search(r"[a-z]", graded.feedback)


@given(st.floats(0, 40), st.floats(0, 40))
def test_grades_never_fall_when_the_measure_improves(left: float, right: float) -> None:
    """Grading is monotone in the direction of its bands."""
    for principle in rubric_file().principles:
        worse, better = sorted((left, right), reverse=principle.bands[0] > principle.bands[-1])
        assert principle.grade(worse) <= principle.grade(better)
