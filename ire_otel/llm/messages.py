"""The texts of a request, out of the messages that instrumentation captured, where it was told to capture any."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ire_otel.llm import vocabulary as words
from ire_otel.records import Attributes

SYSTEM_PROMPT: Final = "system_prompt"
USER_MESSAGE: Final = "user_message"
INPUT_MESSAGES: Final = "input_messages"
"""Messages whose JSON was cut on its way, or replaced: kept as they are."""

_SYSTEM_ROLES: Final = ("system", "developer")
_NUMBERED: Final = re.compile(r"([0-9]{1,6})\.(?:message\.)?(.+)", re.DOTALL)
_PIECE: Final = re.compile(r"contents\.([0-9]{1,6})\.message_content\.text")


def captured_prompts(said: Attributes) -> dict[str, str]:
    """Give the system prompt and the last message of the user, as far as the span holds them."""
    recorded = said.get(words.INPUT_MESSAGES)
    messages = _parsed_messages(recorded)
    if recorded is not None and messages is None:
        return {INPUT_MESSAGES: recorded} if isinstance(recorded, str) else {}
    if messages is None:
        messages = _flat_messages(said, words.OPENINFERENCE_MESSAGES) or _flat_messages(said, words.OPENLLMETRY_PROMPT)
    system = [_text(json_of(said.get(words.SYSTEM_INSTRUCTIONS)))]
    system += [content for role, content in messages if role in _SYSTEM_ROLES]
    user = [content for role, content in messages if role == "user" and content]
    found = {SYSTEM_PROMPT: "\n\n".join(filter(None, system)), USER_MESSAGE: user[-1] if user else ""}
    return {name: text for name, text in found.items() if text}


def json_of(value: Any) -> Any:
    """Decode a text that holds a JSON array or object; anything else stays as it is, and broken JSON too."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return value


def _parsed_messages(recorded: Any) -> list[tuple[str, str]] | None:
    listed = json_of(recorded)
    if not isinstance(listed, list):
        return None
    return [
        (str(message.get("role")), _text(message.get("parts", message.get("content"))))
        for message in listed
        if isinstance(message, Mapping)
    ]


def _flat_messages(said: Attributes, prefix: str) -> list[tuple[str, str]]:
    """Read messages that are spread over attributes, one for each field."""
    fields: dict[int, dict[str, Any]] = {}
    for name, value in said.items():
        numbered = _NUMBERED.fullmatch(name, len(prefix)) if name.startswith(prefix) else None
        if numbered is not None:
            fields.setdefault(int(numbered[1]), {})[numbered[2]] = value
    return [(str(message.get("role")), _flat_text(message)) for _, message in sorted(fields.items())]


def _flat_text(message: Mapping[str, Any]) -> str:
    if "content" in message:
        return _text(message["content"])
    pieces = {int(piece[1]): value for name, value in message.items() if (piece := _PIECE.fullmatch(name))}
    return _joined(value for _, value in sorted(pieces.items()))


def _text(content: Any) -> str:
    """Give the text of a message's content: a text itself, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return _joined(
        part.get("content", part.get("text")) if isinstance(part, Mapping) else part
        for part in parts
        if not isinstance(part, Mapping) or part.get("type", "text") == "text"
    )


def _joined(pieces: Iterable[Any]) -> str:
    return "\n\n".join(piece for piece in pieces if isinstance(piece, str) and piece)
