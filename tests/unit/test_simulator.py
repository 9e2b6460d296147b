"""Laws of the decision simulator, in a world small enough for seconds."""

import numpy as np
import pytest

from infra.bench.simulator import calibration_error, interval
from infra.bench.simulator_balance import BALANCERS, share_error
from infra.bench.simulator_runs import drifting, stationary
from infra.bench.simulator_world import apply, drift, world


def test_the_same_seed_is_the_same_run() -> None:
    first, again = (drifting(3, "adaptive", 60, 600) for _ in range(2))
    assert first.utility.tolist() == again.utility.tolist()
    assert first.confidence.tolist() == again.confidence.tolist()


def test_nobody_does_better_than_the_truth_allows() -> None:
    for strategy in ("adaptive", "weighted", "cost"):
        run = drifting(1, strategy, 80, 800)
        assert (run.utility <= run.best).all()
        assert (run.right == (run.utility == run.best)).all()


def test_who_knows_more_decides_better() -> None:
    blind = np.mean([stationary(seed, "adaptive", 0, 60).regret for seed in range(3)])
    taught = np.mean([stationary(seed, "adaptive", 120, 60).regret for seed in range(3)])
    assert taught < blind / 2


def test_drift_changes_the_truth_and_incidents_pass() -> None:
    rng = np.random.default_rng(7)
    truth = world(rng)
    before = truth.first_ms.copy(), truth.success.copy()
    changes = drift(rng, 20_000)
    assert [change.second for change in changes] == sorted(change.second for change in changes)
    for change in changes:
        if change.field in ("first_ms", "success"):
            apply(truth, change)
    # Every incident ends: what multiplied once is divided once.
    assert np.allclose(truth.first_ms, before[0])
    assert np.allclose(truth.success, before[1])


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("workers", [1, 4])
def test_shares_come_near_what_is_promised(balancer: str, workers: int) -> None:
    assert share_error(balancer, workers, seed=1, requests=1_500) < 0.25


def test_calibration_counts_the_gap_of_each_bin() -> None:
    confidence = np.array([0.85, 0.85, 0.15, 0.15])
    assert calibration_error(confidence, np.array([True, True, False, False])) == pytest.approx(0.15)
    # Errors of two bins do not make up for each other.
    assert calibration_error(confidence, np.array([False, False, True, True])) == pytest.approx(0.85)


def test_an_interval_holds_the_mean_and_narrows_with_agreement() -> None:
    wide, same = np.array([0.0, 1.0] * 10), np.full(20, 0.5)
    low, high = interval(lambda chosen: float(wide[chosen].mean()), 20)
    assert low < 0.5 < high
    assert interval(lambda chosen: float(same[chosen].mean()), 20) == (0.5, 0.5)
