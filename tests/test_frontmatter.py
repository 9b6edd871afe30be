"""Frontmatter of reports: our keys are spliced in, every other byte stays."""

import re
import textwrap
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ire_otel.report import ReportFacts, ReportLinkError, frontmatter, with_frontmatter
from ire_otel.report.splicing import KEYS, edited
from tests.reports import BODY, FACTS, content_hash, written

BOM = b"\xef\xbb\xbf"


def as_yaml(data: bytes) -> dict[str, Any]:
    """Give the frontmatter as a YAML reader sees it; times as text."""
    text = data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    block = re.split(r"^(?:---|\.\.\.)", text.removeprefix("---\n"), maxsplit=1, flags=re.MULTILINE)[0]
    return yaml.load(block, yaml.BaseLoader) or {}  # noqa: S506 # BaseLoader makes text only


facts_strategy = st.builds(
    ReportFacts,
    trace_id=st.from_regex(r"trc_[0-9]{8}_[0-9a-f]{16}", fullmatch=True) | st.text(st.characters(max_codepoint=0x7E)),
    generated_at=st.none() | st.just("2026-02-13T10:34:22Z") | st.just("no time: at all"),
    quality_score=st.none() | st.integers(0, 3) | st.floats(0, 3),
    quality_gate=st.sampled_from([None, "passed", "failed"]),
)
pieces = st.sampled_from(
    [b"---", b"...", b"+++", b"\n", b"\r\n", b"\r", b" ", b"\t", b"#", b": ", b'"', b"'", b"{", b"}", b"- ", b"|"]
) | st.sampled_from(
    [b"trace_id:", b"quality_score: 1", b"title: x\n", b"---\ntitle: x\n---\n", b"\0", b"\xff", BOM, "é".encode()]
)
fences = st.sampled_from(["---", "...", "--- "])
any_report = st.lists(pieces | st.binary(max_size=4), max_size=12).map(b"".join)

