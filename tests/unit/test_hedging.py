"""When a call is late, and who wins a race."""

import asyncio
from typing import Any

from agents.hedging import Race, late_after_ms
from schemas.histogram import bucket
from schemas.state import HealthBucket, HealthState
from schemas.units import MICROS_PER_S

MINUTE = 29_833_333
NOW = MINUTE * 60 * MICROS_PER_S


def health(minute: int, count: int, ms: float) -> HealthState:
    return HealthState(
        (HealthBucket(minute, succeeded=count, latency={bucket(ms): count}, first_token={bucket(1.0): count}),)
    )


def test_late_is_known_from_twenty_answers_on() -> None:
    assert late_after_ms(None, NOW, streaming=False) is None
    assert late_after_ms(health(MINUTE, 19, 100.0), NOW, streaming=False) is None
    late = late_after_ms(health(MINUTE, 20, 100.0), NOW, streaming=False)
    assert late is not None
    assert 94 < late < 106
    first = late_after_ms(health(MINUTE, 20, 100.0), NOW, streaming=True)
    assert first is not None
    assert 0.9 < first < 1.1
    assert late_after_ms(health(MINUTE - 15, 20, 100.0), NOW, streaming=False) is None


class Sent:
    def __init__(self) -> None:
        self.begun: list[int] = []
        self.taken: list[Any] = []

    def begin(self, attempt: int, model: str) -> None:
        self.begun.append(attempt)

    async def take(self, delta: Any) -> None:
        self.taken.append(delta)


async def test_the_first_token_wins_and_what_a_loser_says_is_dropped() -> None:
    sent = Sent()
    race = Race(sent)  # type: ignore[arg-type]
    race.calls = {number: asyncio.create_task(asyncio.sleep(60)) for number in (1, 2)}
    await race.take(2, "m", {"a": 1})
    await race.take(1, "m", {"b": 1})
    await race.take(2, "m", {"c": 1})
    await asyncio.gather(race.calls[1], return_exceptions=True)
    assert (race.winner, race.lost, sent.begun, sent.taken) == (2, {1}, [2], [{"a": 1}, {"c": 1}])
    assert race.calls[1].cancelled()
    assert not race.calls[2].done()
    race.calls[2].cancel()
