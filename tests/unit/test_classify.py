"""The failure table: statuses, codes, bodies, exceptions and advice."""

import errno
import ssl
from typing import Any

import aiohttp
import httpx
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey

from agents.execution import classify
from agents.execution.codes import vetted_finish
from agents.execution.outcome import Answer, Failed, Trouble
from agents.execution.providers.openai_compatible import parse, request
from agents.execution.retry_after import CAP_MS, limit_reset_ms, retry_after_ms
from schemas.catalog import Deployment
from schemas.failures import BEHAVIOUR, Failure

JSON = {"content-type": "application/json"}
NOW = 1_790_000_000.0
CANARY = "sk-canary-4f1d9e"


def failed(status: int, error: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Failed:
    body = b"" if error is None else orjson.dumps({"error": {"message": f"{CANARY} and the prompt", **error}})
    given = {**JSON, **(headers or {})}
    read = parse(status, given, body)
    assert isinstance(read, Trouble)
    return classify.answered(status, given, read, now=NOW, latency_ms=1.0)


# status, error, failure, same, other, counts, billed, quarantine
TABLE: list[tuple[int, dict[str, Any] | None, str, bool, str, bool, str, bool]] = [
    (400, {"code": "invalid_value"}, "invalid_request", False, "none", False, "no", False),
    (422, None, "invalid_request", False, "none", False, "no", False),
    (400, {"code": "context_length_exceeded"}, "context_length", False, "larger", False, "no", False),
    (400, {"code": 400, "message": "maximum context length"}, "context_length", False, "larger", False, "no", False),
    (400, {"type": "exceed_context_size_error"}, "context_length", False, "larger", False, "no", False),
    (400, {"code": "project_spend_limit_reached"}, "quota_exhausted", False, "any", False, "no", True),
    (429, {"code": "insufficient_quota", "type": "tokens"}, "quota_exhausted", False, "any", False, "no", True),
    (429, {"type": "credit_balance_exhausted", "code": None}, "quota_exhausted", False, "any", False, "no", True),
    (402, {"code": "insufficient_balance"}, "quota_exhausted", False, "any", False, "no", True),
    (401, {"code": "invalid_api_key"}, "authentication", False, "any", False, "no", True),
    (402, None, "authentication", False, "any", False, "no", True),
    (403, {"type": "permission_error"}, "authentication", False, "any", False, "no", True),
    (404, {"code": "model_not_found"}, "model_not_found", False, "any", False, "no", True),
    (404, {"code": 404, "type": "NotFoundError", "param": "model"}, "model_not_found", False, "any", False, "no", True),
    (404, None, "model_not_found", False, "any", True, "no", False),
    (404, {"param": "messages[0].content[1].file"}, "invalid_request", False, "none", False, "no", False),
    (408, None, "timeout", True, "any", True, "unknown", False),
    (504, None, "timeout", True, "any", True, "unknown", False),
    (409, None, "server_error", True, "any", False, "no", False),
    (413, None, "too_large", False, "larger", False, "no", False),
    (429, {"code": "rate_limit_exceeded"}, "rate_limited", False, "any", False, "no", False),
    (429, None, "rate_limited", False, "any", False, "no", False),
    (500, {"type": "server_error"}, "server_error", True, "any", True, "no", False),
    (500, {"code": "server_is_overloaded"}, "overloaded", False, "any", True, "no", False),
    (502, None, "server_error", True, "any", True, "no", False),
    (520, None, "server_error", True, "any", True, "no", False),
    (503, None, "overloaded", False, "any", True, "no", False),
    (529, {"type": "overloaded_error"}, "overloaded", False, "any", True, "no", False),
    (302, None, "bad_response", False, "any", True, "no", False),
    (307, None, "bad_response", False, "any", True, "no", False),
    (405, None, "bad_response", False, "any", True, "no", False),
    (204, None, "bad_response", False, "any", True, "unknown", False),
    (400, {"code": "content_filter"}, "content_filtered", False, "none", False, "no", False),
    (200, {"type": "server_error"}, "server_error", True, "any", True, "no", False),
    (200, {"code": "never heard of it"}, "server_error", True, "any", True, "no", False),
    (200, {"code": 429}, "rate_limited", False, "any", False, "no", False),
    (200, {"code": 503}, "overloaded", False, "any", True, "no", False),
    (200, {"code": "insufficient_quota"}, "quota_exhausted", False, "any", False, "no", True),
    (200, {"type": "invalid_request_error"}, "invalid_request", False, "none", False, "no", False),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "failure", "same", "other", "counts", "billed", "quarantine"), TABLE)
