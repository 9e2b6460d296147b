"""Worlds from seeds: the design holds in all of them, and every defect is found."""

import pytest
from simulation.defects import DEFECTS
from simulation.world import simulate

CLEAN = range(30)
BOUND = 25
"""Seeds tried for a defect. The seed that finds each is recorded in FOUND_BY and is tried first."""
FOUND_BY = {
    "commit-before-answer": 0,
    "answer-before-costs": 0,
    "no-recall": 0,
    "no-reservation-expiry": 1,
    "run-from-memory": 1,
}
REGRESSIONS = (24,)
"""24: a worker that was frozen past its session got its partition back and took itself for its owner all along."""


@pytest.mark.parametrize("first", CLEAN[::10])
def test_no_promise_is_broken(first: int) -> None:
    for seed in range(first, first + 10):
        world, found = simulate(seed)
        assert not found, f"seed {seed}: {found}\n" + "\n".join(world.trace)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_seed_that_once_failed(seed: int) -> None:
    world, found = simulate(seed)
    assert not found, "\n".join([*world.trace, *found])


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_a_defect_is_found(defect: str) -> None:
    seeds = [FOUND_BY[defect]] if defect in FOUND_BY else []
    assert any(simulate(seed, defect)[1] for seed in [*seeds, *range(BOUND)])


def test_a_seed_is_always_the_same_world() -> None:
    assert simulate(3)[0].trace == simulate(3)[0].trace
