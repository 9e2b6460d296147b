"""The Anthropic messages format, as its SDK 2.12 reads it (and older ones, with x-api-key)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

import orjson

from infra.simulators.script import ProviderScript
from infra.simulators.wire import IMAGE_TOKENS, Answer, Ask, Frames, Refusal, Refused, Tool, chosen

CHAT_PATHS: Final[tuple[str, ...]] = ("/v1/messages",)
CHAT_PATTERN: re.Pattern[str] | None = None
MODELS_PATHS: Final[tuple[str, ...]] = ("/v1/models",)
ANSWER_PREFIX: str = "msg_"
_OPEN_LIMIT: Final = 4_000
_TOKEN_LIMITS: Final = (("tokens", 2_400_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000))
_INVALID: Final = "invalid_request_error"
_FIELDS: Final = frozenset({
    "cache_control", "container", "context_management", "diagnostics", "inference_geo", "max_tokens", "mcp_servers",
    "messages", "metadata", "model", "output_config", "service_tier", "speed", "stop_sequences", "stream", "system",
    "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p", "user_profile_id", "workspace_id",
})  # fmt: skip
_LOW_CREDIT: Final = "Your credit balance is too low to access the Anthropic API."
REFUSALS: Final[Mapping[str, Refusal]] = MappingProxyType(
    {
        "server_error": Refusal(500, "api_error", None, "Internal server error"),
        "rate_limited": Refusal(429, "rate_limit_error", None, "This request would exceed your rate limit."),
        "unknown_path": Refusal(404, "not_found_error", None, "Not found"),
        "wrong_method": Refusal(405, _INVALID, None, "Method Not Allowed"),
        "status_500": Refusal(500, "api_error", None, "Internal server error"),
        "status_502": Refusal(502, "api_error", None, "Bad gateway"),
        "status_503": Refusal(503, "api_error", None, "Service unavailable"),
        "status_529": Refusal(529, "overloaded_error", None, "Overloaded"),
        "status_429": Refusal(429, "rate_limit_error", None, "This request would exceed your rate limit."),
        "status_429_bare": Refusal(429, "rate_limit_error", None, "This request would exceed your rate limit."),
        "quota": Refusal(400, "billing_error", None, _LOW_CREDIT),
        "status_400": Refusal(400, _INVALID, None, "messages.0: Input should be a valid dictionary"),
        "context_length": Refusal(400, _INVALID, None, "prompt is too long: 213462 tokens > 200000 maximum"),
        "status_401": Refusal(401, "authentication_error", None, "invalid x-api-key"),
        "status_403": Refusal(403, "permission_error", None, "Your API key may not use the specified resource."),
        "status_404": Refusal(404, "not_found_error", None, "model: unknown"),
        "status_408": Refusal(408, "timeout_error", None, "Request timed out"),
        "status_413": Refusal(413, "request_too_large", None, "Request exceeds the maximum size"),
    }
)
_FINISH: Final = {
    "stop": "end_turn", "length": "max_tokens", "window": "model_context_window_exceeded", "tool_calls": "tool_use",
    "content_filter": "refusal", "prompt_blocked": "refusal",
}  # fmt: skip


def read(body: bytes, script: ProviderScript, target: str, headers: Mapping[str, str]) -> Ask:
    """Read a request; Refused (400, 401 or 404) as the provider would word it."""
    if not headers.get("x-api-key") and not headers.get("authorization", "").removeprefix("Bearer").strip():
        raise Refused(Refusal(401, "authentication_error", None, "x-api-key header is required"))
    if not headers.get("anthropic-version"):
        raise _bad("anthropic-version: header is required")
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad("The request body is not valid JSON") from None
    if not isinstance(doc, dict):
        raise _bad("Input should be a valid dictionary")
    for field in doc.keys() - _FIELDS:
        raise _bad(f"{field}: Extra inputs are not permitted")
    for field in ("model", "max_tokens", "messages"):
        if field not in doc:
            raise _bad(f"{field}: Field required")
    model, most = doc["model"], doc.pop("max_tokens")
    if not isinstance(model, str) or not model:
        raise _bad("model: String should have at least 1 character")
    if type(most) is not int or most < 1:
        raise _bad("max_tokens: Input should be greater than or equal to 1")
    if script.models and model not in script.models:
        raise Refused(Refusal(404, "not_found_error", None, f"model: {model}"))
    stream = doc.pop("stream", False)
    if stream not in (True, False):
        raise _bad("stream: Input should be a valid boolean")
    prompt = _read_messages(doc["messages"]) + _size(doc.get("system"), "system") // 4
    stop = doc.pop("stop_sequences", None) or []
    if not isinstance(stop, list) or not all(isinstance(one, str) and one.strip() for one in stop):
        raise _bad("stop_sequences: each stop sequence must contain non-whitespace")
    tools = doc.get("tools") or []
    called = _called(tools, doc.get("tool_choice"), doc["messages"][-1])
    if tools:
        prompt += len(orjson.dumps(tools)) // 4
    output = doc.get("output_config")
    shape = output.get("format") if isinstance(output, dict) else None
    if shape is not None and (not isinstance(shape, dict) or shape.get("type") != "json_schema"):
        raise _bad("output_config.format.type: Input should be 'json_schema'")
    thinking = doc.pop("thinking", None)
    thoughts = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
    hidden = isinstance(thinking, dict) and thinking.get("display") == "omitted"
    subject = orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)
    schema = None if shape is None else shape.get("schema")
    as_json = shape is not None
    return Ask(model, stream, True, most, prompt, subject, called, schema, as_json, tuple(stop), thoughts, hidden)


def _read_messages(messages: Any) -> int:
    """Tokens of the messages; Refused where roles, tool results or signatures are wrong."""
    if not isinstance(messages, list) or not messages:
        raise _bad("messages: at least one message is required")
    tokens = 0
    used: set[Any] = set()
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise _bad(f"messages.{at}.role: Input should be 'user' or 'assistant'")
        content = message.get("content")
        tokens += 4 + _size(content, f"messages.{at}.content") // 4
        blocks = content if isinstance(content, list) else []
        for number, block in enumerate(blocks):
            if block["type"] == "tool_result" and block.get("tool_use_id") not in used:
                raise _bad(f"messages.{at}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
            if block["type"] == "thinking" and block.get("signature") != _signature(str(block.get("thinking"))):
                raise _bad(f"messages.{at}.content.{number}: Invalid `signature` in `thinking` block")
        used = {block.get("id") for block in blocks if block["type"] == "tool_use"}
    return tokens


def _size(content: Any, where: str) -> int:
    """Characters, with an image as so many as its tokens are."""
    if content is None and where == "system":
        return 0
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        raise _bad(f"{where}: Input should be a valid list or string")
    size = 0
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise _bad(f"{where}: each block must be an object with a `type`")
        match block["type"]:
            case "text":
                size += len(str(block.get("text") or ""))
            case "tool_result":
                size += _size(block.get("content") or "", where)
            case "tool_use":
                size += len(orjson.dumps(block.get("input")))
            case "thinking" | "redacted_thinking":
                pass
            case _:
                size += 4 * IMAGE_TOKENS
    return size


def _called(tools: Any, choice: Any, last: Mapping[str, Any]) -> tuple[Tool, ...]:
    if not isinstance(tools, list):
        raise _bad("tools: Input should be a valid list")
    named = {t["name"]: t.get("input_schema") for t in tools if isinstance(t, dict) and isinstance(t.get("name"), str)}
    if len(named) != len(tools):
        raise _bad("tools: Tool names must be unique.")
    choice = {"type": "auto"} if choice is None else choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise _bad("tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if kind in ("any", "tool") and not tools:
        raise _bad("tool_choice: may only be specified while providing tools")
    if kind == "tool":
        if choice.get("name") not in named:
            raise _bad(f"Tool '{choice.get('name')}' not found in provided tools")
        return (Tool(choice["name"], named[choice["name"]]),)
    content = last.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    results = any(block["type"] == "tool_result" for block in blocks)
    text = " ".join(str(block.get("text") or "") for block in blocks)
    last_text = None if results or last.get("role") != "user" else text
    parallel = choice.get("disable_parallel_tool_use") is not True
    return chosen(named, "required" if kind == "any" else kind, last_text, parallel=parallel)


def _bad(message: str) -> Refused:
    return Refused(Refusal(400, _INVALID, None, message))


def _signature(thought: str) -> str:
    """What a thinking block must be sent back with; a changed block is refused."""
    return b64encode(blake2b(thought.encode(), digest_size=48).digest()).decode()


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    written = answer.cache_write_tokens
    return {
        "input_tokens": answer.prompt_tokens - answer.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": min(answer.reasoning_tokens, output_tokens)},
        "service_tier": "standard",
    }


def _stop(answer: Answer) -> dict[str, Any]:
    reason = "stop_sequence" if answer.stopped_by is not None else _FINISH[answer.finish]
    details = {"type": "refusal", "category": "general_harms", "explanation": None} if reason == "refusal" else None
    return {"stop_reason": reason, "stop_sequence": answer.stopped_by, "stop_details": details}


def _tool_use(answer_id: str, at: int, name: str, given: Any) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_{answer_id.removeprefix(ANSWER_PREFIX)}_{at}",
        "name": name,
        "input": given,
    }


def _message(ask: Ask, answer_id: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": answer_id, "type": "message", "role": "assistant", "model": ask.model, "content": content}


def plain(ask: Ask, answer: Answer, answer_id: str, created: int) -> bytes:
    """The body of a `message`."""
    content: list[dict[str, Any]] = []
    if answer.thought:
        thought = "" if ask.hidden_thoughts else "".join(answer.thought)
        content.append({"type": "thinking", "thinking": thought, "signature": _signature(thought)})
    if answer.pieces:
        content.append({"type": "text", "text": "".join(answer.pieces), "citations": None})
    for at, call in enumerate(answer.calls):
        content.append(_tool_use(answer_id, at, call.name, call.arguments if call.arguments is not None else {}))
    usage = _usage(answer, answer.completion_tokens)
    return orjson.dumps(_message(ask, answer_id, content) | _stop(answer) | {"usage": usage})


def _event(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **more}))


def frames(ask: Ask, answer: Answer, answer_id: str, created: int) -> Frames:
    """The events of a stream; a block begins with its first delta's frame."""
    blocks: list[tuple[dict[str, Any], list[tuple[dict[str, Any], int]]]] = []
    hidden = answer.reasoning_tokens
    if answer.thought:
        deltas: list[tuple[dict[str, Any], int]] = []
        thought = "" if ask.hidden_thoughts else "".join(answer.thought)
        if thought:
            deltas = [({"type": "thinking_delta", "thinking": piece}, 0) for piece in answer.thought]
        deltas.append(({"type": "signature_delta", "signature": _signature(thought)}, 0))
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if answer.pieces:
        pairs = zip(answer.pieces, answer.piece_tokens, strict=True)
        texts: list[tuple[dict[str, Any], int]] = [({"type": "text_delta", "text": one}, n) for one, n in pairs]
        blocks.append(({"type": "text", "text": ""}, texts))
    for at, call in enumerate(answer.calls):
        parts: list[tuple[dict[str, Any], int]] = [
            ({"type": "input_json_delta", "partial_json": one}, 1) for one in call.pieces
        ]
        blocks.append((_tool_use(answer_id, at, call.name, {}), parts))
    empty = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
    start = _message(ask, answer_id, []) | empty | {"usage": _usage(answer, 1)}
    body = [(_event("message_start", message=start) + _event("ping"), hidden)]
    opening, closing = 1, b""
    for index, (block, inner) in enumerate(blocks):
        begun = closing + _event("content_block_start", index=index, content_block=block)
        for delta, tokens in inner:
            body.append((begun + _event("content_block_delta", index=index, delta=delta), tokens))
            begun = b""
        closing = begun + _event("content_block_stop", index=index)
        if block["type"] == "thinking":
            opening = len(body)
    finish = closing + _event("message_delta", delta=_stop(answer), usage=_usage(answer, answer.completion_tokens))
    return Frames(body, finish, _event("message_stop"), opening)


