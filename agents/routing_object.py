"""The `routing` object of an answer: what was decided, what was tried, what it cost and how long it took."""

from dataclasses import dataclass
from typing import Any

from agents.attempts import Served
from agents.identity import Identity
from agents.run import Run
from schemas.units import nano_to_usd


@dataclass(slots=True)
class Timing:
    """Milliseconds, for the answer's `latency_ms`."""

    queue: float = 0.0
    decision: float = 0.0


def routing_object(
    run: Run | None, identity: Identity, served: Served | None, timing: Timing, total_ms: float
) -> dict[str, Any]:
    """`run`: None where nothing was decided; `served`: None where nothing answered."""
    shown: dict[str, Any] = {"request_id": identity.request_id, "tenant": identity.tenant, "status": "ok"}
    if run is None:
        return shown
    decision = run.decision
    if served is not None:
        shown |= {
            "deployment": served.deployment.id, "provider": served.deployment.provider, "tier": served.step.tier,
        }  # fmt: skip
    return shown | {
        "strategy": decision.strategy, "cost_strategy": decision.cost_strategy, "balancer": decision.balancer,
        "task": decision.task, "confidence": round(decision.confidence, 4), "reasons": decision.reasons,
        "attempts": [attempt.document() for attempt in run.attempts], "cost_usd": nano_to_usd(run.cost_nano_usd),
        "latency_ms": {
            "queue": round(timing.queue, 3), "decision": round(timing.decision, 3),
            "first_token": round(run.first_token_ms, 3), "provider": round(run.provider_ms, 3),
            "total": round(total_ms, 3),
        },
    }  # fmt: skip
