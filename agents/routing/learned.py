"""What the health of deployments says: success, time and recent traffic, as lists that are kept while it holds."""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.catalog import Limits
from schemas.histogram import value_of
from schemas.spans import PACE_KEPT, PACE_SPAN
from schemas.state import HealthBucket, HealthState, LearnedState, PaceBucket
from schemas.units import MICROS_PER_S

MINUTE = 60 * MICROS_PER_S
# Beta(9, 1): nine calls in ten succeed until the deployment shows otherwise.
PRIOR_SUCCESSES, PRIOR_FAILURES = 9.0, 1.0
PRIOR_FIRST_MS, PRIOR_TOKEN_MS, PRIOR_CALLS = 500.0, 20.0, 3.0
PRIOR_TIME_SPREAD = 0.5
# Evidence halves every five minutes; health reaches back fifteen.
DECAY = tuple(0.5 ** (age / 5) for age in range(16))
LOWER_BOUND_SDS = 1.645  # one-sided 95 %
ENOUGH_FOR_P95 = 20
# As health decays: five minutes halve it.
PACE_DECAY = tuple(0.5**age for age in range(PACE_KEPT))
# Fewer tokens an answer say little about the speed of a token.
LEAST_TOKENS = 16.0
UNHEALTHY_MINUTES, UNHEALTHY_FAILURES = 2, 10


class Facts(NamedTuple):
    """Of one deployment. Times in milliseconds, rounded to float32; `p95_ms` is 0 with too few calls to tell.

    `success_sd` and `time_spread` (relative) are one standard deviation. `requests`, `tokens`: counted in this minute.
    """

    success: float
    lower: float
    success_sd: float
    first_ms: float
    token_ms: float
    p95_ms: float
    p99_ms: float
    time_spread: float
    requests: int
    tokens: int
    unhealthy: bool


class Learned:
    """Owns the facts of all positions of a catalog. `refresh` reads only health that is another object.

    `version` counts the changes; `streams`: what `learned` held by position.

    `room`: (position, id, calls in flight from which on a limit is reached) of deployments that have limits.
    """

    def __init__(self, ids: Sequence[str], limits: Sequence[Limits]) -> None:
        size = len(ids)
        self._ids = ids
        self._limits = limits
        self._seen: list[HealthState | None] = [None] * size
        self._nothing: list[LearnedState | None] = [None] * size
        self.streams = self._nothing
        self._minute = -1
        self.version = 0
        unknown = facts_of(None, 0)
        self.facts = [unknown] * size
        self._spread_out()

    def refresh(
        self, health: Mapping[str, HealthState], now: int, learned: Mapping[str, LearnedState] | None = None
    ) -> None:
        """Bring the facts up to `now` (microseconds)."""
        minute = now // MINUTE
        states = list(map(health.get, self._ids))
        streams = list(map(learned.get, self._ids)) if learned else self._nothing
        aged = minute != self._minute
        # Lists compare by identity first, so unchanged health costs one comparison each.
        if not aged and states == self._seen and streams == self.streams:
            return
        for position, (state, stream) in enumerate(zip(states, streams, strict=True)):
            changed = state is not self._seen[position] or stream is not self.streams[position]
            if changed or (aged and state is not None):
                self.facts[position] = facts_of(state, minute, stream.paces if stream else ())
        self._seen, self.streams, self._minute = states, streams, minute
        self._spread_out()

    def _spread_out(self) -> None:
        facts = self.facts
        self.version += 1
        self.success = np.array([fact.success for fact in facts])
        self.lower = np.array([fact.lower for fact in facts])
        self.first_ms = np.array([fact.first_ms for fact in facts])
        self.token_ms = np.array([fact.token_ms for fact in facts])
        self.requests = np.array([fact.requests for fact in facts], dtype=np.float64)
        self.tokens = np.array([fact.tokens for fact in facts], dtype=np.float64)
        self.slowest_p95_ms = max((fact.p95_ms for fact in facts), default=0.0)
        self.unhealthy = [position for position, fact in enumerate(facts) if fact.unhealthy]
        self.room = [
            (position, self._ids[position], _room(limits, facts[position]))
            for position, limits in enumerate(self._limits)
            if limits.concurrency or limits.requests_per_minute or limits.tokens_per_minute
        ]
        self.room_ids = [name for _, name, _ in self.room]
        self.rooms = [room for _, _, room in self.room]


