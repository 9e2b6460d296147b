"""What a worker knows itself, beside the log: calls under way, how long the last ones took, what providers just told it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.limits import RateLimits
from agents.retry_budget import Kind, RetryBudget, ended, started
from schemas.units import MICROS_PER_S

RESPONSE_DECAY_S = 10
RESPONSE_KEPT_S = 60


@dataclass
class UnderWay:
    """Counts by deployment: `own` of this worker, `total` with what the others published last."""

    own: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)

    def add(self, deployment: str, count: int) -> None:
        self.own[deployment] = self.own.get(deployment, 0) + count
        self.total[deployment] = self.total.get(deployment, 0) + count

    def others_are(self, others: Sequence[Mapping[str, int]]) -> None:
        """Take over what the other workers published, one mapping a worker."""
        total = dict(self.own)
        for counts in others:
            for deployment, count in counts.items():
                total[deployment] = total.get(deployment, 0) + count
        # In place: decisions hold on to the mapping.
        self.total.clear()
        self.total.update(total)

    def published(self) -> dict[str, int]:
        """What the others need to know."""
        return {deployment: count for deployment, count in self.own.items() if count}


@dataclass
class ResponseTimes:
    """Peak EWMA of this worker's calls by deployment, in milliseconds: a slower call counts at once, a faster one by and by."""

    ms: dict[str, float] = field(default_factory=dict)
    _at: dict[str, int] = field(default_factory=dict)

    def answered(self, deployment: str, ms: float, now: int) -> None:
        known = self.ms.get(deployment, 0.0)
        if ms < known:
            keep = math.exp((self._at[deployment] - now) / (RESPONSE_DECAY_S * MICROS_PER_S))
            ms += (known - ms) * keep
        self.ms[deployment], self._at[deployment] = ms, now

    def failed(self, deployment: str, ms: float, now: int) -> None:
        """A quick failure is no quick answer: only one that took longer than the answers counts."""
        if ms > self.ms.get(deployment, math.inf):
            self.answered(deployment, ms, now)

    def forget(self, now: int) -> None:
        """Of a deployment that nobody called for a minute health knows as much."""
        for deployment, at in list(self._at.items()):
            if now - at > RESPONSE_KEPT_S * MICROS_PER_S:
                del self.ms[deployment], self._at[deployment]


@dataclass
class Live:
    """`calls`, `tokens` (estimated): under way. `turns`: decisions so far by group of replicas; `workers`: alive, this one
    included. `budgets`: retry budgets by deployment; `rates`: the traffic of the last minute.
    """

    calls: UnderWay = field(default_factory=UnderWay)
    tokens: UnderWay = field(default_factory=UnderWay)
    responses: ResponseTimes = field(default_factory=ResponseTimes)
    tenants: dict[str, int] = field(default_factory=dict)
    cooling: dict[str, int] = field(default_factory=dict)
    trials: set[str] = field(default_factory=set)
    out_of_service: dict[str, str] = field(default_factory=dict)
    turn: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    workers: int = 1
    budgets: dict[str, RetryBudget] = field(default_factory=dict)
    rates: RateLimits = field(default_factory=RateLimits)

    def started(self, deployment: str, now: int, kind: Kind, tokens: int) -> None:
        self.calls.add(deployment, 1)
        self.tokens.add(deployment, tokens)
        self.rates.sent(deployment, now, 1, tokens)
        if kind != "repeat":
            self.budgets[deployment] = started(self.budgets.get(deployment, RetryBudget()), now, kind)

    def repeating(self, deployment: str, now: int) -> None:
        """A repeated call was decided on: it counts before its pause, or all that pause would find the budget free."""
        self.budgets[deployment] = started(self.budgets.get(deployment, RetryBudget()), now, "repeat")

    def ended(self, deployment: str, now: int, kind: Kind, tokens: int, good: bool | None) -> None:
        """`tokens`: as at the start. `good`: None where the deployment is not to blame."""
        self.calls.add(deployment, -1)
        self.tokens.add(deployment, -tokens)
        self.budgets[deployment] = ended(self.budgets[deployment], now, kind, good)
