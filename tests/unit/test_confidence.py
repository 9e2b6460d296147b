"""The probability that the winner is the best: its laws, and its value where the truth can be drawn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.routing.kernel.confidence import OWN_DOUBT, confidence

MEANS = st.floats(-2, 2, width=32)
SPREADS = st.floats(0, 1, width=32)
CONTEST = st.lists(st.tuples(MEANS, SPREADS), min_size=1, max_size=7)


def test_alone_or_without_doubt_it_is_certain() -> None:
    assert confidence([0.4], [0.2]) == 1.0
    assert confidence([0.5, 0.4], [0.0, 0.0]) == 1.0
    assert confidence([0.4, 0.5], [0.0, 0.0]) == 0.0
    assert confidence([1.0, 1.0], [0.0, 0.0]) == 0.5


def test_two_that_look_alike_are_even() -> None:
    assert confidence([0.7, 0.7], [0.1, 0.1]) == pytest.approx(0.5, abs=0.001)


def test_one_of_n_alike_wins_as_often_as_any_other() -> None:
    # A product of pairs would say 0.5 ** 4: rivals share the winner's luck.
    assert confidence([0.7] * 5, [0.1] * 5) == pytest.approx(1 / 5, abs=0.03)


def test_is_the_share_of_drawn_truths() -> None:
    means, spreads = [0.74, 0.7, 0.69, 0.6], [0.03, 0.05, 0.02, 0.1]
    drawn = np.random.default_rng(0).normal(means, np.array(spreads) * OWN_DOUBT, (200_000, 4))
    assert confidence(means, spreads) == pytest.approx((drawn.argmax(axis=1) == 0).mean(), abs=0.03)


@given(CONTEST, st.tuples(MEANS, SPREADS))
def test_is_a_probability_and_a_rival_more_never_adds(
    contest: list[tuple[float, float]], more: tuple[float, float]
) -> None:
    means, spreads = map(list, zip(*contest, strict=True))
    sure = confidence(means, spreads)
    assert 0.0 <= sure <= 1.0
    assert math.isfinite(sure)
    assert confidence([*means, more[0]], [*spreads, more[1]]) <= sure
