"""What a process lets its libraries say."""

import logging

from infra.processes import Sparing


def test_the_same_line_is_said_once_in_a_while() -> None:
    now = 0.0
    sparing = Sparing(10.0, lambda: now)

    def passes(text: str, name: str = "aiokafka") -> bool:
        return sparing.filter(logging.LogRecord(name, logging.ERROR, __file__, 1, "%s", (text,), None))

    assert passes("no broker")
    assert not passes("no broker")
    assert passes("another line")
    assert passes("no broker", name="aiokafka.conn")
    now = 9.9
    assert not passes("no broker")
    now = 10.0
    assert passes("no broker")
    assert not passes("no broker")
