"""Chat in Avro: a body comes back equal, and hostile bytes become one sentence."""

import struct
from contextlib import suppress
from io import BytesIO
from typing import Any, get_args

import orjson
import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chat_avro import (
    CHAT_RECORDS,
    MAX_ITEMS,
    chat_schemas,
    decode_chunk,
    decode_request,
    decode_response,
    encode_chunk,
    encode_request,
    encode_response,
)
from schemas.errors import ERROR_TYPES, OperationError, RequestError
from schemas.requests import Routing, parse_request
from schemas.responses import chat_response, error_response

LIMIT = 8 * 1024 * 1024
SECRET = "my-secret-prompt"
IDS = {(name, 1): 7 + index for index, name in enumerate(CHAT_RECORDS)}
SCHEMAS = {schema.event: schema for schema in chat_schemas()}
HEADER = SCHEMAS["ChatRequest"].header

ROUTING = {
    "request_id": "r-1",
    "tenant": "acme",
    "session": "s-9",
    "strategy": "cost",
    "balancer": "token_aware",
    "task": "code",
    "tier": "balanced",
    "priority": "interactive",
    "deadline_ms": 30000,
    "max_cost_usd": 0.02,
    "min_quality": 0.7,
    "weights": {"cost": 0.6, "quality": 0.4},
    "region": "eu",
    "allow": ["openai/*"],
    "deny": ["*/llama*"],
    "fallback": True,
    "tags": {"team": "search"},
}
REQUEST = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42", "cache_control": {"type": "ephemeral"}},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "top_p": 0.5,
    "max_tokens": 100,
    "stop": ["\n"],
    "seed": 7,
    "n": 1,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {}},
    "user": None,
    "top_k": 40,
    "routing": ROUTING,
}
ANSWER_ROUTING = {
    "request_id": "r-1",
    "tenant": "acme",
    "status": "ok",
    "deployment": "openai-mini-eu",
    "provider": "openai",
    "tier": "secondary",
    "strategy": "cost",
    "cost_strategy": "budget_aware",
    "balancer": "least_response_time",
    "task": "code",
    "confidence": 0.83,
    "reasons": ["cheapest of 4 capable deployments"],
    "attempts": [
        {
            "number": 1,
            "deployment": "anthropic-main",
            "tier": "primary",
            "outcome": "failed",
            "failure": "server_error",
            "http_status": 500,
            "latency_ms": 12.1,
            "cost_usd": 0,
        },
        {
            "number": 2,
            "deployment": "openai-mini-eu",
            "tier": "secondary",
            "outcome": "succeeded",
            "http_status": 200,
            "latency_ms": 230.1,
            "cost_usd": 0.000123,
        },
    ],
    "cost_usd": 0.000123,
    "latency_ms": {"queue": 1.2, "decision": 0.05, "first_token": 80.3, "provider": 230.1, "total": 245.0},
}
COMPLETION = {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
    "system_fingerprint": "fp_1",
    "x_provider": {"region": "eu"},
}
ANSWER = chat_response(COMPLETION, "r-1", 1_790_000_000, "gpt-5-mini", ANSWER_ROUTING)
CHUNK = {
    "id": "chatcmpl-r-1",
    "object": "chat.completion.chunk",
    "created": 1_790_000_000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}],
    "routing": {"request_id": "r-1", "run": 44, "attempt": 1, "sequence": 0, "last": False},
}

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), FLOATS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def objects_of(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with the field names of an Avro record: right values, any values, and names it does not know."""
    typed = {
        field["name"]: st.one_of(JSON, *(of_type(branch) for branch in as_union(field["type"]) if branch != "null"))
        for field in record["fields"]
    }
    return st.builds(dict.__or__, st.fixed_dictionaries({}, optional=typed), st.dictionaries(TEXTS, JSON, max_size=2))


def as_union(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [node]


def of_type(node: Any) -> st.SearchStrategy[Any]:
    match node:
        case {"type": "record"}:
            return objects_of(node)
        case {"type": "array", "items": items}:
            return st.lists(of_type(items), max_size=2)
        case {"type": "map", "values": values}:
            return st.dictionaries(TEXTS, of_type(values), max_size=2)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
        case "double":
            return FLOATS
        case "boolean":
            return st.booleans()
        case _:
            return TEXTS


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


POSITIVE = st.integers(1, 10**9)
MESSAGE = st.builds(
    dict.__or__,
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
        optional={
            "content": st.one_of(st.none(), TEXTS, st.lists(st.dictionaries(TEXTS, JSON, max_size=3), max_size=2)),
            "name": st.one_of(TEXTS, JSON),
            "tool_calls": JSON,
            "tool_call_id": JSON,
            "refusal": JSON,
            "parts": JSON,
            "extra": JSON,
        },
    ),
    st.dictionaries(TEXTS, JSON, max_size=2).map(
        lambda more: {k: v for k, v in more.items() if k not in ("role", "content")}
    ),
)
LITERALS = {
    name: st.sampled_from(get_args(get_args(Routing.model_fields[name].annotation)[0]))
    for name in ("strategy", "balancer", "task", "tier", "priority")
}
ROUTINGS = optional(
    **LITERALS,
    request_id=TEXTS.filter(bool),
    tenant=st.one_of(st.none(), TEXTS.filter(bool)),
    session=TEXTS,
    deadline_ms=st.integers(1, 86_400_000),
    max_cost_usd=st.floats(0, 10),
    min_quality=st.one_of(st.floats(0, 1), st.sampled_from([0, 1])),
    weights=st.dictionaries(st.sampled_from(["cost", "speed", "quality", "reliability", "load"]), st.floats(0, 1)),
    region=TEXTS,
    allow=st.lists(TEXTS, max_size=3),
    deny=st.lists(TEXTS, max_size=3),
    fallback=st.booleans(),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
BODIES = st.builds(
    lambda messages, known, other: {**other, **known, "messages": messages},
    st.lists(MESSAGE, min_size=1, max_size=3),
    optional(
        model=TEXTS,
        stream=st.one_of(st.none(), st.booleans()),
        max_tokens=POSITIVE,
        max_completion_tokens=POSITIVE,
        temperature=JSON,
        top_p=st.floats(0, 1),
        n=st.one_of(POSITIVE, JSON),
        seed=JSON,
        user=JSON,
        metadata=JSON,
        stop=st.one_of(st.none(), TEXTS, st.lists(TEXTS, max_size=3), JSON),
        tool_choice=JSON,
        logit_bias=JSON,
        tools=st.lists(st.dictionaries(TEXTS, JSON, max_size=2), max_size=2),
        extra=JSON,
        response_format=st.dictionaries(TEXTS, JSON, max_size=2),
        routing=st.one_of(st.none(), ROUTINGS),
    ),
    optional(top_k=JSON, thinking=JSON, parts=JSON),
)


@settings(max_examples=150, deadline=None)
@given(body=BODIES)
def test_a_request_is_the_same_in_avro_and_in_json(body: dict[str, Any]) -> None:
    from_json = parse_request(orjson.dumps(body), max_bytes=LIMIT)
    for ids in (None, IDS):
        value = encode_request(body, ids)
        request = decode_request(value, LIMIT, ids)
        assert request.body == from_json.body
        assert request.routing == from_json.routing
        assert request.routing.model_fields_set == from_json.routing.model_fields_set
        assert (request.model, request.stream, request.max_tokens, request.needs) == (
            from_json.model,
            from_json.stream,
            from_json.max_tokens,
            from_json.needs,
        )
        assert request.prompt_bytes == len(value)


@settings(max_examples=150, deadline=None)
@given(body=objects_of(SCHEMAS["ChatResponse"].document))
def test_any_answer_comes_back_equal(body: dict[str, Any]) -> None:
    assert decode_response(encode_response(body)) == body


@settings(max_examples=150, deadline=None)
@given(body=objects_of(SCHEMAS["ResponseChunk"].document))
def test_any_chunk_comes_back_equal(body: dict[str, Any]) -> None:
    assert decode_chunk(encode_chunk(body)) == body


def test_the_contracts_request() -> None:
    request = decode_request(encode_request(REQUEST), LIMIT)
    assert request.body | {"routing": request.routing.model_dump()} == REQUEST
    assert request.needs == {"tools", "json_schema", "streaming", "vision", "sampling"}


@pytest.mark.parametrize("ids", [None, IDS])
def test_the_contracts_answers_and_chunks(ids: dict[tuple[str, int], int] | None) -> None:
    assert decode_response(encode_response(ANSWER, ids), ids) == ANSWER
    assert decode_chunk(encode_chunk(CHUNK, ids), ids) == CHUNK
    last = CHUNK | {"choices": [], "error": {"message": "m", "type": "t", "code": "c", "param": None}}
    assert decode_chunk(encode_chunk(last)) == last


@pytest.mark.parametrize("code", ERROR_TYPES)
def test_every_final_error(code: str) -> None:
    body = error_response(RequestError(code, "Do this.", retry_after_ms=1200), ANSWER_ROUTING)
    assert decode_response(encode_response(body)) == body


def test_an_answer_may_hold_tuples() -> None:
    body = ANSWER | {"routing": ANSWER_ROUTING | {"reasons": ("a", "b")}}
    assert decode_response(encode_response(body))["routing"]["reasons"] == ["a", "b"]


def test_common_fields_are_typed_and_not_extra() -> None:
    """Another Avro reader finds the contract's fields under their names."""
    schema = SCHEMAS["ChatResponse"]
    record: Any = schemaless_reader(BytesIO(encode_response(ANSWER)[10:]), schema.parsed, None)
    assert record["extra"] == {"x_provider": '{"region":"eu"}'}
    assert record["routing"]["extra"] == {}
    assert record["routing"]["latency_ms"]["total"] == 245.0
    assert record["choices"][0]["message"]["content"] == "Hi"


def test_routing_has_every_field_of_its_model() -> None:
    fields = {field["name"]: field for field in SCHEMAS["ChatRequest"].document["fields"]}
    _, record = fields["routing"]["type"]
    assert {field["name"] for field in record["fields"]} == {*Routing.model_fields, "extra"}


@pytest.mark.parametrize("name", CHAT_RECORDS)
def test_whatever_may_be_null_may_be_left_out(name: str) -> None:
    def check(node: Any) -> None:
        for field in node["fields"]:
            branches = as_union(field["type"])
            if branches[0] == "null":
                assert field["default"] is None, field["name"]
            for branch in branches:
                inner = branch.get("items", branch) if isinstance(branch, dict) else {}
                if isinstance(inner, dict) and inner.get("type") == "record":
                    check(inner)

    check(SCHEMAS[name].document)


def refused(value: bytes | None, ids: dict[tuple[str, int], int] | None = None, limit: int = LIMIT) -> RequestError:
    with pytest.raises(RequestError) as raised:
        decode_request(value, limit, ids)
    assert SECRET not in raised.value.message
    assert raised.value.message.endswith(".")
    return raised.value


def varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


VALID = encode_request({"messages": [{"role": "user", "content": SECRET}], "tools": [SECRET]})


@pytest.mark.parametrize("value", [None, b""])
def test_an_empty_record(value: bytes | None) -> None:
    assert refused(value).message == "The record has no value; publish a ChatRequest in Avro."


def test_too_large() -> None:
    error = refused(VALID, limit=len(VALID) - 1)
    assert error.code == "request_too_large"
    assert f"{len(VALID)} bytes" in error.message


def test_json_under_the_avro_content_type_says_so() -> None:
    error = refused(b'{"messages": []}')
    assert "does not begin as Avro does" in error.message
    assert "application/json" in error.message


def test_an_unknown_fingerprint_is_named() -> None:
    error = refused(b"\xc3\x01" + b"\xab" * 8 + VALID[10:])
    assert "abababababababab" in error.message
    assert "ChatRequest.v1.avsc" in error.message
    assert "names no ChatRequest" in refused(encode_response(ANSWER)).message


def test_confluent_framing_needs_a_registry_and_its_id() -> None:
    framed = encode_request(REQUEST, IDS)
    assert framed[:5] == struct.pack(">bI", 0, 7)
    assert "No schema registry is configured" in refused(framed).message
    assert "write with the id 7" in refused(struct.pack(">bI", 0, 99) + framed[5:], IDS).message
    assert decode_request(encode_request(REQUEST), LIMIT, IDS).model == "auto"


def test_every_truncation_is_refused() -> None:
    for length in range(1, len(VALID)):
        assert refused(VALID[:length]).code == "invalid_request"


def test_trailing_bytes_are_refused() -> None:
    assert "3 bytes stand after the end" in refused(VALID + SECRET[:3].encode()).message


@pytest.mark.parametrize("padding", [0, MAX_ITEMS])
@pytest.mark.parametrize("length", [2**62, 2**40, -1, -(2**62), MAX_ITEMS + 1])
@pytest.mark.parametrize("before", [b"\2", b"\0", b"\0\2"], ids=["string", "array", "role"])
def test_absurd_lengths_are_refused(before: bytes, length: int, padding: int) -> None:
    error = refused(HEADER + before + varint(length) + b"\0" * padding)
    assert error.code in ("invalid_request", "request_too_large")


def test_a_number_without_end_is_refused() -> None:
    assert refused(HEADER + b"\2" + b"\x80" * 50).code == "invalid_request"
    assert refused(HEADER + b"\2" + b"\x80" * MAX_ITEMS).code == "invalid_request"


def test_millions_of_empty_messages_are_not_built() -> None:
    count = MAX_ITEMS + 1
    error = refused(HEADER + b"\0" + varint(count) + b"\0" * (8 * count))
    assert (error.code, "send fewer" in error.message) == ("request_too_large", True)


def test_a_large_request_is_read() -> None:
    body = REQUEST | {"messages": [{"role": "user", "content": "x" * 200_000}, *REQUEST["messages"]]}  # type: ignore[misc]
    request = decode_request(encode_request(body), LIMIT)
    assert request.body["messages"] == body["messages"]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    value = bytearray(encode_request(REQUEST))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    # Any error but RequestError fails the test.
    with suppress(RequestError):
        decode_request(bytes(value), LIMIT)


def written(**record: Any) -> bytes:
    out = BytesIO()
    schemaless_writer(out, SCHEMAS["ChatRequest"].parsed, record)
    return HEADER + out.getvalue()


MESSAGES = [{"role": "user", "content": "hello"}]


def test_a_producer_may_leave_out_what_has_a_default() -> None:
    request = decode_request(written(messages=MESSAGES), LIMIT)
    assert request.body == {"messages": MESSAGES}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"messages": MESSAGES, "tools": SECRET}, "`tools` must hold JSON text"),
        ({"messages": MESSAGES, "extra": {"top_k": SECRET}}, "`extra` must hold JSON text"),
        ({"messages": [{"role": "user", "parts": SECRET}]}, "`messages.parts` must hold JSON text"),
        (
            {"messages": [{"role": "user", "content": SECRET, "parts": "[]"}]},
            "`messages.parts` and `messages.content` are both set",
        ),
        ({"messages": MESSAGES, "stream": True, "extra": {"stream": "false"}}, "`extra` repeats a field that is set"),
        ({"messages": MESSAGES, "routing": {"extra": {"stratgy": f'"{SECRET}"'}}}, "`routing.stratgy` is not a field"),
        ({"messages": MESSAGES, "routing": {"strategy": SECRET}}, "`routing.strategy`"),
        ({"messages": [{"role": SECRET}]}, "`messages.0.role`"),
        ({"messages": []}, "`messages`"),
    ],
)
def test_a_wrong_field_is_named(record: dict[str, Any], said: str) -> None:
    error = refused(written(**record))
    assert error.code == "invalid_request"
    assert said in error.message


