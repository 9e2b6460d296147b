"""Which fields of an OpenAI body a foreign wire format leaves over."""

import re
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
# What says the same as its absence.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
# Who asks, and how a cache may be found: they change nothing in an answer, so a format without them leaves them out.
_HINTS = frozenset({
    "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "routing", "safety_identifier", "stream",
    "stream_options", "user",
})  # fmt: skip


def fields_beyond(body: dict[str, Any], carried: frozenset[str]) -> list[str]:
    """Fields with a meaning of their own that are not among `carried`, in the body's order.

    A name that is no name stands as "body": it may be anything.
    """
    return [
        name if _NAME.fullmatch(name) else "body" for name, value in body.items()
        if name not in carried and name not in _HINTS and not is_neutral(name, value)
    ]  # fmt: skip


def is_neutral(name: str, value: Any) -> bool:
    """Whether the field says no more than its absence."""
    return value is None or value in _NEUTRAL.get(name, ())


def token_limit(body: dict[str, Any]) -> Any:
    """The limit on the answer's tokens, by either of its names."""
    newer = body.get("max_completion_tokens")
    return body.get("max_tokens") if newer is None else newer


def stops(body: dict[str, Any]) -> list[Any]:
    """The stop sequences as a list."""
    given = body.get("stop")
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]
