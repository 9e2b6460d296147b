"""A chat request as users publish it: an OpenAI chat-completions body plus an optional `routing` object."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.catalog import ModelTier, Task
from schemas.errors import RequestError
from schemas.numbers import LONGEST_DEADLINE_MS, Weight
from schemas.policy import BalancerName, StrategyName, WeightName

Priority = Literal["interactive", "standard", "batch"]
DEPLOYMENT_PREFIX = "deployment:"
MOST_NAMED, LONGEST_NAMED = 8, 100
"""Wrong fields that an error names, and letters of each: a name may be as long as the request."""


class Routing(BaseModel):
    """How the caller steers the decision. Unknown fields are an error that names them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    request_id: str | None = Field(None, min_length=1, max_length=256)
    tenant: str | None = Field(None, min_length=1, max_length=128)
    session: str | None = Field(None, max_length=256)
    strategy: StrategyName | None = None
    balancer: BalancerName | None = None
    task: Task | None = None
    tier: ModelTier | None = None
    priority: Priority | None = None
    deadline_ms: int | None = Field(None, gt=0, le=LONGEST_DEADLINE_MS)
    max_cost_usd: float | None = Field(None, ge=0)
    min_quality: float | None = Field(None, ge=0, le=1)
    weights: dict[WeightName, Weight] | None = None
    region: str | None = None
    allow: list[str] | None = None
    deny: list[str] | None = None
    fallback: bool = True
    tags: dict[str, str] | None = None


class Message(BaseModel):
    """One message; what a provider understands beyond the role travels on as it is."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class ChatBody(BaseModel):
    """The fields that routing reads. Others travel on."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = Field(None, gt=0)
    max_completion_tokens: int | None = Field(None, gt=0)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    routing: Routing | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`body`: the provider-bound part, without `routing`. `model`: "auto", a model id, or `deployment:ID`."""

    body: dict[str, Any]
    routing: Routing
    model: str
    stream: bool
    max_tokens: int | None
    needs: frozenset[str]
    prompt_bytes: int

    def with_priority(self, priority: Priority) -> "ChatRequest":
        """The same request, with its topic's priority where it names none."""
        if self.routing.priority is not None or priority == "standard":
            return self
        return replace(self, routing=self.routing.model_copy(update={"priority": priority}))


NO_ROUTING = Routing()


def parse_request(value: bytes | None, *, max_bytes: int) -> ChatRequest:
    """Parse a JSON request. Raises RequestError `request_too_large` or `invalid_request` with what to do."""
    if not value:
        raise RequestError("invalid_request", "The record has no value; publish a chat-completions body as JSON.")
    if len(value) > max_bytes:
        raise RequestError(
            "request_too_large",
            f"The request has {len(value)} bytes and the limit is {max_bytes}; send a smaller one or raise max_request_bytes.",
        )
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        message = f"The value is not JSON ({where}); publish UTF-8 JSON, or set the content-type header to avro/binary."
        raise RequestError("invalid_request", message) from None
    return request_of(body, len(value))


def request_of(body: Any, size: int) -> ChatRequest:
    """A decoded body as a ChatRequest. Raises RequestError that names every wrong field."""
    if not isinstance(body, dict):
        raise RequestError("invalid_request", "The value must be a JSON object with `messages`.")
    try:
        parsed = ChatBody.model_validate(body)
    except ValidationError as error:
        raise _invalid(error, _claimed_id(body)) from None
    routing = parsed.routing or NO_ROUTING
    provider_body = {key: item for key, item in body.items() if key != "routing"}
    return ChatRequest(
        body=provider_body,
        routing=routing,
        model=parsed.model or "auto",
        stream=bool(parsed.stream),
        max_tokens=parsed.max_completion_tokens or parsed.max_tokens,
        needs=_needs(parsed),
        prompt_bytes=size,
    )


def _needs(body: ChatBody) -> frozenset[str]:
    needs = set()
    if body.tools:
        needs.add("tools")
    if body.response_format and body.response_format.get("type") == "json_schema":
        needs.add("json_schema")
    if body.stream:
        needs.add("streaming")
    if body.temperature not in (None, 1) or body.top_p not in (None, 1) or body.top_k is not None:
        needs.add("sampling")
    if body.tool_choice not in (None, "auto", "none"):
        needs.add("forced_tool")
    for message in body.messages:
        if isinstance(message.content, list) and any(part.get("type") == "image_url" for part in message.content):
            needs.add("vision")
    return frozenset(needs)


def _claimed_id(body: dict[str, Any]) -> str | None:
    """The id that a wrong body names: its caller waits for the error under it."""
    routing = body.get("routing")
    named = routing.get("request_id") if isinstance(routing, dict) else None
    return named if isinstance(named, str) and 0 < len(named) <= 256 else None


def _invalid(error: ValidationError, request_id: str | None) -> RequestError:
    """Names the first wrong fields without quoting a value: values may be content."""
    problems = []
    param = None
    for problem in error.errors(include_input=False, include_url=False)[:MOST_NAMED]:
        # pydantic adds "[key]" where a key of a mapping is wrong.
        path = ".".join(str(part)[:LONGEST_NAMED] for part in problem["loc"] if part != "[key]")
        param = param or path
        if problem["type"] == "extra_forbidden":
            problems.append(f"`{path}` is not a field that Turnout knows; remove it or correct its name")
        elif problem["type"] == "missing":
            problems.append(f"`{path}` is missing; add it")
        elif problem["type"] == "too_short":
            problems.append(f"`{path}` is empty; add at least one")
        elif problem["type"] == "model_type":
            problems.append(f"`{path}` must be a JSON object")
        else:
            problems.append(f"`{path}`: {problem['msg']}")
    return RequestError("invalid_request", "; ".join(problems) + ".", param=param, request_id=request_id)
