"""A body that is let in can be said in every wire format, but for the parts that a format says it cannot carry."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.execution.providers import PROVIDERS
from schemas.catalog import Deployment
from schemas.errors import RequestError
from schemas.requests import parse_request

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


def places(node: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place below a node."""
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in below:
        yield (*at, key)
        yield from places(item, (*at, key))


PLAIN = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
ODD = st.one_of(
    st.sampled_from(
        [True, 0, -1, 2**63, 1e308, "", "\0", [], {}, [None], {"": ""}, {"type": "text"}, "data:,", "none"]
    ),
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2)),
    st.dictionaries(st.sampled_from(["type", "text", "function", "name", "url"]), PLAIN, max_size=2),
)


def changed(change: list[tuple[tuple[str | int, ...], Any]]) -> dict[str, Any]:
    """The full body with other values at these places, where they are still there."""
    body = copy.deepcopy(FULL)
    for place, value in change:
        node: Any = body
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    return body


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=1_500)
@given(
    change=st.lists(st.tuples(st.sampled_from(list(places(FULL))), ODD), min_size=1, max_size=2), stream=st.booleans()
)
def test_whatever_is_let_in_can_be_sent(
    provider: str, change: list[tuple[tuple[str | int, ...], Any]], stream: bool
) -> None:
    wire = PROVIDERS[provider]
    deployment = Deployment(id="d", provider=provider, model="m", base_url="http://127.0.0.1:1")
    try:
        body = parse_request(json.dumps(changed(change)).encode(), max_bytes=1_000_000).body
    except RequestError:
        return
    for part in wire.unsupported(body):
        body.pop(part.partition(".")[0], None)
    if wire.unsupported(body):
        return
    _, _, content = wire.request(deployment, body, stream)
    assert isinstance(orjson.loads(content), dict)
