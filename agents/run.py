"""One run of one request, and the events of its attempts."""

from dataclasses import dataclass, field
from typing import Any

from agents.chunks import Chunks
from agents.execution.codes import vetted_finish
from agents.execution.outcome import Failed, Outcome, Succeeded, Usage
from agents.execution.usage import cost_nano
from agents.identity import Identity
from agents.ports import Planned, RequestRecord
from agents.routing.decide import Decision
from schemas.catalog import Deployment
from schemas.events import (
    AttemptAbandoned,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    CostReserved,
    PlanStep,
)
from schemas.failures import Failure
from schemas.inforce import InForce
from schemas.requests import ChatRequest
from schemas.responses import AttemptSummary

NO_USAGE = Usage(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call about to be made. `epoch`: the circuit's; `reserved`: nano-USD."""

    number: int
    deployment: Deployment
    step: PlanStep
    epoch: int
    trial: bool
    reserved: int


def origin(record: RequestRecord, identity: Identity, worker: str) -> dict[str, Any]:
    """What every event of a request carries, but for its id and its moment."""
    return {
        "worker": worker,
        "source": record.source,
        "run": record.run,
        "request_id": identity.request_id,
        "tenant": identity.tenant,
        "trace_id": identity.trace_id,
        "accepted_at": record.accepted_at,
    }


@dataclass
class Run:
    """`deadline_at`: broker time in microseconds. `pending`: events that wait for the next round of writing.

    `chunks`: where the answer streams to; None where it does not stream.
    """

    record: RequestRecord
    request: ChatRequest
    identity: Identity
    inforce: InForce
    decision: Decision
    deadline_at: int
    worker: str
    chunks: Chunks | None = None
    pending: list[Planned] = field(default_factory=list)
    attempts: list[AttemptSummary] = field(default_factory=list)
    cost_nano_usd: int = 0
    provider_ms: float = 0.0
    first_token_ms: float = 0.0
    _name: str = ""
    _origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._name = f"{self.record.source}@{self.record.run}"
        self._origin = origin(self.record, self.identity, self.worker)

    def origin(self, kind: str, now: int) -> dict[str, Any]:
        """What every event of this request carries. `kind` makes the id unique within the run."""
        return {**self._origin, "event_id": f"{self._name}/{kind}", "occurred_at": now}

    def _of_attempt(self, kind: str, attempt: Attempt, now: int) -> dict[str, Any]:
        return {
            **self._origin,
            "event_id": f"{self._name}/{kind}/{attempt.number}",
            "occurred_at": now,
            "number": attempt.number,
            "deployment": attempt.deployment.id,
            "provider": attempt.deployment.provider,
            "model": attempt.deployment.model,
            "tier": attempt.step.tier,
            "circuit_epoch": attempt.epoch,
            "trial": attempt.trial,
        }

    def _of_cost(self, kind: str, attempt: Attempt, now: int) -> dict[str, Any]:
        return {
            **self._origin,
            "event_id": f"{self._name}/{kind}/{attempt.number}",
            "occurred_at": now,
            "cost_id": f"{self._name}/{attempt.number}",
            "number": attempt.number,
            "deployment": attempt.deployment.id,
            "provider": attempt.deployment.provider,
            "model": attempt.deployment.model,
        }

    def _attempts(self, event: Any) -> Planned:
        return Planned("attempts", event, event.deployment)

    def _costs(self, event: Any) -> Planned:
        return Planned("costs", event, self.identity.tenant)

    def started(self, attempt: Attempt, now: int) -> list[Planned]:
        """What must be in the log before the call."""
        origin = self._of_attempt("AttemptStarted", attempt, now)
        reserved = self._of_cost("CostReserved", attempt, now)
        return [
            self._attempts(AttemptStarted(**origin, deadline_at=self.deadline_at)),
            self._costs(CostReserved(**reserved, nano_usd=attempt.reserved, deadline_at=self.deadline_at)),
        ]

    def ended(self, attempt: Attempt, outcome: Outcome, now: int, *, next_action: str, jitter: float) -> None:
        """Put down what the call came to, and settle its reservation."""
        cost, certainty, usage = self._cost(attempt, outcome)
        self.cost_nano_usd += cost
        self.provider_ms += outcome.latency_ms
        summary = AttemptSummary(
            attempt.number, attempt.deployment.id, attempt.step.tier,
            "succeeded" if isinstance(outcome, Succeeded) else "failed",
            "" if isinstance(outcome, Succeeded) else outcome.failure.value,
            outcome.http_status, outcome.latency_ms, cost,
        )  # fmt: skip
        self.attempts.append(summary)
        if isinstance(outcome, Succeeded):
            self.first_token_ms = outcome.first_token_ms
            self.pending.append(self._attempts(self._succeeded(attempt, outcome, now)))
        else:
            self.pending.append(self._attempts(self._failed(attempt, outcome, now, next_action, jitter)))
        self.pending.append(self._costs(self._incurred(attempt, cost, certainty, usage, now)))

    def abandoned(
        self, attempt: Attempt, reason: str, latency_ms: float, now: int, *, sent: bool = True
    ) -> list[Planned]:
        """The call was cancelled by us: what the provider charges is unknown, so the reservation is, once it was sent."""
        cost, certainty = (attempt.reserved, "estimated") if sent else (0, "certain")
        self.cost_nano_usd += cost
        summary = AttemptSummary(
            attempt.number, attempt.deployment.id, attempt.step.tier, "abandoned", Failure.CANCELLED.value, 0, latency_ms,
            cost,
        )  # fmt: skip
        self.attempts.append(summary)
        origin = self._of_attempt("AttemptAbandoned", attempt, now)
        return [
            self._attempts(AttemptAbandoned(**origin, reason=reason, latency_ms=latency_ms)),
            self._costs(self._incurred(attempt, cost, certainty, NO_USAGE, now)),
        ]

    def _cost(self, attempt: Attempt, outcome: Outcome) -> tuple[int, str, Usage]:
        """Nano-USD, certainty, usage: what the provider told, nothing where it says so, the reservation where unknown."""
        usage = outcome.usage
        if isinstance(outcome, Failed) and outcome.billed == "no":
            return 0, "certain", NO_USAGE
        if usage is None or not usage.certain:
            return attempt.reserved, "estimated", usage or NO_USAGE
        prices = self.inforce.configuration.catalog.model_by_id[attempt.deployment.model].price_usd_per_million
        return cost_nano(prices, usage), "certain", usage

    def _succeeded(self, attempt: Attempt, outcome: Succeeded, now: int) -> AttemptSucceeded:
        usage = outcome.usage
        return AttemptSucceeded(
            **self._of_attempt("AttemptSucceeded", attempt, now), task=self.decision.task,
            http_status=outcome.http_status, latency_ms=outcome.latency_ms, first_token_ms=outcome.first_token_ms,
            tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, tokens_cached=usage.cached,
            tokens_cache_write=usage.cache_write, tokens_reasoning=usage.reasoning,
            finish_reason=vetted_finish(outcome.finish_reason), provider_request_id=outcome.provider_request_id,
        )  # fmt: skip

    def _failed(self, attempt: Attempt, failed: Failed, now: int, next_action: str, jitter: float) -> AttemptFailed:
        return AttemptFailed(
            **self._of_attempt("AttemptFailed", attempt, now), task=self.decision.task, failure=failed.failure.value,
            http_status=failed.http_status, latency_ms=failed.latency_ms, retry_after_ms=failed.retry_after_ms or 0,
            next_action=next_action, counts_toward_circuit=failed.counts, billed=failed.billed,
            provider_code=failed.provider_code, provider_request_id=failed.provider_request_id, jitter=jitter,
        )  # fmt: skip

    def _incurred(self, attempt: Attempt, cost: int, certainty: str, usage: Usage, now: int) -> CostIncurred:
        return CostIncurred(
            **self._of_cost("CostIncurred", attempt, now), nano_usd=cost, certainty=certainty,
            tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, tokens_cached=usage.cached,
            tokens_cache_write=usage.cache_write, tokens_reasoning=usage.reasoning,
            price_version=self.inforce.digest[:12],
        )  # fmt: skip