def error(refusal: Refusal, request_id: str, retry_s: float | None = None) -> bytes:
    """The body of an error."""
    inner = {"type": refusal.kind, "message": refusal.message, "details": None}
    return orjson.dumps({"type": "error", "error": inner, "request_id": request_id})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """An error inside a stream that began with a 200."""
    return b"event: error\ndata: " + error(refusal, request_id) + b"\n\n"


def models(names: tuple[str, ...], created: int) -> bytes:
    """The body of a model list."""
    made = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": made, "lifecycle": "active"} for name in names
    ]
    return orjson.dumps({"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def request_headers(request_id: str, limit: int | None, remaining: int, reset_s: float) -> bytes:
    """request-id and anthropic-ratelimit-* lines; the resets are RFC 3339."""
    if limit is None:
        limit, remaining, reset_s = _OPEN_LIMIT, _OPEN_LIMIT - 1, 0.0
    now = datetime.now(UTC)
    resets = (now + timedelta(seconds=reset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [f"request-id: {request_id}"]
    each = [("requests", limit, remaining), *((name, most, most - 1000) for name, most in _TOKEN_LIMITS)]
    for name, most, left in each:
        base = f"anthropic-ratelimit-{name}"
        lines += [f"{base}-limit: {most}", f"{base}-remaining: {left}", f"{base}-reset: {resets}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def retry_headers(seconds: float) -> bytes:
    """Whole seconds, rounded up."""
    return b"retry-after: %d\r\n" % -int(-seconds // 1)


def context_length(tokens: int, window: int) -> Refusal:
    """A prompt that is longer than the window."""
    return Refusal(400, _INVALID, None, f"prompt is too long: {tokens} tokens > {window} maximum")
