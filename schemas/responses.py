"""Final answers as consumers read them: an OpenAI chat completion, or an error, with a `routing` object."""

from dataclasses import dataclass
from typing import Any

from schemas.errors import ERROR_TYPES, RequestError
from schemas.units import nano_to_usd


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """One attempt, for the answer's `routing.attempts`."""

    number: int
    deployment: str
    tier: str
    outcome: str
    failure: str
    http_status: int
    latency_ms: float
    cost_nano_usd: int

    def document(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "number": self.number, "deployment": self.deployment, "tier": self.tier, "outcome": self.outcome,
        }  # fmt: skip
        if self.failure:
            shown["failure"] = self.failure
        if self.http_status:
            shown["http_status"] = self.http_status
        return shown | {"latency_ms": round(self.latency_ms, 3), "cost_usd": nano_to_usd(self.cost_nano_usd)}


def chat_response(
    completion: dict[str, Any], request_id: str, created: int, model: str, routing: dict[str, Any]
) -> dict[str, Any]:
    """A provider's completion under our id, with what routing did. `created`: seconds since the epoch."""
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        **{key: item for key, item in completion.items() if key not in {"id", "object", "created", "model"}},
        "routing": routing,
    }


def error_response(error: RequestError, routing: dict[str, Any]) -> dict[str, Any]:
    """A final error. `routing` gains status, retryable and, where it makes sense, retry_after_ms."""
    shown = routing | {"status": "error", "retryable": error.retryable}
    if error.retry_after_ms is not None:
        shown["retry_after_ms"] = error.retry_after_ms
    return {
        "error": {"message": error.message, "type": ERROR_TYPES[error.code], "code": error.code, "param": error.param},
        "routing": shown,
    }
