"""What a request needs, and that every wrong input gets one clear sentence that quotes no value."""

from typing import Any

import orjson
import pytest

from schemas.errors import RequestError
from schemas.requests import ChatRequest, parse_request, request_of

LIMIT = 10_000
SECRET = "my-secret-prompt"
MESSAGES = [{"role": "user", "content": "hello"}]


def parsed(body: Any) -> ChatRequest:
    return parse_request(orjson.dumps(body), max_bytes=LIMIT)


def refused(body: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        parsed(body)
    assert SECRET not in raised.value.message
    return raised.value


def test_a_bare_request_leaves_the_choice_to_the_router() -> None:
    request = parsed({"messages": MESSAGES})
    assert (request.model, request.stream, request.max_tokens, request.needs) == ("auto", False, None, frozenset())
    assert request.routing.fallback is True
    assert request.prompt_bytes == len(orjson.dumps({"messages": MESSAGES}))


def test_the_contract_example_is_read_whole() -> None:
    routing = {
        "request_id": "r-1", "tenant": "acme", "session": "s-9", "strategy": "cost", "balancer": "token_aware",
        "task": "code", "tier": "balanced", "priority": "interactive", "deadline_ms": 30000, "max_cost_usd": 0.02,
        "min_quality": 0.7, "weights": {"cost": 0.6, "quality": 0.4}, "region": "eu", "allow": ["openai/*"],
        "deny": ["*/llama*"], "fallback": True, "tags": {"team": "search"},
    }  # fmt: skip
    request = parsed({"model": "gpt-5-mini", "messages": MESSAGES, "routing": routing})
    assert request.routing.model_dump() == routing
    assert request.model == "gpt-5-mini"


def test_unknown_fields_of_the_body_travel_on_and_routing_does_not() -> None:
    body = {"messages": [{"role": "user", "content": "hello", "cache": True}], "top_k": 3, "seed": None}
    assert parsed(body | {"routing": {"tenant": "acme"}}).body == body


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"stream": True}, {"streaming"}),
        ({"response_format": {"type": "json_schema"}}, {"json_schema"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {"vision"}),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, set()),
    ],
)
def test_needs_follow_from_the_body(more: dict[str, Any], needs: set[str]) -> None:
    assert parsed({"messages": MESSAGES} | more).needs == needs


