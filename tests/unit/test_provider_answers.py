"""What each wire format makes of answers, errors and keys."""

from typing import Any

import orjson
import pytest

from agents.execution import classify
from agents.execution.credentials import Credentials
from agents.execution.outcome import Answer, Failed, Trouble
from agents.execution.providers import PROVIDERS
from agents.execution.retry_after import reset_moment_ms
from agents.execution.sse import Events
from agents.execution.target import Targets
from schemas.catalog import Deployment

JSON = {"content-type": "application/json"}
NOW = 1_790_000_000.0
CANARY = "sk-canary-4f1d9e"


def read(provider: str, body: Any, status: int = 200) -> Answer | Trouble:
    return PROVIDERS[provider].parse(status, JSON, orjson.dumps(body))


def failed(provider: str, body: Any, status: int, headers: dict[str, str] | None = None) -> Failed:
    trouble = read(provider, body, status)
    assert isinstance(trouble, Trouble)
    got = classify.answered(status, JSON | (headers or {}), trouble, now=NOW, latency_ms=1.0)
    assert CANARY not in repr(got)
    return got


def claude(kind: str, message: str = CANARY) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}


def gemini(code: int, status: str, message: str = CANARY, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


RATE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}
ERRORS: list[tuple[str, int, Any, str]] = [
    ("anthropic", 400, claude("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), "context_length"),
    ("anthropic", 400, claude("invalid_request_error", "Your credit balance is too low"), "quota_exhausted"),
    ("anthropic", 400, claude("invalid_request_error", "messages.0: wrong"), "invalid_request"),
    ("anthropic", 404, claude("not_found_error", "model: x"), "model_not_found"),
    ("anthropic", 500, claude("overloaded_error"), "overloaded"),
    ("anthropic", 200, claude("overloaded_error"), "overloaded"),
    ("anthropic", 529, claude("overloaded_error"), "overloaded"),
    ("google", 400, gemini(400, "INVALID_ARGUMENT", CANARY, {"reason": "API_KEY_INVALID"}), "authentication"),
    ("google", 400, [gemini(400, "INVALID_ARGUMENT")], "invalid_request"),
    ("google", 400, gemini(400, "INVALID_ARGUMENT", "exceeds the maximum number of tokens allowed"), "context_length"),
    ("google", 429, gemini(429, "RESOURCE_EXHAUSTED", CANARY, RATE), "rate_limited"),
    ("google", 429, gemini(429, "RESOURCE_EXHAUSTED", CANARY, DAY, {"retryDelay": "37s"}), "quota_exhausted"),
    ("google", 200, [gemini(503, "UNAVAILABLE")], "overloaded"),
    ("google", 200, {"error": {"status": "INTERNAL"}}, "server_error"),
]


@pytest.mark.parametrize(("provider", "status", "body", "failure"), ERRORS)
def test_errors(provider: str, status: int, body: Any, failure: str) -> None:
    assert failed(provider, body, status).failure == failure


def test_when_to_come_back() -> None:
    got = failed("google", gemini(429, "RESOURCE_EXHAUSTED", CANARY, RATE, {"retryDelay": "37s"}), 429)
    assert (got.failure, got.retry_after_ms) == ("rate_limited", 37_000)
    used_up = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-09-21T14:13:30Z",
        "anthropic-ratelimit-tokens-remaining": "5",
        "anthropic-ratelimit-tokens-reset": "2026-09-21T15:00:00Z",
    }
    assert reset_moment_ms(used_up, now=NOW) == 10_000
    assert failed("anthropic", claude("rate_limit_error"), 429, used_up).retry_after_ms == 10_000
    assert reset_moment_ms({"anthropic-ratelimit-tokens-remaining": "0"}, now=NOW) is None


def said(reason: str, *content: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5}
    return {"type": "message", "id": "m", "model": "c", "content": list(content), "stop_reason": reason, "usage": usage}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
     ("tool_use", "tool_calls"), ("refusal", "content_filter"), ("unheard_of", "stop")],
)  # fmt: skip
def test_anthropic_finish_reasons(reason: str, finish: str) -> None:
    answer = read("anthropic", said(reason, {"type": "text", "text": "a"}))
    assert isinstance(answer, Answer)
    assert (answer.finish_reason, answer.empty) == (finish, False)
    assert (answer.usage.tokens_in, answer.usage.cached, answer.usage.cache_write) == (12, 4, 5)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
     ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter")],
)  # fmt: skip
def test_google_finish_reasons(reason: str, finish: str) -> None:
    content = {"role": "model", "parts": [{"text": "a"}]}
    answer = read("google", {"candidates": [{"content": content, "finishReason": reason}]})
    assert isinstance(answer, Answer)
    assert (answer.finish_reason, answer.usage.certain) == (finish, False)