# What people and tools write into frontmatter, each a whole entry.
ENTRIES = [
    "title: Cobots  # as published\n",
    "# a comment of its own\n",
    "\n",
    "tags: [a, b]\n",
    "tags2:\n- a\n- trace_id\n",
    "authors:\n  - name: Ann\n    trace_id: hers\n",
    "abstract: |\n  trace_id: none of ours\n\n  # no comment\n",
    "folded: >-\n  quality_gate: text\n  more\n",
    "'quoted key': \"a: b # c\"\n",
    '"trace_ids": x\n',
    "my_trace_id: y\n",
    "trace_id_old: z\n",
    "flow: {\n  trace_id: inner\n}\n",
    "empty:\n",
    "  # indented comment\n",
    "multi: one\n  two\n",
    "<<: {a: b}\n",
    "url: https://example.org/#top\n",
]
OURS = [
    "trace_id: old\n",
    "trace_id: 'it''s old'   # the run\n",
    '"trace_id" :   "old # one"\n',
    "generated_at: 2020-01-01 00:00:00\n",
    "quality_score:\n",
    "quality_score: # none yet\n",
    "quality_gate: |\n  failed\n\n  twice\n",
    "content_hash: [1,\n  2\n]\n",
    "content_hash:\n- a\n- b\n",
]


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Give a frontmatter block of foreign entries and ours, and the foreign ones."""
    foreign = draw(st.lists(st.sampled_from(ENTRIES), unique=True, max_size=6))
    names: dict[str, str] = {}
    for ours in draw(st.lists(st.sampled_from(OURS), max_size=5)):
        names.setdefault(ours.split(":")[0].strip(' "'), ours)
    order = draw(st.permutations([*foreign, *names.values()]))
    indentation = draw(st.sampled_from(["", "", "  "]))
    kept = [textwrap.indent(entry, indentation) for entry in order if entry in foreign]
    return textwrap.indent("".join(order), indentation), kept


@given(any_report, facts_strategy)
@example(b"---\nno closing fence\n# Title\n", FACTS)
@example(b"---\n# Title\nPublished: today\n\nProse: it has a colon,\nand goes on.\n---\nMore.\n", FACTS)
@example(b"---\nSome prose\n---\n", FACTS)
@example(b'---\ntitle: "unclosed\n\ta: b: c\n---\nText', FACTS)
@example(b"---\n---", FACTS)
@example(b"", FACTS)
def test_no_report_loses_a_byte(text: bytes, facts: ReportFacts) -> None:
    """Whatever a file holds, its body stays whole, what we wrote can be read, and a second time changes nothing."""
    try:
        linked = with_frontmatter(text, facts)
    except ReportLinkError:
        return  # refused, and so untouched
    said = frontmatter(linked)
    bodies = {content_hash(text[start:]): text[start:] for start in range(len(text) + 1)}
    body = bodies[str(said["content_hash"])]
    assert linked.endswith(body)
    assert text.removesuffix(body).removeprefix(BOM)[:3] in {b"", b"---"}
    assert said == written(facts, body)
    assert not edited(linked)
    assert with_frontmatter(linked, facts) == linked


@pytest.mark.parametrize(
    "text",
    [
        b"---\nno closing fence\n# Title\n",
        b"---\nSome prose\n---\nMore\n",
        b"---\n# Title\nPublished: today\n\nProse: it has a colon,\nand goes on.\n---\nMore.\n",
        b"---\n- a list\n- of: things\n---\nMore.\n",
        b"---\n**Note**: bold\n---\n",
    ],
)
def test_thematic_breaks_are_no_frontmatter(text: bytes) -> None:
    """A report that begins with a line across the page keeps that line, below the frontmatter it gets."""
    linked = with_frontmatter(text, FACTS)
    assert linked.endswith(b"---\n" + text)
    assert as_yaml(linked) == {key: str(value) for key, value in written(FACTS, text).items()}


def test_broken_yaml_is_taken_as_it_is() -> None:
    """Frontmatter that no reader takes keeps its lines; ours stand among them, and are found."""
    text = b'---\ntitle: a: b\nnote: "unclosed\ntrace_id: old\n\ttab: x\n---\n' + BODY
    linked = with_frontmatter(text, FACTS)
    assert linked.startswith(b'---\ntitle: a: b\nnote: "unclosed\ntrace_id: trc_20260213_00000000000000a1\n')
    assert frontmatter(linked) == written(FACTS, BODY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Titel\n".encode("utf-16"), "UTF-16"),
        (b"+++\ntitle = 1\n+++\n", "TOML"),
        (b"---\n{title: x,\n a: b}\n---\n", "lines of `key: value`"),
    ],
)
def test_what_cannot_take_our_lines_is_refused(text: bytes, reason: str) -> None:
    """Rather than spoilt."""
    with pytest.raises(ReportLinkError, match=reason):
        with_frontmatter(text, FACTS)
    assert frontmatter(text) == {}


def test_the_frontmatter_of_a_first_link() -> None:
    """The block, as the documentation shows it."""
    assert with_frontmatter("# Cobots\n\nThey *win*.\n", FACTS) == (
        b"---\ntrace_id: trc_20260213_00000000000000a1\ngenerated_at: 2026-02-13T10:34:22Z\nquality_score: 2.4\n"
        b"quality_gate: passed\ncontent_hash: " + content_hash(BODY).encode() + b"\n---\n" + BODY
    )


def test_keys_of_ours_are_replaced_where_they_stand() -> None:
    """Their quotes and old values go, comments behind them stay, and a key without a fact says null."""
    text = (
        b"---\nquality_gate: |\n  failed\n\n  twice\ntitle: x # 1\n'trace_id' :  \"old # one\"   # the run\n"
        b"  # indented\nquality_score: 1\ntrace_id: twice\n...\n" + BODY
    )
    facts = msgspec.structs.replace(FACTS, quality_score=None)
    assert with_frontmatter(text, facts) == (
        b"---\nquality_gate: passed\ntitle: x # 1\n'trace_id' :  trc_20260213_00000000000000a1   # the run\n"
        b"  # indented\nquality_score: null\ntrace_id: trc_20260213_00000000000000a1\n"
        b"generated_at: 2026-02-13T10:34:22Z\ncontent_hash: " + content_hash(BODY).encode()
        + b"\n...\n" + BODY
    )  # fmt: skip


@given(st.binary(), facts_strategy, st.sampled_from([b"", BOM]))
def test_a_report_without_frontmatter_gets_one(body: bytes, facts: ReportFacts, mark: bytes) -> None:
    """In front of the body, behind the byte order mark, with the line endings of the report."""
    assume(not body.startswith((b"---", b"+++", BOM, b"\xff\xfe", b"\xfe\xff")))
    linked = with_frontmatter(mark + body, facts)
    assert linked.startswith(mark + b"---")
    assert linked.endswith(body)
    head = linked.removeprefix(mark).removesuffix(body)
    assert head.count(b"\r\n") == (head.count(b"\n") if b"\r\n" in body[: body.find(b"\n") + 1] else 0)
    assert frontmatter(linked)["content_hash"] == content_hash(body)


@given(blocks(), st.binary(max_size=40), facts_strategy, st.sampled_from(["\n", "\r\n"]), fences)
def test_frontmatter_keeps_what_is_not_ours(
    block: tuple[str, list[str]], body: bytes, facts: ReportFacts, newline: str, fence: str
) -> None:
    """Foreign entries keep bytes and order, a YAML reader finds them unchanged and ours new, the body is the same."""
    text, foreign = block
    head = f"---\n{text}{fence}\n".replace("\n", newline).encode()
    linked = with_frontmatter(head + body, facts)
    assert linked.endswith(f"{fence}{newline}".encode() + body)
    at = 0
    for entry in foreign:
        at = linked.index(entry.replace("\n", newline).encode(), at)
    assert with_frontmatter(linked, facts) == linked
    assert newline == "\n" or b"\n" not in linked.removesuffix(body).replace(b"\r\n", b"")
    expected = {key: str(value) for key, value in written(facts, body).items()}
    before = {key: "null" if key in KEYS else value for key, value in as_yaml(head).items()}
    assert as_yaml(linked.removesuffix(body)) == before | expected
    assert frontmatter(linked) == written(facts, body)
