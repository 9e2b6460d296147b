"""Hedging: when a first call is late enough that a second one on another deployment is worth its price."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.chunks import Chunks, Delta
from agents.routing.learned import ENOUGH_FOR_P95, MINUTE, quantile
from schemas.state import HealthBucket, HealthState

WINDOW_MINUTES = 15


def late_after_ms(health: HealthState | None, now: int, *, streaming: bool) -> float | None:
    """The p95 of a deployment's last fifteen minutes: of its first tokens where the call streams, of whole answers
    otherwise. None with fewer than twenty of them: what is late is then not known. `now`: microseconds."""
    counts: dict[int, float] = {}
    oldest = now // MINUTE - WINDOW_MINUTES
    for bucket in health.buckets if health else ():
        if bucket.minute > oldest:
            for index, count in _histogram(bucket, streaming).items():
                counts[index] = counts.get(index, 0.0) + count
    return quantile(counts, 0.95) if sum(counts.values()) >= ENOUGH_FOR_P95 else None


def _histogram(bucket: HealthBucket, streaming: bool) -> Mapping[int, int]:
    return bucket.first_token if streaming else bucket.latency


@dataclass
class Race:
    """The calls of one hedged request, by attempt number. `lost`: cancelled because another one won.

    A stream wins with its first token: from then on a reader has seen it, and only its own end may follow.
    """

    chunks: Chunks | None
    calls: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    winner: int = 0

    async def take(self, number: int, model: str, delta: Delta) -> None:
        """The next piece of a stream: the first one of all decides the race, what a loser still says is dropped."""
        assert self.chunks is not None
        if not self.winner:
            self.won_by(number)
            self.chunks.begin(number, model)
        if number == self.winner:
            await self.chunks.take(delta)

    def won_by(self, number: int) -> None:
        """Cancel every other call that is still under way."""
        self.winner = number
        for other, call in self.calls.items():
            if other != number and not call.done():
                self.lost.add(other)
                call.cancel()
