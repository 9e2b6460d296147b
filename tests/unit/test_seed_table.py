"""The seed table's runs: the engine decides each query by what is predicted of it."""

import numpy as np
import pytest

from infra.bench.quality_data import Pool
from infra.bench.quality_ridge import Predicted
from infra.bench.seed_table import ROWS, run

QUERIES = 40


@pytest.fixture(scope="module")
def told() -> tuple[Pool, Predicted]:
    """A dear model that is always right, and a cheap one that is right on every other query, as is predicted."""
    easy = np.arange(QUERIES) % 2
    score = np.column_stack([easy, np.ones(QUERIES)]).astype(float)
    cost = np.tile([0.001, 0.01], (QUERIES, 1))
    names = np.full(QUERIES, "x")
    pool = Pool("p", ("cheap", "dear"), ["?"] * QUERIES, score, cost, names, names, names)
    predicted = np.concatenate((score, cost / 0.01), axis=1)
    rows = np.arange(QUERIES)
    return pool, Predicted(train_rows=rows, inner=predicted, test_rows=rows, test=predicted)


@pytest.mark.parametrize("cost_strategy", ROWS)
def test_every_cost_strategy_saves_against_the_best_single_model(
    cost_strategy: str, told: tuple[Pool, Predicted]
) -> None:
    found = run(*told, cost_strategy, 0.01)
    assert found.cost.sum() < found.best_cost.sum()


def test_minimize_takes_the_cheap_one_and_cost_quality_where_it_is_right(told: tuple[Pool, Predicted]) -> None:
    cheapest, weighed = run(*told, "minimize", 0.01), run(*told, "cost_quality", 0.01)
    assert cheapest.cost.sum() == pytest.approx(0.001 * QUERIES)
    assert weighed.score.sum() == QUERIES
    assert weighed.cost.sum() == pytest.approx((0.001 + 0.01) * QUERIES / 2)


def test_what_a_budget_turns_away_costs_nothing_and_scores_nothing(told: tuple[Pool, Predicted]) -> None:
    found = run(*told, "budget_aware", 0.01)
    assert found.score[found.rejected].sum() == found.cost[found.rejected].sum() == 0
    assert found.cost.sum() <= found.best_cost.sum() * 0.5 + 0.01
