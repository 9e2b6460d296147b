"""Anthropic messages.

The system stands apart, tool results are a user's blocks, the limit is required. Thinking travels as
`message.reasoning_content` (text) and `message.thinking_blocks` (whole, with signatures), and goes back unchanged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
from agents.execution.sse import Event
from schemas.catalog import Deployment

PATH = "/messages"
VERSION = "2023-06-01"
# The limit is required; where a request has none, it is the catalog's default for a model's answer.
MAX_TOKENS = 8_192
_HEADERS = {"content-type": "application/json", "accept": "application/json", "anthropic-version": VERSION}
_STREAM_HEADERS = {**_HEADERS, "accept": "text/event-stream"}
_CARRIED = frozenset({
    "max_completion_tokens", "max_tokens", "messages", "model", "parallel_tool_calls", "reasoning_effort",
    "response_format", "stop", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
})  # fmt: skip
_EFFORTS = {"none": "", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter",
}  # fmt: skip
_WINDOW = "model_context_window_exceeded"
_FIELD = re.compile(r"[a-z_]+(?:\.[\w-]+)*")


def auth(deployment: Deployment, key: str) -> dict[str, str]:
    """`x-api-key`, or Bearer where the deployment's headers ask for it: by `authorization: Bearer`, or by a version
    after 2023-06-01, which comes with it."""
    headers = {name.lower(): value for name, value in deployment.headers.items()}
    newer = headers.get("anthropic-version", VERSION) > VERSION
    if "authorization" in headers or (newer and "x-api-key" not in headers):
        return {"authorization": f"Bearer {key}"}
    return {"x-api-key": key}


def unsupported(body: dict[str, Any]) -> tuple[str, ...]:
    """Among others: n, seed, penalties, log probabilities, json_object, sound, a temperature above 1."""
    beyond, shape = fields_beyond(body, _CARRIED), read_shape(body)
    talk, functions = conversation.read_conversation(body.get("messages")), read_functions(body)
    if shape.kind in ("", "json_object"):
        beyond.append("response_format" + (".json_object" if shape.kind else ""))
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        beyond.append("temperature")
    effort = body.get("reasoning_effort")
    if effort is not None and (not isinstance(effort, str) or effort not in _EFFORTS):
        beyond.append("reasoning_effort")
    if any(not isinstance(stop, str) or not stop.strip() for stop in stops(body)):
        beyond.append("stop")
    if "low" in talk.details:
        # Every image is looked at closely, and billed so.
        beyond.append("messages.content.image_url.detail")
    return tuple(dict.fromkeys((*beyond, *talk.beyond, *functions.beyond)))


def request(deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
    """(path, headers, JSON)."""
    talk, functions = conversation.read_conversation(body.get("messages")), read_functions(body)
    limit = token_limit(body)
    sent: dict[str, Any] = {
        "model": deployment.upstream_model or deployment.model,
        "max_tokens": MAX_TOKENS if limit is None else limit,
        "messages": [{"role": turn.role, "content": _blocks(turn)} for turn in talk.turns],
    }
    if talk.system:
        sent["system"] = [_text(text) for text in talk.system]
    for name in ("temperature", "top_p", "top_k", "thinking"):
        if body.get(name) is not None:
            sent[name] = body[name]
    if given := stops(body):
        sent["stop_sequences"] = given
    if functions.given:
        sent["tools"] = [_tool(function) for function in functions.given]
        if (choice := _choice(functions)) != {"type": "auto"}:
            sent["tool_choice"] = choice
    output, shape = dict[str, Any](), read_shape(body)
    if shape.kind == "json_schema":
        output["format"] = {"type": "json_schema", "schema": shape.schema}
    if (effort := body.get("reasoning_effort")) == "none":
        sent.setdefault("thinking", {"type": "disabled"})
    elif effort is not None:
        output["effort"] = _EFFORTS[effort]
        sent.setdefault("thinking", {"type": "adaptive"})
    if output:
        sent["output_config"] = output
    user = body.get("safety_identifier") or body.get("user")
    if isinstance(user, str) and user:
        sent["metadata"] = {"user_id": user}
    if stream:
        sent["stream"] = True
    return PATH, _STREAM_HEADERS if stream else _HEADERS, orjson.dumps(sent)


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer | Trouble:
    """Read a whole body. headers: lower-case names."""
    read = decoded(headers, body)
    if not isinstance(read, dict):
        return UNREADABLE
    if status != 200 or read.get("type") == "error":
        return _trouble(read)
    content = read.get("content")
    if read.get("type") != "message" or not isinstance(content, list):
        return UNREADABLE
    reader = _Chunks(0)
    given = reader.begun(read)
    for block in objects(content):
        given += reader.whole(block)
    ended = reader.ended(read, read)
    if isinstance(ended, Trouble):
        return ended
    return joined((*given, *ended))


def chunks(created: int) -> "_Chunks":
    """A reader of one stream."""
    return _Chunks(created)


@dataclass(slots=True)
class _Chunks:
    """Knows the message's head, its usage so far, its open block and how many calls there were."""

    created: int
    _id: str = ""
    _model: str = ""
    _usage: dict[str, Any] = field(default_factory=dict)
    _block: dict[str, Any] = field(default_factory=dict)
    _calls: int = 0

    def read(self, event: Event) -> list[Delta] | Trouble | None:
        read = from_json(event.data)
        if not isinstance(read, dict):
            return UNREADABLE
        match read.get("type"):
            case "message_start":
                return self.begun(mapping(read.get("message")))
            case "content_block_start":
                return self._started(mapping(read.get("content_block")))
            case "content_block_delta":
                return self._said(mapping(read.get("delta")))
            case "content_block_stop":
                return self._stopped()
            case "message_delta":
                return self.ended(mapping(read.get("delta")), read)
            case "message_stop":
                return None
            case "error":
                return _trouble(read)
        # Pings, and kinds that are still to come.
        return []

    def begun(self, message: dict[str, Any]) -> list[Delta]:
        """The head of a message."""
        self._id, self._model = text_of(message.get("id")), text_of(message.get("model"))
        self._usage = dict(mapping(message.get("usage")))
        return [self._chunk({"role": "assistant", "content": ""})]

    def whole(self, block: dict[str, Any]) -> list[Delta]:
        """A block that came at once."""
        said: list[Delta] = []
        if block.get("type") == "tool_use":
            given = orjson.dumps(mapping(block.get("input"))).decode()
            said = [self._chunk({"tool_calls": [{"index": self._calls, "function": {"arguments": given}}]})]
        elif block.get("type") == "thinking" and (thought := text_of(block.get("thinking"))):
            said = [self._chunk({"reasoning_content": thought})]
        return [*self._started(block), *said, *self._stopped()]

    def ended(self, delta: dict[str, Any], holder: dict[str, Any]) -> list[Delta] | Trouble:
        """The end of a message, where `delta` has a reason for it. holder: of its usage."""
        # Its numbers are of the whole message, and replace those of the start.
        self._usage |= {name: value for name, value in mapping(holder.get("usage")).items() if value is not None}
        reason = delta.get("stop_reason")
        if reason is None:
            return []
        usage = _usage(self._usage)
        if reason == _WINDOW:
            return Trouble(readable=True, codes=(_WINDOW,), usage=read_usage(usage))
        return [self._chunk({}, _FINISH.get(text_of(reason), "stop")) | {"usage": usage}]

    def _stopped(self) -> list[Delta]:
        block, self._block = self._block, {}
        thought = block.get("type") in ("thinking", "redacted_thinking")
        return [self._chunk({"thinking_blocks": [block]})] if thought else []

    def _started(self, block: dict[str, Any]) -> list[Delta]:
        self._block = dict(block)
        if block.get("type") == "tool_use":
            function = {"name": text_of(block.get("name")), "arguments": ""}
            call = {"id": text_of(block.get("id")), "type": "function", "function": function}
            self._calls += 1
            return [self._chunk({"tool_calls": [{"index": self._calls - 1, **call}]})]
        first = text_of(block.get("text"))
        return [self._chunk({"content": first})] if first else []

    def _said(self, delta: dict[str, Any]) -> list[Delta]:
        match delta.get("type"):
            case "text_delta":
                return [self._chunk({"content": text_of(delta.get("text"))})]
            case "input_json_delta":
                part = {"index": self._calls - 1, "function": {"arguments": text_of(delta.get("partial_json"))}}
                return [self._chunk({"tool_calls": [part]})] if self._calls else []
            case "thinking_delta":
                said = text_of(delta.get("thinking"))
                self._block["thinking"] = text_of(self._block.get("thinking")) + said
                return [self._chunk({"reasoning_content": said})]
            case "signature_delta":
                self._block["signature"] = text_of(self._block.get("signature")) + text_of(delta.get("signature"))
        return []

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> Delta:
        return chunk(self._id, self._model, self.created, delta, finish)


