"""Gemini generateContent.

Thoughts travel as `message.reasoning_content`; the opaque `thoughtSignature` of a call or a text as
`extra_content.google.thought_signature`, where Google's own OpenAI endpoint puts it, and goes back unchanged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from agents.execution import conversation
from agents.execution.assembly import Delta, joined
from agents.execution.body import (
    chunk,
    count,
    decoded,
    from_json,
    mapping,
    objects,
    part_count,
    read_usage,
    speaks_of_context,
    text_of,
    written_usage,
)  # fmt: skip
from agents.execution.carried import fields_beyond, stops, token_limit
from agents.execution.functions import Function, Functions, read_functions, read_shape
from agents.execution.outcome import UNREADABLE, Answer, Trouble
from agents.execution.retry_after import duration_ms
from agents.execution.sse import Event
from schemas.catalog import Deployment

MAX_STOPS = 5
_HEADERS = {"content-type": "application/json", "accept": "application/json"}
_STREAM_HEADERS = {**_HEADERS, "accept": "text/event-stream"}
_CARRIED = frozenset({
    "frequency_penalty", "max_completion_tokens", "max_tokens", "messages", "model", "n", "parallel_tool_calls",
    "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice", "tools",
    "top_k", "top_p",
})  # fmt: skip
_CONFIG = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed", "n": "candidateCount",
    "frequency_penalty": "frequencyPenalty", "presence_penalty": "presencePenalty",
}  # fmt: skip
# Gemini 2.5 takes a budget of tokens, later ones a level: the pairs are those of Google's own OpenAI endpoint.
_BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_BEFORE_LEVELS = re.compile(r"gemini-[12]\b")
# Later models refuse a call without a signature. Google's word for a call that another model made.
_UNSIGNED = "skip_thought_signature_validator"
_FINISH = {"MAX_TOKENS": "length"} | dict.fromkeys((
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION",
    "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR",
), "content_filter")  # fmt: skip
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
# Calls that came without an id get one of ours, which does not go back.
_OWN_ID = "call_turnout_"


def auth(deployment: Deployment, key: str) -> dict[str, str]:
    """`x-goog-api-key`, or Bearer where the deployment's headers say `authorization: Bearer`. Never in the URL."""
    if any(name.lower() == "authorization" for name in deployment.headers):
        return {"authorization": f"Bearer {key}"}
    return {"x-goog-api-key": key}


def unsupported(body: dict[str, Any]) -> tuple[str, ...]:
    """Among others: log probabilities, calls that must not be parallel, images by a URL that shows no type."""
    beyond = fields_beyond(body, _CARRIED)
    talk, functions = conversation.read_conversation(body.get("messages")), read_functions(body)
    if not functions.parallel and functions.given:
        beyond.append("parallel_tool_calls")
    if not read_shape(body).kind:
        beyond.append("response_format")
    effort = body.get("reasoning_effort")
    if effort is not None and (not isinstance(effort, str) or effort not in _BUDGETS):
        beyond.append("reasoning_effort")
    if len(stops(body)) > MAX_STOPS:
        beyond.append("stop")
    parts = [part for turn in talk.turns for part in turn.parts]
    images = [part for part in parts if isinstance(part, conversation.Image) and part.url]
    if not all(conversation.media_type(image.url) for image in images):
        beyond.append("messages.content.image_url")
    if len(talk.details) > 1:
        # One resolution holds for all images of a request.
        beyond.append("messages.content.image_url.detail")
    if any(isinstance(part, conversation.Result) and part.call_id not in talk.function_by_call for part in parts):
        beyond.append("messages.tool_call_id")
    return tuple(dict.fromkeys((*beyond, *talk.beyond, *functions.beyond)))


