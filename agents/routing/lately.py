"""What a deployment's last minutes say against its longer past: a drift that the averages do not show yet."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.histogram import value_of
from schemas.state import HealthBucket

LN2 = math.log(2)
MINUTES = 4
"""What is older belongs to the past."""
HALF_CALLS, HALF_MINUTES = 20.0, 2.0
"""Evidence halves with every twenty calls after it, so that a busy deployment's drift shows within a minute, and with time."""
PAST_CALLS = 2.0
"""The longer past counts like two calls."""
TURNED_AWAY_MINUTES, SERVED_CALLS = 2, 0.5
"""A 429 tells that a limit is lower than supposed, for as long as a minute's window of calls lasts."""


class Lately(NamedTuple):
    """`success`: expected of a call now, being turned away by a limit included; `slower`: time over the longer past's."""

    success: float = 1.0
    slower: float = 1.0


def lately(buckets: Sequence[HealthBucket], minute: int, success: float, latency: Mapping[int, float]) -> Lately:
    """Of buckets (oldest first) at `minute`. `success`, `latency`: the longer past's share and decayed histogram."""
    good = bad = away = ms = newer = 0.0
    for bucket in reversed(buckets):
        age = max(0, minute - bucket.minute)
        if age >= MINUTES:
            break
        calls = bucket.succeeded + bucket.failed
        if not calls:
            continue
        # The mean over its calls of what each keeps, as if they had come one after the other.
        keep = 0.5 ** (newer / HALF_CALLS + age / HALF_MINUTES)
        keep *= (1 - 0.5 ** (calls / HALF_CALLS)) * HALF_CALLS / (LN2 * calls)
        newer += calls
        good += keep * bucket.succeeded
        bad += keep * (bucket.failed - bucket.rate_limited)
        ms += keep * _total(bucket.latency)
        if age < TURNED_AWAY_MINUTES:
            away += keep * bucket.rate_limited
    if not newer:
        return Lately(success)
    share = (PAST_CALLS * success + good) / (PAST_CALLS + good + bad)
    share *= 1 - away / (away + good + bad + SERVED_CALLS)
    usual = _total(latency) / sum(latency.values()) if latency else 0.0
    return Lately(share, (PAST_CALLS + ms / usual) / (PAST_CALLS + good) if usual else 1.0)


def _total(counts: Mapping[int, float]) -> float:
    """Milliseconds of all that was counted."""
    return sum([value_of(index) * count for index, count in counts.items()])
