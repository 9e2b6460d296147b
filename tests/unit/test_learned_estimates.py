"""What a decision makes of learned counts, read as documentation: lengths, realised utility, quality, reservations."""

import math
import struct
from typing import Any

import numpy as np
import orjson
import pytest

from agents.routing.compiled import compiled
from agents.routing.decide import Decision, decide
from agents.routing.estimates import ESTIMATE_FIELDS, MEAN_TOKENS_OUT, P99_TOKENS_OUT, QUALITY, TOKENS_OUT
from agents.routing.evidence import CALL_SPREAD, PRIOR_SPREAD, ratios
from agents.routing.learned import facts_of
from agents.routing.quality import QUALITY_SPREAD, believed_quality
from agents.routing.view import RoutingView
from schemas.histogram import bucket, coarse, value_of
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.spans import CALLS_SPAN, LENGTHS_SPAN, PACE_SPAN, SCORES_SPAN
from schemas.state import (
    CallsBucket,
    HealthBucket,
    HealthState,
    LearnedState,
    LengthsBucket,
    PaceBucket,
    QualityState,
    ScoresBucket,
)

NOW = 1_790_000_000_000_000
TASK = "conversation"
CHEAP = {"price_usd_per_million": {"input": 0.1, "output": 0.4}, "quality": {TASK: 0.6}}
MODELS = [
    {"id": "mini", **CHEAP}, {"id": "twin", **CHEAP},
    {"id": "big", "price_usd_per_million": {"input": 2, "output": 8}, "quality": {TASK: 0.9}},
]  # fmt: skip


def deployment(name: str, model: str) -> dict[str, Any]:
    return {"id": name, "provider": "openai", "model": model, "base_url": "http://127.0.0.1:1"}


ALL = [deployment("mini-eu", "mini"), deployment("mini-us", "mini"), deployment("big", "big")]
PAIR, TWINS = [deployment("x", "mini"), deployment("y", "big")], [deployment("x", "mini"), deployment("y", "twin")]


class NothingSpent:
    def spent(self, scope: str, period: str, now: int) -> int:
        return 0

    def reserved(self, scope: str) -> int:
        return 0


