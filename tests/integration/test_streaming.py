"""A stream over a real socket: where it may break, stall or end, and what is made of that."""

import asyncio
from random import Random
from typing import Any

import orjson
import pytest
from peer import BODY, CANARY, ERROR, GOOD, Reply, deployment, message, peer, resets, says

from agents.execution.client import MAX_BYTES, Caller
from agents.execution.outcome import Failed, Outcome, Succeeded

pytestmark = pytest.mark.usefixtures("no_key_in_logs")

HEAD = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-request-id: req_9\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
WORDS = ["Hé", "llo", " the", "re", " — ", "all."]


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m-up", "choices": [choice], **more}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def http(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in events)


TEXT = [event({"role": "assistant", "content": ""}), *(event({"content": word}) for word in WORDS)]
FINISH = event({}, "stop")
USAGE = event({}, choices=[], usage={"prompt_tokens": 5, "completion_tokens": 6})


async def stream(
    caller: Caller, reply: Reply, seen: list[Any], *, within_s: float = 5.0, timeouts: dict[str, float] | None = None,
    on_delta: Any = None,
) -> Outcome:  # fmt: skip
    async with peer(reply) as here:
        to = deployment(here.base_url, timeouts=timeouts or {})
        deadline = asyncio.get_running_loop().time() + within_s
        outcome = await caller.stream(to, BODY, deadline=deadline, attempt_id="r-1/1", on_delta=on_delta or seen.append)
        sent = orjson.loads(here.bodies[0])
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}
    assert b"accept: text/event-stream" in here.heads[0].lower()
    assert CANARY not in repr(outcome)
    return outcome


def text(seen: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in seen)


ENDINGS: dict[str, tuple[list[bytes], bool]] = {
    "usage and terminator": ([FINISH, USAGE, DONE], True),
    "no terminator": ([FINISH, USAGE], True),
    "no usage": ([FINISH, DONE], False),
    "neither": ([FINISH], False),
    "no blank line at the end": ([FINISH[:-2]], False),
    "usage with the finish": ([event({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 6})], True),
    "an error after the finish": ([FINISH, b'data: {"error": {"message": "m"}}\n\n'], False),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_finish_reason_completes_a_stream(caller: Caller, ending: str) -> None:
    events, certain = ENDINGS[ending]
    seen: list[Any] = []
    outcome = await stream(caller, says(HEAD + http(*TEXT, *events) + END), seen)
    assert isinstance(outcome, Succeeded)
    assert text(seen) == "".join(WORDS)
    assert outcome.completion["choices"][0]["message"] == {"role": "assistant", "content": "".join(WORDS)}
    assert (outcome.completion["object"], outcome.completion["id"]) == ("chat.completion", "c-1")
    assert (outcome.finish_reason, outcome.model, outcome.provider_request_id) == ("stop", "m-up", "req_9")
    assert outcome.usage.certain is certain
    assert seen[-1]["choices"][0]["finish_reason"] == "stop"
    assert 0 < outcome.first_token_ms <= outcome.latency_ms


async def test_a_reset_or_silence_after_the_finish_is_a_success(caller: Caller) -> None:
    for reply in (resets(HEAD + http(*TEXT, FINISH)), says(HEAD + http(*TEXT, FINISH))):
        outcome = await stream(caller, reply, [], timeouts={"between_chunks_s": 0.1})
        assert isinstance(outcome, Succeeded)


async def test_the_connection_is_used_again(caller: Caller) -> None:
    async with peer(says(HEAD + http(*TEXT, FINISH, USAGE, DONE) + END)) as here:
        to = deployment(here.base_url)
        for _ in range(3):
            deadline = asyncio.get_running_loop().time() + 5
            outcome = await caller.stream(to, BODY, deadline=deadline, attempt_id="a", on_delta=lambda _: None)
            assert isinstance(outcome, Succeeded)
    assert here.connections == 1


BROKEN: dict[str, tuple[Reply, str, bool]] = {
    "a clean end": (says(HEAD + http(*TEXT) + END), "stream_interrupted", True),
    "a cut": (says(HEAD + http(*TEXT), close=True), "stream_interrupted", True),
    "a reset": (resets(HEAD + http(*TEXT)), "stream_interrupted", True),
    "a terminator alone": (says(HEAD + http(*TEXT, DONE) + END), "stream_interrupted", True),
    "nothing at all": (says(HEAD + END), "stream_interrupted", False),
    "an event torn at the end": (says(HEAD + http(*TEXT, FINISH[:30]) + END), "stream_interrupted", True),
    "no JSON": (says(HEAD + http(*TEXT, b"data: {oops\n\n", FINISH) + END), "bad_response", True),
    "an error": (says(HEAD + http(*TEXT, b"data: " + ERROR + b"\n\n") + END), "server_error", True),
    "an error at once": (says(HEAD + http(b"data: " + ERROR + b"\n\n") + END), "server_error", False),
    "an error with its code": (
        says(HEAD + http(*TEXT, b'data: {"error": {"code": "rate_limit_exceeded"}}\n\n') + END), "rate_limited", True,
    ),
    "an error as a finish": (says(HEAD + http(*TEXT, event({}, "error")) + END), "bad_response", True),
    "a page": (says(message(200, b"<html>", kind="text/html")), "bad_response", False),
    "an error in a 200": (says(message(200, ERROR)), "server_error", False),
    "a status": (says(message(503, ERROR)), "overloaded", False),
    "an empty answer": (says(HEAD + http(TEXT[0], FINISH, USAGE, DONE) + END), "empty_completion", True),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
async def test_a_stream_that_breaks_is_never_a_success(caller: Caller, what: str) -> None:
    reply, failure, began = BROKEN[what]
    seen: list[Any] = []
    outcome = await stream(caller, reply, seen)
    assert isinstance(outcome, Failed)
    assert outcome.failure == failure
    assert bool(seen) is began
    if failure == "empty_completion":
        assert outcome.billed == "yes"
    elif began:
        assert (outcome.billed, outcome.usage and outcome.usage.certain) == ("unknown", False)


async def test_silence(caller: Caller) -> None:
    seen: list[Any] = []
    limits = {"connect_s": 0.1, "first_byte_s": 0.1, "between_chunks_s": 0.1}
    stalled = await stream(caller, says(HEAD + http(*TEXT)), seen, timeouts=limits)
    assert isinstance(stalled, Failed)
    assert (stalled.failure, stalled.counts, text(seen)) == ("stream_stalled", True, "".join(WORDS))
    for reply in (says(b""), says(HEAD)):
        late = await stream(caller, reply, [], timeouts=limits)
        assert isinstance(late, Failed)
        assert (late.failure, late.counts) == ("timeout", True)
    total = await stream(caller, says(HEAD + http(*TEXT)), [], timeouts={"between_chunks_s": 5.0, "total_s": 0.2})
    assert isinstance(total, Failed)
    assert (total.failure, total.counts) == ("timeout", True)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + http(*TEXT)])
