"""Whose word counts: the request's, then the tenant's policy, the task's, the default; each setting by itself."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.routing.choice import Choice, choice, min_quality_of, policies_of
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, Routing, request_of

DEFAULT = {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"}
TASK = {"strategy": "quality", "balancer": "token_aware", "cost_strategy": "arbitrage"}
TENANT = {"strategy": "speed", "balancer": "consistent_hash", "cost_strategy": "cost_speed"}
NAMES = ("strategy", "balancer", "cost_strategy")


def in_force(
    default: dict[str, Any] | None = None, task: dict[str, Any] | None = None, tenant: dict[str, Any] | None = None,
    strategies: dict[str, str] | None = None, weights: dict[str, dict[str, float]] | None = None,
) -> InForce:  # fmt: skip
    document = {
        "routing": DEFAULT | (default or {}) | {"by_task": {"code": task} if task else {}},
        "tenants": [{"id": "acme"} | tenant] if tenant is not None else [],
    }
    configuration = Configuration.model_validate(document)
    return InForce(configuration=configuration, strategies=strategies or {}, weights=weights or {})


def chosen(inforce: InForce, tenant: str = "acme", task: str = "code", used: float = 0.0, **routing: Any) -> Choice:
    return choice(policies_of(inforce).of(tenant, task), Routing(**routing), used)


def asked(**routing: Any) -> ChatRequest:
    body = {"messages": [{"role": "user", "content": "hi"}], "model": routing.pop("model", "auto"), "routing": routing}
    return request_of(body, 10)


def test_the_request_over_the_tenant_over_the_task_over_the_default() -> None:
    all_levels = in_force(task=TASK, tenant=TENANT)
    assert chosen(all_levels, strategy="reliability", balancer="least_connections")[:3] == (
        "reliability", "cost_speed", "least_connections",
    )  # fmt: skip
    assert chosen(all_levels)[:3] == ("speed", "cost_speed", "consistent_hash")
    assert chosen(all_levels, tenant="other")[:3] == ("quality", "arbitrage", "token_aware")
    assert chosen(all_levels, tenant="other", task="math")[:3] == ("cost", "minimize", "round_robin")


LEVELS = st.fixed_dictionaries({}, optional={
    "strategy": st.sampled_from(["cost", "speed", "quality"]),
    "balancer": st.sampled_from(["round_robin", "token_aware"]),
    "cost_strategy": st.sampled_from(["minimize", "arbitrage"]),
})  # fmt: skip


@settings(deadline=None)
@given(request=LEVELS, tenant=LEVELS, task=LEVELS, default=LEVELS)
def test_each_setting_comes_from_the_first_level_that_says_it(
    request: dict[str, str], tenant: dict[str, str], task: dict[str, str], default: dict[str, str]
) -> None:
    named = {name: request[name] for name in ("strategy", "balancer") if name in request}
    found = chosen(in_force(default, task, tenant), **named)
    wanted = DEFAULT | default | task | tenant | named
    assert {name: getattr(found, name) for name in NAMES} == wanted
    # Whoever chose is named, unless it was the request or the default, or nothing came of it.
    for name in ("strategy", "balancer"):
        said = [reason for reason in found.reasons if reason.startswith(f"{name} ")]
        level = "the tenant's policy" if name in tenant else "the policy of task code" if name in task else ""
        assert said == ([f"{name} {wanted[name]}: {level}"] if level and name not in named else [])
    if found.strategy in ("speed", "quality"):
        assert not any(reason.startswith("cost strategy ") for reason in found.reasons)


def test_reasons_name_whose_policy_it_was() -> None:
    both = in_force(task={"balancer": "token_aware", "cost_strategy": "arbitrage"}, tenant={"strategy": "adaptive"})
    assert chosen(both).reasons == (
        "strategy adaptive: the tenant's policy",
        "cost strategy arbitrage: the policy of task code",
        "balancer token_aware: the policy of task code",
    )
    assert chosen(both, strategy="speed", balancer="round_robin").reasons == ()
    assert chosen(in_force()).reasons == ()


def test_a_command_wins_over_the_file_of_its_own_level_alone() -> None:
    levels = in_force(task=TASK, tenant=TENANT, strategies={"acme": "reliability", "": "load_balanced"})
    assert chosen(levels).strategy == "reliability"
    assert chosen(levels).reasons[0] == "strategy reliability: the tenant's policy, set by a command"
    assert chosen(levels, tenant="other").strategy == "quality"
    assert chosen(levels, tenant="other", task="math").strategy == "load_balanced"
    assert chosen(in_force(strategies={"new": "speed"}), tenant="new").strategy == "speed"


class TestWeights:
    HALF = {"cost": 2, "quality": 2}

    def test_follow_the_same_order_and_sum_to_one(self) -> None:
        default, task, tenant = {"load": 1.0}, {"speed": 1.0}, {"reliability": 3.0}
        levels = in_force({"weights": default}, {"weights": task}, {"weights": tenant})
        assert chosen(levels, weights={"cost": 0.3, "quality": 0.1}).weights == pytest.approx(
            {"cost": 0.75, "quality": 0.25}
        )
        assert chosen(levels).weights == {"reliability": 1.0}
        assert chosen(levels, tenant="other").weights == {"speed": 1.0}
        assert chosen(levels, tenant="other", task="math").weights == {"load": 1.0}
        commanded = in_force({"weights": default}, None, None, weights={"": self.HALF, "acme": {"speed": 1}})
        assert chosen(commanded).weights == {"speed": 1.0}
        assert chosen(commanded, tenant="other").weights == {"cost": 0.5, "quality": 0.5}
        assert chosen(in_force()).weights is None

    def test_of_a_lower_level_do_not_undo_a_cost_strategy(self) -> None:
        levels = in_force({"weights": self.HALF}, tenant={"cost_strategy": "minimize"})
        assert chosen(levels).weights is None
        assert chosen(levels, tenant="other").weights == {"cost": 0.5, "quality": 0.5}
        same = in_force(tenant={"cost_strategy": "minimize", "weights": self.HALF})
        assert chosen(same).weights == {"cost": 0.5, "quality": 0.5}

    def test_are_said_where_they_count(self) -> None:
        levels = in_force({"strategy": "weighted"}, weights={"acme": {"cost": 0.6, "quality": 0.4}, "": self.HALF})
        assert chosen(levels).reasons == ("weights cost 0.60, quality 0.40: the tenant's policy, set by a command",)
        assert chosen(levels, tenant="other").reasons == (
            "weights cost 0.50, quality 0.50: the default, set by a command",
        )
        assert chosen(levels, weights={"speed": 1}).reasons == ()
        assert chosen(levels, strategy="speed").reasons == ()

    def test_of_a_request_that_weigh_nothing_are_none(self) -> None:
        assert chosen(in_force(tenant={"weights": self.HALF}), weights={"cost": 0}).weights == {
            "cost": 0.5, "quality": 0.5,
        }  # fmt: skip


def test_a_budget_near_its_limit_wins_over_every_level() -> None:
    levels = in_force(tenant=TENANT | {"strategy": "weighted", "weights": {"quality": 1}})
    assert chosen(levels, used=0.99) == Choice(
        "cost", "minimize", "consistent_hash", None,
        ("cost and minimize instead of weighted and cost_speed: a budget is used to 99%",),
    )  # fmt: skip


def test_a_tasks_least_quality_holds_where_the_router_chooses_the_model() -> None:
    policy = policies_of(in_force(task={"min_quality": 0.7})).of("acme", "code")
    assert min_quality_of(policy, asked()) == (0.7, ("min_quality 0.70: the policy of task code",))
    assert min_quality_of(policy, asked(min_quality=0.2)) == (0.2, ())
    assert min_quality_of(policy, asked(model="mini")) == (None, ())
    assert min_quality_of(policies_of(in_force()).of("acme", "code"), asked()) == (None, ())


@pytest.mark.parametrize(("routing", "said"), [
    ({"by_task": {"coding": {"strategy": "cost"}}}, "conversation"),
    ({"by_task": {"code": {"strategie": "cost"}}}, "Extra inputs"),
    ({"by_task": {"code": {"min_quality": 2}}}, "less than or equal to 1"),
    ({"weights": {"price": 1}}, "'cost', 'speed', 'quality', 'reliability' or 'load'"),
    ({"weights": {"cost": -1}}, "greater than or equal to 0"),
    ({"weights": {"cost": 0}}, "a weight above 0"),
    ({"weights": {"cost": float("inf")}}, "finite"),
])  # fmt: skip
def test_a_wrong_policy_is_named(routing: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Configuration.model_validate({"routing": routing})
