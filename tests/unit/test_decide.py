"""How a decision is made, filter by filter: read as documentation."""

import struct
from dataclasses import replace
from typing import Any

import orjson
import pytest

from agents.routing.decide import Decision, decide
from agents.routing.estimates import ESTIMATE_FIELDS
from agents.routing.learned import facts_of, value_of
from agents.routing.task import task_of
from agents.routing.view import RoutingView
from projections import histogram
from schemas.errors import RequestError
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.state import CircuitState, HealthBucket, HealthState
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000
MINUTE = NOW // (60 * MICROS_PER_S)
OPEN = CircuitState(status="open", open_until=NOW + 41 * MICROS_PER_S, last_failed_at=NOW - 1)
HALF_OPEN = CircuitState(status="half_open")
MODELS = [
    {"id": "mini", "tier": "efficient", "context_window": 20_000, "capabilities": ["streaming", "tools"],
     "price_usd_per_million": {"input": 0.1, "output": 0.4}, "quality": {"conversation": 0.6}},
    {"id": "big", "tier": "flagship", "context_window": 200_000,
     "capabilities": ["streaming", "tools", "vision", "json_schema"],
     "price_usd_per_million": {"input": 2, "output": 8}, "quality": {"conversation": 0.9}},
    {"id": "llama-3", "tier": "efficient", "context_window": 8_000, "quality": {"conversation": 0.4},
     "refuses": ["sampling", "forced_tool"]},
]  # fmt: skip


# As long as an image of 675 KB; its length must not count as text.
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}


class Spend:
    """Spend by scope, the same in every period."""

    def __init__(self, spent: dict[str, int] | None = None, reserved: dict[str, int] | None = None) -> None:
        self._spent, self._reserved = spent or {}, reserved or {}

    def spent(self, scope: str, period: str, now: int) -> int:
        return self._spent.get(scope, 0)

    def reserved(self, scope: str) -> int:
        return self._reserved.get(scope, 0)


def deployment(name: str, model: str = "mini", **fields: Any) -> dict[str, Any]:
    return {"id": name, "provider": "openai", "model": model, "base_url": "http://127.0.0.1:1", **fields}


MINI_EU = deployment("mini-eu", region="eu", api_key="env:A")
MINI_US = deployment("mini-us", region="us", api_key="env:A")
BIG = deployment("big", "big", provider="anthropic", region="eu", fallback_tier="secondary")
LOCAL = deployment("own", "llama-3", provider="openai_compatible", fallback_tier="local")
ALL = [MINI_EU, MINI_US, BIG, LOCAL]


