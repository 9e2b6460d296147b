"""What the health of deployments says: success, time and recent traffic, as columns that are kept while it holds."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import Column
from agents.routing.kernel.lookup import replaced
from agents.routing.lately import Lately, lately
from schemas.catalog import Limits
from schemas.histogram import value_of
from schemas.spans import PACE_KEPT, PACE_SPAN
from schemas.state import HealthBucket, HealthState, LearnedState, PaceBucket
from schemas.units import MICROS_PER_S

MINUTE = 60 * MICROS_PER_S
# Beta(9, 1): nine calls in ten succeed until the deployment shows otherwise.
PRIOR_SUCCESSES, PRIOR_FAILURES = 9.0, 1.0
PRIOR_FIRST_MS, PRIOR_TOKEN_MS, PRIOR_CALLS = 500.0, 20.0, 3.0
PRIOR_TIME_SPREAD, SPREAD_CALLS = 0.5, 1.5
"""What is doubted of a deployment's times before any call, and how many calls halve its square."""
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
    `lately`: what the last minutes say against all of it.
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
    lately: Lately = Lately()


class Columns(NamedTuple):
    """The numbers of Facts by position or place, as float64."""

    success: Column
    lower: Column
    success_sd: Column
    first_ms: Column
    token_ms: Column
    p95_ms: Column
    p99_ms: Column
    time_spread: Column
    requests: Column
    tokens: Column
    success_now: Column
    slower: Column


NUMBERS = Columns._fields.index("success_now")
"""So many of them Facts has itself; the others stand in its Lately."""


class Past(NamedTuple):
    """Decayed sums over `buckets` at `minute`: all of a deployment's but its last, which alone changes within a minute."""

    minute: int
    buckets: tuple[HealthBucket, ...]
    good: float
    bad: float
    calls: float
    tokens_out: float
    late_good: int
    late_bad: int
    latency: dict[int, float]
    first: dict[int, float]


class Learned:
    """Owns the facts of all positions of a catalog. `refresh` reads only health that is another object.

    `version` counts the changes; `streams`: what `learned` held by position; `columns`: the numbers of `facts`.

    `rooms`: by position, calls in flight from which on a limit is reached; `used_up`: where none is in flight too.
    """

    def __init__(self, ids: list[str], limits: Sequence[Limits]) -> None:
        size = len(ids)
        self._ids = ids
        self._limits = limits
        self._seen: list[HealthState | None] = [None] * size
        self._nothing: list[LearnedState | None] = [None] * size
        self.streams = self._nothing
        self._past: list[Past | None] = [None] * size
        self._minute = -1
        self.version = 0
        self.facts = [facts_of(None, 0)] * size
        self._table = np.zeros((len(Columns._fields), size))
        self.columns = Columns(*self._table)
        self.rooms = np.zeros(size)
        self._spread_out(range(size))

    def refresh(self, health: dict[str, HealthState], now: int, learned: dict[str, LearnedState] | None = None) -> None:
        """Bring the facts up to `now` (microseconds)."""
        minute = now // MINUTE
        aged = minute != self._minute
        told, streamed = replaced(health, self._ids, self._seen), replaced(learned or {}, self._ids, self.streams)
        if not aged and not told and not streamed:
            return
        self._minute = minute
        self._seen = list(map(health.get, self._ids))
        self.streams = list(map(learned.get, self._ids)) if learned else self._nothing
        changed = {*told, *streamed}
        if aged:
            changed.update(position for position, state in enumerate(self._seen) if state is not None)
        for position in changed:
            stream = self.streams[position]
            past = self._told(position, self._seen[position], minute)
            self.facts[position] = _facts(past, stream.paces if stream else ())
        self._spread_out(sorted(changed))

    def _told(self, position: int, state: HealthState | None, minute: int) -> Past:
        """Sums over all buckets. Those over all but the last are kept: four fifths of the time of a snapshot."""
        buckets = state.buckets if state else ()
        known = self._past[position]
        if known is None or known.minute != minute or known.buckets != buckets[:-1]:
            known = self._past[position] = past_of(buckets[:-1], minute)
        return past_of(buckets[-1:], minute, known)

    def at(self, places: Any) -> Columns:
        """The columns at these positions, an array of them."""
        return Columns(*self._table.take(places, axis=1))

    def _spread_out(self, changed: Sequence[int]) -> None:
        facts = self.facts
        self.version += 1
        if changed:
            rows = [(*facts[position][:NUMBERS], *facts[position].lately) for position in changed]
            self._table[:, changed] = np.transpose(rows)
            self.rooms[changed] = [_room(self._limits[position], facts[position]) for position in changed]
        self.slowest_p95_ms = self.columns.p95_ms.max(initial=0.0).item()
        self.unhealthy = [position for position, fact in enumerate(facts) if fact.unhealthy]
        self.used_up = bool((self.rooms <= 0).any())


