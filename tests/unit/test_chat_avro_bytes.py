"""Chat in Avro: hostile bytes and wrong bodies become one sentence."""

import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from chat_avro_world import ANSWER, CHUNK, HEADER, IDS, LIMIT, REQUEST, SCHEMAS, SECRET
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chat_avro import (
    MAX_ITEMS,
    decode_request,
    decode_response,
    encode_chunk,
    encode_request,
    encode_response,
)
from schemas.errors import OperationError, RequestError


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
