"""OpenAI chat completions, and the servers that speak it: vLLM, Ollama, llama.cpp and others."""

from collections.abc import Mapping
from typing import Any

import orjson

from agents.execution.assembly import Delta
from agents.execution.body import decoded, from_json, read_usage, says, speaks_of_context
from agents.execution.outcome import UNREADABLE, Answer, Trouble
from agents.execution.sse import Event
from schemas.catalog import Deployment

PATH = "/chat/completions"
_HEADERS = {"content-type": "application/json", "accept": "application/json"}
# Above any real one, and a number for every format that answers are written in.
_CHOICES_LIMIT = 1_000
_STREAM_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}


def auth(deployment: Deployment, key: str) -> dict[str, str]:
    """Bearer, with every server of this format."""
    return {"authorization": f"Bearer {key}"}


def unsupported(body: dict[str, Any]) -> tuple[str, ...]:
    """Nothing: unknown fields travel on, and what a server cannot do it says itself."""
    return ()


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
    read = decoded(headers, body)
    if not isinstance(read, dict):
        return UNREADABLE
    if status != 200 or (read.get("error") is not None and not read.get("choices")):
        return _trouble(read)
    return _answer(read)


def chunks(created: int) -> "_Chunks":
    """A reader of one stream, whose chunks are OpenAI's already."""
    return _Chunks()


class _Chunks:
    """Has no state: every event says all that it means."""

    def read(self, event: Event) -> list[Delta] | Trouble | None:
        if event.data.strip() == b"[DONE]":
            return None
        read = from_json(event.data)
        if not isinstance(read, dict):
            return UNREADABLE
        # An error may stand beside a choice whose finish reason is "error" (OpenRouter), or in an event of that name.
        if read.get("error") is not None or event.name == "error":
            return _trouble(read)
        choices = _choices(read.get("choices", []))
        if choices is None:
            return UNREADABLE
        if any(choice.get("finish_reason") == "error" for choice in choices):
            return _trouble(choices[0])
        return [read]


def _choices(given: Any) -> list[dict[str, Any]] | None:
    """The choices of a chunk or an answer, each with a number and a finish reason or none; None where they are none."""
    if not isinstance(given, list):
        return None
    for place, choice in enumerate(given):
        if not isinstance(choice, dict) or not isinstance(choice.get("delta") or {}, dict):
            return None
        index = choice.get("index")
        if index is None:
            choice["index"] = place
        elif type(index) is not int or not 0 <= index < _CHOICES_LIMIT:
            return None
        if not isinstance(choice.get("finish_reason"), str):
            choice["finish_reason"] = None
    return given


def _answer(read: dict[str, Any]) -> Answer | Trouble:
    choices = _choices(read.get("choices"))
    if choices is None or not all(isinstance(choice.get("message"), dict) for choice in choices):
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
        empty=finish not in ("length", "content_filter") and not any(says(choice["message"]) for choice in choices),
    )


def _trouble(read: dict[str, Any]) -> Trouble:
    """`{error: {message, type, param, code}}`; `code` may be a number (vLLM), `error` a string (Ollama's own API)."""
    error = read.get("error")
    if isinstance(error, str):
        return Trouble(readable=True, context=speaks_of_context(error))
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
        context=speaks_of_context(error.get("message")),
        inner_status=code if type(code) is int and 400 <= code <= 599 else 0,
    )
