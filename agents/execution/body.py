"""What every wire format shares in reading a body: JSON with its doubts, token counts, and OpenAI's shapes to fill."""

from collections.abc import Mapping
from typing import Any

import orjson

from agents.execution.outcome import UNKNOWN_USAGE, Usage
from schemas.nesting import too_deep

# Some providers give no code for a prompt that is too long: only their text says it. It is read here and dropped.
_CONTEXT_PHRASES = (
    "maximum context length", "context window", "context size", "context length", "prompt is too long",
    "exceeds the maximum number of tokens",
)  # fmt: skip
_PHRASE_LIMIT = 2_000
# Above any real usage; it keeps a wild number out of the bill and within the log's 64-bit integers.
_TOKENS_LIMIT = 1_000_000_000


def decoded(headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of a body, None where it is none. headers: lower-case names.

    A missing content type is let pass, JSON decides; a page of a proxy is not even parsed.
    """
    if headers.get("content-encoding", "identity") not in ("identity", ""):
        return None
    kind = headers.get("content-type", "")
    if kind and "json" not in kind.partition(";")[0].lower():
        return None
    return from_json(body)


def from_json(text: bytes | str) -> Any:
    """The value, None where the text is no JSON or nested too deep to be written again."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return None if too_deep(text, value) else value


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """The value where it is a string, else ""."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """A number of tokens, None where it cannot be one."""
    return value if type(value) is int and 0 <= value <= _TOKENS_LIMIT else None


def part_count(value: Any) -> int | None:
    """The same of a part that may be absent, which is 0."""
    return 0 if value is None else count(value)


def speaks_of_context(message: Any) -> bool:
    """Whether a provider's text says that the prompt is longer than the window."""
    if not isinstance(message, str):
        return False
    text = message[:_PHRASE_LIMIT].lower()
    return any(phrase in text for phrase in _CONTEXT_PHRASES)


def read_usage(given: Any) -> Usage:
    """Usage of an OpenAI `usage` object; `certain` is False where it is missing, in part unreadable or impossible."""
    if not isinstance(given, dict):
        return UNKNOWN_USAGE
    tokens_in, tokens_out = count(given.get("prompt_tokens")), count(given.get("completion_tokens"))
    if tokens_in is None or tokens_out is None:
        return UNKNOWN_USAGE
    details_in, details_out = (
        mapping(given.get("prompt_tokens_details")),
        mapping(given.get("completion_tokens_details")),
    )
    cached, write = part_count(details_in.get("cached_tokens")), part_count(details_in.get("cache_write_tokens"))
    reasoning = part_count(details_out.get("reasoning_tokens"))
    if cached is None or write is None or reasoning is None or cached + write > tokens_in or reasoning > tokens_out:
        return Usage(tokens_in, tokens_out, certain=False)
    return Usage(tokens_in, tokens_out, cached, write, reasoning)


def written_usage(tokens_in: int, tokens_out: int, cached: int, cache_write: int, reasoning: int) -> dict[str, Any]:
    """The same as an OpenAI `usage` object; `cache_write_tokens` stands where there are any."""
    details = {"cached_tokens": cached} | ({"cache_write_tokens": cache_write} if cache_write else {})
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def says(message: dict[str, Any]) -> bool:
    """Whether an OpenAI message holds an answer: text, a call, a refusal or sound."""
    content = message.get("content")
    if isinstance(content, str):
        content = content.strip()
    return bool(
        content
        or message.get("tool_calls")
        or message.get("refusal")
        or message.get("function_call")
        or message.get("audio")
    )


def chunk(
    id: str, model: str, created: int, delta: dict[str, Any], finish: str | None = None, *, index: int = 0
) -> dict[str, Any]:
    """A `chat.completion.chunk` with one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]}
