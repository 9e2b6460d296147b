"""Providers in virtual time: latencies, failures, and a bill of every call that was made."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from simulation.virtual import VirtualLoop

from agents.execution.outcome import Failed, Outcome, Succeeded, Usage
from schemas.failures import Failure


@dataclass(frozen=True, slots=True)
class Call:
    """`number`: how many records the broker had when the call began."""

    attempt_id: str
    deployment: str
    worker: str
    number: int


@dataclass
class Providers:
    """`down`: deployment -> virtual seconds until which it fails. `slow_until`: of all of them."""

    loop: VirtualLoop
    rng: random.Random
    calls: list[Call] = field(default_factory=list)
    down: dict[str, float] = field(default_factory=dict)
    slow_until: float = 0.0

    async def answer(self, deployment: str, seconds_left: float) -> Outcome:
        """One call's outcome after its latency."""
        roll, rng = self.rng.random(), self.rng
        fast = roll < 0.85 and self.loop.time() >= self.slow_until
        latency = rng.uniform(0.05, 0.6) if fast else rng.uniform(1.0, 5.0)
        failing = self.loop.time() < self.down.get(deployment, 0.0)
        if seconds_left < latency:
            await asyncio.sleep(max(0.0, seconds_left))
            return self._failed(Failure.TIMEOUT, 0, seconds_left * 1000, "unknown")
        await asyncio.sleep(latency)
        if failing or rng.random() < 0.08:
            if rng.random() < 0.2:
                return self._failed(Failure.RATE_LIMITED, 429, latency * 1000, "no")
            return self._failed(Failure.SERVER_ERROR, 500, latency * 1000, rng.choice(("no", "unknown")))
        usage = Usage(rng.randrange(5, 50), rng.randrange(5, 200), certain=rng.random() < 0.9)
        completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}]}
        return Succeeded(
            completion=completion, usage=usage, finish_reason="stop", http_status=200, provider_request_id="",
            latency_ms=latency * 1000, first_token_ms=0.0, model="m",
        )  # fmt: skip

    def _failed(self, failure: Failure, status: int, latency_ms: float, billed: Any) -> Failed:
        return Failed(
            failure=failure, http_status=status, latency_ms=latency_ms, retry_after_ms=None, provider_code="",
            provider_request_id="", counts=failure is not Failure.RATE_LIMITED, billed=billed, same=True, other="any",
            cool=failure is Failure.RATE_LIMITED, quarantine=False,
        )  # fmt: skip
