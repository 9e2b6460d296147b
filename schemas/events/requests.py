"""The life of a request: accepted or rejected, decided, completed."""

from dataclasses import dataclass
from typing import ClassVar

from schemas.events.base import RequestEvent
from schemas.ids import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAccepted(RequestEvent):
    """`deadline_at`: microseconds, absolute."""

    task: str
    strategy: str
    priority: str
    estimated_tokens_in: int
    estimated_tokens_out: int
    deadline_at: int
    streaming: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRejected(RequestEvent):
    """The request got a final error without an attempt. `code`: one of the error codes of answers."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDeduplicated(RequestEvent):
    """The id was published again; `first_source` is the request whose answer serves both."""

    first_source: Source


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One deployment of the plan, in the order of trial."""

    deployment: str
    tier: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a deployment was left out. `index`: its place in the applied catalog; `until`: microseconds, 0 if open-ended."""

    index: int
    reason: str
    until: int


@dataclass(frozen=True, slots=True)
class Block:
    """Candidates that are tried before those of the next block; `tier` is theirs in the plan."""

    tier: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecided(RequestEvent):
    """A decision with everything it can be re-made from (`agents/routing/remake.py`).

    `candidates`: indices into the applied catalog, in the order of trial. `estimates`: little-endian float32,
    `ESTIMATE_FIELDS` numbers a candidate in the same order. `control_offset`: the configuration in force. `cut`: more than
    32 candidates, rest left off.

    Since version 2: `blocks` of the candidates; `in_flight`: calls under way of each, empty where there were none;
    `inputs`: what else strategy and balancer looked at, little-endian float64, column by column; `turn` of the balancer;
    `workers` alive; `session`: a digest of the caller's, 0 without; `fallback`: whether other models were allowed.
    """

    VERSION: ClassVar[int] = 2

    plan: tuple[PlanStep, ...]
    strategy: str
    cost_strategy: str
    balancer: str
    task: str
    confidence: float
    reasons: tuple[str, ...]
    candidates: tuple[int, ...]
    estimates: bytes
    propensities: tuple[float, ...]
    excluded: tuple[Exclusion, ...]
    cut: bool
    control_offset: int
    seed: int
    decision_us: float
    blocks: tuple[Block, ...]
    in_flight: tuple[int, ...]
    inputs: bytes
    turn: int
    workers: int
    session: int
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCompleted(RequestEvent):
    """The final answer of a request is about to be published. `code` is empty when the status is ok."""

    status: str
    code: str
    retryable: bool
    task: str
    strategy: str
    priority: str
    deployment: str
    provider: str
    model: str
    tier: str
    attempts: int
    fallback: bool
    streaming: bool
    queue_ms: float
    decision_ms: float
    first_token_ms: float
    provider_ms: float
    total_ms: float
    tokens_in: int
    tokens_out: int
    cost_nano_usd: int