def test_max_completion_tokens_wins() -> None:
    assert parsed({"messages": MESSAGES, "max_tokens": 5}).max_tokens == 5
    assert parsed({"messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 7}).max_tokens == 7


@pytest.mark.parametrize("value", [None, b""])
def test_an_empty_record(value: bytes | None) -> None:
    with pytest.raises(RequestError, match="has no value; publish a chat-completions body as JSON") as raised:
        parse_request(value, max_bytes=LIMIT)
    assert raised.value.code == "invalid_request"


def test_too_large() -> None:
    value = orjson.dumps({"messages": MESSAGES})
    assert parse_request(value, max_bytes=len(value)).prompt_bytes == len(value)
    with pytest.raises(
        RequestError, match=f"has {len(value)} bytes and the limit is {len(value) - 1}; send a smaller"
    ) as raised:
        parse_request(value, max_bytes=len(value) - 1)
    assert raised.value.code == "request_too_large"


@pytest.mark.parametrize(
    "value", [SECRET.encode(), b'{"a": "' + SECRET.encode(), b"\xc3\x01abc", b"\xff\xfe{}", b"NaN"]
)
def test_not_json(value: bytes) -> None:
    with pytest.raises(
        RequestError, match=r"^The value is not JSON \(line \d+ column \d+\); publish UTF-8 JSON"
    ) as raised:
        parse_request(value, max_bytes=LIMIT)
    assert raised.value.code == "invalid_request"
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("body", [[SECRET], SECRET, 3, None, True])
def test_not_an_object(body: Any) -> None:
    assert refused(body).message == "The value must be a JSON object with `messages`."


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": SECRET}, "messages"),
        ({"messages": [SECRET]}, "messages.0"),
        ({"messages": [{"content": SECRET}]}, "messages.0.role"),
        ({"messages": [{"role": SECRET}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content.str"),
        ({"messages": MESSAGES, "model": 3}, "model"),
        ({"messages": MESSAGES, "stream": "true"}, "stream"),
        ({"messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        ({"messages": MESSAGES, "max_tokens": "5"}, "max_tokens"),
        ({"messages": MESSAGES, "tools": SECRET}, "tools"),
        ({"messages": MESSAGES, "response_format": SECRET}, "response_format"),
        ({"messages": MESSAGES, "routing": SECRET}, "routing"),
        ({"messages": MESSAGES, "routing": {"request_id": ""}}, "routing.request_id"),
        ({"messages": MESSAGES, "routing": {"strategy": SECRET}}, "routing.strategy"),
        ({"messages": MESSAGES, "routing": {"balancer": SECRET}}, "routing.balancer"),
        ({"messages": MESSAGES, "routing": {"task": SECRET}}, "routing.task"),
        ({"messages": MESSAGES, "routing": {"priority": SECRET}}, "routing.priority"),
        ({"messages": MESSAGES, "routing": {"deadline_ms": -1}}, "routing.deadline_ms"),
        ({"messages": MESSAGES, "routing": {"deadline_ms": "30"}}, "routing.deadline_ms"),
        ({"messages": MESSAGES, "routing": {"max_cost_usd": -0.1}}, "routing.max_cost_usd"),
        ({"messages": MESSAGES, "routing": {"min_quality": 1.1}}, "routing.min_quality"),
        ({"messages": MESSAGES, "routing": {"weights": {"cost": SECRET}}}, "routing.weights.cost"),
        ({"messages": MESSAGES, "routing": {"weights": {"cost": -1}}}, "routing.weights.cost"),
        ({"messages": MESSAGES, "routing": {"weights": {"price": 1}}}, "routing.weights.price"),
        ({"messages": MESSAGES, "routing": {"allow": SECRET}}, "routing.allow"),
        ({"messages": MESSAGES, "routing": {"tags": {"team": 3}}}, "routing.tags.team"),
        ({"messages": MESSAGES, "routing": {"fallback": 1}}, "routing.fallback"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_quoted(body: dict[str, Any], param: str) -> None:
    error = refused(body)
    assert error.code == "invalid_request"
    assert not error.retryable
    assert error.param == param
    assert error.message.startswith(f"`{param}`")
    assert error.message.endswith(".")


def test_unknown_routing_fields_are_named() -> None:
    error = refused({"messages": MESSAGES, "routing": {"stratgy": SECRET, "teant": SECRET}})
    assert error.message == (
        "`routing.stratgy` is not a field that Turnout knows; remove it or correct its name; "
        "`routing.teant` is not a field that Turnout knows; remove it or correct its name."
    )
    assert error.param == "routing.stratgy"


def test_what_must_be_an_object_is_told_so() -> None:
    assert refused({"messages": [SECRET], "routing": SECRET}).message == (
        "`messages.0` must be a JSON object; `routing` must be a JSON object."
    )


def test_at_most_eight_problems_are_listed() -> None:
    error = refused({"messages": MESSAGES, "routing": {f"wrong{index}": SECRET for index in range(20)}})
    assert error.message.count("is not a field") == 8


def test_a_long_name_is_cut() -> None:
    error = refused({"messages": MESSAGES, "routing": {"k" * 5_000: SECRET}})
    assert error.message == f"`routing.{'k' * 100}` is not a field that Turnout knows; remove it or correct its name."
    assert error.param == f"routing.{'k' * 100}"


def test_a_decoded_body_of_another_format_goes_the_same_way() -> None:
    assert request_of({"messages": MESSAGES}, 77).prompt_bytes == 77
