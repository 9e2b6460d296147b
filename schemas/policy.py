"""Policies: how to route, when a circuit opens, what may be spent, what was promised."""

from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.catalog import Catalog, Configured, CredentialReference, HttpUrl, Task
from schemas.numbers import (
    LONGEST_DEADLINE_MS,
    YEAR_S,
    Count,
    Measured,
    Seconds,
    Share,
    Usd,
    Weight,
)
from schemas.units import usd_to_nano

StrategyName = Literal["cost", "speed", "quality", "reliability", "load_balanced", "adaptive", "weighted"]
BalancerName = Literal[
    "round_robin", "weighted_round_robin", "least_connections", "least_response_time",
    "consistent_hash", "adaptive_weighted", "performance_based", "token_aware",
]  # fmt: skip
CostStrategyName = Literal["minimize", "cost_quality", "cost_speed", "arbitrage", "budget_aware", "predictive"]
WeightName = Literal["cost", "speed", "quality", "reliability", "load"]
Period = Literal["hour", "day", "week", "month"]
AtLimit = Literal["reject", "local_only"]
Severity = Literal["info", "warning", "critical", "emergency"]


def _weighing(weights: dict[WeightName, float]) -> dict[WeightName, float]:
    if not any(weights.values()):
        raise ValueError("must hold a weight above 0, such as {cost: 0.6, quality: 0.4}")
    return weights


Weights = Annotated[dict[WeightName, Weight], AfterValidator(_weighing)]
"""Of the utilities that `weighted` and `adaptive` add up; only their proportions count."""


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern that may end in `*` stands for a name. All else in it is itself: a tenant may be called `a[b]?`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class TaskPolicy(Configured):
    """How to route the requests of a task; what the tenant or the request names wins. `min_quality`: 0..1."""

    strategy: StrategyName | None = None
    balancer: BalancerName | None = None
    cost_strategy: CostStrategyName | None = None
    weights: Weights | None = None
    min_quality: Share | None = None


class RoutingPolicy(Configured):
    """Defaults of a decision; what the policy of a task, the tenant or the request names wins.

    `weights`: in place of those of the cost strategy.
    `hedge`: an interactive request gets a second call on the next deployment of its plan once the first is later than the
    p95 of its deployment; the first that answers wins.
    """

    strategy: StrategyName = "adaptive"
    balancer: BalancerName = "performance_based"
    cost_strategy: CostStrategyName = "cost_quality"
    weights: Weights | None = None
    by_task: dict[Task, TaskPolicy] = {}
    max_attempts: int = Field(4, ge=1, le=16)
    default_deadline_ms: int = Field(120_000, gt=0, le=LONGEST_DEADLINE_MS)
    hedge: bool = False


class CircuitPolicy(Configured):
    """When circuits open, half-open and close. Times in seconds, ratios 0..1."""

    failure_threshold: Count = 5
    success_threshold: Count = 3
    open_s: Seconds = 60.0
    max_open_s: Seconds = 300.0
    probe_interval_s: float = Field(
        5.0, ge=0, le=YEAR_S, description="0 switches probing off: circuits half-open by time"
    )
    window_s: int = Field(30, ge=1, le=300)
    minimum_calls: Count = 20
    failure_ratio: float = Field(0.5, gt=0, le=1)
    slow_ratio: float = Field(0.8, gt=0, le=1)
    slow_call_s: Seconds = 30.0


class Budget(Configured):
    """`scope`: global | tenant:T | provider:P | deployment:D. `thresholds`: percent of the limit that are told."""

    scope: str = Field(pattern=r"^(global|tenant:.+|provider:.+|deployment:.+)$")
    period: Period = "day"
    limit_usd: Usd
    at_limit: AtLimit = "reject"
    thresholds: tuple[Annotated[int, Field(ge=1, le=1_000)], ...] = (50, 70, 85, 95)

    @property
    def limit_nano_usd(self) -> int:
        return usd_to_nano(self.limit_usd)

    @property
    def subject(self) -> str:
        """`scope/period`: what names a budget in state and transitions."""
        return f"{self.scope}/{self.period}"


RATIOS = frozenset({"availability", "success_rate", "quality"})


class SlaTarget(Configured):
    """What was promised. `scope`: global | tenant:T | provider:P | deployment:D, and may end in `*`; `window_s` in seconds.

    Ratios are 0..1. Missing `target` is an info, `warning` a warning, `critical` critical; without `warning` a missed target
    warns. Below `minimum_sample` events nothing is said. Providers and deployments are judged over 900 s at most, by minutes;
    tenants and the whole up to an hour by minutes, up to two days by hours, up to 32 days by days. Quality is the mean score
    of feedback over whole days of UTC, today included, at most 28; not of a tenant, whose feedback nothing keeps apart.
    """

    metric: Literal[
        "availability", "latency_p95_ms", "success_rate", "throughput_per_s", "cost_per_success_usd", "quality"
    ]
    scope: str = Field("global", pattern=r"^(global|tenant:.+|provider:.+|deployment:.+)$")
    target: Measured
    warning: Measured | None = None
    critical: Measured | None = None
    window_s: int = Field(900, gt=0, le=32 * 86_400)
    minimum_sample: Count = 20

    @model_validator(mode="after")
    def _ratio(self) -> "SlaTarget":
        if self.metric in RATIOS and max(self.target, self.warning or 0, self.critical or 0) > 1:
            raise ValueError(f"{self.metric} is a ratio of 0 to 1; write 0.99 for 99 %")
        return self


class Tenant(Configured):
    """`topic`: NAME of llm.requests.NAME that belongs to the tenant alone. `share`: part of a worker's concurrency.

    `time_zone`: IANA name; the hours, days, weeks and months of the tenant's own budgets are those of its clocks.
    """

    id: str = Field(min_length=1)
    max_in_flight: Count | None = None
    topic: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    priority: Literal["interactive", "standard", "batch"] = "standard"
    share: float = Field(1.0, gt=0, le=1)
    strategy: StrategyName | None = None
    balancer: BalancerName | None = None
    cost_strategy: CostStrategyName | None = None
    weights: Weights | None = None
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone is called {name!r}; write an IANA name such as Europe/Berlin") from None
        return name


class Webhook(Configured):
    """Where alerts go. `secret`: signs each call where given. Times in seconds."""

    url: HttpUrl
    min_severity: Severity = "warning"
    format: Literal["json", "slack"] = "json"
    secret: CredentialReference = ""
    timeout_s: float = Field(5.0, gt=0, le=60)
    max_attempts: int = Field(8, ge=1, le=100)

    @property
    def name(self) -> str:
        """What events call it: the URL may hold a secret."""
        return sha256(self.url.encode()).hexdigest()[:12]


class AlertPolicy(Configured):
    """Escalation and callbacks."""

    escalate_after_s: Seconds = 300.0
    webhooks: tuple[Webhook, ...] = ()


class Configuration(Configured):
    """What `turnout apply` publishes to llm.control: from then on the log says what is in force."""

    catalog: Catalog = Catalog()
    routing: RoutingPolicy = RoutingPolicy()
    circuit: CircuitPolicy = CircuitPolicy()
    budgets: tuple[Budget, ...] = ()
    sla: tuple[SlaTarget, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    alerts: AlertPolicy = AlertPolicy()

    @cached_property
    def caps(self) -> dict[str, int]:
        """Tenant -> the calls it may have in flight, of those that have a limit."""
        return {tenant.id: tenant.max_in_flight for tenant in self.tenants if tenant.max_in_flight is not None}
