"""OpenAI chat completions, and the servers that speak it: vLLM, Ollama, llama.cpp and others."""

from collections.abc import Mapping
from typing import Any

import orjson

from agents.execution.outcome import UNKNOWN_USAGE, UNREADABLE, Answer, Trouble, Usage
from schemas.catalog import Deployment

PATH = "/chat/completions"
_HEADERS = {"content-type": "application/json", "accept": "application/json"}
_STREAM_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}
# vLLM and others give no code for a prompt that is too long: only their text says it. It is read here and dropped.
_CONTEXT_PHRASES = ("maximum context length", "context window", "context size", "context length")
_PHRASE_LIMIT = 2_000
# Above any real usage; it keeps a wild number out of the bill and within the log's 64-bit integers.
_TOKENS_LIMIT = 1_000_000_000


def auth(deployment: Deployment, key: str) -> dict[str, str]:
    """Bearer, with every server of this format."""
    return {"authorization": f"Bearer {key}"}


def request(deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
    """(path, headers, JSON). The limit travels as OpenAI's newer name to OpenAI, as the older one to the others."""
    sent = {**body, "model": deployment.upstream_model or deployment.model}
    sent.pop("routing", None)
    old, new = sent.pop("max_tokens", None), sent.pop("max_completion_tokens", None)
    limit = old if new is None else new
    if limit is not None:
        sent["max_completion_tokens" if deployment.provider == "openai" else "max_tokens"] = limit
    if stream:
        sent["stream"] = True
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    else:
        sent.pop("stream", None)
        sent.pop("stream_options", None)
    return PATH, _STREAM_HEADERS if stream else _HEADERS, orjson.dumps(sent)


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer | Trouble:
    """Read a whole body. headers: lower-case names."""
    if headers.get("content-encoding", "identity") not in ("identity", ""):
        return UNREADABLE
    kind = headers.get("content-type", "")
    # A missing content type is let pass, JSON decides; a page of a proxy is not even parsed.
    if kind and "json" not in kind.partition(";")[0].lower():
        return UNREADABLE
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return UNREADABLE
    if not isinstance(read, dict):
        return UNREADABLE
    if status != 200 or (read.get("error") is not None and not read.get("choices")):
        return _trouble(read)
    return _answer(read)


def _answer(read: dict[str, Any]) -> Answer | Trouble:
    choices = read.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return UNREADABLE
    if any(not isinstance(choice.get("message"), dict) for choice in choices):
        return UNREADABLE
    if choices and choices[0].get("finish_reason") == "error":
        # OpenRouter's way to say that the answer broke off.
        return _trouble(choices[0])
    finish = choices[0].get("finish_reason") if choices else None
    model = read.get("model")
    return Answer(
        completion=read,
        usage=read_usage(read.get("usage")),
        finish_reason=finish if isinstance(finish, str) else "",
        model=model if isinstance(model, str) else "",
        # Cut at its limit or by a filter, an answer without text is a true one.
        empty=finish not in ("length", "content_filter") and not any(_says(choice["message"]) for choice in choices),
    )


def _says(message: dict[str, Any]) -> bool:
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


def read_usage(given: Any) -> Usage:
    """Usage of an OpenAI `usage` object; `certain` is False where it is missing or impossible."""
    if not isinstance(given, dict):
        return UNKNOWN_USAGE
    tokens_in, tokens_out = _count(given.get("prompt_tokens")), _count(given.get("completion_tokens"))
    if tokens_in is None or tokens_out is None:
        return UNKNOWN_USAGE
    details_in, details_out = given.get("prompt_tokens_details"), given.get("completion_tokens_details")
    cached = write = reasoning = 0
    if isinstance(details_in, dict):
        cached = _count(details_in.get("cached_tokens")) or 0
        write = _count(details_in.get("cache_write_tokens")) or 0
    if isinstance(details_out, dict):
        reasoning = _count(details_out.get("reasoning_tokens")) or 0
    if cached + write > tokens_in or reasoning > tokens_out:
        return Usage(tokens_in, tokens_out, certain=False)
    return Usage(tokens_in, tokens_out, cached, write, reasoning)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _TOKENS_LIMIT else None


def _trouble(read: dict[str, Any]) -> Trouble:
    """`{error: {message, type, param, code}}`; `code` may be a number (vLLM), `error` a string (Ollama's own API)."""
    error = read.get("error")
    if isinstance(error, str):
        return Trouble(readable=True, context=_speaks_of_context(error))
    if not isinstance(error, dict):
        if not isinstance(read.get("message"), str):
            return UNREADABLE
        # Older vLLM: the error is the whole body.
        error = read
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    return Trouble(
        readable=True,
        codes=tuple(name for name in (code, kind) if isinstance(name, str)),
        param=param if isinstance(param, str) else "",
        context=_speaks_of_context(error.get("message")),
        inner_status=code if type(code) is int and 400 <= code <= 599 else 0,
    )


def _speaks_of_context(message: Any) -> bool:
    if not isinstance(message, str):
        return False
    text = message[:_PHRASE_LIMIT].lower()
    return any(phrase in text for phrase in _CONTEXT_PHRASES)