def test_the_table(
    status: int, error: dict[str, Any] | None, failure: str, same: bool, other: str, counts: bool, billed: str,
    quarantine: bool,
) -> None:  # fmt: skip
    got = failed(status, error)
    assert (got.failure, got.same, got.other, got.counts, got.billed, got.quarantine) == (
        failure, same, other, counts, billed, quarantine,
    )  # fmt: skip
    assert got.cool == (failure == "rate_limited")
    assert got.http_status == status
    assert CANARY not in repr(got)


@pytest.mark.parametrize("status", [s for s in range(201, 600) if s not in (404,)])
def test_every_status_has_a_failure_that_is_nobodys_success(status: int) -> None:
    assert failed(status).failure in BEHAVIOUR


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_retry_after_is_heeded(status: int) -> None:
    assert failed(status, None, {"retry-after": "7"}).retry_after_ms == 7_000
    assert failed(status).retry_after_ms is None


@pytest.mark.parametrize("status", [307, 400, 401, 402, 403, 404, 405, 413, 422])
def test_retry_after_is_ignored(status: int) -> None:
    assert failed(status, None, {"retry-after": "7"}).retry_after_ms is None


def test_quota_ignores_retry_after() -> None:
    assert failed(429, {"code": "insufficient_quota"}, {"retry-after": "1"}).retry_after_ms is None


def test_x_should_retry_wins() -> None:
    assert failed(400, None, {"x-should-retry": "true"}).same is True
    assert failed(500, None, {"x-should-retry": "false"}).same is False
    assert failed(500, None, {"x-should-retry": "perhaps"}).same is True


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "86400"}, CAP_MS),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9", "retry-after-ms": "250"}, 250),
        ({"retry-after": "9", "retry-after-ms": "x"}, 9_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:40 GMT"}, 20_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 21 Sep 2199 14:00:00 GMT"}, CAP_MS),
        ({"retry-after": "Mon, 99 Sep 2026 14:00:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: int | None) -> None:
    assert retry_after_ms(headers, now=NOW) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-ratelimit-reset-requests": "120ms"}, 120),
        ({"x-ratelimit-reset-requests": "6m0s"}, CAP_MS),
        ({"x-ratelimit-reset-requests": "1m2.5s", "x-ratelimit-reset-tokens": "9s"}, 62_500),
        (
            {
                "x-ratelimit-reset-requests": "60s",
                "x-ratelimit-reset-tokens": "9s",
                "x-ratelimit-remaining-tokens": "0",
            },
            9_000,
        ),
        ({"x-ratelimit-reset-requests": "6x"}, None),
        ({"x-ratelimit-reset-requests": "s"}, None),
        ({"x-ratelimit-reset-tokens": "3"}, 3_000),
    ],
)  # fmt: skip
def test_limit_reset(headers: dict[str, str], expected: int | None) -> None:
    assert limit_reset_ms(headers) == expected
    assert failed(429, None, headers).retry_after_ms == expected
    assert failed(503, None, headers).retry_after_ms is None


def test_unknown_codes_params_and_ids_are_not_repeated() -> None:
    got = failed(400, {"code": CANARY, "param": CANARY}, {"x-request-id": f"x {CANARY}"})
    assert (got.provider_code, got.provider_request_id) == ("", "")
    assert got.rejection == "The provider rejected the request"
    known = failed(400, {"code": "unsupported_parameter", "param": "messages[0].content"}, {"x-request-id": "req_1"})
    assert known.rejection == "The provider rejected the request at `messages` (unsupported_parameter)"
    assert (known.provider_code, known.provider_request_id) == ("unsupported_parameter", "req_1")


KEY = ConnectionKey("api.example", 443, True, True, None, None, None)
TRANSPORT: list[tuple[Exception, Failure, bool, str]] = [
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "no")), Failure.CONNECT, True, "no"),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "no")), Failure.CONNECT, True, "no"),
    (aiohttp.ConnectionTimeoutError("to host"), Failure.CONNECT, True, "no"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("no")), Failure.CONNECT, False, "no"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "no")), Failure.CONNECT, False, "no"),
    (aiohttp.ServerDisconnectedError(), Failure.BAD_RESPONSE, False, "unknown"),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), Failure.BAD_RESPONSE, False, "unknown"),
    (aiohttp.ClientPayloadError("half"), Failure.BAD_RESPONSE, False, "unknown"),
    (aiohttp.SocketTimeoutError("read"), Failure.TIMEOUT, False, "unknown"),
    (TimeoutError(), Failure.TIMEOUT, False, "unknown"),
]


