"""Write the report from the evidence: by extraction, or by a model behind an OpenAI-compatible endpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import ire_otel
from ire_otel.demo.completion import Completion, complete
from ire_otel.demo.corpus import Document
from ire_otel.demo.draft import LIMITS_HEADING, SOURCES_HEADING, read_report
from ire_otel.demo.intake import Brief
from ire_otel.demo.plan import Plan
from ire_otel.demo.rubric import Rubric
from ire_otel.demo.scoring import Evidence
from ire_otel.demo.selection import Quote, Selection, sections, select
from ire_otel.demo.text import stem

EXTRACTIVE = "extractive"
"""The name of the engine's own writer in traces, where a model's name would stand."""
TRACE_SCHEMA: Mapping[str, Sequence[str]] = {
    "decisions": [
        "sentence_selection",
        "section_outline",
        "prompt_construction",
        "rubric_injection",
        "citation_style",
        "model_selection",
    ],
    "outputs": ["report_length_chars", "sources_cited", "sections_generated", "sentences"],
}
"""What `synthesize_report` records, as a TracingComponent's `get_trace_schema` says it."""
INLINE, GROUPED = "inline", "grouped"
"""Citation styles: after every sentence, or once after neighbouring sentences of one source."""
_GROUPED_FOR = frozenset({"learning"})
"""Intents whose readers are spared a number after every sentence."""
_SUMMARY_QUOTES = 3


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A chat model to write with."""

    name: str
    """The model's name at the endpoint."""
    base_url: str | None = None
    """The endpoint; None for the openai client's default, which OPENAI_BASE_URL changes."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A written report."""

    markdown: str
    """Its text."""
    documents: tuple[Document, ...]
    """What its citation numbers stand for, from 1."""


def synthesize_report(
    brief: Brief, rubric: Rubric, evidence: Sequence[Evidence], plan: Plan, model: Model | None = None
) -> Report:
    """A report on `brief` from `evidence`.

    Raises:
        CompletionError: `model` is given and its endpoint cannot be used.
    """
    with ire_otel.stage("synthesis", component="synthesize_report") as stage:
        chosen = select(evidence, brief, plan)
        _decide_selection(chosen, plan)
        documents = tuple({quote.document.key: quote.document for quote in chosen.quotes}.values())
        system, user = _prompts(brief, rubric, chosen, documents)
        stage.prompts(system_prompt=system, user_message=user)
        _decide_prompts(brief, rubric, chosen, system, user)
        style = _decide_style(brief, plan, model)
        _decide_model(model, chosen)
        if model is None:
            stage.usage(model=EXTRACTIVE)
            body = _write(brief, chosen, documents, style)
        else:
            completion = complete(model.name, system, user, base_url=model.base_url)
            stage.usage(
                model=completion.model, input_tokens=completion.input_tokens, output_tokens=completion.output_tokens
            )
            body = _titled(completion, brief)
        markdown = _with_sources(_struck(body, documents) if plan.cited_only else body, documents)
        report = Report(markdown=markdown, documents=documents)
        stage.set_outputs(_outputs(report))
    return report


def _decide_selection(chosen: Selection, plan: Plan) -> None:
    left_out = ", ".join(f"{count} ({reason})" for reason, count in chosen.passed_over.items())
    values = [quote.value for quote in chosen.quotes]
    ire_otel.decide(
        "sentence_selection",
        what=f"{len(chosen.quotes)} of {chosen.considered} fitting sentences",
        why=f"rank values {min(values, default=0):.2f} to {max(values, default=0):.2f}; left out: {left_out or 'none'}",
        # A report that had more to choose from than it could hold was free to choose well.
        confidence=round(min(1.0, chosen.considered / (2 * plan.statements)), 2),
        alternatives=[f"all {chosen.considered} sentences"],
        inputs=msgspec.structs.asdict(plan),
        component="synthesize_report",
    )


def _decide_prompts(brief: Brief, rubric: Rubric, chosen: Selection, system: str, user: str) -> None:
    groups = sections(chosen.quotes, brief)
    covered = {term for quote in chosen.quotes for term in quote.terms}
    ire_otel.decide(
        "section_outline",
        what=list(groups),
        why=f"{len(groups)} of {len(brief.terms)} terms of the query have sentences of their own; each stands under "
        "its most frequent term",
        confidence=round(len(covered) / len(brief.terms), 2),
        alternatives=["one section for each source"],
        inputs={heading: len(group) for heading, group in groups.items()},
        component="synthesize_report",
    )
    ire_otel.decide(
        "prompt_construction",
        what=f"task and rubric ({len(system)} characters), brief and evidence ({len(user)} characters)",
        why=f"{len(chosen.quotes)} sentences are given verbatim with their source, so that claims can be traced",
        confidence=1.0,
        alternatives=["whole passages", "titles only"],
        inputs={"module": brief.research_type, "quotes": len(chosen.quotes)},
        component="synthesize_report",
    )
    ire_otel.decide(
        "rubric_injection",
        what=[principle.id for principle in rubric.active],
        why=f"the {len(rubric.active)} principles that count under the intent {brief.intent} are in the prompt; "
        f"left out as idle: {', '.join(sorted(rubric.idle)) or 'none'}",
        confidence=1.0,
        alternatives=[f"all {len(rubric.principles)} principles"],
        inputs={"rubric_injected": True, "active_principles": len(rubric.active)},
        component="synthesize_report",
    )