def _room(limits: Limits, facts: Facts) -> float:
    """From how many calls in flight on a deployment is at one of its limits."""
    room = float(limits.concurrency or math.inf)
    if limits.requests_per_minute:
        room = min(room, limits.requests_per_minute - facts.requests)
    if limits.tokens_per_minute and facts.tokens >= limits.tokens_per_minute:
        room = 0.0
    return room


def facts_of(state: HealthState | None, minute: int, paces: Sequence[PaceBucket] = ()) -> Facts:
    """What a deployment's last fifteen minutes say at `minute`; the prior alone when there are none.

    `paces`: of its streams, which tell the time of a token by itself; without them it is told from whole answers.
    """
    good, bad = PRIOR_SUCCESSES, PRIOR_FAILURES
    latency: dict[int, float] = {}
    first: dict[int, float] = {}
    calls = tokens_out = 0.0
    this_minute = HealthBucket(minute)
    late_good = late_bad = 0
    for bucket in state.buckets if state else ():
        # A worker's minute may lag the broker's by one; what is older than the window says nothing any more.
        age = max(0, minute - bucket.minute)
        if age >= len(DECAY):
            continue
        keep = DECAY[age]
        failed = bucket.failed - bucket.rate_limited
        good += keep * bucket.succeeded
        bad += keep * failed
        calls += keep * bucket.succeeded
        tokens_out += keep * bucket.tokens_out
        _add(latency, bucket.latency, keep)
        _add(first, bucket.first_token, keep)
        if age == 0:
            this_minute = bucket
        if age < UNHEALTHY_MINUTES:
            late_good += bucket.succeeded + bucket.probes_succeeded
            late_bad += failed
    total = good + bad
    mean = good / total
    sd = math.sqrt(mean * (1 - mean) / (total + 1))
    first_ms, token_ms = PRIOR_FIRST_MS, PRIOR_TOKEN_MS
    if calls and latency:
        whole = quantile(latency, 0.75)
        begun = min(whole, quantile(first, 0.75)) if first else min(whole, PRIOR_FIRST_MS)
        a_token = (whole - begun) / max(tokens_out / calls, LEAST_TOKENS)
        streamed = _paced(paces, minute * MINUTE // PACE_SPAN)
        if sum(streamed.values()) >= ENOUGH_FOR_P95:
            a_token = quantile(streamed, 0.75)
        first_ms = (PRIOR_CALLS * PRIOR_FIRST_MS + calls * begun) / (PRIOR_CALLS + calls)
        token_ms = (PRIOR_CALLS * PRIOR_TOKEN_MS + calls * a_token) / (PRIOR_CALLS + calls)
    values = (
        mean, max(0.001, mean - LOWER_BOUND_SDS * sd), sd, first_ms, token_ms,
        quantile(latency, 0.95) if calls >= ENOUGH_FOR_P95 else 0.0, quantile(latency, 0.99),
        PRIOR_TIME_SPREAD / math.sqrt(1 + calls / PRIOR_CALLS),
    )  # fmt: skip
    success, lower, success_sd, first_32, token_32, p95_ms, p99_ms, spread = array("f", values)
    return Facts(
        success, lower, success_sd, first_32, token_32, p95_ms, p99_ms, spread,
        this_minute.succeeded + this_minute.failed, this_minute.tokens_in + this_minute.tokens_out,
        late_good == 0 and late_bad >= UNHEALTHY_FAILURES,
    )  # fmt: skip


def _paced(paces: Sequence[PaceBucket], span: int) -> dict[int, float]:
    """Decayed counts of milliseconds a token."""
    sums: dict[int, float] = {}
    for bucket in paces:
        age = max(0, span - bucket.span)
        if age < PACE_KEPT:
            _add(sums, bucket.token, PACE_DECAY[age])
    return sums


def quantile(histogram: Mapping[int, float], q: float) -> float:
    """The q-quantile (nearest rank) in milliseconds of decayed counts; 0.0 when nothing was counted."""
    rank = q * sum(histogram.values())
    seen = 0.0
    index = None
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            break
    return 0.0 if index is None else value_of(index)


def _add(sums: dict[int, float], counts: Mapping[int, int], keep: float) -> None:
    for index, count in counts.items():
        sums[index] = sums.get(index, 0.0) + keep * count
