"""Chat in Avro: a body comes back equal."""

from io import BytesIO
from typing import Any, get_args

import orjson
import pytest
from chat_avro_world import ANSWER, ANSWER_ROUTING, CHUNK, IDS, LIMIT, REQUEST, SCHEMAS
from fastavro import schemaless_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chat_avro import (
    CHAT_RECORDS,
    decode_chunk,
    decode_request,
    decode_response,
    encode_chunk,
    encode_request,
    encode_response,
)
from schemas.errors import ERROR_TYPES, RequestError
from schemas.requests import Routing, parse_request
from schemas.responses import error_response

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