def _blocks(turn: conversation.Turn) -> list[dict[str, Any]]:
    # Results first, as the format demands; thinking before what came of it.
    results = [_block(part) for part in turn.parts if isinstance(part, conversation.Result)]
    others = [_block(part) for part in turn.parts if not isinstance(part, conversation.Result)]
    return [*turn.thinking, *results, *others]


def _block(part: conversation.Part) -> dict[str, Any]:
    match part:
        case conversation.Text():
            return _text(part)
        case conversation.Image(url=""):
            return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}
        case conversation.Image(url=url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case conversation.Call():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
        case conversation.Result():
            return {"type": "tool_result", "tool_use_id": part.call_id, "content": [_text(text) for text in part.texts]}


def _text(text: conversation.Text) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text.text}
    return block if text.cache is None else {**block, "cache_control": text.cache}


def _tool(function: Function) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": function.name, "input_schema": function.schema or {"type": "object"}}
    known = {"description": function.description, "strict": function.strict or None, "cache_control": function.cache}
    return tool | {name: value for name, value in known.items() if value is not None}


def _choice(functions: Functions) -> dict[str, Any]:
    if functions.choice == "none":
        return {"type": "none"}
    choice: dict[str, Any] = {"type": {"required": "any", "function": "tool"}.get(functions.choice, "auto")}
    if functions.choice == "function":
        choice["name"] = functions.only
    if not functions.parallel:
        choice["disable_parallel_tool_use"] = True
    return choice


def _usage(given: dict[str, Any]) -> dict[str, Any] | None:
    """`input_tokens` leaves out what was read from the cache or written to it: all three are the prompt."""
    fresh, out = count(given.get("input_tokens")), count(given.get("output_tokens"))
    cached = part_count(given.get("cache_read_input_tokens"))
    written = part_count(given.get("cache_creation_input_tokens"))
    thought = part_count(mapping(given.get("output_tokens_details")).get("thinking_tokens"))
    if fresh is None or out is None or cached is None or written is None or thought is None:
        return None
    return written_usage(fresh + cached + written, out, cached, written, thought)


def _trouble(read: dict[str, Any]) -> Trouble:
    """`{type: error, error: {type, message}}`; a message about a field begins with its name."""
    error = read.get("error")
    if not isinstance(error, dict):
        return UNREADABLE
    message = text_of(error.get("message"))
    field_name = message.partition(":")[0]
    billing = ("credit_balance_exhausted",) if "credit balance is too low" in message else ()
    codes = (*billing, text_of(error.get("type")))
    param = field_name if field_name != message and _FIELD.fullmatch(field_name) else ""
    return Trouble(readable=True, codes=codes, param=param, context=speaks_of_context(message))