@pytest.mark.parametrize(
    "body", [{}, {"messages": SECRET}, {"messages": [SECRET]}, {"messages": [{"content": SECRET}]}]
)
def test_messages_without_roles_cannot_be_written(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="`messages` must be a list of objects, each with a `role`") as raised:
        encode_request(body)
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("wrong", [object(), "\ud800", {1: 2}])
def test_what_is_not_json_cannot_be_written(wrong: Any) -> None:
    for name in ("top_k", "user"):
        with pytest.raises(RequestError, match="holds what JSON has no form for"):
            encode_request({"messages": MESSAGES, name: wrong})


@pytest.mark.parametrize(
    "value", [b"", b"{}", encode_chunk(CHUNK), encode_response(ANSWER)[:-1], encode_response(ANSWER) + b"x"]
)
def test_what_is_no_answer_is_an_operation_error(value: bytes) -> None:
    with pytest.raises(OperationError):
        decode_response(value)


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ({"usage": {"prompt_tokens": 2**63}}, {}),
        ({"routing": {"confidence": 2**53 + 1}}, {}),
        ({"created": 1.5, "model": 3}, {"created": "1.5", "model": "3"}),
        ({"usage": None, "choices": [1]}, {"usage": "null", "choices": "[1]"}),
        ({"extra": {"a": 1}}, {"extra": '{"a":1}'}),
    ],
)
def test_what_fits_no_typed_field_stands_in_extra(body: dict[str, Any], extra: dict[str, str]) -> None:
    value = encode_response(body)
    assert decode_response(value) == body
    record: Any = schemaless_reader(BytesIO(value[10:]), SCHEMAS["ChatResponse"].parsed, None)
    assert record["extra"] == extra


def test_an_explicit_null_is_not_json_text() -> None:
    body = {"messages": [{"role": "user", "content": None}], "tools": None}
    value = encode_request(body)
    record: Any = schemaless_reader(BytesIO(value[10:]), SCHEMAS["ChatRequest"].parsed, None)
    assert (record["tools"], record["extra"]) == (None, {"tools": "null"})
    assert (record["messages"][0]["parts"], record["messages"][0]["extra"]) == (None, {"content": "null"})
    assert decode_request(value, LIMIT).body == body
