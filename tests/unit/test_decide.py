"""How a decision is made, filter by filter: read as documentation."""

import struct
from dataclasses import replace
from typing import Any

import pytest
from decide_world import (
    BIG,
    HALF_OPEN,
    IMAGE,
    LOCAL,
    MINI_EU,
    MINI_US,
    NOW,
    OPEN,
    decided,
    deployment,
    health,
    rejected,
    request,
    steps,
    view,
    why,
)

from agents.routing.estimates import ESTIMATE_FIELDS
from schemas.policy import Configuration


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
