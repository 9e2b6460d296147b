"""What a worker knows itself: counts with those of the others, and response times that a slow call moves at once."""

import pytest

from agents.live import RESPONSE_DECAY_S, RESPONSE_KEPT_S, Live, ResponseTimes, UnderWay
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000


def test_what_others_published_is_added_to_what_is_ours() -> None:
    calls = UnderWay()
    seen = calls.total
    calls.add("a", 2)
    calls.others_are([{"a": 3, "b": 1}, {"b": 4}])
    calls.add("a", -1)
    assert (calls.total, calls.published()) == ({"a": 4, "b": 5}, {"a": 1})
    calls.others_are([])
    calls.add("a", -1)
    assert (calls.total["a"], calls.published()) == (0, {})
    # Decisions hold on to the mapping.
    assert calls.total is seen


def test_a_slow_answer_counts_at_once_and_quick_ones_by_and_by() -> None:
    times = ResponseTimes()
    times.answered("a", 100.0, NOW)
    times.answered("a", 900.0, NOW + 1)
    assert times.ms["a"] == 900.0
    later = NOW + 1 + RESPONSE_DECAY_S * MICROS_PER_S
    times.answered("a", 100.0, later)
    assert times.ms["a"] == pytest.approx(100 + 800 / 2.718281828)
    times.answered("a", 100.0, later)
    assert times.ms["a"] == pytest.approx(100 + 800 / 2.718281828)


def test_a_quick_failure_is_no_quick_answer() -> None:
    times = ResponseTimes()
    times.failed("a", 5_000.0, NOW)
    assert times.ms == {}
    times.answered("a", 100.0, NOW)
    times.failed("a", 1.0, NOW)
    assert times.ms["a"] == 100.0
    times.failed("a", 5_000.0, NOW)
    assert times.ms["a"] == 5_000.0
    times.forget(NOW + RESPONSE_KEPT_S * MICROS_PER_S)
    assert times.ms["a"] == 5_000.0
    times.forget(NOW + RESPONSE_KEPT_S * MICROS_PER_S + 1)
    assert times.ms == {}


def test_a_call_is_counted_from_start_to_end_with_its_tokens() -> None:
    live = Live()
    live.started("a", NOW, "first", 340)
    live.started("a", NOW, "first", 60)
    assert (live.calls.total, live.tokens.total) == ({"a": 2}, {"a": 400})
    live.ended("a", NOW, "first", 340, True)
    assert (live.calls.published(), live.tokens.published()) == ({"a": 1}, {"a": 60})