def _decide_style(brief: Brief, plan: Plan, model: Model | None) -> str:
    """Choose where citations stand: an explanation reads better with fewer of them."""
    grouped = brief.intent in _GROUPED_FOR and not plan.cited_only and model is None
    if model is not None:
        why = "the prompt asks the model to cite after each sentence"
    elif plan.cited_only:
        why = "the gate asked for citations throughout"
    else:
        why = f"{brief.intent} readers {'follow' if grouped else 'check'} the text more than they " + (
            "check it; neighbouring sentences of one source share a citation" if grouped else "follow it"
        )
    ire_otel.decide(
        "citation_style",
        what=GROUPED if grouped else INLINE,
        why=why,
        confidence=1.0,
        alternatives=[INLINE if grouped else GROUPED],
        inputs={"intent": brief.intent, "cited_only": plan.cited_only},
        component="synthesize_report",
    )
    return GROUPED if grouped else INLINE


def _decide_model(model: Model | None, chosen: Selection) -> None:
    why = (
        "--llm names it" if model else f"no model was named; {len(chosen.quotes)} sentences can be quoted as they stand"
    )
    ire_otel.decide(
        "model_selection",
        what=model.name if model else EXTRACTIVE,
        why=why,
        confidence=1.0,
        alternatives=[EXTRACTIVE] if model else ["a model behind --llm"],
        inputs={"base_url": model.base_url if model else None},
        component="synthesize_report",
    )


def _prompts(brief: Brief, rubric: Rubric, chosen: Selection, documents: Sequence[Document]) -> tuple[str, str]:
    numbers = {document.key: number for number, document in enumerate(documents, 1)}
    rules = "\n".join(f"- {principle.id} {principle.name}" for principle in rubric.active)
    system = (
        f"Write a {brief.research_type} research report in Markdown for a reader who is {brief.intent}. "
        f"Start with '# ' and a title, then '## Summary', then one '## ' section for each aspect, "
        f"then '## {LIMITS_HEADING}'. "
        "Cite after each sentence with the number of its source, like [1]. Say nothing that the evidence does not say. "
        f"Do not list the sources; they are added.\nThe report is judged by these principles:\n{rules}"
    )
    quotes = "\n".join(f"[{numbers[quote.document.key]}] {quote.text}" for quote in chosen.quotes)
    aspects = ", ".join(" ".join(facet) for facet in brief.facets)
    slant = "" if brief.bias == "no_bias" else f"\nThe wording shows {brief.bias}: test the premise."
    return system, f"Question: {brief.query}\nAspects: {aspects}{slant}\nEvidence:\n{quotes}"


def _write(brief: Brief, chosen: Selection, documents: Sequence[Document], style: str) -> str:
    numbers = {document.key: number for number, document in enumerate(documents, 1)}
    ranked = sorted(chosen.quotes, key=lambda quote: -len(quote.terms))
    summary, rest = ranked[:_SUMMARY_QUOTES], ranked[_SUMMARY_QUOTES:]
    groups = {"Summary": summary, **sections(rest, brief)}
    parts = [f"# {brief.query}"]
    for heading, quotes in groups.items():
        parts.append(f"## {heading}")
        parts.append(_paragraph(quotes, numbers, style))
    return "\n\n".join([*parts, f"## {LIMITS_HEADING}", _limits(brief, chosen.quotes, documents)])


def _paragraph(quotes: Sequence[Quote], numbers: Mapping[tuple[str, str], int], style: str) -> str:
    """`quotes` as running text; grouped, those of one document stand together and share its citation."""
    if style == INLINE:
        return " ".join(quote.cited(numbers[quote.document.key]) for quote in quotes)
    groups: dict[int, list[Quote]] = {}
    for quote in quotes:
        groups.setdefault(numbers[quote.document.key], []).append(quote)
    return " ".join(
        " ".join([*(quote.text for quote in group[:-1]), group[-1].cited(number)]) for number, group in groups.items()
    )


def _limits(brief: Brief, quotes: Sequence[Quote], documents: Sequence[Document]) -> str:
    covered = {term for quote in quotes for term in quote.terms}
    missing = [term for term in brief.terms if stem(term) not in covered]
    undated = sum(1 for document in documents if document.published is None)
    gaps = f"Nothing was found on {', '.join(missing)}." if missing else "Every term of the question was found."
    undated_sources = f"{undated} of {len(documents)} sources state no date."
    return f"{gaps} {undated_sources} All sentences are quoted, none was checked by trial."


def _titled(completion: Completion, brief: Brief) -> str:
    return completion.text if completion.text.lstrip().startswith("# ") else f"# {brief.query}\n\n{completion.text}"


def _struck(body: str, documents: Sequence[Document]) -> str:
    """`body` without the findings that cite nothing."""
    draft = read_report(body, documents)
    parts = [f"# {draft.title}"]
    for section in draft.sections:
        limits = section.heading == LIMITS_HEADING
        kept = [one for one in section.statements if limits or one.citations]
        lines = [f"{one.text} {''.join(f'[{number}]' for number in one.citations)}".strip() for one in kept]
        parts += [f"## {section.heading}", "\n".join(f"- {line}" for line in lines)] if kept else []
    return "\n\n".join(parts)


def _with_sources(body: str, documents: Sequence[Document]) -> str:
    before, _, _ = body.partition(f"\n## {SOURCES_HEADING}")
    entries = [f"[{number}] {_entry(document)}" for number, document in enumerate(documents, 1)]
    return f"{before.rstrip()}\n\n## {SOURCES_HEADING}\n\n" + "\n\n".join(entries) + "\n"


def _entry(document: Document) -> str:
    author, day = document.author or "author unknown", document.published or "date unknown"
    return f"{document.title.rstrip('.')}. {author}, {day}. {document.url}"


def _outputs(report: Report) -> dict[str, Any]:
    draft = read_report(report.markdown, report.documents)
    return {
        "report_length_chars": len(report.markdown),
        "sources_cited": len({document.key for document in draft.cited}),
        "sections_generated": len(draft.sections),
        "sentences": len(draft.findings),
    }
