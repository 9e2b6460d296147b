"""The OpenAI chat-completions format, as its SDK 2.54 reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from infra.simulators.script import ProviderScript
from infra.simulators.wire import Answer, Ask, Frames, Refusal, Refused

CHAT_PATH: Final = "/v1/chat/completions"
MODELS_PATH: Final = "/v1/models"
# What an account without a scripted limit is told; never reached.
_OPEN_LIMIT: Final = 30_000
_TOKEN_LIMIT: Final = 150_000_000


def read(body: bytes, script: ProviderScript) -> Ask:
    """Read a request; Refused (400 or 404) as the provider would word it."""
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad("We could not parse the JSON body of your request.", None) from None
    if not isinstance(doc, dict):
        raise _bad("The body of your request must be a JSON object.", None)
    model, messages = doc.get("model"), doc.get("messages")
    if not isinstance(model, str) or not model:
        raise _bad("you must provide a model parameter", "model")
    if not isinstance(messages, list) or not messages:
        raise _bad("'messages' must be an array with at least one message.", "messages")
    prompt = 0
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _bad("Each of 'messages' must be an object with a 'role'.", "messages")
        prompt += 4 + _size(message.get("content")) // 4
    if script.models and model not in script.models:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refused(Refusal(404, "invalid_request_error", "model_not_found", message))
    stream = doc.pop("stream", None)
    options = doc.pop("stream_options", None)
    if stream not in (None, True, False):
        raise _bad("'stream' must be a boolean.", "stream")
    if options is not None and (not stream or not isinstance(options, dict)):
        raise _bad("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    most = doc.pop("max_tokens", None)
    most = doc.pop("max_completion_tokens", most)
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise _bad("'max_completion_tokens' must be an integer of at least 1.", "max_completion_tokens")
    tools = doc.get("tools")
    tool = _forced_tool(tools, doc.get("tool_choice")) if tools else None
    shape = doc.get("response_format")
    schema, as_json = None, False
    if isinstance(shape, dict) and shape.get("type") in ("json_object", "json_schema"):
        as_json = True
        given = shape.get("json_schema")
        schema = given.get("schema") if isinstance(given, dict) else None
    if tools:
        prompt += len(orjson.dumps(tools)) // 4
    include = bool(options and options.get("include_usage"))
    subject = orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)
    return Ask(model, bool(stream), include, most, prompt, subject, tool, schema, as_json)


def _forced_tool(tools: Any, choice: Any) -> Mapping[str, Any] | None:
    """The function that must be called, if one must."""
    if not isinstance(tools, list):
        raise _bad("'tools' must be an array.", "tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    named = {f["name"]: f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)}
    if len(named) != len(tools):
        raise _bad("Each of 'tools' must be a function with a 'name' of its own.", "tools")
    if choice == "required":
        return next(iter(named.values()))
    if isinstance(choice, dict):
        wanted = choice.get("function")
        name = wanted.get("name") if isinstance(wanted, dict) else None
        if name not in named:
            raise _bad(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        return named[name]
    return None


def _size(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(
            len(part.get("text") or "") if part.get("type") == "text" else 340
            for part in content
            if isinstance(part, dict)
        )
    return 0


def _bad(message: str, param: str | None) -> Refused:
    return Refused(Refusal(400, "invalid_request_error", None, message, param))


def plain(ask: Ask, answer: Answer, answer_id: str, created: int) -> bytes:
    """The body of a `chat.completion`."""
    text = "".join(answer.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if answer.tool_name is not None:
        message["content"] = None
        message["tool_calls"] = [
            {"id": _call_id(answer_id), "type": "function", "function": {"name": answer.tool_name, "arguments": text}}
        ]
    return orjson.dumps(
        {
            "id": answer_id,
            "object": "chat.completion",
            "created": created,
            "model": ask.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}],
            "usage": _usage(answer),
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }
    )


def frames(ask: Ask, answer: Answer, answer_id: str, created: int) -> Frames:
    """The `chat.completion.chunk` events of a stream."""
    head = b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,' % (
        answer_id.encode(),
        created,
        orjson.dumps(ask.model),
    )
    usage = b',"usage":null' if ask.include_usage else b""
    head_delta = head + b'"choices":[{"index":0,"delta":'
    close = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
    role: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    if answer.tool_name is not None:
        function = {"name": answer.tool_name, "arguments": ""}
        role["content"] = None
        role["tool_calls"] = [{"index": 0, "id": _call_id(answer_id), "type": "function", "function": function}]
        before, after = b'{"tool_calls":[{"index":0,"function":{"arguments":', b"}}]}"
    else:
        before, after = b'{"content":', b"}"
    body = [(head_delta + orjson.dumps(role) + close, answer.reasoning_tokens)]
    for piece, tokens in zip(answer.pieces, answer.piece_tokens, strict=True):
        body.append((head_delta + before + orjson.dumps(piece) + after + close, tokens))
    finish = b'%b{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n' % (head_delta, answer.finish.encode(), usage)
    tail = b"data: [DONE]\n\n"
    if ask.include_usage:
        tail = head + b'"choices":[],"usage":' + orjson.dumps(_usage(answer)) + b"}\n\n" + tail
    return Frames(body, finish, tail)


def _call_id(answer_id: str) -> str:
    return "call_" + answer_id.removeprefix("chatcmpl-")


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
    }


def error(refusal: Refusal) -> bytes:
    """The body of an error."""
    return orjson.dumps(
        {
            "error": {
                "message": refusal.message,
                "type": refusal.kind,
                "param": refusal.param,
                "code": refusal.code,
            }
        }
    )


def error_event(refusal: Refusal) -> bytes:
    """An error inside a stream that began with a 200."""
    return b"data: " + error(refusal) + b"\n\n"


def models(names: tuple[str, ...], created: int) -> bytes:
    """The body of a model list."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})


def limit_headers(limit: int | None, remaining: int, reset_s: float) -> bytes:
    """x-ratelimit-* lines; reset_s is seconds until the window ends."""
    if limit is None:
        limit, remaining, reset_s = _OPEN_LIMIT, _OPEN_LIMIT - 1, 0.002
    return (
        f"x-ratelimit-limit-requests: {limit}\r\nx-ratelimit-remaining-requests: {remaining}\r\n"
        f"x-ratelimit-reset-requests: {reset_s:.3f}s\r\nx-ratelimit-limit-tokens: {_TOKEN_LIMIT}\r\n"
        f"x-ratelimit-remaining-tokens: {_TOKEN_LIMIT - 1000}\r\nx-ratelimit-reset-tokens: 0.001s\r\n"
    ).encode()
