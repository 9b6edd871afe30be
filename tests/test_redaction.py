"""Redaction: secrets of every kind leave no record, and what only looks like one stays."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ire_otel
from ire_otel import patterns, settings
from ire_otel.errors import ConfigurationError
from ire_otel.records import EventRecord, LinkRecord, SpanRecord
from ire_otel.redaction import Redactor, steps
from ire_otel.redaction.kinds import KINDS
from tests.planted_secrets import ASSIGNED, HARMLESS, PLANTED, TOKENS, Planted

KEY = TOKENS[0].secret
MARK = "[redacted:openai-key]"
RECORD = SpanRecord(trace_id="1" * 32, span_id="2" * 16, start_ns=1)


def redacted(text: str) -> str:
    return Redactor().text(text)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_a_secret_leaves_its_kind_and_nothing_else(planted: Planted) -> None:
    """In plain text, in JSON, in JSON inside JSON, and inside that: the text round it stays, byte for byte."""
    text = planted.text
    for _ in range(4):
        before, _, after = text.partition(_as_in(text, planted.secret))
        assert redacted(text) == f"{before}[redacted:{planted.kind}]{after}"
        text = json.dumps({"n": 1.50, "text": text})


def _as_in(text: str, secret: str) -> str:
    while secret not in text:
        secret = json.dumps(secret)[1:-1]
    return secret


def test_every_kind_is_planted_and_documented() -> None:
    """Far more than a dozen."""
    kinds = {kind.name for kind in KINDS}
    page = (Path(__file__).parent.parent / "docs/configuration.md").read_text(encoding="utf-8")
    assert {planted.kind for planted in PLANTED} == kinds
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()


@pytest.mark.parametrize("text", HARMLESS)
def test_research_texts_stay_as_they_are(text: str) -> None:
    """Counts, hashes, ids, links and words about secrets are none."""
    for form in (text, json.dumps(text), json.dumps(json.dumps([text]))):
        assert redacted(form) == form


@pytest.mark.parametrize("cut", [600, 1000])
def test_a_secret_that_was_cut_is_still_one(cut: int) -> None:
    """A length limit of the SDK may end a value in its middle."""
    key = next(planted.secret for planted in TOKENS if planted.kind == "private-key")
    text = json.dumps(f"the key is {key}")[:cut]
    assert redacted(text) == '"the key is [redacted:private-key]'
    assert redacted('{"password": "abc-12345') == '{"password": "[redacted:secret]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'{"password": "a\"b\\c d7", "n": 1}', '{"password": "[redacted:secret]", "n": 1}'),
        (r'"{\"password\": \"a\\\"b\\\\c d7\"}"', r'"{\"password\": \"[redacted:secret]\"}"'),
        (r'{"password":"p\u00e4ss wort"}', '{"password":"[redacted:secret]"}'),
        (f'{{"api_key": "{KEY}"}}', f'{{"api_key": "{MARK}"}}'),
        (f"\\u201c{KEY}\\u201d", f"\\u201c{MARK}\\u201d"),
        (f"{KEY}\n{KEY},{KEY}", f"{MARK}\n{MARK},{MARK}"),
        ("token: https://ire:abcdef@host", "token: https://ire:[redacted:url-password]@host"),
    ],
)
def test_escapes_and_neighbours(text: str, expected: str) -> None:
    """Quotes and backslashes inside a secret belong to it; a value found by name is called what it looks like."""
    assert redacted(text) == expected


def test_everything_that_a_record_holds_is_looked_at() -> None:
    """Names, values, lists and maps, bytes, events, links, the status and the resource."""
    held: Mapping[str, Any] = {
        f"key {KEY}": 1,
        "list": ["a", [f"b {KEY}"]],
        "map": {"inner": {f"{KEY}": KEY}},
        "bytes": KEY.encode(),
        "kept": 1.5,
    }
    record = msgspec.structs.replace(
        RECORD,
        name=f"span {KEY}",
        status_description=f"failed: {KEY}",
        attributes=held,
        events=(EventRecord(name=f"event {KEY}", time_ns=1, attributes=held),),
        links=(LinkRecord(trace_id="3" * 32, span_id="4" * 16, attributes=held),),
        resource=held,
    )
    clean = Redactor()(record)
    assert KEY not in repr(clean)
    assert clean.attributes == {
        f"key {MARK}": 1,
        "list": ["a", [f"b {MARK}"]],
        "map": {"inner": {MARK: MARK}},
        "bytes": MARK.encode(),
        "kept": 1.5,
    }
    assert repr(clean).replace(MARK, KEY) == repr(record)


def test_an_attribute_is_secret_by_its_name_as_in_json() -> None:
    """Foreign spans have headers and connection settings as attributes."""
    held = {
        "db.password": "correct horse",
        "http.request.header.authorization": ["Bearer abc-def"],
        "http.request.header.x-api-key": ["0a1b2c3d"],
        "options": {"client_secret": "zzzzzz-9", "password": "required"},
        "ire.stage.usage.input_tokens": 45000,
    }
    clean = Redactor()(msgspec.structs.replace(RECORD, attributes=held))
    assert clean.attributes == {
        "db.password": "[redacted:secret]",
        "http.request.header.authorization": ["[redacted:secret]"],
        "http.request.header.x-api-key": ["[redacted:secret]"],
        "options": {"client_secret": "[redacted:secret]", "password": "required"},
        "ire.stage.usage.input_tokens": 45000,
    }


def test_a_record_without_secrets_is_given_back_as_it_is() -> None:
    """So that exporters can pass on what they got."""
    record = msgspec.structs.replace(RECORD, attributes={str(n): text for n, text in enumerate(HARMLESS)})
    assert Redactor()(record) is record


def test_own_patterns_see_texts_as_the_pipeline_knew_them() -> None:
    """Not their JSON: a pattern need not know about escapes, and cannot break it."""
    redactor = Redactor({"employee": r"^E-\d+\b|id=.*", "words": "x*"})
    assert redactor.text("E-12 and E-13\nid=1 2") == "[redacted:employee] and E-13\n[redacted:employee]"
    given = {"a": "E-1", "n": 1.50, "big": 2**70, "E-2": ['id="3"\nE-4'], "nested": json.dumps({"who": "E-5"})}
    clean = json.loads(redactor.text(json.dumps(given)))
    assert clean == {
        "a": "[redacted:employee]",
        "n": 1.5,
        "big": 2**70,
        "[redacted:employee]": ["[redacted:employee]\nE-4"],
        "nested": '{"who":"[redacted:employee]"}',
    }


def test_a_pattern_that_cannot_be_used_is_named_and_the_others_work() -> None:
    """Key, place and remedy; a mistake in one must not let through what another finds."""
    given = {"good": "ACME-[0-9]+", "bad": "(?<=x)y", 'qu"ote': "z"}
    with pytest.raises(ConfigurationError, match=r"'redact_patterns.bad' in configure\(\) cannot be .*look-around"):
        ire_otel.configure(redact_patterns=given)
    chosen, problems = settings.load_leniently({"redact_patterns": given}, environment={})
    assert ["bad" in str(problem) for problem in problems] == [True, False]
    assert "name the kind of secret with letters" in str(problems[1])
    (step,) = steps(chosen)
    changed = step(msgspec.structs.replace(RECORD, name="ACME-12"))
    assert changed is not None
    assert changed.name == "[redacted:good]"


def test_redaction_can_be_turned_off() -> None:
    """`redact = false`, for whoever cleans elsewhere."""
    assert steps(settings.load({"redact": False}, environment={})) == ()
    assert len(steps(settings.load({}, environment={}))) == 1


@pytest.mark.parametrize(
    "unit",
    ["sk-", "eyJ", "eyJ.", "-----BEGIN", "-----BEGIN PRIVATE KEY-----", "token=", "://x:", "\\", '\\"password\\": ']
    + [planted.text for planted in (TOKENS[0], ASSIGNED[0])]
    + ["password=sk-aaaaaaaaaaaaaaaaaaaa=", "secret: "],
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    """A megabyte of the worst takes a second at most, most of it for the marks; quadratic would be an hour."""
    text = unit * (1_000_000 // len(unit))
    begun = time.thread_time()
    redacted(text)
    assert time.thread_time() - begun < 10


def test_a_forked_child_redacts_whatever_other_threads_were_doing() -> None:
    """It has patterns of its own: the parent's may be locked."""
    inherited = patterns.compiled("fork")
    child = os.fork()
    if child == 0:
        anew = patterns.compiled("fork") is not inherited and redacted(KEY) == MARK
        os._exit(0 if anew else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert patterns.compiled("fork") is inherited
