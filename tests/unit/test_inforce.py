"""What is in force: a fold of commands that a duplicate does not change and a new file resets in part."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import (
    BudgetSet,
    CircuitForced,
    ClockTicked,
    ConfigurationApplied,
    CredentialReleased,
    DeploymentSwitched,
    Event,
    StrategySet,
    TopicsCreated,
    WeightsSet,
)
from schemas.inforce import InForce, apply_control, digest_of, document_of
from schemas.policy import Budget, Configuration, RoutingPolicy, covers
from schemas.units import usd_to_nano

ORIGIN: dict[str, Any] = {"event_id": "e", "occurred_at": 1, "worker": "w"}
AUTHOR: dict[str, Any] = {**ORIGIN, "author": "ann"}
DAY = Budget(scope="tenant:acme", period="day", limit_usd=100, at_limit="local_only", thresholds=(80,))
FILE = Configuration(budgets=(DAY,), routing=RoutingPolicy(strategy="cost"))


def applied(configuration: Configuration) -> ConfigurationApplied:
    document = document_of(configuration)
    return ConfigurationApplied(**AUTHOR, document=document, digest=digest_of(document))


def budget(scope: str = "tenant:acme", usd: float = 200, at_limit: str = "", period: str = "day") -> BudgetSet:
    return BudgetSet(**AUTHOR, scope=scope, period=period, limit_nano_usd=usd_to_nano(usd), at_limit=at_limit)


def circuit(position: str, deployment: str = "d1") -> CircuitForced:
    return CircuitForced(**AUTHOR, deployment=deployment, position=position)


def switch(on: bool, deployment: str = "d1") -> DeploymentSwitched:
    return DeploymentSwitched(**AUTHOR, deployment=deployment, on=on)


def strategy(name: str, tenant: str = "") -> StrategySet:
    return StrategySet(**AUTHOR, strategy=name, tenant=tenant)


def weights(tenant: str = "", **given: float) -> WeightsSet:
    return WeightsSet(**AUTHOR, weights=given, tenant=tenant)


def fold(*events: Event, state: InForce | None = None) -> InForce:
    state = state or InForce()
    for event in events:
        state = apply_control(state, state.offset + 1, event)
    return state


def test_nothing_is_in_force_at_first() -> None:
    state = InForce()
    assert (state.offset, state.applied, state.partitions, state.budgets) == (-1, False, 0, ())


def test_topics_fix_the_partitions() -> None:
    assert fold(TopicsCreated(**ORIGIN, topic_prefix="llm.", partitions=64)).partitions == 64


def test_a_file_comes_back_as_it_was_written() -> None:
    state = fold(applied(FILE))
    assert state.applied
    assert state.configuration == FILE
    assert state.budgets == (DAY,)
    assert state.digest == digest_of(document_of(state.configuration))


def test_a_budget_command_changes_its_budget_in_place() -> None:
    other = Budget(scope="global", period="day", limit_usd=1)
    state = fold(applied(Configuration(budgets=(DAY, other))), budget(usd=200))
    assert state.budgets == (DAY.model_copy(update={"limit_usd": 200}), other)
    assert fold(budget(at_limit="reject"), state=state).budgets[0].at_limit == "reject"


@pytest.mark.parametrize(("scope", "period"), [("tenant:acme", "hour"), ("tenant:other", "day"), ("global", "day")])
def test_a_budget_of_another_scope_or_period_is_added(scope: str, period: str) -> None:
    state = fold(applied(FILE), budget(scope=scope, period=period, usd=0.1))
    assert state.budgets[0] == DAY
    assert (state.budgets[1].subject, state.budgets[1].limit_nano_usd) == (f"{scope}/{period}", 100_000_000)
    assert state.budgets[1].at_limit == "reject"


def test_a_new_file_replaces_budget_and_strategy_commands_and_keeps_circuits_and_switches() -> None:
    commands = (budget(), budget(scope="global"), strategy("speed"), weights(cost=1), circuit("open"), switch(False))
    state = fold(applied(FILE), *commands, applied(FILE))
    assert (state.budgets, state.strategies, state.weights) == ((DAY,), {}, {})
    assert (state.forced, state.switched_off) == ({"d1": "open"}, frozenset({"d1"}))


def test_strategies_are_kept_by_tenant() -> None:
    state = fold(strategy("speed"), strategy("cost", "acme"), strategy("quality", "acme"))
    assert state.strategies == {"": "speed", "acme": "quality"}


def test_weights_are_kept_by_tenant_until_they_are_cleared() -> None:
    state = fold(weights(cost=1), weights("acme", cost=1), weights("acme", speed=0.5, cost=0.5))
    assert state.weights == {"": {"cost": 1}, "acme": {"speed": 0.5, "cost": 0.5}}
    assert fold(weights("acme"), weights("other"), state=state).weights == {"": {"cost": 1}}


def test_a_circuit_is_held_until_auto() -> None:
    state = fold(circuit("open"), circuit("closed", "d2"))
    assert state.forced == {"d1": "open", "d2": "closed"}
    assert fold(circuit("auto"), state=state).forced == {"d2": "closed"}
    assert fold(circuit("auto", "never-forced"), state=state).forced == state.forced


def test_a_deployment_is_switched_off_and_on() -> None:
    state = fold(switch(False), switch(False, "d2"), switch(True))
    assert state.switched_off == {"d2"}


def test_another_event_moves_the_offset_alone() -> None:
    tick = ClockTicked(**ORIGIN, topic="t", partition=0, control_offset=0)
    assert apply_control(InForce(), 7, tick) == InForce(offset=7)


COMMANDS = st.one_of(
    st.builds(budget, st.sampled_from(["global", "tenant:acme"]), st.sampled_from([1, 2.5, 300])),
    st.builds(circuit, st.sampled_from(["open", "closed", "auto"]), st.sampled_from(["d1", "d2"])),
    st.builds(switch, st.booleans(), st.sampled_from(["d1", "d2"])),
    st.builds(strategy, st.sampled_from(["cost", "speed"]), st.sampled_from(["", "acme"])),
    st.builds(weights, st.sampled_from(["", "acme"]), cost=st.sampled_from([0.5, 1])),
    st.builds(weights, st.sampled_from(["", "acme"])),
    st.just(applied(FILE)),
)


@settings(max_examples=60, deadline=None)
@given(commands=st.lists(COMMANDS, max_size=8), data=st.data())
def test_a_record_read_again_changes_nothing(commands: list[Event], data: st.DataObject) -> None:
    state = fold(*commands)
    for offset, command in enumerate(commands):
        assert apply_control(state, offset, command) is state
    cut = data.draw(st.integers(0, len(commands)))
    assert fold(*commands[cut:], state=fold(*commands[:cut])) == state


def test_equal_configurations_are_equal_texts() -> None:
    assert document_of(FILE) == document_of(Configuration.model_validate_json(document_of(FILE)))
    assert digest_of(document_of(FILE)) != digest_of(document_of(Configuration()))


def test_a_release_is_known_by_its_offset() -> None:
    released = CredentialReleased(**AUTHOR, deployment="d1")
    state = fold(released, circuit("open"), released, CredentialReleased(**AUTHOR, deployment="d2"))
    assert state.released == {"d1": 2, "d2": 3}
    assert fold(applied(FILE), state=state).released == state.released


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("budget:tenant:a[b]?/day", "budget:tenant:a[b]?/day", True),
        ("budget:tenant:a[b]?/day", "budget:tenant:ab1/day", False),
        ("tenant:a[*", "tenant:a[b]", True),
        ("tenant:*", "tenant:", True),
        ("*", "circuit:d1", True),
        ("tenant:a", "tenant:ab", False),
    ],
)
def test_a_pattern_is_its_beginning_and_nothing_else(pattern: str, name: str, covered: bool) -> None:
    assert covers(pattern, name) is covered
    assert InForce(silenced={pattern: 2}).silent(name, 1) is covered
