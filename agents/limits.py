"""Rate limits kept on our side: what every worker started in the last minute, and what the provider says is left.

The minute slides, so that no minute of the provider's, wherever it begins, holds more calls than the limit. What is left
is shared with the other workers once a second: each takes an equal part of it and publishes what it started and took, so
that a count a second old still says the most that the others can have started. Values with time as an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.execution.headroom import Headroom
from schemas.catalog import Deployment, Limits
from schemas.units import MICROS_PER_MS, MICROS_PER_S

WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Traffic:
    """What this worker started on one deployment.

    `buckets`: (second, requests, tokens) of the last minute, oldest first; `total`: their sums. `others`: the most
    (requests, tokens) that the other workers may have started; `since`: ours since we learned that; `taken`: how much
    that may be, where other workers are alive. `left`: (requests, tokens) that the provider said are left, less what was
    under way and what we started since; `left_until`: when each of these numbers ends to hold, in microseconds.
    """

    buckets: tuple[tuple[int, int, int], ...] = ()
    total: tuple[int, int] = (0, 0)
    others: tuple[int, int] = (0, 0)
    since: tuple[int, int] = (0, 0)
    taken: tuple[int, int] | None = None
    left: tuple[int | None, int | None] = (None, None)
    left_until: tuple[int, int] = (0, 0)


def sent(traffic: Traffic, now: int, requests: int, tokens: int) -> Traffic:
    """After `requests` calls with about `tokens` tokens at `now` (microseconds); a correction is 0 calls."""
    second, buckets = now // MICROS_PER_S, traffic.buckets
    calls, words = traffic.total
    if buckets and buckets[-1][0] >= second:
        newest, known, known_tokens = buckets[-1]
        buckets = (*buckets[:-1], (newest, known + requests, known_tokens + tokens))
    else:
        calls, words = _total(traffic, now)
        # The oldest second is kept whole, although a part of it is gone.
        buckets = (*(b for b in buckets if b[0] >= second - WINDOW_S), (second, requests, tokens))
    since = (traffic.since[0] + requests, traffic.since[1] + tokens)
    left_calls, left_words = traffic.left
    left = (
        None if left_calls is None else left_calls - requests, None if left_words is None else left_words - tokens
    )  # fmt: skip
    return replace(traffic, buckets=buckets, total=(calls + requests, words + tokens), since=since, left=left)


def last_minute(traffic: Traffic, now: int) -> tuple[int, int]:
    """(requests, tokens) of the last sixty seconds, tokens never below 0."""
    requests, tokens = _total(traffic, now)
    return requests, max(0, tokens)


def _total(traffic: Traffic, now: int) -> tuple[int, int]:
    oldest = now // MICROS_PER_S - WINDOW_S
    requests, tokens = traffic.total
    for second, its_requests, its_tokens in traffic.buckets:
        if second >= oldest:
            break
        requests, tokens = requests - its_requests, tokens - its_tokens
    return requests, tokens


def shared(traffic: Traffic, others: tuple[int, int], limits: Limits, now: int, workers: int) -> Traffic:
    """The other workers' counts arrived: take our part of what is left until they come again."""
    own = last_minute(traffic, now)
    requests, tokens = (
        0 if limit is None else max(0, limit - own[place] - others[place]) // workers
        for place, limit in enumerate((limits.requests_per_minute, limits.tokens_per_minute))
    )
    return replace(traffic, others=others, since=(0, 0), taken=(requests, tokens))


def told(traffic: Traffic, headroom: Headroom, now: int, under_way: int) -> Traffic:
    """A provider's answer said what is left. The calls under way may or may not be counted there: they are taken off."""
    requests = None if headroom.requests is None else headroom.requests - under_way
    until = (
        now + headroom.requests_reset_ms * MICROS_PER_MS, now + headroom.tokens_reset_ms * MICROS_PER_MS
    )  # fmt: skip
    return replace(traffic, left=(requests, headroom.tokens), left_until=until)


def used_up_until(headroom: Headroom, now: int) -> int:
    """Until when (microseconds) a provider takes no more, by its own word; 0 where something is left."""
    resets = [
        reset_ms
        for left, reset_ms in (
            (headroom.requests, headroom.requests_reset_ms),
            (headroom.tokens, headroom.tokens_reset_ms),
        )
        if left == 0
    ]
    return now + max(resets) * MICROS_PER_MS if resets else 0


def full_until(traffic: Traffic, limits: Limits, now: int, workers: int) -> int:
    """Until when (microseconds) a rate limit leaves this worker no further call; 0: it has room."""
    until = 0
    for place, limit in enumerate((limits.requests_per_minute, limits.tokens_per_minute)):
        if limit is not None:
            taken = limit // workers if traffic.taken is None else traffic.taken[place]
            used = last_minute(traffic, now)[place] + traffic.others[place]
            if used >= limit or (workers > 1 and traffic.since[place] >= taken):
                # The minute slides on with every second.
                until = now - now % MICROS_PER_S + MICROS_PER_S
        left = traffic.left[place]
        if left is not None and left <= 0 and traffic.left_until[place] > now:
            until = max(until, traffic.left_until[place])
    return until


@dataclass
class RateLimits:
    """Owns the traffic of every deployment of this worker."""

    traffic: dict[str, Traffic] = field(default_factory=dict)
    workers: int = 1

    def sent(self, deployment: str, now: int, requests: int, tokens: int) -> None:
        self.traffic[deployment] = sent(self.traffic.get(deployment, Traffic()), now, requests, tokens)

    def told(self, deployment: str, headroom: Headroom, now: int, under_way: int) -> None:
        self.traffic[deployment] = told(self.traffic.get(deployment, Traffic()), headroom, now, under_way)

    def is_full(self, deployment: Deployment, now: int) -> bool:
        traffic = self.traffic.get(deployment.id)
        return traffic is not None and full_until(traffic, deployment.limits, now, self.workers) > 0

    def full(self, deployments: Mapping[str, Deployment], now: int) -> dict[str, int]:
        """Deployment -> until when (microseconds), of those without room. `deployments`: of the catalog in force."""
        found = {}
        for name, traffic in self.traffic.items():
            deployment = deployments.get(name)
            if deployment is not None and (until := full_until(traffic, deployment.limits, now, self.workers)):
                found[name] = until
        return found

    def others_are(
        self, others: Sequence[Mapping[str, tuple[int, int]]], deployments: Mapping[str, Deployment], now: int
    ) -> dict[str, tuple[int, int]]:
        """Take over what the other workers published, one mapping a worker; returns what they need to know of us:
        deployment -> (requests, tokens) that we started in the last minute or may start in the coming second."""
        self.workers = 1 + len(others)
        published = {}
        for name, deployment in deployments.items():
            limits = deployment.limits
            if limits.requests_per_minute is None and limits.tokens_per_minute is None:
                continue
            each = [counts[name] for counts in others if name in counts]
            sums = sum(requests for requests, _ in each), sum(tokens for _, tokens in each)
            known = self.traffic.get(name, Traffic())
            self.traffic[name] = traffic = shared(known, sums, limits, now, self.workers)
            assert traffic.taken is not None
            requests, tokens = last_minute(traffic, now)
            published[name] = requests + traffic.taken[0], tokens + traffic.taken[1]
        return published
