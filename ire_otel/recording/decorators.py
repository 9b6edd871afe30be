"""The decorators. They only apply the context managers; generators get a branch of their own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any, Final, TypeVar, cast, overload

from opentelemetry.context import attach, get_current

from ire_otel.recording.api import run, stage
from ire_otel.recording.guard import internal_error
from ire_otel.recording.noop import NOOP_STAGE
from ire_otel.recording.run import Trace
from ire_otel.recording.stage import Stage

F = TypeVar("F", bound=Callable[..., Any])
Block = Trace | Stage
Outputs = bool | Callable[[Any], Any] | None
Open = Callable[[tuple[Any, ...], dict[str, Any]], Block]
_OFF: Final = cast("Stage", NOOP_STAGE)
"""What a stage is where nothing is recorded: the function is called as if it were not decorated."""


@overload
def traced_run(function: F, /) -> F: ...


@overload
def traced_run(
    *,
    query: str = ...,
    project_name: str | None = ...,
    project_id: str | None = ...,
    intent: str | None = ...,
    domain: str | None = ...,
    report_type: str | None = ...,
    research_type: str | None = ...,
    output_type: str | None = ...,
    outputs: Outputs = ...,
    new_trace: bool = ...,
) -> Callable[[F], F]: ...


def traced_run(
    function: F | None = None, /, *, query: str = "query", outputs: Outputs = None, **about: Any
) -> F | Callable[[F], F]:
    """Make every call of a function (sync, async, generator or async generator) a run.

    query: the name of the argument that is the run's query.
    outputs: None: a mapping that the function returns becomes the run's outputs, unless the run set its own; False:
        never; True: whatever it returns; a function: what that makes of the return value.
    The others are those of `ire_otel.run`.
    """
    unknown = set(about) - set(inspect.signature(run).parameters)
    if unknown:
        raise TypeError(f"traced_run() has no argument {', '.join(sorted(unknown))}; valid are those of ire_otel.run")

    def decorate(target: F) -> F:
        find = _argument(target, query)
        return _traced(target, lambda args, kwargs: run(find(args, kwargs), **about), outputs)

    return decorate if function is None else decorate(function)


@overload
def traced_stage(name: F, /) -> F: ...


@overload
def traced_stage(name: str | None = None, /, *, component: Any = ..., outputs: Outputs = ...) -> Callable[[F], F]: ...


def traced_stage(
    name: F | str | None = None, /, *, component: Any = None, outputs: Outputs = None
) -> F | Callable[[F], F]:
    """Make every call of a function (sync, async, generator or async generator) a stage of the current run.

    name: the stage's name; the function's own where none is given.
    component: what takes the stage's decisions, where a decision does not say.
    outputs: as for `traced_run`.
    """

    def decorate(target: F) -> F:
        chosen = name if isinstance(name, str) else getattr(target, "__name__", "stage")
        return _traced(target, lambda _args, _kwargs: stage(chosen, component=component), outputs)

    return decorate if name is None or isinstance(name, str) else decorate(name)


def _traced(target: F, open_block: Open, outputs: Outputs) -> F:
    """Wrap a function so that each call runs inside the block that `open_block` starts."""
    if isinstance(target, staticmethod | classmethod):
        return cast("F", type(target)(_traced(target.__func__, open_block, outputs)))
    for is_kind, wrap in (
        (inspect.isasyncgenfunction, _async_generator),
        (inspect.isgeneratorfunction, _generator),
        (inspect.iscoroutinefunction, _coroutine),
    ):
        if is_kind(target):
            return cast("F", functools.wraps(target)(wrap(target, open_block, outputs)))
    return cast("F", functools.wraps(target)(_function(target, open_block, outputs)))


def _function(target: Callable[..., Any], open_block: Open, outputs: Outputs) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        opened = open_block(args, kwargs)
        if opened is _OFF:
            return target(*args, **kwargs)
        with opened as block:
            result = target(*args, **kwargs)
            _record_result(block, result, outputs)
            return result

    return wrapper


def _coroutine(target: Callable[..., Any], open_block: Open, outputs: Outputs) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        opened = open_block(args, kwargs)
        if opened is _OFF:
            return await target(*args, **kwargs)
        with opened as block:
            result = await target(*args, **kwargs)
            _record_result(block, result, outputs)
            return result

    return wrapper


def _generator(target: Callable[..., Any], open_block: Open, outputs: Outputs) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        outside = get_current()  # the consumer's context: where it last asked for an item
        try:
            with open_block(args, kwargs) as block:
                generator = target(*args, **kwargs)
                resume: Callable[[], Any] = functools.partial(next, generator)
                while True:
                    try:
                        item = resume()
                    except StopIteration as stop:
                        _record_result(block, stop.value, outputs)
                        return stop.value
                    inside = _swapped(outside)
                    try:
                        resume = functools.partial(generator.send, (yield item))
                        outside = _swapped(inside)
                    except GeneratorExit:
                        outside = _swapped(inside)
                        generator.close()
                        raise
                    except BaseException as error:  # noqa: BLE001 # handed on to the generator, as `yield from` would
                        outside = _swapped(inside)
                        resume = functools.partial(generator.throw, error)
        finally:
            attach(outside)

    return wrapper


def _async_generator(target: Callable[..., Any], open_block: Open, _outputs: Outputs) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        outside = get_current()
        try:
            with open_block(args, kwargs):
                generator = target(*args, **kwargs)
                resume: Callable[[], Any] = generator.__anext__
                while True:
                    try:
                        item = await resume()
                    except StopAsyncIteration:
                        return
                    inside = _swapped(outside)
                    try:
                        resume = functools.partial(generator.asend, (yield item))
                        outside = _swapped(inside)
                    except GeneratorExit:
                        outside = _swapped(inside)
                        await generator.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 # handed on to the generator
                        outside = _swapped(inside)
                        resume = functools.partial(generator.athrow, error)
        finally:
            attach(outside)

    return wrapper


def _swapped(context: Any) -> Any:
    """Make `context` current; gives the one it replaces."""
    before = get_current()
    attach(context)
    return before


def _record_result(block: Block, result: Any, outputs: Outputs) -> None:
    try:
        if outputs is False or block.outputs_given:
            return
        if callable(outputs):
            block.set_outputs(outputs(result))
        elif isinstance(result, Mapping) or outputs is True:
            block.set_outputs(result)
    except Exception:  # noqa: BLE001 # tracing must never break the run it watches
        internal_error("recording a return value")


def _argument(target: Callable[..., Any], name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """Make a function that finds the argument `name` of a call; worked out once, at decoration."""
    inner = target.__func__ if isinstance(target, staticmethod | classmethod) else target
    parameters = inspect.signature(inner).parameters
    position = list(parameters).index(name) if name in parameters else -1
    default = parameters[name].default if name in parameters else None

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in kwargs:
            return kwargs[name]
        if 0 <= position < len(args):
            return args[position]
        return None if default is inspect.Parameter.empty else default

    return find
