"""What OpenTelemetry in this process, and its variables, do to spans of others; runs themselves are always whole."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Final

from opentelemetry import trace as otel

from ire_otel import processor
from ire_otel.doctor.findings import Finding, Setup
from ire_otel.recording import host

SAMPLER: Final = "OTEL_TRACES_SAMPLER"
SAMPLERS: Final = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
DEFAULT_COUNT: Final = 128
"""What OpenTelemetry allows of each where no variable says otherwise."""
COUNTS: Final = {
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "attributes",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "attributes",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "events",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "links",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "attributes of an event",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "attributes of a link",
}
LENGTHS: Final = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")

_BEFORE_RUNS: Final = (
    "call ire_otel.configure() when the pipeline starts, or set the application's TracerProvider before its first run"
)


def check_provider(_setup: Setup) -> Iterator[Finding]:
    """Say whether spans of others (model calls, HTTP, …) would be seen in runs of this process."""
    about = "provider"
    current = otel.get_tracer_provider()
    kind = f"{type(current).__module__}.{type(current).__qualname__}"
    if isinstance(current, otel.ProxyTracerProvider):
        what = "none is set in this process: a run that begins so is traced without spans of others (model calls, …)"
        yield Finding(about=about, status="note", what=what, remedy=_BEFORE_RUNS)
    elif not hasattr(current, "add_span_processor"):
        what = f"{kind} takes no span processors: spans of others are not seen"
        yield Finding(about=about, status="warning", what=what, remedy="set one of opentelemetry-sdk")
    elif getattr(host.installed(), "private", False):
        what = f"runs go on beside {kind}, which was set after the first of them: its spans are not seen"
        yield Finding(about=about, status="note", what=what, remedy="none needed: the next run takes it")
    else:
        yield Finding(about=about, status="ok", what=f"{kind}: spans of others that start inside runs are seen")
        sampler = getattr(current, "sampler", None)
        if sampler is not None and not processor.keeps_everything(sampler):
            yield _thinned(f"its sampler is {sampler.get_description()}")


def check_sampler(setup: Setup) -> Iterator[Finding]:
    """Say whether OTEL_TRACES_SAMPLER thins out."""
    name = setup.variables.get(SAMPLER, "").strip().lower()
    argument = setup.variables.get(f"{SAMPLER}_ARG", "")
    if name not in {"", *SAMPLERS}:
        nearest = difflib.get_close_matches(name, SAMPLERS, n=1)
        remedy = f"did you mean {nearest[0]}?" if nearest else f"valid are {', '.join(SAMPLERS)}"
        what = f"{SAMPLER}={name[:40]!r} is unknown: OpenTelemetry takes parentbased_always_on"
        yield Finding(about="sampler", status="warning", what=what, remedy=remedy)
    elif name.endswith("traceidratio") and not _is_number(argument):
        what = f"{SAMPLER}_ARG={argument[:40]!r} is no number: OpenTelemetry takes 1.0"
        yield Finding(about="sampler", status="warning", what=what, remedy="give a share from 0 to 1")
    elif name.endswith("always_off") or (name.endswith("traceidratio") and float(argument) < 1):
        yield _thinned(" ".join(filter(None, (f"{SAMPLER}={name}", argument))))
    else:
        yield Finding(about="sampler", status="ok", what=f"{name or 'the default'} keeps every span")


def check_limits(setup: Setup) -> Iterator[Finding]:
    """Say what OTEL_*_LIMIT cut off spans of others."""
    about = "limits"
    given = {name: setup.variables[name].strip() for name in (*COUNTS, *LENGTHS) if name in setup.variables}
    given = {name: text for name, text in given.items() if text}
    for name, text in given.items():
        if not text.isdecimal():
            what = f"{name}={text[:40]!r} is no whole number: OpenTelemetry makes no provider, and nothing is traced"
            yield Finding(about=about, status="problem", what=what, remedy="give a number, or unset it")
        elif name in LENGTHS:
            what = f"{name}={text}: longer texts on spans of others (prompts, answers, …) are cut"
            yield Finding(about=about, status="warning", what=what, remedy="unset it where they matter")
        else:
            few = int(text) < DEFAULT_COUNT
            what = f"{name}={text}: spans of others keep no more {COUNTS[name]}"
            remedy = "unset it where they matter" if few else None
            yield Finding(about=about, status="warning" if few else "note", what=what, remedy=remedy)
    immune = "runs, stages and decisions have no limit"
    default = "" if given else f"; spans of others keep {DEFAULT_COUNT} attributes, events and links"
    yield Finding(about=about, status="ok", what=f"{immune}{default}")


def _thinned(why: str) -> Finding:
    return Finding(
        about="sampler",
        status="warning",
        what=f"{why}: runs are whole, but other exporters get a sample, and spans of others may be missing from runs "
        "where their tracers were made before ire-otel came",
        remedy="keep every span, or configure ire-otel before anything makes a tracer",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
