"""What `turnout send` and `turnout explain` make of records: the first answer, a request told in words."""

import struct
from types import SimpleNamespace
from typing import Any

from routing_worlds import NO_INPUTS

from infra.cli.explanation import estimates_of, explained, words
from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    Exclusion,
    PlanStep,
    RequestCompleted,
    RouteDecided,
)
from schemas.ids import Source
from streams.answers import Sent, first_answer
from streams.control import ControlLog

SENT = Sent("r-1", "default", "llm.requests", 3, 50, 1_000_000, repeatable=True)


def answer(timestamp: int, **headers: str) -> Any:
    items = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    return SimpleNamespace(timestamp=timestamp, headers=items)


def test_the_first_answer_of_a_request_wins() -> None:
    own = answer(1_000_010, turnout_source="llm.requests-3-50")
    again = answer(1_000_020, turnout_source="llm.requests-3-50")
    assert first_answer([own, again], SENT) is own
    bare = answer(1_000_005)
    assert first_answer([bare, own], SENT) is bare
    assert first_answer([], SENT) is None


def test_an_earlier_publication_answers_too_unless_it_may_be_retried() -> None:
    own = answer(1_000_010, turnout_source="llm.requests-3-50")
    final = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="default")
    retryable = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="true", turnout_tenant="default")
    other = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="acme")
    ancient = answer(100, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="default")
    assert first_answer([final, own], SENT) is final
    for passed_over in (retryable, other, ancient):
        assert first_answer([passed_over, own], SENT) is own


def origin(kind: str, at: int) -> dict[str, Any]:
    return {
        "event_id": kind, "occurred_at": at, "worker": "w", "source": Source("llm.requests", 0, 7), "run": 3,
        "request_id": "r-1", "tenant": "acme", "trace_id": "0" * 32, "accepted_at": 1_000_000,
    }  # fmt: skip


def attempt(number: int, deployment: str) -> dict[str, Any]:
    return {"number": number, "deployment": deployment, "provider": "openai", "model": "small", "tier": "primary",
            "circuit_epoch": 0, "trial": False}  # fmt: skip


def a_life() -> list[Any]:
    return [
        RouteDecided(
            **origin("RouteDecided", 1), plan=(PlanStep("one", "primary"), PlanStep("two", "secondary")),
            strategy="cost", cost_strategy="minimize", balancer="round_robin", task="code", confidence=0.5,
            reasons=("cheapest of 2",),
            candidates=(0, 1), estimates=struct.pack("<16f", *range(16)), propensities=(),
            excluded=(Exclusion(2, "circuit_open", 5_000_000),),
            cut=False, control_offset=4, seed=1, decision_us=40.0,
            **NO_INPUTS,
        ),
        AttemptStarted(**origin("AttemptStarted", 2), **attempt(1, "one"), deadline_at=9),
        AttemptFailed(
            **origin("AttemptFailed", 3), **attempt(1, "one"), task="code", failure="server_error", http_status=500,
            latency_ms=12.0, retry_after_ms=0, next_action="other", counts_toward_circuit=True, billed="no",
            provider_code="", provider_request_id="", jitter=0.0,
        ),
        AttemptSucceeded(
            **origin("AttemptSucceeded", 4), **attempt(2, "two"), task="code", http_status=200, latency_ms=30.0,
            first_token_ms=0.0, tokens_in=10, tokens_out=5, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0,
            finish_reason="stop", provider_request_id="",
        ),
        CostIncurred(
            **origin("CostIncurred", 5), cost_id="c2", number=2, nano_usd=123_000, deployment="two", provider="openai",
            model="small", certainty="certain", tokens_in=10, tokens_out=5, tokens_cached=0, tokens_cache_write=0,
            tokens_reasoning=0, price_version="p",
        ),
        RequestCompleted(
            **origin("RequestCompleted", 6), status="ok", code="", retryable=False, task="code", strategy="cost",
            priority="standard", deployment="two", provider="openai", model="small", tier="secondary", attempts=2,
            fallback=True, streaming=False, queue_ms=1.0, decision_ms=0.04, first_token_ms=0.0, provider_ms=42.0,
            total_ms=45.0, tokens_in=10, tokens_out=5, cost_nano_usd=123_000,
        ),
    ]  # fmt: skip


def test_a_request_is_told_in_words() -> None:
    stories = explained(a_life(), ControlLog())
    assert len(stories) == 1
    text = "\n".join(words(stories[0]))
    assert "Plan: one (primary), then two (secondary)." in text
    assert "Left out deployment #2: circuit open until 00:00:05Z." in text
    assert "Attempt 1 on one failed after 12.0 ms: server error with HTTP 500; the next deployment was tried." in text
    assert "Attempt 2 on two succeeded after 30.0 ms: 10 tokens in, 5 out, cost $0.000123 (certain)." in text
    assert "Answered ok by two, by fallback in 45.0 ms" in text
    assert stories[0]["cost_usd"] == 0.000123


def test_estimates_are_unpacked_by_name() -> None:
    decided = a_life()[0]
    first, second = estimates_of(decided)
    assert (first["tokens_in"], first["score"]) == (0.0, 7.0)
    assert (second["tokens_in"], second["score"]) == (8.0, 15.0)