def test_answers_that_are_none_are_billed_all_the_same() -> None:
    window = failed("anthropic", said("model_context_window_exceeded", {"type": "text", "text": "a"}), 200)
    assert (window.failure, window.other, window.billed) == ("context_length", "larger", "yes")
    assert window.usage is not None
    assert window.usage.tokens_in == 12
    usage = {"promptTokenCount": 9, "thoughtsTokenCount": 2}
    broken = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}], "usageMetadata": usage}
    got = failed("google", broken, 200)
    assert (got.failure, got.billed, got.usage and got.usage.tokens_out) == ("empty_completion", "yes", 2)


def test_a_bill_with_an_unreadable_part_is_not_certain() -> None:
    spoken = said("end_turn", {"type": "text", "text": "a"})
    spoken["usage"] |= {"cache_read_input_tokens": "many"}
    candidate = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    counted = {"promptTokenCount": 4, "candidatesTokenCount": 1, "thoughtsTokenCount": -2}
    for answer in (read("anthropic", spoken), read("google", {"candidates": [candidate], "usageMetadata": counted})):
        assert isinstance(answer, Answer) and not answer.usage.certain


def test_a_refused_prompt_is_an_answer() -> None:
    answer = read("google", {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    assert isinstance(answer, Answer)
    assert (answer.finish_reason, answer.empty, answer.usage.tokens_in) == ("content_filter", False, 4)
    assert "SAFETY" in answer.completion["choices"][0]["message"]["refusal"]


@pytest.mark.parametrize(
    ("provider", "headers", "expected"),
    [
        ("anthropic", {}, {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
        ("anthropic", {"Anthropic-Version": "2026-10-21"}, {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}),
        ("anthropic", {"Authorization": "Bearer"}, {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}),
        ("google", {}, {"x-goog-api-key": "k"}),
        ("google", {"authorization": "Bearer"}, {"authorization": "Bearer k"}),
        ("openai", {"openai-project": "p"}, {"authorization": "Bearer k", "openai-project": "p"}),
    ],
)  # fmt: skip
async def test_keys(provider: str, headers: dict[str, str], expected: dict[str, str]) -> None:
    import ssl

    targets = Targets(Credentials({"KEY": "k"}), ssl.create_default_context())
    given = {"id": "d", "provider": provider, "model": "m", "base_url": "http://h/v1", "api_key": "env:KEY"}
    target = targets.of(Deployment(**given, headers=headers))
    for lines in (target.headers, target.stream_headers):
        got = {name.decode(): value.decode() for name, value in lines}
        assert {name: got.get(name) for name in expected} == expected
        assert sum(name in got for name in ("authorization", "x-api-key", "x-goog-api-key")) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_in_any_pieces(size: int) -> None:
    raw = b"\xef\xbb\xbf: c\r\n\r\nevent: a\rdata: 1\r\rdata:2\ndata: 3\n\nid: 4\n\ndata: last"
    events = Events()
    got = [event for at in range(0, len(raw), size) for event in events.feed(raw[at : at + size])]
    assert [tuple(event) for event in got] == [("a", b"1"), ("", b"2\n3")]
    assert [tuple(event) for event in events.close()] == [("", b"last")]
