"""Whatever a provider says is an answer that can be written, a failure, or nothing: it breaks no worker and no format."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd import odd

from agents.chunks import Chunks, Delta
from agents.execution.assembly import Assembly
from agents.execution.classify import answered
from agents.execution.outcome import Answer, Failed, Trouble
from agents.execution.providers import PROVIDERS
from agents.execution.sse import Event
from agents.execution.streaming import _as_chunk
from agents.ports import RequestRecord, Sealed
from schemas.chat_avro import decode_chunk, decode_response, encode_chunk, encode_response
from schemas.ids import Source
from schemas.responses import chat_response

USAGE = {
    "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}  # fmt: skip
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
HEAD = {"id": "c", "created": 1, "model": "m", "system_fingerprint": "fp"}
OPENAI = {
    **HEAD, "object": "chat.completion", "usage": USAGE,
    "choices": [{
        "index": 0, "logprobs": {"content": [{"token": "H", "logprob": -0.1}]}, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "Hello.", "refusal": None, "tool_calls": [CALL]},
    }],
}  # fmt: skip
OPENAI_STREAM = [
    {**HEAD, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    for delta, finish in (
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Hello"}, None),
        ({"reasoning_content": "so", "tool_calls": [{"index": 0, **CALL}]}, None),
        ({}, "stop"),
    )
] + [{**HEAD, "choices": [], "usage": USAGE}]  # fmt: skip
ANTHROPIC_USAGE = {
    "input_tokens": 3,
    "output_tokens": 2,
    "cache_read_input_tokens": 1,
    "cache_creation_input_tokens": 1,
}
TOOL_USE = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
ANTHROPIC = {
    "id": "msg", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "usage": ANTHROPIC_USAGE,
    "content": [{"type": "thinking", "thinking": "so", "signature": "s"}, {"type": "text", "text": "Hello."}, TOOL_USE],
}  # fmt: skip
ANTHROPIC_STREAM = [
    {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {**TOOL_USE, "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ANTHROPIC_USAGE},
    {"type": "message_stop"},
]
GOOGLE = {
    "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
        {"text": "so", "thought": True}, {"text": "Hello."}, {"functionCall": {"name": "f", "args": {"a": 1}}},
    ]}}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "cachedContentTokenCount": 1},
    "modelVersion": "m", "responseId": "r",
}  # fmt: skip
ERROR = {
    "type": "error", "message": "m",
    "error": {
        "message": "m", "type": "server_error", "code": "x", "param": None, "status": "UNAVAILABLE", "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"},
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerDay"}]},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ],
    },
}  # fmt: skip
SPOKEN: dict[str, tuple[Any, list[Any]]] = {
    "openai": (OPENAI, OPENAI_STREAM), "openai_compatible": (OPENAI, OPENAI_STREAM),
    "anthropic": (ANTHROPIC, ANTHROPIC_STREAM), "google": (GOOGLE, [GOOGLE, GOOGLE]),
}  # fmt: skip
WHOLE = st.sampled_from(list(SPOKEN)).flatmap(lambda name: st.tuples(st.just(name), odd(SPOKEN[name][0])))
STREAM = st.sampled_from(list(SPOKEN)).flatmap(lambda name: st.tuples(st.just(name), odd(SPOKEN[name][1])))
RECORD = RequestRecord(Source("r", 0, 7), 3, None, None, (), 0)


class Written:
    """A ChunkLog that writes both formats and keeps what a JSON reader sees."""

    def __init__(self) -> None:
        self.read: list[Any] = []

    def seal_chunk(self, record: RequestRecord, body: Delta, request_id: str) -> Sealed:
        assert decode_chunk(encode_chunk(body))["routing"] == body["routing"]
        return Sealed("c", 0, None, orjson.dumps(body), [])

    async def chunk(self, sealed: Sealed) -> Awaitable[object]:
        self.read.append(orjson.loads(sealed.value))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def given_on(pieces: list[Delta]) -> Written:
    """Chunks as the router gives them to who waits."""
    log = Written()
    chunks = Chunks(log, RECORD, "q")
    chunks.begin(1, "m")
    for piece in pieces:
        await chunks.take(piece)
    await chunks.settle()
    await chunks.end(None)
    return log


def written(answer: Answer) -> None:
    """A final answer in both formats."""
    body = chat_response(answer.completion, "q", 1, "m", {"request_id": "q", "status": "ok"})
    assert orjson.loads(orjson.dumps(body))["routing"] == body["routing"]
    assert decode_response(encode_response(body))["routing"] == body["routing"]


@settings(max_examples=800)
@given(said=WHOLE)
def test_a_whole_answer(said: tuple[str, Any]) -> None:
    provider, body = said
    read = PROVIDERS[provider].parse(200, {"content-type": "application/json"}, json.dumps(body).encode())
    if isinstance(read, Trouble):
        return
    written(read)
    log = asyncio.run(given_on([_as_chunk(read.completion)]))
    assert log.read[-1]["routing"]["last"] is True


@settings(max_examples=800)
@given(said=STREAM)
def test_a_stream(said: tuple[str, Any]) -> None:
    provider, events = said
    reader, whole, pieces = PROVIDERS[provider].chunks(1), Assembly(), []
    for event in events if isinstance(events, list) else [events]:
        name = event.get("type", "") if isinstance(event, dict) else ""
        read = reader.read(Event(name if isinstance(name, str) else "", json.dumps(event).encode()))
        if not isinstance(read, list):
            break
        for piece in read:
            whole.add(piece)
        pieces += [piece for piece in read if piece.get("choices")]
    written(whole.answer())
    log = asyncio.run(given_on(pieces))
    assert log.read[-1]["routing"]["last"] is True


@settings(max_examples=400)
@given(provider=st.sampled_from(list(SPOKEN)), body=odd(ERROR), status=st.sampled_from([400, 429, 500]))
def test_an_error(provider: str, body: Any, status: int) -> None:
    read = PROVIDERS[provider].parse(status, {}, json.dumps(body).encode())
    assert isinstance(read, Trouble)
    assert isinstance(answered(status, {}, read, now=0.0, latency_ms=1.0), Failed)


@pytest.mark.parametrize("provider", SPOKEN)
def test_what_is_not_odd_is_an_answer(provider: str) -> None:
    """The documents above are read to their end, so that the oddities stand in what is looked at."""
    body, events = SPOKEN[provider]
    read = PROVIDERS[provider].parse(200, {}, json.dumps(body).encode())
    assert isinstance(read, Answer)
    assert not read.empty
    reader, whole = PROVIDERS[provider].chunks(1), Assembly()
    for event in events:
        for piece in reader.read(Event(event.get("type", ""), json.dumps(event).encode())) or ():
            whole.add(piece)
    assert whole.finished(1)