def view(
    *deployments: dict[str, Any], routing: dict[str, Any] | None = None, switched_off: frozenset[str] = frozenset(),
    strategies: dict[str, str] | None = None, **tables: Any,
) -> RoutingView:  # fmt: skip
    policy = {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"} | (routing or {})
    document = {"catalog": {"models": MODELS, "deployments": list(deployments or ALL)}, "routing": policy}
    document |= {name: tables.pop(name) for name in ("budgets", "tenants", "circuit") if name in tables}
    configuration = Configuration.model_validate(document)
    inforce = InForce(
        offset=7, configuration=configuration, budgets=configuration.budgets, switched_off=switched_off,
        strategies=strategies or {},
    )  # fmt: skip
    empty: dict[str, Any] = {name: {} for name in ("circuits", "health", "in_flight", "cooling", "out_of_service")}
    return RoutingView(**{"inforce": inforce, "spend": Spend(), "turn": 0, **empty, **tables})


def request(content: Any = "hello", routing: dict[str, Any] | None = None, **body: Any) -> ChatRequest:
    document = {"messages": [{"role": "user", "content": content}], "routing": routing or {}, **body}
    return parse_request(orjson.dumps(document), max_bytes=10_000_000)


def decided(view: RoutingView, asked: ChatRequest | None = None, seconds: float = 30) -> Decision:
    deadline_at = NOW + int(seconds * MICROS_PER_S)
    return decide(asked or request(), "acme", view, now=NOW, deadline_at=deadline_at, seed=1)


def rejected(view: RoutingView, asked: ChatRequest | None = None, seconds: float = 30) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decided(view, asked, seconds)
    return caught.value


def steps(decision: Decision) -> list[str]:
    return [step.deployment for step in decision.plan]


def why(decision: Decision) -> dict[int, str]:
    return {exclusion.index: exclusion.reason for exclusion in decision.excluded}


def health(succeeded: int = 0, failed: int = 0, ms: float = 100.0, **fields: Any) -> HealthState:
    counts = {histogram.bucket(ms): succeeded} if succeeded else {}
    bucket = HealthBucket(MINUTE, succeeded, failed, latency=counts, tokens_out=succeeded * 300, **fields)
    return HealthState((bucket,))


class TestPlan:
    def test_goes_down_the_fallback_tiers(self) -> None:
        decision = decided(view())
        assert [(s.deployment, s.tier) for s in decision.plan] == [
            ("mini-eu", "primary"), ("mini-us", "primary"), ("big", "secondary"), ("own", "local"),
        ]  # fmt: skip
        assert decision.reasons[0] == "cheapest of 2 in the first choice (primary), 2 more to fall back to"
        assert decision.control_offset == 7
        assert decision.excluded == ()

    def test_is_no_longer_than_max_attempts(self) -> None:
        assert len(decided(view(routing={"max_attempts": 2})).plan) == 2

    def test_another_credential_comes_before_the_same_one(self) -> None:
        other = deployment("mini-z", api_key="env:B")
        assert steps(decided(view(MINI_EU, MINI_US, other))) == ["mini-eu", "mini-z", "mini-us"]

    def test_reserves_money_for_each_step(self) -> None:
        decision = decided(view(), request(max_tokens=1_000))
        size = decision.estimated_tokens_in
        assert decision.reserve_nano_usd == {
            "mini-eu": 100 * size + 400 * 1_000, "mini-us": 100 * size + 400 * 1_000,
            "big": 2_000 * size + 8_000 * 1_000, "own": 0,
        }  # fmt: skip

    def test_records_the_estimates_of_each_candidate(self) -> None:
        decision = decided(view(BIG))
        values = struct.unpack("<8f", decision.estimates)
        recorded = dict(zip(ESTIMATE_FIELDS, values, strict=True))
        expected_cost = (2_000 * decision.estimated_tokens_in + 8_000 * 300) / 0.9
        assert recorded["cost_nano_usd_per_success"] == pytest.approx(expected_cost)
        assert recorded["success_mean"] == pytest.approx(0.9)
        assert recorded["score"] == -recorded["cost_nano_usd_per_success"]
        assert (decision.candidates, decision.confidence, decision.cut) == ((0,), 1.0, False)

    def test_records_at_most_32_candidates_and_says_that_it_cut(self) -> None:
        decision = decided(view(*(deployment(f"d{i}") for i in range(40))))
        assert len(decision.candidates) == 32
        assert decision.cut


class TestModel:
    def test_named_model_first_then_lower_tiers(self) -> None:
        decision = decided(view(), request(model="mini"))
        assert steps(decision) == ["mini-eu", "mini-us", "big", "own"]

    def test_another_model_of_the_same_tier_does_not_serve(self) -> None:
        decision = decided(view(MINI_EU, BIG | {"fallback_tier": "primary"}), request(model="mini"))
        assert steps(decision) == ["mini-eu"]
        assert why(decision) == {1: "model"}

    def test_exclusions_stand_in_the_order_of_the_catalog(self) -> None:
        decision = decided(view(BIG, MINI_US, MINI_EU), request(response_format={"type": "json_schema"}))
        assert [exclusion.index for exclusion in decision.excluded] == [1, 2]

    def test_without_fallback_no_other_model_serves(self) -> None:
        assert steps(decided(view(), request(model="mini", routing={"fallback": False}))) == ["mini-eu", "mini-us"]
        assert steps(decided(view(), request(routing={"fallback": False}))) == ["mini-eu", "mini-us"]

    def test_named_deployment_first_then_its_replicas(self) -> None:
        assert steps(decided(view(), request(model="deployment:mini-us"))) == ["mini-us", "mini-eu", "big", "own"]
        alone = request(model="deployment:mini-us", routing={"fallback": False})
        assert steps(decided(view(), alone)) == ["mini-us"]

    @pytest.mark.parametrize(("model", "hint"), [("minni", "did you mean mini?"), ("deployment:mini-ue", "mini-eu")])
    def test_unknown_names_get_the_close_ones(self, model: str, hint: str) -> None:
        error = rejected(view(), request(model=model))
        assert error.code == "unknown_model"
        assert hint in error.message


class TestAvailability:
    def test_open_circuit(self) -> None:
        decision = decided(view(circuits={"mini-eu": OPEN}))
        assert steps(decision) == ["mini-us", "big", "own"]
        assert (decision.excluded[0].reason, decision.excluded[0].until) == ("circuit_open", OPEN.open_until)
        assert "mini-eu left out: circuit open until 14:14:01Z" in decision.reasons

    def test_only_a_probe_reopens_unless_probing_is_off(self) -> None:
        past = {"mini-eu": replace(OPEN, open_until=NOW - 1)}
        assert "mini-eu" not in steps(decided(view(circuits=past)))
        assert "mini-eu" in steps(decided(view(circuits=past, circuit={"probe_interval_s": 0})))

    def test_half_open_admits_one_trial_at_a_time(self) -> None:
        assert "mini-eu" in steps(decided(view(circuits={"mini-eu": HALF_OPEN})))
        busy = decided(view(circuits={"mini-eu": HALF_OPEN}, trials=frozenset({"mini-eu"})))
        assert why(busy) == {0: "half_open_busy"}

    def test_a_command_wins_over_the_circuit(self) -> None:
        assert "mini-eu" in steps(decided(view(circuits={"mini-eu": replace(OPEN, forced="closed")})))
        assert rejected(view(MINI_EU, circuits={"mini-eu": replace(OPEN, forced="open")})).code == "throttled"

    @pytest.mark.parametrize(
        ("tables", "reason"),
        [
            ({"cooling": {"mini-eu": NOW + 1}}, "cooling"),
            ({"out_of_service": {"mini-eu": "credential missing"}}, "out_of_service"),
            ({"switched_off": frozenset({"mini-eu"})}, "switched_off"),
            ({"tried": frozenset({"mini-eu"})}, "tried"),
            ({"health": {"mini-eu": health(failed=10)}}, "unhealthy"),
        ],
    )
    def test_each_reason(self, tables: dict[str, Any], reason: str) -> None:
        assert why(decided(view(**tables))) == {0: reason}

    def test_cooling_ends(self) -> None:
        assert "mini-eu" in steps(decided(view(cooling={"mini-eu": NOW})))

    def test_says_why_out_of_service(self) -> None:
        reasons = decided(view(out_of_service={"mini-eu": "credential missing"})).reasons
        assert "mini-eu left out: out of service: credential missing" in reasons

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            ({"concurrency": 5}, "concurrency"),
            ({"requests_per_minute": 15}, "rate_limit"),
            ({"tokens_per_minute": 3_000}, "rate_limit"),
        ],
    )
    def test_limits(self, limits: dict[str, int], reason: str) -> None:
        limited = MINI_EU | {"limits": limits}
        tables = {"in_flight": {"mini-eu": 5}, "health": {"mini-eu": health(succeeded=10)}}
        assert why(decided(view(limited, MINI_US, **tables))) == {0: reason}

    def test_the_least_recently_failed_gets_one_call_rather_than_nobody(self) -> None:
        circuits = {"mini-eu": replace(OPEN, last_failed_at=NOW - 5), "mini-us": replace(OPEN, last_failed_at=NOW - 9)}
        decision = decided(view(MINI_EU, MINI_US, circuits=circuits))
        assert steps(decision) == ["mini-us"]
        assert any("mini-us failed least recently" in reason for reason in decision.reasons)
        assert steps(decided(view(MINI_EU, MINI_US, circuits=circuits, in_flight={"mini-us": 1}))) == ["mini-eu"]
        flying = {"mini-us": 1, "mini-eu": 1}
        error = rejected(view(MINI_EU, MINI_US, circuits=circuits, in_flight=flying))
        assert (error.code, error.retry_after_ms) == ("throttled", 41_000)

    def test_one_that_is_woken_outside_the_region_is_labelled_and_said(self) -> None:
        decision = decided(view(MINI_US, circuits={"mini-us": OPEN}), request(routing={"region": "eu"}))
        assert [(s.deployment, s.tier) for s in decision.plan] == [("mini-us", "emergency")]
        assert any(reason.endswith("gets one call, with region given up") for reason in decision.reasons)