def request(deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
    """(path, headers, JSON)."""
    model = deployment.upstream_model or deployment.model
    talk, functions = conversation.read_conversation(body.get("messages")), read_functions(body)
    levels = _BEFORE_LEVELS.search(model) is None
    sent: dict[str, Any] = {"contents": [_content(turn, talk, signed=levels) for turn in talk.turns]}
    if talk.system:
        sent["systemInstruction"] = {"parts": [{"text": text.text} for text in talk.system]}
    if functions.given:
        sent["tools"] = [{"functionDeclarations": [_declared(function) for function in functions.given]}]
        if calling := _calling(functions):
            sent["toolConfig"] = {"functionCallingConfig": calling}
    config = {theirs: body[ours] for ours, theirs in _CONFIG.items() if body.get(ours) is not None}
    if (limit := token_limit(body)) is not None:
        config["maxOutputTokens"] = limit
    if given := stops(body):
        config["stopSequences"] = given
    for resolution in talk.details & _RESOLUTIONS.keys():
        config["mediaResolution"] = _RESOLUTIONS[resolution]
    shape = read_shape(body)
    if shape.kind in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
    if shape.kind == "json_schema":
        config["responseJsonSchema"] = shape.schema
    if (effort := body.get("reasoning_effort")) is not None:
        thinking = ("thinkingLevel", _LEVELS[effort]) if levels else ("thinkingBudget", _BUDGETS[effort])
        config["thinkingConfig"] = dict([thinking]) | ({} if effort == "none" else {"includeThoughts": True})
    if config:
        sent["generationConfig"] = config
    path = f"/models/{quote(model, safe='')}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
    return path, _STREAM_HEADERS if stream else _HEADERS, orjson.dumps(sent)


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer | Trouble:
    """Read a whole body. headers: lower-case names."""
    read = decoded(headers, body)
    if status != 200:
        return _trouble(read)
    given = _Chunks(0).read_response(read)
    if isinstance(given, Trouble):
        return given
    answer = joined(given)
    return answer if answer.completion["choices"] else UNREADABLE


def chunks(created: int) -> "_Chunks":
    """A reader of one stream: every event is a whole response, and no sentinel ends it."""
    return _Chunks(created)


@dataclass(slots=True)
class _Chunks:
    """Knows how many calls there were: their number is not in the events."""

    created: int
    _calls: dict[int, int] = field(default_factory=dict)
    _begun: bool = False

    def read(self, event: Event) -> list[Delta] | Trouble | None:
        return self.read_response(from_json(event.data))

    def read_response(self, read: Any) -> list[Delta] | Trouble:
        """The chunks of one GenerateContentResponse."""
        if not isinstance(read, dict) or "error" in read:
            return _trouble(read)
        candidates, feedback = read.get("candidates"), mapping(read.get("promptFeedback"))
        if candidates is not None and not isinstance(candidates, list):
            return UNREADABLE
        usage = _usage(mapping(read.get("usageMetadata")))
        given: list[Delta] = []
        if not candidates and feedback.get("blockReason"):
            refusal = f"The provider's filter refused the prompt: {text_of(feedback['blockReason'])}."
            given.append(self._chunk(read, {"role": "assistant", "refusal": refusal}, "content_filter"))
        for candidate in objects(candidates):
            reason = candidate.get("finishReason")
            if text_of(reason) in _BROKEN:
                return Trouble(readable=True, codes=(text_of(reason),), usage=read_usage(usage))
            parts = mapping(candidate.get("content")).get("parts")
            index = count(candidate.get("index")) or 0
            delta = self._delta(objects(parts), index, text_of(read.get("responseId")))
            if reason is None and not delta:
                continue
            stop = "tool_calls" if self._calls.get(index) else "stop"
            finish = None if reason is None else _FINISH.get(text_of(reason), stop)
            role = {} if self._begun else {"role": "assistant", "content": ""}
            self._begun = True
            given.append(self._chunk(read, role | delta, finish, index=index))
        if usage is not None:
            head = given[-1] if given else self._chunk(read, {}) | {"choices": []}
            given = [*given[:-1], {**head, "usage": usage}]
        return given

    def _delta(self, parts: list[dict[str, Any]], index: int, id: str) -> dict[str, Any]:
        text, thought, calls = "", "", []
        delta: dict[str, Any] = {}
        for part in parts:
            signature = text_of(part.get("thoughtSignature"))
            extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
            called = part.get("functionCall")
            if isinstance(called, dict):
                arguments = orjson.dumps(mapping(called.get("args"))).decode()
                function = {"name": text_of(called.get("name")), "arguments": arguments}
                at = self._calls.get(index, 0)
                own = text_of(called.get("id")) or f"{_OWN_ID}{id}_{index}_{at}"
                calls.append({"index": at, "id": own, "type": "function", "function": function, **extra})
                self._calls[index] = at + 1
                continue
            delta |= extra
            if part.get("thought") is True:
                thought += text_of(part.get("text"))
            else:
                text += text_of(part.get("text"))
        if thought:
            delta["reasoning_content"] = thought
        if text:
            delta["content"] = text
        return delta | ({"tool_calls": calls} if calls else {})

    def _chunk(
        self, read: dict[str, Any], delta: dict[str, Any], finish: str | None = None, *, index: int = 0
    ) -> Delta:
        id, model = text_of(read.get("responseId")), text_of(read.get("modelVersion"))
        return chunk(id, model, self.created, delta, finish, index=index)


def _content(turn: conversation.Turn, talk: conversation.Conversation, *, signed: bool) -> dict[str, Any]:
    calls = [part for part in turn.parts if isinstance(part, conversation.Call)]
    unsigned = calls[0] if signed and calls and not any(call.signature for call in calls) else None
    parts = [_part(part, talk, unsigned=part is unsigned) for part in turn.parts]
    if turn.signature:
        # It belongs to the text; where there is none, a part of its own carries it.
        last = next((part for part in reversed(parts) if "text" in part), None)
        if last is None:
            parts.append(last := {"text": ""})
        last["thoughtSignature"] = turn.signature
    return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}