def view(*deployments: dict[str, Any], routing: dict[str, Any] | None = None, **tables: Any) -> RoutingView:
    policy = {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"} | (routing or {})
    document = {"catalog": {"models": MODELS, "deployments": list(deployments)}, "routing": policy}
    empty: dict[str, Any] = {name: {} for name in ("circuits", "health", "in_flight", "cooling", "out_of_service")}
    inforce = InForce(offset=7, configuration=Configuration.model_validate(document))
    return RoutingView(**{"inforce": inforce, "spend": NothingSpent(), "turn": 0, **empty, **tables})


def request(**body: Any) -> ChatRequest:
    document = {"messages": [{"role": "user", "content": "hello"}], "routing": {"task": TASK}, **body}
    return parse_request(orjson.dumps(document), max_bytes=10_000)


def decided(view: RoutingView, asked: ChatRequest | None = None) -> Decision:
    return decide(asked or request(), "acme", view, now=NOW, deadline_at=NOW + 10**9, seed=1)


def learned(
    model: str, calls: int = 100, failed: int = 0, tokens: int = 50, ms: float = 1_000, age: int = 0
) -> LearnedState:
    """So many calls that were answered alike, `age` spans ago."""
    call = CallsBucket(NOW // CALLS_SPAN - age, calls, failed, 100 * calls, tokens * calls, round(ms * 1000) * calls)
    length = LengthsBucket(NOW // LENGTHS_SPAN - age, tokens * calls, {coarse(tokens): calls})
    return LearnedState(model, {TASK: (call,)}, {TASK: (length,)})


def scored(score: float, count: int, age: int = 0) -> QualityState:
    points = round(score * 1000)
    day = ScoresBucket(NOW // SCORES_SPAN - age, count, count * points, count * points * points)
    return QualityState({TASK: (day,)})


def rows(decision: Decision) -> dict[int, tuple[float, ...]]:
    found = struct.iter_unpack(f"<{len(ESTIMATE_FIELDS)}f", decision.estimates)
    return dict(zip(decision.candidates, found, strict=True))


def adaptive(**tables: Any) -> Decision:
    return decided(view(*TWINS, routing={"strategy": "adaptive", "cost_strategy": "cost_speed"}, **tables))


class TestLengths:
    def test_belong_to_a_model_whoever_of_its_deployments_answered(self) -> None:
        found = rows(decided(view(*ALL, learned={"mini-eu": learned("mini")})))
        assert found[0][TOKENS_OUT] == found[1][TOKENS_OUT] == pytest.approx((4 * 300 + 5_000) / 104)
        assert found[2][TOKENS_OUT] == MEAN_TOKENS_OUT

    def test_are_cut_at_what_the_caller_allows(self) -> None:
        told = view(*ALL, learned={"mini-eu": learned("mini", tokens=900)})
        assert rows(decided(told, request(max_tokens=500)))[0][TOKENS_OUT] == 500
        assert rows(decided(told))[0][TOKENS_OUT] > 800

    def test_of_another_task_say_nothing(self) -> None:
        told = view(*ALL, learned={"mini-eu": learned("mini")})
        assert rows(decided(told, request(routing={"task": "code"})))[0][TOKENS_OUT] == MEAN_TOKENS_OUT

    def test_of_a_model_that_the_deployment_no_longer_serves_say_nothing(self) -> None:
        told = view(*ALL, learned={"mini-eu": learned("big")})
        assert {row[TOKENS_OUT] for row in rows(decided(told)).values()} == {300.0}

    def test_fade_with_time(self) -> None:
        def mean(age: int) -> float:
            told = view(*ALL, learned={"mini-eu": learned("mini", age=age)})
            return rows(decided(told))[0][TOKENS_OUT]

        assert mean(0) < mean(2) < mean(5) < mean(6) == MEAN_TOKENS_OUT


class TestReservation:
    def test_holds_the_learned_percentile_once_there_is_enough(self) -> None:
        def held(calls: int, tokens: int = 50) -> float:
            told = view(*ALL, learned={"mini-eu": learned("mini", calls, tokens=tokens)})
            return decided(told).reserve_nano_usd["mini-us"]

        prior, few = held(0), held(99)
        assert few == prior
        # 50 tokens lie in a bucket that ends at 56; a token costs 400 nano-USD.
        assert prior - held(100) == 400 * (P99_TOKENS_OUT - 56)
        assert held(100, tokens=10_000) > prior


class TestQuality:
    def test_is_the_profile_until_somebody_scores(self) -> None:
        assert believed_quality(0.7, (), 0) == (0.7, QUALITY_SPREAD)

    def test_moves_toward_the_scores_and_gets_surer(self) -> None:
        state = scored(1.0, 9)
        mean, sd = believed_quality(0.6, state.tasks[TASK], NOW // SCORES_SPAN)
        # Nine that agree scatter half as far as supposed, so the profile counts like a quarter of nine.
        assert mean == pytest.approx(0.92)
        assert sd < QUALITY_SPREAD
        faded, unsure = believed_quality(0.6, state.tasks[TASK], NOW // SCORES_SPAN + 14)
        assert 0.6 < faded < mean
        assert sd < unsure < QUALITY_SPREAD

    def test_scores_that_disagree_leave_more_doubt(self) -> None:
        agreed = ScoresBucket(0, 20, 10_000, 5_000_000)
        divided = ScoresBucket(0, 20, 10_000, 10_000_000)
        assert believed_quality(0.5, (divided,), 0)[1] > believed_quality(0.5, (agreed,), 0)[1]

    def test_feedback_turns_the_order_of_the_quality_strategy(self) -> None:
        def first(quality: dict[str, QualityState]) -> str:
            told = view(*PAIR, routing={"strategy": "quality"}, quality=quality)
            return decided(told).plan[0].deployment

        assert first({}) == "y"
        assert first({"y": scored(0.1, 50), "x": scored(0.9, 50)}) == "x"

    def test_counts_for_the_least_quality_that_a_caller_takes(self) -> None:
        least = request(routing={"task": TASK, "min_quality": 0.85})
        told = view(*PAIR, quality={"x": scored(1.0, 100), "y": scored(0.2, 100)})
        assert [step.deployment for step in decided(told, least).plan] == ["x"]

    def test_a_view_without_the_feedback_decides_by_the_profile_again(self) -> None:
        told = view(*PAIR, quality={"y": scored(0.1, 50)})
        again = view(*PAIR)
        asked = request()
        assert rows(decided(told, asked))[1][QUALITY] < 0.9
        assert rows(decided(again, asked))[1][QUALITY] == pytest.approx(0.9)


class TestAdaptive:
    def test_says_that_nothing_was_learned(self) -> None:
        assert any("nothing learned" in reason for reason in adaptive().reasons)

    @pytest.mark.parametrize("bad", [{"failed": 300}, {"ms": 60_000.0}])
    def test_leaves_the_one_whose_calls_came_to_less(self, bad: dict[str, Any]) -> None:
        # Without weights of its own the strategy sees cost and speed: a failure makes a success dearer.
        for loser, winner in (("x", "y"), ("y", "x")):
            told = {"x": learned("mini"), "y": learned("twin")}
            told[loser] = learned(told[loser].model, **bad)
            decision = adaptive(learned=told)
            assert decision.plan[0].deployment == winner
            assert any("of 64 draws" in reason for reason in decision.reasons)
            assert sum(decision.propensities) == 1

    def test_the_same_calls_tell_a_large_request_nothing_that_its_size_explains(self) -> None:
        """Whoever was never tried must not look worse than one that answered just as expected."""
        told = view(*TWINS, learned={"x": learned("mini", tokens=300, ms=6_500)})
        decided(told)
        realised = compiled(told.inforce.configuration.catalog).experience.realised(TASK)
        assert realised is not None
        found = ratios(realised, np.array([0, 1]), np.array([0.9, 0.9]), 500.0, 20.0, np.array([300.0, 300.0]))
        assert found.time.tolist() == pytest.approx([1.0, 1.0])
        assert found.length.tolist() == [1.0, 1.0]
        assert found.prior.tolist() == pytest.approx([1 / (1 + 100 * (PRIOR_SPREAD / CALL_SPREAD) ** 2), 1.0])
        assert found.tries.tolist() == pytest.approx([0.9 / (100.9 / 101), 1.0])


def test_streams_tell_the_time_of_a_token_by_itself() -> None:
    minute = NOW // 60_000_000
    whole = HealthState((HealthBucket(minute, 100, latency={bucket(4_000.0): 100}, tokens_out=30_000),))
    paces = (PaceBucket(NOW // PACE_SPAN, {bucket(3.0): 100}),)
    few = (PaceBucket(NOW // PACE_SPAN, {bucket(3.0): 10}),)
    told = facts_of(whole, minute, paces).token_ms
    assert math.isclose(told, (3 * 20 + 100 * value_of(bucket(3.0))) / 103, rel_tol=1e-6)
    assert facts_of(whole, minute, few) == facts_of(whole, minute)
