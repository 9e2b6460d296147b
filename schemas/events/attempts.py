"""Calls to deployments, and probes of them."""

from dataclasses import dataclass

from schemas.events.base import Event, RequestEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEvent(RequestEvent):
    """`number` counts from 1 within a run. `circuit_epoch`: the circuit's epoch when the attempt was sent.

    `trial`: the one call that a half-open circuit admits.
    """

    number: int
    deployment: str
    provider: str
    model: str
    tier: str
    circuit_epoch: int
    trial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(AttemptEvent):
    """The attempt is about to be sent. `deadline_at`: microseconds, absolute."""

    deadline_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSucceeded(AttemptEvent):
    """A provider answered. `first_token_ms` is 0 where the answer did not stream."""

    task: str
    http_status: int
    latency_ms: float
    first_token_ms: float
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_write: int
    tokens_reasoning: int
    finish_reason: str
    provider_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(AttemptEvent):
    """`next_action`: same | other | wait | none | retry_budget. `billed`: no | yes | unknown.

    `jitter`: uniform in [-1, 1], drawn here so that a fold that opens a circuit needs no randomness. `http_status` is 0
    where there was no answer.
    """

    task: str
    failure: str
    http_status: int
    latency_ms: float
    retry_after_ms: int
    next_action: str
    counts_toward_circuit: bool
    billed: str
    provider_code: str
    provider_request_id: str
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptAbandoned(AttemptEvent):
    """The call was cancelled by us: a drain, a lost lease, a hedge that lost."""

    reason: str
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEvent(Event):
    """A call with a limit of one token, made by the owner of the deployment's partition."""

    deployment: str
    provider: str
    circuit_epoch: int
    latency_ms: float
    http_status: int
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSucceeded(ProbeEvent):
    """The deployment answered its probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFailed(ProbeEvent):
    """The deployment did not answer its probe."""

    failure: str