class TestCapability:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"stream": True}, "streaming"),
            ({"response_format": {"type": "json_schema"}}, "json_schema"),
            ({"content": [IMAGE]}, "vision"),
            ({"temperature": 0.2}, "sampling"),
            ({"top_k": 5}, "sampling"),
            ({"tool_choice": "required"}, "forced_tool"),
            ({"content": "word " * 8_000}, "context"),
            ({"routing": {"deny": ["*/llama*"]}}, "denied"),
            ({"routing": {"allow": ["openai/*", "big"]}}, "not_allowed"),
        ],
    )
    def test_each_reason(self, body: dict[str, Any], reason: str) -> None:
        assert why(decided(view(BIG, LOCAL), request(**body))) == {1: reason}

    def test_what_no_model_refuses_is_no_reason(self) -> None:
        assert not why(decided(view(BIG, LOCAL), request(temperature=1.0, top_p=1, tool_choice="auto")))

    def test_deny_wins_over_allow(self) -> None:
        asked = request(routing={"allow": ["openai/*"], "deny": ["mini-eu"]})
        assert steps(decided(view(), asked)) == ["mini-us"]

    def test_maximum_cost_is_measured_against_what_would_be_reserved(self) -> None:
        assert why(decided(view(), request(routing={"max_cost_usd": 0.002}))) == {2: "max_cost"}
        error = rejected(view(BIG), request(routing={"max_cost_usd": 0.000001}))
        assert (error.code, error.param) == ("cost_limit_exceeded", "routing.max_cost_usd")

    def test_deadline_is_measured_against_a_p95_that_is_known(self) -> None:
        slow = {"mini-eu": health(succeeded=50, ms=9_000), "mini-us": health(succeeded=5, ms=9_000)}
        assert why(decided(view(health=slow), seconds=5)) == {0: "deadline"}
        assert rejected(view(MINI_EU, health=slow), seconds=5).code == "deadline_exceeded"
        assert rejected(view(), seconds=0).code == "deadline_exceeded"

    def test_rejection_names_what_removed_the_most(self) -> None:
        error = rejected(view(MINI_EU, LOCAL), request("word " * 80_000))
        assert error.code == "context_length_exceeded"
        assert "(2 of 2 deployments)" in error.message
        error = rejected(view(MINI_EU, LOCAL), request(response_format={"type": "json_schema"}))
        assert error.code == "no_capable_deployment"
        assert "remove response_format" in error.message

    def test_an_empty_catalog_says_what_to_do(self) -> None:
        empty = view()
        inforce = replace(empty.inforce, configuration=Configuration())
        assert "turnout apply" in rejected(replace(empty, inforce=inforce)).message