def _room(limits: Limits, facts: Facts) -> float:
    """From how many calls in flight on a deployment is at one of its limits."""
    room = float(limits.concurrency or math.inf)
    if limits.requests_per_minute:
        room = min(room, limits.requests_per_minute - facts.requests)
    if limits.tokens_per_minute and facts.tokens >= limits.tokens_per_minute:
        room = 0.0
    return room


def past_of(buckets: Sequence[HealthBucket], minute: int, past: Past | None = None) -> Past:
    """The sums at `minute` of `past` (else of the prior) and these buckets, oldest first."""
    good, bad, calls, tokens_out, late_good, late_bad = PRIOR_SUCCESSES, PRIOR_FAILURES, 0.0, 0.0, 0, 0
    latency: dict[int, float] = {}
    first: dict[int, float] = {}
    if past is not None:
        _, _, good, bad, calls, tokens_out, late_good, late_bad, latency, first = past
        latency, first = latency.copy(), first.copy()
    for bucket in buckets:
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
        if age < UNHEALTHY_MINUTES:
            late_good += bucket.succeeded + bucket.probes_succeeded
            late_bad += failed
    before = (*past.buckets, *buckets) if past is not None else tuple(buckets)
    return Past(minute, before, good, bad, calls, tokens_out, late_good, late_bad, latency, first)


def facts_of(state: HealthState | None, minute: int, paces: Sequence[PaceBucket] = ()) -> Facts:
    """What a deployment's last fifteen minutes say at `minute`; the prior alone when there are none.

    `paces`: of its streams, which tell the time of a token by itself; without them it is told from whole answers.
    """
    return _facts(past_of(state.buckets if state else (), minute), paces)


def _facts(told: Past, paces: Sequence[PaceBucket]) -> Facts:
    minute, buckets, good, bad, calls, tokens_out, late_good, late_bad, latency, first = told
    this_minute = HealthBucket(minute)
    if buckets and buckets[-1].minute >= minute:
        this_minute = buckets[-1]
    total = good + bad
    mean = good / total
    sd = math.sqrt(mean * (1 - mean) / (total + 1))
    first_ms, token_ms = PRIOR_FIRST_MS, PRIOR_TOKEN_MS
    whole, p95_ms, p99_ms = quantiles(latency, (0.75, 0.95, 0.99))
    if calls and latency:
        begun = min(whole, quantile(first, 0.75)) if first else min(whole, PRIOR_FIRST_MS)
        a_token = (whole - begun) / max(tokens_out / calls, LEAST_TOKENS)
        streamed = _paced(paces, minute * MINUTE // PACE_SPAN)
        if sum(streamed.values()) >= ENOUGH_FOR_P95:
            a_token = quantile(streamed, 0.75)
        first_ms = (PRIOR_CALLS * PRIOR_FIRST_MS + calls * begun) / (PRIOR_CALLS + calls)
        token_ms = (PRIOR_CALLS * PRIOR_TOKEN_MS + calls * a_token) / (PRIOR_CALLS + calls)
    values = (
        mean, max(0.001, mean - LOWER_BOUND_SDS * sd), sd, first_ms, token_ms,
        p95_ms if calls >= ENOUGH_FOR_P95 else 0.0, p99_ms, PRIOR_TIME_SPREAD / math.sqrt(1 + calls / SPREAD_CALLS),
    )  # fmt: skip
    success, lower, success_sd, first_32, token_32, p95_32, p99_32, spread = array("f", values)
    return Facts(
        success, lower, success_sd, first_32, token_32, p95_32, p99_32, spread,
        this_minute.succeeded + this_minute.failed, this_minute.tokens_in + this_minute.tokens_out,
        late_good == 0 and late_bad >= UNHEALTHY_FAILURES, lately(buckets, minute, success, latency),
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
    return quantiles(histogram, (q,))[0]


def quantiles(histogram: Mapping[int, float], shares: Sequence[float]) -> list[float]:
    """`quantile` of each of the shares."""
    if not histogram:
        return [0.0] * len(shares)
    total, indices = sum(histogram.values()), sorted(histogram)
    seen = list(accumulate(map(histogram.__getitem__, indices)))
    # The last, where rounding leaves the rank above all that was counted.
    return [value_of(indices[min(bisect_left(seen, share * total), len(indices) - 1)]) for share in shares]


def _add(sums: dict[int, float], counts: Mapping[int, int], keep: float) -> None:
    for index, count in counts.items():
        sums[index] = sums.get(index, 0.0) + keep * count