async def test_a_short_deadline_is_not_the_deployments_fault(caller: Caller, sent: bytes) -> None:
    outcome = await stream(caller, says(sent), [], within_s=0.2)
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.counts, outcome.billed) == ("timeout", False, "unknown")


async def test_comments_and_pieces(caller: Caller) -> None:
    """Byte by byte, with comments and other line ends."""
    events = b": hello\r\n\r\n" + b"".join((*TEXT, FINISH, USAGE, DONE)).replace(b"\n", b"\r\n")
    seen: list[Any] = []
    pieces = http(*(events[at : at + 1] for at in range(len(events))))
    outcome = await stream(caller, says(HEAD + pieces + END), seen)
    assert isinstance(outcome, Succeeded)
    assert text(seen) == "".join(WORDS)


async def test_more_bytes_than_the_cap(caller: Caller) -> None:
    async def floods(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + http(*TEXT))
        for _ in range(MAX_BYTES // 65_536 + 1):
            writer.write(http(b":" + bytes(65_535)))
            await writer.drain()

    outcome = await stream(caller, floods, [])
    assert isinstance(outcome, Failed)
    assert outcome.failure == "bad_response"


async def test_a_server_that_does_not_stream(caller: Caller) -> None:
    seen: list[Any] = []
    outcome = await stream(caller, says(message(200, GOOD)), seen)
    assert isinstance(outcome, Succeeded)
    assert text(seen) == "Hi."
    assert [chunk["object"] for chunk in seen] == ["chat.completion.chunk"]


async def test_deltas_are_awaited_and_their_errors_are_the_callers(caller: Caller) -> None:
    seen: list[Any] = []

    async def slowly(delta: dict[str, Any]) -> None:
        # Longer in all than a silence may be: the reader's time is not the provider's.
        await asyncio.sleep(0.03)
        seen.append(delta)

    whole = HEAD + http(*TEXT, FINISH, USAGE, DONE) + END
    outcome = await stream(caller, says(whole), [], on_delta=slowly, timeouts={"between_chunks_s": 0.1})
    assert isinstance(outcome, Succeeded)
    assert text(seen) == "".join(WORDS)

    def refuses(delta: dict[str, Any]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await stream(caller, says(whole), [], on_delta=refuses)


async def test_cut_at_any_byte(caller: Caller) -> None:
    """Before its finish reason is whole, a stream that is cut is a failure, and what was seen is a beginning."""
    rng = Random(20_261_123)
    raw = HEAD + http(*TEXT, FINISH, USAGE, DONE) + END
    finished = len(HEAD + http(*TEXT, FINISH)) - 2
    whole = "".join(WORDS)
    for _ in range(200):
        at = rng.randrange(len(raw))
        seen: list[Any] = []
        outcome = await stream(
            caller, (resets if rng.random() < 0.5 else lambda r: says(r, close=True))(raw[:at]), seen
        )
        assert whole.startswith(text(seen))
        if at < finished - 1:
            assert isinstance(outcome, Failed), at
        elif at >= finished:
            assert isinstance(outcome, Succeeded), at


async def test_calls_and_choices_are_joined(caller: Caller) -> None:
    def call(index: int, **more: Any) -> bytes:
        return event({"tool_calls": [{"index": index, **more}]})

    events = [
        event({"role": "assistant", "content": None}),
        call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call(0, function={"arguments": '{"x"'}),
        call(1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
        call(0, function={"arguments": ":1}"}),
        event({}, "tool_calls"),
    ]
    outcome = await stream(caller, says(HEAD + http(*events, USAGE, DONE) + END), [])
    assert isinstance(outcome, Succeeded)
    joined = outcome.completion["choices"][0]["message"]["tool_calls"]
    assert joined == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
