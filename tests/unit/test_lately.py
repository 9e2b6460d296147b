"""What the last minutes say of a deployment, read as documentation."""

import pytest

from agents.routing.lately import Lately, lately
from schemas.histogram import bucket, value_of
from schemas.state import HealthBucket

NOW = 30_000_000
FAST, SLOW = bucket(400.0), bucket(2_000.0)
PAST = {FAST: 500.0}


def minute(ago: int, good: int = 0, bad: int = 0, limited: int = 0, at: int = FAST) -> HealthBucket:
    return HealthBucket(NOW - ago, good, bad + limited, rate_limited=limited, latency={at: good} if good else {})


def test_without_a_call_the_past_holds() -> None:
    assert lately((), NOW, 0.97, PAST) == Lately(0.97, 1.0)
    assert lately((minute(4, good=50, bad=50),), NOW, 0.97, PAST) == Lately(0.97, 1.0)


def test_calls_like_those_before_say_nothing_new() -> None:
    found = lately((minute(1, good=60), minute(0, good=60)), NOW, 1.0, PAST)
    assert found == Lately(1.0, pytest.approx(1.0))


def test_an_outage_shows_while_the_average_is_still_good() -> None:
    found = lately((minute(2, good=200), minute(1, good=200), minute(0, good=10, bad=20)), NOW, 0.98, PAST)
    # Twenty calls halve what came before them, so a minute of two hundred weighs no more than thirty.
    assert found.success < 0.6


def test_recovery_shows_as_fast() -> None:
    down = (minute(1, good=10, bad=30),)
    assert lately((*down, minute(0, good=80)), NOW, 0.8, PAST).success > 0.95


def test_a_deployment_that_became_slow_is_slower_than_its_past() -> None:
    found = lately((minute(1, good=40), minute(0, good=40, at=SLOW)), NOW, 1.0, PAST)
    assert 4 < found.slower < value_of(SLOW) / value_of(FAST)
    assert found.success == 1.0


def test_being_turned_away_counts_for_the_minute_of_the_limit() -> None:
    limited = lately((minute(0, good=10, limited=10),), NOW, 0.99, PAST)
    assert 0.4 < limited.success < 0.6
    assert lately((minute(2, good=10, limited=10),), NOW, 0.99, PAST).success > 0.98
    assert lately((minute(0, limited=1),), NOW, 0.9, PAST).success == pytest.approx(0.9 / 3, rel=0.02)
