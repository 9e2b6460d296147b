"""The OpenAI chat-completions format, as its SDK 2.54 reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from infra.simulators.script import ProviderScript
from infra.simulators.wire import IMAGE_TOKENS, Answer, Ask, Frames, Refusal, Refused, Tool, chosen

CHAT_PATHS: Final[tuple[str, ...]] = ("/v1/chat/completions",)
CHAT_PATTERN: re.Pattern[str] | None = None
MODELS_PATHS: Final[tuple[str, ...]] = ("/v1/models",)
ANSWER_PREFIX: str = "chatcmpl-"
# What an account without a scripted limit is told; never reached.
_OPEN_LIMIT: Final = 30_000
_TOKEN_LIMIT: Final = 150_000_000
_INVALID: Final = "invalid_request_error"
# The faults are named in this format's words already; see faults.FAULTS.
REFUSALS: Final[Mapping[str, Refusal]] = MappingProxyType(
    {
        "server_error": Refusal(500, "server_error", None, "The server had an error while processing your request."),
        "rate_limited": Refusal(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests per minute."),
        "unknown_path": Refusal(404, _INVALID, "unknown_url", "Invalid URL."),
        "wrong_method": Refusal(405, _INVALID, "method_not_supported", "Not allowed to use this method."),
        "prompt_blocked": Refusal(
            400, _INVALID, "content_policy_violation", "Your request was rejected by the safety system."
        ),
    }
)


def read(body: bytes, script: ProviderScript, target: str, headers: Mapping[str, str]) -> Ask:
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
    called = _called(tools, doc.get("tool_choice"), messages[-1], doc.get("parallel_tool_calls")) if tools else ()
    stop = doc.pop("stop", None)
    if stop is not None:
        stop = _stop(stop)
    given_seed = doc.get("seed")
    if given_seed is not None and type(given_seed) is not int:
        raise _bad("'seed' must be an integer.", "seed")
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
    return Ask(model, bool(stream), include, most, prompt, subject, called, schema, as_json, stop or ())


def _called(tools: Any, choice: Any, last: Mapping[str, Any], parallel: Any) -> tuple[Tool, ...]:
    """The functions that the answer calls."""
    if not isinstance(tools, list):
        raise _bad("'tools' must be an array.", "tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    named = {
        f["name"]: f.get("parameters") for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)
    }
    if len(named) != len(tools):
        raise _bad("Each of 'tools' must be a function with a 'name' of its own.", "tools")
    if isinstance(choice, dict):
        wanted = choice.get("function")
        name = wanted.get("name") if isinstance(wanted, dict) else None
        if name not in named:
            raise _bad(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        return (Tool(str(name), named[name]),)
    if choice not in (None, "none", "auto", "required"):
        raise _bad("'tool_choice' must be 'none', 'auto', 'required' or a function.", "tool_choice")
    text = _text(last.get("content")) if last.get("role") == "user" else None
    return chosen(named, choice or "auto", text, parallel=parallel is not False)


def _stop(given: Any) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else given
    if not isinstance(several, list) or len(several) > 4 or not all(isinstance(one, str) and one for one in several):
        raise _bad("'stop' must be a string or an array of at most 4 strings.", "stop")
    return tuple(several)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _size(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(
            len(part.get("text") or "") if part.get("type") == "text" else 4 * IMAGE_TOKENS
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
    if answer.calls:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": _call_id(answer_id, at),
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.pieces)},
            }
            for at, call in enumerate(answer.calls)
        ]
    return orjson.dumps(
        {
            "id": answer_id,
            "object": "chat.completion",
            "created": created,
            "model": ask.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}],
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
    starts = [
        {
            "tool_calls": [
                {
                    "index": at,
                    "id": _call_id(answer_id, at),
                    "type": "function",
                    "function": {"name": call.name, "arguments": ""},
                }
            ]
        }
        for at, call in enumerate(answer.calls)
    ]
    if starts:
        role |= {"content": None} | starts[0]
    body = [(head_delta + orjson.dumps(role) + close, answer.reasoning_tokens)]
    for piece, tokens in zip(answer.pieces, answer.piece_tokens, strict=True):
        body.append((head_delta + b'{"content":' + orjson.dumps(piece) + b"}" + close, tokens))
    for at, call in enumerate(answer.calls):
        # The role's chunk begins the first call already.
        begun = head_delta + orjson.dumps(starts[at]) + close if at else b""
        before = head_delta + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % at
        for piece in call.pieces:
            body.append((begun + before + orjson.dumps(piece) + b"}}]}" + close, 1))
            begun = b""
    finish = b'%b{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n' % (head_delta, _finish(answer).encode(), usage)
    tail = b"data: [DONE]\n\n"
    if ask.include_usage:
        tail = head + b'"choices":[],"usage":' + orjson.dumps(_usage(answer)) + b"}\n\n" + tail
    return Frames(body, finish, tail)


def _finish(answer: Answer) -> str:
    return "length" if answer.finish == "window" else answer.finish


def _call_id(answer_id: str, at: int) -> str:
    return f"call_{answer_id.removeprefix(ANSWER_PREFIX)}_{at}"


def _usage(answer: Answer) -> dict[str, Any]:
    details = {"cached_tokens": answer.cached_tokens, "audio_tokens": 0}
    if answer.cache_write_tokens:
        details["cache_write_tokens"] = answer.cache_write_tokens
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
    }


def error(refusal: Refusal, request_id: str, retry_s: float | None = None) -> bytes:
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


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """An error inside a stream that began with a 200."""
    return b"data: " + error(refusal, request_id) + b"\n\n"


def models(names: tuple[str, ...], created: int) -> bytes:
    """The body of a model list."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})


def request_headers(request_id: str, limit: int | None, remaining: int, reset_s: float) -> bytes:
    """x-request-id and x-ratelimit-* lines; reset_s is seconds until the window ends."""
    limits = _OPEN_HEADERS if limit is None else _limits(limit, remaining, reset_s)
    return b"x-request-id: %b\r\n%b" % (request_id.encode(), limits)


def _limits(limit: int, remaining: int, reset_s: float) -> bytes:
    return (
        f"x-ratelimit-limit-requests: {limit}\r\nx-ratelimit-remaining-requests: {remaining}\r\n"
        f"x-ratelimit-reset-requests: {reset_s:.3f}s\r\nx-ratelimit-limit-tokens: {_TOKEN_LIMIT}\r\n"
        f"x-ratelimit-remaining-tokens: {_TOKEN_LIMIT - 1000}\r\nx-ratelimit-reset-tokens: 0.001s\r\n"
    ).encode()


_OPEN_HEADERS: Final = _limits(_OPEN_LIMIT, _OPEN_LIMIT - 1, 0.002)


def retry_headers(seconds: float) -> bytes:
    """Both header lines: whole seconds, rounded up, and milliseconds."""
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (-int(-seconds // 1), round(seconds * 1000))


def context_length(tokens: int, window: int) -> Refusal:
    """A prompt that is longer than the window."""
    message = f"This model's maximum context length is {window} tokens. However, your messages have {tokens} tokens."
    return Refusal(400, _INVALID, "context_length_exceeded", message, "messages")
