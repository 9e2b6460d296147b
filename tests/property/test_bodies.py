"""A body that is let in can be said in every wire format, but for the parts that a format says it cannot carry."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd import nested, odd

from agents.execution.providers import PROVIDERS
from agents.ports import RequestRecord
from schemas.catalog import Deployment
from schemas.chat_avro import encode_request
from schemas.errors import RequestError
from schemas.ids import Source
from schemas.nesting import MOST
from schemas.requests import ChatRequest
from streams.incoming import AVRO, JSON, request_reader

FULL: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}},
    "max_tokens": 50, "max_completion_tokens": 60, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop": ["x"], "seed": 3, "n": 1,
    "stream_options": {"include_usage": True}, "user": "u", "reasoning_effort": "low", "parallel_tool_calls": True,
    "metadata": {"a": "b"}, "logit_bias": {"1": 1}, "service_tier": "auto", "presence_penalty": 0.1, "frequency_penalty": 0.1,
}  # fmt: skip


def read(value: bytes, content_type: str = JSON) -> ChatRequest:
    """As a worker reads the record."""
    record = RequestRecord(Source("r", 0, 7), 3, None, value, (("content-type", content_type.encode()),), 0)
    return request_reader(None)(record, 1_000_000)


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=500)
@given(body=odd(FULL), stream=st.booleans())
def test_whatever_is_let_in_can_be_sent(provider: str, body: dict[str, Any], stream: bool) -> None:
    wire = PROVIDERS[provider]
    deployment = Deployment(id="d", provider=provider, model="m", base_url="http://127.0.0.1:1")
    try:
        body = read(json.dumps(body).encode()).body
    except RequestError:
        return
    for part in wire.unsupported(body):
        body.pop(part.partition(".")[0], None)
    if wire.unsupported(body):
        return
    _, _, content = wire.request(deployment, body, stream)
    assert isinstance(orjson.loads(content), dict)


@pytest.mark.parametrize("content_type", [JSON, AVRO])
@pytest.mark.parametrize("levels", [MOST, MOST + 2, 250])
def test_a_body_is_as_deep_as_it_can_be_written(content_type: str, levels: int) -> None:
    """A deeper one is refused under its id."""
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "vendor": nested(levels - 1),
        "routing": {"request_id": "r"},
    }
    value = encode_request(body) if content_type == AVRO else orjson.dumps(body)
    if levels == MOST:
        assert read(value, content_type).body["vendor"] == nested(MOST - 1)
    else:
        with pytest.raises(RequestError, match="nested deeper than 200 levels") as refused:
            read(value, content_type)
        assert refused.value.request_id == "r"