@pytest.mark.parametrize(("cause", "failure", "same", "billed"), TRANSPORT)
def test_exceptions_by_their_cause(cause: Exception, failure: Failure, same: bool, billed: str) -> None:
    # The transport wraps a reset after sending as ConnectTimeout, which would say that nothing was sent.
    wrapped = httpx.ConnectTimeout(CANARY)
    wrapped.__cause__ = cause
    for error in (cause, wrapped):
        got = classify.unanswered(error, latency_ms=2.0)
        assert (got.failure, got.same, got.other, got.counts, got.billed) == (failure, same, "any", True, billed)
        assert CANARY not in repr(got)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "files")),
        aiohttp.InvalidURL(CANARY),
        httpx.InvalidURL(CANARY),
        httpx.UnsupportedProtocol(CANARY),
        httpx.PoolTimeout(CANARY),
        ValueError(CANARY),
    ],
)
def test_our_own_fault_blames_no_deployment(error: Exception) -> None:
    got = classify.unanswered(error, latency_ms=2.0)
    assert got.ours
    assert (got.counts, got.same, got.other, got.billed, got.quarantine) == (False, False, "none", "no", False)
    assert got.provider_code == type(error).__name__
    assert CANARY not in repr(got)


def completion(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi."}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more}
    return {"id": "c", "object": "chat.completion", "model": "m-1", "choices": [choice],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}}  # fmt: skip


def answer(body: dict[str, Any]) -> Answer:
    read = parse(200, JSON, orjson.dumps(body))
    assert isinstance(read, Answer)
    return read


def test_answers() -> None:
    good = answer(completion())
    assert (good.finish_reason, good.model, good.empty, good.usage.tokens_in) == ("stop", "m-1", False, 3)
    assert answer(completion(finish_reason=None)).finish_reason == ""
    assert answer(completion(message={"role": "assistant", "content": " \n"})).empty
    assert answer(completion() | {"choices": []}).empty
    blank = {"role": "assistant", "content": None}
    assert not answer(completion(message=blank | {"tool_calls": [{"id": "t"}]})).empty
    assert not answer(completion(message=blank | {"refusal": "No."})).empty
    assert not answer(completion(message=blank, finish_reason="length")).empty
    assert not answer(completion(message=blank, finish_reason="content_filter")).empty


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/html"}, b"{}"),
        (JSON | {"content-encoding": "gzip"}, b"{}"),
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b'{"choices": 1}'),
        (JSON, b'{"choices": [1]}'),
        (JSON, b'{"choices": [{"message": null}]}'),
        (JSON, b'{"choices": [{"index": NaN, "message": {"content": "a"}}]}'),
        (JSON, b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'),
        (JSON, b"[" * 100_000),
    ],
)
def test_unreadable(headers: dict[str, str], body: bytes) -> None:
    read = parse(200, headers, body)
    assert isinstance(read, Trouble)
    got = classify.answered(200, headers, read, now=NOW, latency_ms=1.0)
    assert (got.failure, got.counts, got.billed, got.same) == (Failure.BAD_RESPONSE, True, "unknown", False)


def deployment(**more: Any) -> Deployment:
    return Deployment(**{"id": "d", "provider": "openai", "model": "m", "base_url": "http://h/v1", **more})


def test_request_names_the_limit_as_the_provider_does() -> None:
    body = {"model": "auto", "messages": [], "max_tokens": 5, "stream": True, "stream_options": {}, "seed": 1}
    path, headers, sent = request(deployment(upstream_model="m-2026"), body, False)
    assert path == "/chat/completions"
    assert headers["content-type"] == "application/json"
    assert orjson.loads(sent) == {"model": "m-2026", "messages": [], "max_completion_tokens": 5, "seed": 1}
    _, _, sent = request(deployment(provider="openai_compatible"), {"messages": [], "max_completion_tokens": 7}, True)
    assert orjson.loads(sent) == {
        "model": "m", "messages": [], "max_tokens": 7, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert body["max_tokens"] == 5, "the caller's body is not changed"


@pytest.mark.parametrize(
    ("said", "kept"),
    [("stop", "stop"), ("tool_calls", "tool_calls"), ("MAX_TOKENS", "MAX_TOKENS"), ("", ""), ("x" * 33, "other"),
     ("the user said: hello", "other"), ("stop\n", "other")],
)  # fmt: skip
def test_a_finish_reason_that_is_no_word_is_not_kept(said: str, kept: str) -> None:
    assert vetted_finish(said) == kept
