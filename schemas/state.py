"""State as folds publish it on llm.state: where agents and projections meet.

Every value is integers (and names) so that partial states of several partitions merge exactly and a replay is equal bit
for bit. Instants are microseconds of broker time; money is nano-USD.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

CircuitStatus = Literal["closed", "open", "half_open"]
PERIOD_NAMES = ("hour", "day", "week", "month")


@dataclass(frozen=True, slots=True)
class CircuitState:
    """`window`: (bucket start in seconds, calls, failures, slow calls), oldest first. `trips`: openings in a row.

    `successes`: consecutive ones while half-open. `forced`: open | closed by a command, else empty.
    """

    status: CircuitStatus = "closed"
    epoch: int = 0
    failures: int = 0
    successes: int = 0
    trips: int = 0
    opened_at: int = 0
    open_until: int = 0
    last_failed_at: int = 0
    forced: str = ""
    reason: str = ""
    window: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class HealthBucket:
    """A minute of a deployment. Histograms map a log-bucket index (projections.histogram) to a count."""

    minute: int
    succeeded: int = 0
    failed: int = 0
    probes_succeeded: int = 0
    probes_failed: int = 0
    rate_limited: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    first_token: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthState:
    """The last minutes of a deployment, oldest first."""

    buckets: tuple[HealthBucket, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsBucket:
    """Calls of one task in one span of broker time. Tokens and `latency_us` are sums over those that succeeded."""

    span: int
    succeeded: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    latency_us: int = 0


@dataclass(frozen=True, slots=True)
class LengthsBucket:
    """Lengths of answers of one task in one span of broker time: their sum, and coarse log buckets to counts."""

    span: int
    tokens_out: int = 0
    lengths: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PaceBucket:
    """Streams of a deployment in one span: log buckets of milliseconds a token after the first one, to counts."""

    span: int
    token: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LearnedState:
    """What calls to a deployment came to while it served `model`, oldest spans first; `calls`, `lengths`: by task."""

    model: str = ""
    calls: dict[str, tuple[CallsBucket, ...]] = field(default_factory=dict)
    lengths: dict[str, tuple[LengthsBucket, ...]] = field(default_factory=dict)
    paces: tuple[PaceBucket, ...] = ()


@dataclass(frozen=True, slots=True)
class HourCalls:
    """Calls to a deployment that ended in one hour of broker time. `start`: the hour's number, time // HOUR."""

    start: int = -1
    calls: int = 0


@dataclass(frozen=True, slots=True)
class ScoresBucket:
    """Feedback of one day of broker time. `total` sums scores in thousandths, `squares` their squares."""

    day: int
    count: int = 0
    total: int = 0
    squares: int = 0


@dataclass(frozen=True, slots=True)
class QualityState:
    """Feedback on a deployment's answers on one partition of llm.feedback.

    `tasks`: by task, oldest day first. `seen`: digests of (request id, giver) that counted last, oldest first.
    """

    tasks: dict[str, tuple[ScoresBucket, ...]] = field(default_factory=dict)
    seen: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PeriodSpend:
    """Spend of one period that started at `start`."""

    start: int
    spent: int = 0
    count: int = 0


