"""What budgets, policies, tasks and what was learned change about a decision."""

from dataclasses import replace

import pytest
from decide_world import (
    BIG,
    LOCAL,
    MINI_EU,
    MINUTE,
    MODELS,
    NOW,
    Spend,
    decided,
    health,
    rejected,
    request,
    steps,
    view,
    why,
)

from agents.routing.learned import facts_of, value_of
from agents.routing.task import task_of
from projections import histogram
from schemas.policy import Configuration
from schemas.requests import ChatRequest
from schemas.units import MICROS_PER_S


class TestBudget:
    BUDGET = {"scope": "tenant:acme", "period": "day", "limit_usd": 1}

    def test_reject(self) -> None:
        spend = Spend({"tenant:acme": 900_000_000}, {"tenant:acme": 100_000_000})
        error = rejected(view(budgets=[self.BUDGET], spend=spend))
        day_end = (NOW // (86_400 * MICROS_PER_S) + 1) * 86_400 * MICROS_PER_S
        assert (error.code, error.retry_after_ms) == ("budget_exhausted", (day_end - NOW) // 1_000)
        assert "tenant:acme of 1 USD a day" in error.message

    def test_local_only(self) -> None:
        spend = Spend({"tenant:acme": 10**9})
        decision = decided(view(budgets=[self.BUDGET | {"at_limit": "local_only"}], spend=spend))
        assert steps(decision) == ["own"]
        assert any(reason.startswith("only local deployments until") for reason in decision.reasons)

    @pytest.mark.parametrize(("scope", "left"), [("provider:openai", ["big", "own"]), ("deployment:big", None)])
    def test_of_a_target_closes_that_target(self, scope: str, left: list[str] | None) -> None:
        budget = {"scope": scope, "period": "hour", "limit_usd": 1}
        decision = decided(view(budgets=[budget], spend=Spend({scope: 10**9})))
        assert steps(decision) == (left or ["mini-eu", "mini-us", "own"])
        assert set(why(decision).values()) == {"budget"}

    def test_of_another_tenant_binds_nobody_else(self) -> None:
        budget = self.BUDGET | {"scope": "tenant:other"}
        assert decided(view(budgets=[budget], spend=Spend({"tenant:other": 10**9}))).plan


class TestChoice:
    def test_request_over_tenant_over_default(self) -> None:
        tenants = [{"id": "acme", "strategy": "quality"}]
        assert decided(view()).strategy == "cost"
        assert decided(view(strategies={"": "reliability"})).strategy == "reliability"
        assert decided(view(tenants=tenants, strategies={"": "reliability"})).strategy == "quality"
        assert decided(view(tenants=tenants, strategies={"acme": "speed"})).strategy == "speed"
        assert decided(view(tenants=tenants), request(routing={"strategy": "speed"})).strategy == "speed"

    def test_a_policy_of_a_task_wins_over_the_default_alone(self) -> None:
        by_task = {"conversation": {"strategy": "quality", "balancer": "token_aware"}, "math": {"strategy": "speed"}}
        decision = decided(view(routing={"by_task": by_task}))
        assert (decision.strategy, decision.balancer) == ("quality", "token_aware")
        assert "strategy quality: the policy of task conversation" in decision.reasons
        assert "balancer token_aware: the policy of task conversation" in decision.reasons
        math = decided(view(routing={"by_task": by_task}), request(routing={"task": "math"}))
        assert (math.strategy, math.balancer) == ("speed", "round_robin")
        tenants = [{"id": "acme", "strategy": "reliability"}]
        assert decided(view(routing={"by_task": by_task}, tenants=tenants)).strategy == "reliability"

    def test_weights_of_a_policy_rank_as_those_of_a_request_do(self) -> None:
        peers, heavy = (MINI_EU, BIG | {"fallback_tier": "primary"}), {"quality": 0.9, "cost": 0.1}
        asked = request(routing={"strategy": "weighted"})
        named = decided(view(*peers), request(routing={"strategy": "weighted", "weights": heavy}))
        policy = decided(view(*peers, tenants=[{"id": "acme", "weights": heavy}]), asked)
        assert steps(decided(view(*peers), asked))[0] == "mini-eu"
        assert steps(named)[0] == steps(policy)[0] == "big"
        assert policy.estimates == decided(view(*peers, routing={"weights": heavy}), asked).estimates
        assert "weights quality 0.90, cost 0.10: the tenant's policy" in policy.reasons
        assert not any("weights" in reason for reason in named.reasons)

    def test_budget_aware_does_not_say_what_other_weights_replaced(self) -> None:
        tenants = [{"id": "acme", "strategy": "weighted", "cost_strategy": "budget_aware"}]
        assert any(reason.startswith("budget_aware") for reason in decided(view(tenants=tenants)).reasons)
        tenants[0]["weights"] = {"speed": 1}  # type: ignore[assignment]
        assert not any(reason.startswith("budget_aware") for reason in decided(view(tenants=tenants)).reasons)

    def test_the_least_quality_of_a_task_filters_as_the_requests_does(self) -> None:
        by_task = {"conversation": {"min_quality": 0.7}}
        policy = decided(view(routing={"by_task": by_task}))
        assert (steps(policy), policy.excluded) == (
            steps(decided(view(), request(routing={"min_quality": 0.7}))),
            decided(view(), request(routing={"min_quality": 0.7})).excluded,
        )
        assert steps(policy) == ["big"]
        assert "min_quality 0.70: the policy of task conversation" in policy.reasons
        assert steps(decided(view(routing={"by_task": by_task}), request(model="mini")))[0] == "mini-eu"
        assert steps(decided(view(routing={"by_task": by_task}), request(routing={"min_quality": 0.5})))[0] == "mini-eu"

    @pytest.mark.parametrize(
        ("strategy", "first"), [("cost", "mini-eu"), ("quality", "big"), ("speed", "big"), ("reliability", "big")]
    )
    def test_strategies(self, strategy: str, first: str) -> None:
        known = {"mini-eu": health(succeeded=90, failed=10, ms=8_000), "big": health(succeeded=200, ms=900)}
        tables = view(MINI_EU, BIG | {"fallback_tier": "primary"}, health=known)
        decision = decided(tables, request(routing={"strategy": strategy}))
        assert steps(decision)[0] == first
        assert 0.5 < decision.confidence <= 1

    def test_a_tie_in_cost_goes_to_quality(self) -> None:
        tables = view(LOCAL | {"id": "a", "fallback_tier": "primary"}, MINI_EU | {"id": "b"})
        models = [m | {"price_usd_per_million": {"input": 1, "output": 1}} for m in MODELS]
        document = tables.inforce.configuration.model_dump(mode="json")
        document["catalog"]["models"] = models
        inforce = replace(tables.inforce, configuration=Configuration.model_validate(document))
        assert steps(decided(replace(tables, inforce=inforce)))[0] == "b"

    def test_least_connections(self) -> None:
        tables = view(routing={"balancer": "least_connections"}, in_flight={"mini-eu": 3, "mini-us": 2})
        assert steps(decided(tables))[0] == "mini-us"

    def test_a_name_without_a_function_is_not_replaced_in_silence(self) -> None:
        routing = {"strategy": "adaptive", "balancer": "token_aware", "cost_strategy": "predictive"}
        decision = decided(view(routing=routing))
        reasons = " ".join(decision.reasons)
        for name, used in (("strategy adaptive", decision.strategy), ("balancer token_aware", decision.balancer)):
            assert used in name or f"{name} is not available here: {used} used" in reasons


class TestTask:
    @pytest.mark.parametrize(
        ("asked", "task"),
        [
            (request(), "conversation"),
            (request(tools=[{"type": "function"}]), "function_calling"),
            (request([{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]), "multimodal"),
            (request("mend this:\n```py\nx = \n```"), "code"),
            (request([{"type": "text", "text": "```"}]), "code"),
            (request(response_format={"type": "json_schema"}), "analysis"),
            (request(routing={"task": "math"}), "math"),
        ],
    )
    def test_from_structure(self, asked: ChatRequest, task: str) -> None:
        assert task_of(asked) == task


class TestLearned:
    @pytest.mark.parametrize("ms", [0.001, 0.5, 1.0, 37.0, 1_000.0, 1e6])
    def test_reads_histograms_as_they_are_written(self, ms: float) -> None:
        assert value_of(histogram.bucket(ms)) == histogram.value_of(histogram.bucket(ms)) == pytest.approx(ms, rel=0.04)

    def test_a_429_is_no_failure_and_old_news_fades(self) -> None:
        unknown = facts_of(None, MINUTE).success
        assert facts_of(health(failed=5, rate_limited=5), MINUTE).success == unknown
        fresh = facts_of(health(failed=5), MINUTE).success
        faded = facts_of(health(failed=5), MINUTE + 10).success
        gone = facts_of(health(failed=5), MINUTE + 16).success
        assert fresh < faded < gone == unknown