class TestRelaxation:
    def test_gives_up_the_region_first(self) -> None:
        decision = decided(view(MINI_US, LOCAL), request(routing={"region": "eu"}))
        assert [(s.deployment, s.tier) for s in decision.plan] == [("mini-us", "emergency")]
        assert any("region given up" in reason for reason in decision.reasons)

    @pytest.mark.parametrize(
        ("routing", "given_up"),
        [
            ({"min_quality": 0.99}, "min quality"),
            ({"tier": "specialized"}, "tier"),
            ({"region": "asia", "min_quality": 0.99}, "region, min quality"),
        ],
    )
    def test_then_quality_and_tier(self, routing: dict[str, Any], given_up: str) -> None:
        decision = decided(view(MINI_EU), request(routing=routing))
        assert decision.plan[0].tier == "emergency"
        assert f"nobody met every criterion: {given_up} given up" in decision.reasons

    def test_then_soft_rate_limits(self) -> None:
        limited = MINI_EU | {"limits": {"requests_per_minute": 1}}
        decision = decided(view(limited, health={"mini-eu": health(succeeded=9)}))
        assert decision.plan[0].tier == "emergency"

    def test_no_more_than_needed(self) -> None:
        decision = decided(view(MINI_US, BIG), request(routing={"region": "us", "min_quality": 0.8}))
        assert steps(decision) == ["big"]

    def test_comes_before_local(self) -> None:
        decision = decided(view(MINI_US, LOCAL | {"region": "eu"}), request(routing={"region": "eu"}))
        assert [(s.deployment, s.tier) for s in decision.plan] == [("mini-us", "emergency"), ("own", "local")]

    def test_local_when_nobody_else_is_left(self) -> None:
        decision = decided(view(MINI_EU, LOCAL, circuits={"mini-eu": OPEN}))
        assert [(s.deployment, s.tier) for s in decision.plan] == [("own", "local")]

    @pytest.mark.parametrize("routing", [{"deny": ["openai/*"]}, {"max_cost_usd": 0}])
    def test_never_gives_up_a_constraint(self, routing: dict[str, Any]) -> None:
        rejected(view(MINI_EU), request(routing=routing))


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