class Reservation(NamedTuple):
    """A CostReserved that nothing settled yet, with what its charge needs if nothing ever does.

    A tuple, for one is made for every call and all that are open are written at each flush, as arrays.
    """

    nano_usd: int
    expires_at: int
    number: int
    deployment: str
    provider: str
    model: str
    source: str
    run: int
    request_id: str
    trace_id: str
    accepted_at: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was charged for a reservation that nothing settled, until a late CostIncurred replaces it."""

    nano_usd: int
    charged_at: int
    deployment: str
    provider: str


Sums = tuple[int, ...]
"""Start, spent and count of the hour, then of the day, the week and the month: twelve integers, for they are many."""


@dataclass(frozen=True, slots=True)
class SpendState:
    """A tenant's money on its partition of llm.costs. Every cost event touches one tenant, so subjects stay independent.

    `totals`: scope -> the current periods; scopes are `tenant`, `provider:P`, `deployment:D`, and hold this tenant's part
    only, in UTC; `local` is the tenant's in its time zone `zone`, where it has one. `open` and `estimated` are keyed by
    cost id.
    """

    totals: dict[str, Sums] = field(default_factory=dict)
    open: dict[str, Reservation] = field(default_factory=dict)
    estimated: dict[str, Estimate] = field(default_factory=dict)
    zone: str = ""

    def periods(self, scope: str) -> dict[str, PeriodSpend]:
        """Period name -> its spend; empty where the scope has none."""
        sums = self.totals.get(scope, ())
        return {name: PeriodSpend(*sums[3 * at : 3 * at + 3]) for at, name in enumerate(PERIOD_NAMES) if sums}


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What was judged of one budget. `crossed`: the highest threshold that spent money crossed in this period, percent.

    `exhausted`: whether spent and reserved together reached the limit, which may be before any threshold. `limit`:
    nano-USD, -1 where the budget is no longer in force.
    """

    scope: str = ""
    period: str = ""
    period_start: int = 0
    limit: int = 0
    spent: int = 0
    reserved: int = 0
    crossed: int = 0
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one tenant that completed in one bucket of broker time. `start`: the bucket's number, time // width.

    `failed`: our fault; `limited`: a budget or a throttle in force; `refused`: the caller's fault. `latency`: of those
    that succeeded, log-bucket index to count. `cost`: nano-USD.
    """

    start: int = -1
    ok: int = 0
    failed: int = 0
    limited: int = 0
    refused: int = 0
    fallbacks: int = 0
    cost: int = 0
    latency: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SlaState:
    """What was judged last of one target. `status`: unknown | met | missed | warning | critical.

    `severity` is that of the breach that stands, empty without one; `number` counts breaches. Values and targets are in
    millionths of the metric's unit, burn rates in thousandths; a burn of -1: the metric has no error budget.
    """

    metric: str = ""
    scope: str = ""
    window_s: int = 0
    status: str = "unknown"
    severity: str = ""
    number: int = 0
    breached_at: int = 0
    measured_at: int = 0
    value: int = -1
    target: int = 0
    sample: int = 0
    burn: int = -1
    burn_short: int = -1


@dataclass(frozen=True, slots=True)
class AnomalyState:
    """The last minute of a deployment's measure that stood out. `size`: thousandths of a sigma."""

    minute: int = -1
    direction: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """A change of an alert that webhooks still have to hear of. `offset`: of its event. `webhooks`: names, sorted."""

    change: str
    severity: str
    at: int
    offset: int
    number: int
    text: str
    webhooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlertState:
    """The latest alert of one subject. `number` counts its alerts; `severity`: the highest it reached.

    `changed_at`: when it got its severity; `seen_at`, `count`: its causes; `mark`: the last cause, in the order of what
    it is about. `told`: changes derived; `heard`: changes read back; `pending`: change number -> who is still to hear.
    """

    kind: str = ""
    subject: str = ""
    open: bool = False
    number: int = 0
    severity: str = ""
    text: str = ""
    raised_at: int = 0
    changed_at: int = 0
    seen_at: int = 0
    count: int = 0
    mark: int = -1
    told: int = 0
    heard: int = 0
    pending: dict[int, Notice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """Calls in flight and their estimated tokens by deployment of one worker, published every second, forgotten after three.

    `minute`: deployment -> (requests, tokens) that it started in the last minute or may start in the coming second.
    """

    worker: str
    sent_at: int
    in_flight: dict[str, int] = field(default_factory=dict)
    minute: dict[str, tuple[int, int]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a fold of a partition is covered by its snapshots, and what it needs besides them."""

    clock: int
    control_offset: int
