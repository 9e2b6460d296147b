"""Schedules: the same seed gives the same faults, and every name in a table is a fault."""

from infra.chaos.faults import FAULTS
from infra.chaos.schedule import DRAWS, PLANS, drawn


def test_a_seed_is_a_schedule() -> None:
    assert drawn(7, 600.0) == drawn(7, 600.0) != drawn(8, 600.0)
    assert all(step.at_s < 600.0 for step in drawn(7, 600.0))


def test_every_fault_is_drawn_in_time() -> None:
    seen = {step.fault for seed in range(20) for step in drawn(seed, 1_800.0)}
    assert seen == set(DRAWS) <= set(FAULTS)


def test_every_plan_names_faults() -> None:
    for name, plan in PLANS.items():
        steps = plan.steps(60.0)
        assert {step.fault for step in steps} <= set(FAULTS), name
        assert all(step.at_s <= 120.0 for step in steps), name
