"""A call as it goes over a real socket: what a provider may answer, and what the caller makes of that."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from peer import (
    BODY,
    CANARY,
    ERROR,
    GOOD,
    Reply,
    call,
    deployment,
    failure_of,
    floods,
    message,
    peer,
    resets,
    says,
)  # fmt: skip

from agents.execution.client import Caller
from agents.execution.outcome import Succeeded
from schemas.failures import Failure

pytestmark = pytest.mark.usefixtures("no_key_in_logs")


async def test_an_answer(caller: Caller) -> None:
    async with peer(says(message(200, GOOD, "x-request-id: req_9\r\n"))) as here:
        to = deployment(here.base_url, headers={"OpenAI-Project": "p-1"})
        first = await call(caller, to)
        second = await call(caller, to)
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert first.completion["choices"][0]["message"]["content"] == "Hi."
    assert (first.http_status, first.provider_request_id, first.finish_reason) == (200, "req_9", "stop")
    assert (first.usage.tokens_in, first.usage.tokens_out, first.usage.cached) == (5, 2, 4)
    assert first.model == "m-upstream"
    assert first.first_token_ms == 0.0 < first.latency_ms
    assert here.connections == 1
    head = here.heads[0].lower()
    assert head.startswith(b"post /v1/chat/completions http/1.1\r\n")
    assert b"authorization: bearer " + CANARY.encode() + b"\r\n" in head
    assert b"x-turnout-attempt: r-1/1\r\n" in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"openai-project: p-1\r\n" in head
    assert b"traceparent" not in head
    assert orjson.loads(here.bodies[0]) == {
        "model": "m-upstream", "messages": BODY["messages"], "max_completion_tokens": 9,
    }  # fmt: skip


async def test_traceparent_is_sent_if_it_is_one(caller: Caller) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with peer(says(message(200, GOOD))) as here:
        to = deployment(here.base_url)
        deadline = asyncio.get_running_loop().time() + 5
        await caller.call(to, BODY, deadline=deadline, attempt_id="a", traceparent=trace)
        await caller.call(to, BODY, deadline=deadline, attempt_id="a", traceparent="x\r\ny: z")
    assert f"traceparent: {trace}".encode() in here.heads[0]
    assert b"traceparent" not in here.heads[1]


STATUSES: list[tuple[int, dict[str, Any], str, bool, str, bool, int | None]] = [
    (400, {"code": "invalid_value"}, "invalid_request", False, "no", False, None),
    (400, {"code": "context_length_exceeded"}, "context_length", False, "no", False, None),
    (401, {"code": "invalid_api_key"}, "authentication", False, "no", False, None),
    (402, {}, "authentication", False, "no", False, None),
    (403, {}, "authentication", False, "no", False, None),
    (404, {"code": "model_not_found"}, "model_not_found", False, "no", False, None),
    (408, {}, "timeout", True, "unknown", True, 3_000),
    (409, {}, "server_error", False, "no", True, 3_000),
    (413, {}, "too_large", False, "no", False, None),
    (422, {}, "invalid_request", False, "no", False, None),
    (429, {"code": "rate_limit_exceeded"}, "rate_limited", False, "no", False, 3_000),
    (429, {"code": "insufficient_quota"}, "quota_exhausted", False, "no", False, None),
    (500, {}, "server_error", True, "no", True, 3_000),
    (502, {}, "server_error", True, "no", True, 3_000),
    (503, {}, "overloaded", True, "no", False, 3_000),
    (504, {}, "timeout", True, "unknown", True, 3_000),
    (529, {}, "overloaded", True, "no", False, 3_000),
]


@pytest.mark.parametrize(("status", "error", "failure", "counts", "billed", "same", "wait"), STATUSES)
async def test_statuses(
    caller: Caller, status: int, error: dict[str, Any], failure: str, counts: bool, billed: str, same: bool,
    wait: int | None,
) -> None:  # fmt: skip
    body = orjson.dumps({"error": {"message": f"about {CANARY}", "type": None, **error}})
    for advice, expected in (("retry-after: 3\r\n", wait), ("", None)):
        got = await failure_of(caller, says(message(status, body, advice)))
        assert (got.failure, got.http_status, got.counts) == (failure, status, counts)
        assert (got.billed, got.same, got.retry_after_ms) == (billed, same, expected)
        assert got.provider_code == error.get("code", "")


@pytest.mark.parametrize("status", [500, 503, 429, 401])
@pytest.mark.parametrize(
    "raw",
    [
        lambda s: message(s, b"<html>", kind="text/html"),
        lambda s: message(s, b"", kind=""),
        lambda s: message(s, gzip.compress(b"{}"), "content-encoding: gzip\r\n"),
        lambda s: message(s, b"\xff\xfe"),
        lambda s: message(s, ERROR)[:-9],
    ],
)
async def test_a_status_counts_whatever_its_body_is(caller: Caller, status: int, raw: Callable[[int], bytes]) -> None:
    got = await failure_of(caller, says(raw(status), close=True))
    expected = {500: "server_error", 503: "overloaded", 429: "rate_limited", 401: "authentication"}
    assert (got.failure, got.http_status, got.billed) == (expected[status], status, "no")


BAD: dict[str, Reply] = {
    "reset before headers": resets(b""),
    "closed before headers": says(b"", close=True),
    "reset after headers": resets(message(200, GOOD)[: -len(GOOD)]),
    "half a body": says(message(200, GOOD)[:-40], close=True),
    "half a chunked body": says(
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{", close=True
    ),
    "not HTTP": says(b"SSH-2.0-OpenSSH_9\r\n\r\n", close=True),
    "a page": says(message(200, b"<html>It works!</html>", kind="text/html")),
    "garbage": says(message(200, b"{not json")),
    "no body": says(message(200, b"")),
    "no content": says(message(204, b"")),
    "invalid UTF-8": says(message(200, GOOD.replace(b"Hi.", b"\xff\xfe"))),
    "NaN": says(message(200, GOOD.replace(b'"index":0', b'"index":NaN'))),
    "a gzip bomb": says(message(200, gzip.compress(bytes(20_000_000)), "content-encoding: gzip\r\n")),
    "too long": says(message(200, b"")[:-2].replace(b"length: 0", b"length: 99000000") + b"\r\n{"),
    "endless": floods,
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_responses(caller: Caller, what: str) -> None:
    got = await failure_of(caller, BAD[what])
    assert (got.failure, got.counts, got.billed) == (Failure.BAD_RESPONSE, True, "unknown")
    assert (got.same, got.other, got.retry_after_ms, got.ours) == (False, "any", None, False)


@pytest.mark.parametrize("location", ["location: http://127.0.0.1:1/x\r\n", "location: http://[\r\n", ""])
async def test_a_redirect_is_not_followed(caller: Caller, location: str) -> None:
    got = await failure_of(caller, says(message(307, b"", location)))
    assert (got.failure, got.counts, got.same, got.other) == (Failure.BAD_RESPONSE, True, False, "any")


async def test_an_error_inside_a_200(caller: Caller) -> None:
    got = await failure_of(caller, says(message(200, ERROR)))
    assert (got.failure, got.http_status, got.counts) == (Failure.SERVER_ERROR, 200, True)
    limited = orjson.dumps({"error": {"message": "m", "code": "rate_limit_exceeded"}})
    got = await failure_of(caller, says(message(200, limited, "retry-after-ms: 40\r\n")))
    assert (got.failure, got.cool, got.counts, got.retry_after_ms) == (Failure.RATE_LIMITED, True, False, 40)


async def test_an_empty_completion_is_billed_and_a_good_probe(caller: Caller) -> None:
    blank = GOOD.replace(b'"Hi."', b'""')
    got = await failure_of(caller, says(message(200, blank)))
    assert (got.failure, got.billed, got.same, got.counts) == (Failure.EMPTY_COMPLETION, "yes", True, False)
    assert got.usage is not None
    assert got.usage.tokens_in == 5
    async with peer(says(message(200, blank))) as here:
        assert isinstance(await caller.probe(deployment(here.base_url), timeout_s=5), Succeeded)
    assert orjson.loads(here.bodies[0])["max_completion_tokens"] == 1


async def test_a_filtered_answer_is_an_answer(caller: Caller) -> None:
    async with peer(says(message(200, GOOD.replace(b'"stop"', b'"content_filter"')))) as here:
        outcome = await call(caller, deployment(here.base_url))
    assert isinstance(outcome, Succeeded)
    assert outcome.finish_reason == "content_filter"
