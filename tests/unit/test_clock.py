"""The broker's clock as a worker learns it from acknowledgements."""

import time

from streams.clock import MICROS, BrokerClock


def test_the_shortest_round_trip_is_believed() -> None:
    clock = BrokerClock()
    now = time.monotonic()
    clock.acknowledged(now - 0.001, 5_000_000)
    learned = clock.now()
    clock.acknowledged(now - 10.0, 9_000_000)
    assert abs(learned - 5_000 * MICROS) < 60 * MICROS
    assert 0 <= clock.now() - learned < 60 * MICROS


def test_twenty_acknowledgements_a_second_are_enough() -> None:
    clock = BrokerClock()
    assert sum(clock.listens(100.0 + millisecond / 1000) for millisecond in range(1000)) == 20