def _part(part: conversation.Part, talk: conversation.Conversation, *, unsigned: bool) -> dict[str, Any]:
    match part:
        case conversation.Text():
            return {"text": part.text}
        case conversation.Image(url=""):
            return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
        case conversation.Image():
            return {"fileData": {"mimeType": conversation.media_type(part.url), "fileUri": part.url}}
        case conversation.Call():
            called: dict[str, Any] = {"functionCall": _with_id({"name": part.name, "args": part.arguments}, part.id)}
            signature = part.signature or (_UNSIGNED if unsigned else "")
            return called | ({"thoughtSignature": signature} if signature else {})
        case conversation.Result():
            said = "".join(text.text for text in part.texts)
            value = from_json(said)
            # A response must be an object.
            response = value if isinstance(value, dict) else {"result": said}
            answered = {"name": talk.function_by_call.get(part.call_id, ""), "response": response}
            return {"functionResponse": _with_id(answered, part.call_id)}


def _with_id(named: dict[str, Any], id: str) -> dict[str, Any]:
    return named if id.startswith(_OWN_ID) else {**named, "id": id}


def _declared(function: Function) -> dict[str, Any]:
    known = {"description": function.description, "parametersJsonSchema": function.schema}
    return {"name": function.name, **{name: value for name, value in known.items() if value is not None}}


def _calling(functions: Functions) -> dict[str, Any]:
    if functions.choice == "function":
        return {"mode": "ANY", "allowedFunctionNames": [functions.only]}
    if functions.choice != "auto":
        return {"mode": {"none": "NONE", "required": "ANY"}[functions.choice]}
    # The mode that holds arguments to their schema while text stays allowed.
    return {"mode": "VALIDATED"} if any(function.strict for function in functions.given) else {}


def _usage(numbers: dict[str, Any]) -> dict[str, Any] | None:
    """The prompt includes what was cached; thoughts stand beside the candidates and are billed as output."""
    prompt, tools = count(numbers.get("promptTokenCount")), part_count(numbers.get("toolUsePromptTokenCount"))
    cached, said = part_count(numbers.get("cachedContentTokenCount")), part_count(numbers.get("candidatesTokenCount"))
    thought = part_count(numbers.get("thoughtsTokenCount"))
    if prompt is None or tools is None or cached is None or said is None or thought is None:
        return None
    return written_usage(prompt + tools, said + thought, cached, 0, thought)


def _trouble(read: Any) -> Trouble:
    """`{error: {code, message, status, details[]}}`, sometimes in a list of one."""
    holder = read[0] if isinstance(read, list) and read else read
    error = mapping(holder).get("error")
    if not isinstance(error, dict):
        return UNREADABLE
    codes: list[str] = []
    param, wait = "", None
    for detail in objects(error.get("details")):
        codes.append(text_of(detail.get("reason")))
        codes += [text_of(violation.get("quotaId")) for violation in objects(detail.get("violations"))]
        for violation in objects(detail.get("fieldViolations")):
            param = param or text_of(violation.get("field"))
        wait = duration_ms(text_of(detail.get("retryDelay"))) if "retryDelay" in detail else wait
    code = error.get("code")
    return Trouble(
        readable=True,
        codes=(*(name for name in codes if name), text_of(error.get("status"))),
        param=param,
        context=speaks_of_context(error.get("message")),
        inner_status=code if type(code) is int and 400 <= code <= 599 else 0,
        retry_after_ms=wait,
    )
