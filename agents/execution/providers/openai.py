"""OpenAI itself: the format of openai_compatible, with what only its own service refuses."""

from typing import Any

from agents.execution.body import mapping
from agents.execution.carried import stops
from agents.execution.providers import openai_compatible
from agents.execution.providers.openai_compatible import auth, chunks, parse
from schemas.catalog import Deployment

__all__ = ["auth", "chunks", "parse", "request", "unsupported"]

MAX_STOPS = 4
_FOREIGN = ("thinking", "top_k")
# How other providers thought: opaque to this one, which refuses what it does not know.
_OTHERS = ("thinking_blocks", "reasoning_content", "extra_content")


def unsupported(body: dict[str, Any]) -> tuple[str, ...]:
    """More than 4 stop sequences, and fields that only other services have."""
    beyond = [name for name in _FOREIGN if body.get(name) is not None]
    if len(stops(body)) > MAX_STOPS:
        beyond.append("stop")
    return tuple(beyond)


def request(deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
    """As of openai_compatible; other providers' thoughts are left out of the history."""
    messages = body.get("messages")
    if isinstance(messages, list) and any(_has_others(message) for message in messages):
        body = {**body, "messages": [_own(message) for message in messages]}
    return openai_compatible.request(deployment, body, stream)


def _has_others(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    calls = message.get("tool_calls")
    return any(name in message for name in _OTHERS) or (
        isinstance(calls, list) and any("extra_content" in mapping(call) for call in calls)
    )


def _own(message: Any) -> Any:
    if not _has_others(message):
        return message
    kept = {name: value for name, value in message.items() if name not in _OTHERS}
    if isinstance(kept.get("tool_calls"), list):
        kept["tool_calls"] = [
            {name: value for name, value in call.items() if name != "extra_content"} if isinstance(call, dict) else call
            for call in kept["tool_calls"]
        ]
    return kept
