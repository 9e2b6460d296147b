"""The Gemini generateContent format, as Google's SDK google-genai 3.4 reads it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import orjson

from infra.simulators.script import ProviderScript
from infra.simulators.wire import IMAGE_TOKENS, Answer, Ask, Frames, Refusal, Refused, Tool, chosen

CHAT_PATHS: Final[tuple[str, ...]] = ()
CHAT_PATTERN: re.Pattern[str] | None = re.compile(
    r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)"
)
MODELS_PATHS: Final[tuple[str, ...]] = ("/v1/models", "/v1beta/models")
ANSWER_PREFIX: str = ""
_TARGET: Final = re.compile(r".*/models/([^/:?]+)(?::|%3A)(\w+)(?:\?(.*))?", re.IGNORECASE)
_FIELDS: Final = frozenset({
    "cachedContent", "contents", "generationConfig", "labels", "model", "safetySettings", "serviceTier", "store",
    "systemInstruction", "toolConfig", "tools",
})  # fmt: skip
_EXHAUSTED: Final = "You exceeded your current quota, please check your plan and billing details."
_MINUTE: Final = "GenerateRequestsPerMinutePerProjectPerModel"
_RATE: Final = Refusal(429, "RESOURCE_EXHAUSTED", _MINUTE, _EXHAUSTED)
_INTERNAL: Final = Refusal(500, "INTERNAL", None, "An internal error has occurred.")
_OVERLOADED: Final = Refusal(503, "UNAVAILABLE", None, "The model is overloaded. Please try again later.")
REFUSALS: Final[Mapping[str, Refusal]] = MappingProxyType(
    {
        "server_error": _INTERNAL,
        "rate_limited": _RATE,
        "unknown_path": Refusal(404, "NOT_FOUND", None, "Requested entity was not found."),
        "wrong_method": Refusal(405, "UNIMPLEMENTED", None, "Method not allowed."),
        "status_500": _INTERNAL,
        "status_502": Refusal(502, "UNAVAILABLE", None, "Bad gateway."),
        "status_503": _OVERLOADED,
        # Google has no 529: this is how it says the same.
        "status_529": _OVERLOADED,
        "status_429": _RATE,
        "status_429_bare": _RATE,
        "quota": Refusal(429, "RESOURCE_EXHAUSTED", "GenerateRequestsPerDayPerProjectPerModel", _EXHAUSTED),
        "status_400": Refusal(400, "INVALID_ARGUMENT", None, "Request contains an invalid argument.", "contents"),
        "context_length": Refusal(
            400,
            "INVALID_ARGUMENT",
            None,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "status_401": Refusal(
            401, "UNAUTHENTICATED", "API_KEY_INVALID", "Request had invalid authentication credentials."
        ),
        "status_403": Refusal(403, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED", "Permission denied."),
        "status_404": Refusal(404, "NOT_FOUND", None, "models/unknown is not found for API version v1."),
        "status_408": Refusal(408, "DEADLINE_EXCEEDED", None, "The request timed out."),
        "status_413": Refusal(413, "INVALID_ARGUMENT", None, "Request payload size exceeds the limit."),
    }
)
_FINISH: Final = {
    "stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "window": "MAX_TOKENS", "content_filter": "SAFETY"
}  # fmt: skip
_RATINGS: Final = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]


def read(body: bytes, script: ProviderScript, target: str, headers: Mapping[str, str]) -> Ask:
    """Read a request; Refused (400, 403 or 404) as the provider would word it."""
    if not headers.get("x-goog-api-key"):
        message = (
            "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity."
        )
        raise Refused(Refusal(403, "PERMISSION_DENIED", None, message))
    found = _TARGET.fullmatch(target)
    if found is None:
        raise _bad("The path must name a model and a method.")
    model, stream = unquote(found[1]), found[2] == "streamGenerateContent"
    if stream and parse_qs(found[3] or "").get("alt") != ["sse"]:
        raise _bad("The simulator streams with ?alt=sse alone.")
    if script.models and model not in script.models:
        raise Refused(Refusal(404, "NOT_FOUND", None, f"models/{model} is not found for API version v1."))
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad("Invalid JSON payload received. Parsing terminated before end of input.") from None
    if not isinstance(doc, dict):
        raise _bad("Invalid JSON payload received. The root must be an object.")
    for field in doc.keys() - _FIELDS:
        raise _bad(f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.')
    contents = doc.get("contents")
    if not isinstance(contents, list) or not contents:
        raise _bad("* GenerateContentRequest.contents: contents is not specified", "contents")
    prompt = 0
    for content in contents:
        if not isinstance(content, dict) or content.get("role") not in (None, "user", "model"):
            raise _bad("Please use a valid role: user, model.", "contents")
        prompt += 4 + _size(content) // 4
    if doc.get("systemInstruction") is not None:
        prompt += _size(doc["systemInstruction"]) // 4
    config = doc.pop("generationConfig", None) or {}
    if not isinstance(config, dict):
        raise _bad("generation_config must be an object.", "generation_config")
    most = config.pop("maxOutputTokens", None)
    if most is not None and (type(most) is not int or most < 1):
        raise _bad("max_output_tokens must be positive.", "generation_config.max_output_tokens")
    stop = config.pop("stopSequences", None) or []
    if not isinstance(stop, list) or len(stop) > 5 or not all(isinstance(one, str) and one for one in stop):
        raise _bad("stop_sequences must be at most 5 strings.", "generation_config.stop_sequences")
    seed = config.get("seed")
    if seed is not None and type(seed) is not int:
        raise _bad("seed must be an integer.", "generation_config.seed")
    thinking = config.pop("thinkingConfig", None)
    thoughts = isinstance(thinking, dict) and thinking.get("includeThoughts") is True
    called = _called(doc.get("tools"), doc.get("toolConfig"), contents[-1])
    if doc.get("tools"):
        prompt += len(orjson.dumps(doc["tools"])) // 4
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    as_json = config.get("responseMimeType") == "application/json"
    if schema is not None and not as_json:
        raise _bad("response_schema needs a response_mime_type of application/json.", "generation_config")
    subject = orjson.dumps([model, doc, config], option=orjson.OPT_SORT_KEYS)
    return Ask(model, stream, True, most, prompt, subject, called, schema, as_json, tuple(stop), thoughts)


def _parts(content: Any) -> list[dict[str, Any]]:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise _bad("* GenerateContentRequest.contents.parts: contents.parts must not be empty.", "contents")
    return parts


def _size(content: Any) -> int:
    """Characters, with an image as so many as its tokens are."""
    size = 0
    for part in _parts(content):
        if "text" in part:
            size += len(str(part["text"] or ""))
        elif "functionCall" in part or "functionResponse" in part:
            size += len(orjson.dumps(part))
        else:
            size += 4 * IMAGE_TOKENS
    return size


def _called(tools: Any, config: Any, last: Any) -> tuple[Tool, ...]:
    given = tools if isinstance(tools, list) else []
    several = [d for tool in given if isinstance(tool, dict) for d in tool.get("functionDeclarations") or []]
    named: dict[str, Any] = {}
    for one in several:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or one["name"] in named:
            raise _bad("Each function declaration must have a name of its own.", "tools")
        named[one["name"]] = (
            one.get("parametersJsonSchema") or one.get("parameters_json_schema") or one.get("parameters")
        )
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    calling = calling if isinstance(calling, dict) else {}
    mode = str(calling.get("mode") or "AUTO")
    choice = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}.get(mode)
    if choice is None:
        raise _bad("Invalid value at 'tool_config.function_calling_config.mode'.", "tool_config")
    allowed = calling.get("allowedFunctionNames")
    if isinstance(allowed, list) and allowed:
        if any(name not in named for name in allowed):
            raise _bad("allowed_function_names must be names of the declared functions.", "tool_config")
        named = {name: named[name] for name in allowed}
    if not named:
        return ()
    parts = _parts(last)
    results = any("functionResponse" in part for part in parts)
    text = " ".join(str(part.get("text") or "") for part in parts)
    return chosen(named, choice, None if results or last.get("role") == "model" else text)


def _bad(message: str, param: str | None = None) -> Refused:
    return Refused(Refusal(400, "INVALID_ARGUMENT", None, message, param))


def _usage(answer: Answer, tokens: int) -> dict[str, Any]:
    """tokens: of the candidates so far, without thoughts."""
    usage: dict[str, Any] = {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": tokens,
        "totalTokenCount": answer.prompt_tokens + tokens + answer.reasoning_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": answer.prompt_tokens}],
    }
    if answer.cached_tokens:
        usage["cachedContentTokenCount"] = answer.cached_tokens
    if answer.reasoning_tokens:
        usage["thoughtsTokenCount"] = answer.reasoning_tokens
    return usage


def _call_parts(answer: Answer, answer_id: str) -> list[tuple[dict[str, Any], int]]:
    """(functionCall part, its tokens); a call that the token limit cut is left out."""
    parts: list[tuple[dict[str, Any], int]] = []
    for at, call in enumerate(answer.calls):
        if call.arguments is None:
            continue
        part: dict[str, Any] = {
            "functionCall": {"id": f"call-{answer_id}-{at}", "name": call.name, "args": call.arguments}
        }
        # As Gemini 3 does: on the first call alone, to be carried back.
        if answer.reasoning_tokens and at == 0:
            part["thoughtSignature"] = b64encode(f"thought-{answer_id}".encode()).decode()
        parts.append((part, len(call.pieces)))
    return parts


def _response(
    ask: Ask, answer: Answer, answer_id: str, parts: list[dict[str, Any]], tokens: int, finish: str | None
) -> bytes:
    whole: dict[str, Any] = {}
    if answer.finish == "prompt_blocked":
        whole["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": _RATINGS}
    else:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if not parts:
            candidate["content"] = {"role": "model"}
        if finish is not None:
            candidate["finishReason"] = finish
        if finish == "SAFETY":
            candidate["safetyRatings"] = _RATINGS
        whole["candidates"] = [candidate]
    usage = _usage(answer, tokens)
    return orjson.dumps(whole | {"usageMetadata": usage, "modelVersion": ask.model, "responseId": answer_id})


def plain(ask: Ask, answer: Answer, answer_id: str, created: int) -> bytes:
    """The body of a GenerateContentResponse."""
    parts: list[dict[str, Any]] = []
    if answer.thought:
        parts.append({"text": "".join(answer.thought), "thought": True})
    if answer.pieces:
        parts.append({"text": "".join(answer.pieces)})
    parts += [part for part, _ in _call_parts(answer, answer_id)]
    tokens = answer.completion_tokens - answer.reasoning_tokens
    return _response(ask, answer, answer_id, parts, tokens, _FINISH.get(answer.finish))


def frames(ask: Ask, answer: Answer, answer_id: str, created: int) -> Frames:
    """A whole response a chunk; the last has the finish reason, and there is no sentinel."""
    body: list[tuple[bytes, int]] = []
    sent, hidden = 0, answer.reasoning_tokens
    parts: list[tuple[dict[str, Any], int]] = [({"text": one, "thought": True}, 0) for one in answer.thought]
    opening = len(parts)
    parts += [({"text": one}, n) for one, n in zip(answer.pieces, answer.piece_tokens, strict=True)]
    parts += _call_parts(answer, answer_id)
    for part, tokens in parts:
        sent += tokens
        chunk = _response(ask, answer, answer_id, [part], sent, None)
        # Without thoughts there is no chunk before the text: the first one carries what was thought.
        body.append((b"data: %b\r\n\r\n" % chunk, tokens + hidden))
        hidden = 0
    tokens = answer.completion_tokens - answer.reasoning_tokens
    empty = [] if answer.finish == "content_filter" else [{"text": ""}]
    last = _response(ask, answer, answer_id, empty, tokens, _FINISH.get(answer.finish))
    return Frames(body, b"data: %b\r\n\r\n" % last, b"", opening)


def error(refusal: Refusal, request_id: str, retry_s: float | None = None) -> bytes:
    """The body of an error; the advice when to come back stands in it."""
    kind = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = []
    if refusal.status == 429 and refusal.code is not None:
        metric = "generativelanguage.googleapis.com/generate_content_requests"
        details.append(
            {"@type": kind + "QuotaFailure", "violations": [{"quotaMetric": metric, "quotaId": refusal.code}]}
        )
    elif refusal.code is not None:
        domain = "googleapis.com"
        details.append({"@type": kind + "ErrorInfo", "reason": refusal.code, "domain": domain})
    if refusal.param is not None:
        violations = [{"field": refusal.param, "description": refusal.message}]
        details.append({"@type": kind + "BadRequest", "fieldViolations": violations})
    if retry_s is not None:
        details.append({"@type": kind + "RetryInfo", "retryDelay": f"{retry_s:.9g}s"})
    inner: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": refusal.kind}
    return orjson.dumps({"error": inner | ({"details": details} if details else {})})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """An error inside a stream that began with a 200."""
    return b"data: " + error(refusal, request_id) + b"\r\n\r\n"


def models(names: tuple[str, ...], created: int) -> bytes:
    """The body of a model list."""
    methods = ["generateContent", "streamGenerateContent"]
    data = [
        {"name": f"models/{name}", "version": "1", "displayName": name, "supportedGenerationMethods": methods}
        for name in names
    ]
    return orjson.dumps({"models": data})


def request_headers(request_id: str, limit: int | None, remaining: int, reset_s: float) -> bytes:
    """Gemini sends neither a request id nor limits in headers."""
    return b""


def retry_headers(seconds: float) -> bytes:
    """None: see `error`."""
    return b""


def context_length(tokens: int, window: int) -> Refusal:
    """A prompt that is longer than the window."""
    message = f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window})."
    return Refusal(400, "INVALID_ARGUMENT", None, message)
