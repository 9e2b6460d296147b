"""What outcomes teach: the simulator's calls as events on a log, folded by the folds that workers run."""

from dataclasses import replace
from typing import Any

from agents.routing.view import RoutingView
from infra.bench.simulator_world import TASKS, Outcome, Truth
from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.events import AttemptFailed, AttemptSucceeded, ClockTicked, Event, FeedbackGiven
from schemas.failures import Failure
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.units import MICROS_PER_S

TICK = 5 * MICROS_PER_S
"""As llm.attempts ticks."""
SNAPSHOT = MICROS_PER_S // 2
"""Workers learn from snapshots, which are written twice a second."""
CALLED: dict[str, Any] = {
    "event_id": "", "worker": "", "run": 1, "tenant": "simulated", "trace_id": "", "number": 1,
    "provider": "openai_compatible", "tier": "primary", "provider_request_id": "",
}  # fmt: skip
SUCCEEDED: dict[str, Any] = {
    "http_status": 200, "tokens_cached": 0, "tokens_cache_write": 0, "tokens_reasoning": 0, "finish_reason": "stop",
}  # fmt: skip
FAILED: dict[str, Any] = {"next_action": "other", "billed": "no", "provider_code": "", "jitter": 0.0}


class Log:
    """Owns a partition of attempts and one of feedback, and tells a RoutingView what their folds hold.

    `inforce` is what commands left; the caller exchanges it. Records come in the order of time.
    """

    def __init__(self, truth: Truth, inforce: InForce, now: int) -> None:
        self.inforce = inforce
        self._names = truth.names
        self._models = [deployment.model for deployment in inforce.configuration.catalog.deployments]
        self._projections = {
            kind: PartitionProjection(f"llm.{kind}", 0, FOLDS[kind], lambda _: self.inforce)
            for kind in ("attempts", "feedback")
        }
        self._offset, self._ticked = 0, now
        self._told = -1
        self._changed = set(truth.names)
        self._tables: dict[str, dict[str, Any]] = {kind: {} for kind in ("circuit", "health", "learned", "quality")}

    def tell(self, outcome: Outcome, now: int) -> None:
        """A call that ended `now` (microseconds), and what a grader says of its answer."""
        name, task = self._names[outcome.place], TASKS[outcome.task]
        called = CALLED | {
            "occurred_at": now, "accepted_at": now, "source": Source("llm.requests", 0, self._offset), "request_id":
            str(self._offset), "deployment": name, "model": self._models[outcome.place], "task": task,
            "latency_ms": outcome.ms, "circuit_epoch": outcome.circuit_epoch, "trial": outcome.trial,
        }  # fmt: skip
        if outcome.succeeded:
            self._append("attempts", now, AttemptSucceeded(
                first_token_ms=outcome.first_ms, tokens_in=outcome.tokens_in, tokens_out=outcome.tokens_out, **called,
                **SUCCEEDED,
            ))  # fmt: skip
            self._append("feedback", now, FeedbackGiven(
                event_id="", occurred_at=now, worker="", request_id=called["request_id"], tenant="simulated",
                deployment=name, task=task, score=min(1.0, max(0.0, outcome.score)), given_by="grader", source="",
            ))  # fmt: skip
        else:
            limited = outcome.retry_at > 0
            failure = Failure.RATE_LIMITED if limited else Failure.SERVER_ERROR
            self._append("attempts", now, AttemptFailed(
                failure=failure.value, http_status=429 if limited else 500, counts_toward_circuit=not limited,
                retry_after_ms=max(0, outcome.retry_at - now) // 1_000, **called, **FAILED,
            ))  # fmt: skip
        self._changed.add(name)

    def advance(self, now: int) -> None:
        """Ticks up to `now`."""
        while self._ticked + TICK <= now:
            self._ticked += TICK
            tick = ClockTicked(
                event_id="", occurred_at=self._ticked, worker="", topic="llm.attempts", partition=0, control_offset=-1
            )
            self._append("attempts", self._ticked, tick)
            self._changed.update(self._names)

    def _append(self, kind: str, now: int, event: Event) -> None:
        self._offset += 1
        self._projections[kind].apply(LogRecord(f"llm.{kind}", 0, self._offset, now, event))

    def circuit(self, name: str) -> Any:
        """The circuit as it is now, None before a first call."""
        return self._projections["attempts"].snapshot("circuit", name)

    def seen_by(self, view: RoutingView, now: int) -> RoutingView:
        """The view with the states of the last snapshots."""
        if now < self._told + SNAPSHOT:
            return view
        self._told = now
        for kind, table in self._tables.items():
            projection = self._projections["feedback" if kind == "quality" else "attempts"]
            for name in self._changed:
                state = projection.snapshot(kind, name)
                if state is not None:
                    table[name] = state
        self._changed.clear()
        tables: list[dict[str, Any]] = [dict(table) for table in self._tables.values()]
        circuits, health, learned, quality = tables
        return replace(view, inforce=self.inforce, circuits=circuits, health=health, learned=learned, quality=quality)
