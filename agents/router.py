"""The router agent: a request record becomes exactly one final answer, and the events that say how.

It never raises but for the log itself: every error becomes a final answer.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from operator import attrgetter
from time import perf_counter
from traceback import extract_tb
from typing import Any

import structlog

from agents.attempts import Attempts, Served
from agents.chunks import Chunks
from agents.dedup import Claim, Claims
from agents.identity import Identity, identify, unidentified
from agents.live import Live
from agents.ports import Answer, Clock, DeadLetter, EventLog, Planned, RequestRecord, Sealed
from agents.routing.decide import Decision, decide
from agents.routing.view import RoutingView
from agents.routing_object import Timing, routing_object
from agents.run import Run, origin
from schemas.demand import Demand
from schemas.errors import LeaseLost, RequestError
from schemas.events import RequestAccepted, RequestCompleted, RequestDeduplicated, RequestRejected, RouteDecided
from schemas.inforce import InForce
from schemas.requests import ChatRequest, parse_request
from schemas.responses import chat_response, error_response
from schemas.state import CircuitState, HealthState, LearnedState, QualityState
from schemas.units import MICROS_PER_MS

log = structlog.get_logger()
DECIDED = tuple(each.name for each in fields(RouteDecided) if each.name in Decision._fields)
"""What the event of a decision takes over from it."""
decided = attrgetter(*DECIDED)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the router reads back from the log; all of it live."""

    inforce: Callable[[], InForce]
    circuits: dict[str, CircuitState]
    health: dict[str, HealthState]
    spend: Any
    learned: dict[str, LearnedState] = field(default_factory=dict)
    quality: Mapping[str, QualityState] = field(default_factory=dict)
    demand: Demand = field(default_factory=Demand)


@dataclass(slots=True)
class Router:
    """`worker`: who we are in events. `read`: decodes a request's value by its content type."""

    log: EventLog
    clock: Clock
    attempts: Attempts
    claims: Claims
    live: Live
    knowledge: Knowledge
    rng: random.Random
    worker: str
    max_request_bytes: int
    read: Callable[[RequestRecord, int], ChatRequest] = field(
        default=lambda record, limit: parse_request(record.value, max_bytes=limit)
    )

    async def handle(self, record: RequestRecord) -> None:
        """Serve one record to its end: when this returns, the record may be committed."""
        timing = Timing(queue=max(0.0, (self.clock.now() - record.accepted_at) / MICROS_PER_MS))
        request: ChatRequest | None = None
        refusal: RequestError | None = None
        trace = self.rng.getrandbits(192)
        try:
            request = self.read(record, self.max_request_bytes).with_priority(record.priority)
            identity = identify(record, request.routing, trace)
        except RequestError as error:
            refusal = error
            identity = unidentified(record, request.routing if request else None, trace, error.request_id)
        claimed = (record.source.topic, identity.tenant, identity.request_id)
        claim, first = self.claims.claim(claimed, record.source, self.clock.now())
        if claim is Claim.ANSWERED:
            return
        if claim is Claim.DUPLICATE:
            shared = self._origin(record, identity, "RequestDeduplicated")
            await self.log.append([self._decision(record, RequestDeduplicated(**shared, first_source=first))])
            return
        tenants = self.live.tenants
        tenants[identity.tenant] = tenants.get(identity.tenant, 0) + 1
        try:
            if request is None or refusal is not None:
                assert refusal is not None
                retryable = await self._refuse(record, request, identity, refusal, timing)
            else:
                retryable = await self._serve(record, request, identity, timing)
        except BaseException:
            self.claims.release(claimed, record.source)
            raise
        finally:
            # A tenant is any caller's word: one without calls leaves nothing behind.
            tenants[identity.tenant] -= 1
            if not tenants[identity.tenant]:
                del tenants[identity.tenant]
        self.claims.answered(claimed, record.source, retryable=retryable, now=self.clock.now())

    async def _serve(self, record: RequestRecord, request: ChatRequest, identity: Identity, timing: Timing) -> bool:
        """Decide, call, answer; returns whether the answer was a retryable error."""
        run: Run | None = None
        try:
            inforce = self.knowledge.inforce()
            deadline_ms = request.routing.deadline_ms or inforce.configuration.routing.default_deadline_ms
            deadline_at = record.accepted_at + deadline_ms * MICROS_PER_MS
            self._admit(identity.tenant, inforce)
            decision = self._decide(request, identity, inforce, deadline_at, timing)
            chunks = Chunks(self.log, record, identity.request_id) if request.stream else None
            run = Run(record, request, identity, inforce, decision, deadline_at, self.worker, chunks)
            run.pending = [self._accepted(run), self._decided(run, timing)]
            served = await self.attempts.serve(run)
            sealed = self._sealed(run, served, timing)
            if chunks is not None:
                await chunks.settle()
        except RequestError as error:
            return await self._fail(record, request, identity, error, run, timing)
        except LeaseLost:
            raise
        except Exception as error:
            # Ours to mend, the caller's to retry. The class only: its text may hold content.
            log.error(
                "request failed inside", source=str(record.source), error=type(error).__name__, at=_raised_at(error)
            )
            internal = RequestError("internal", "Turnout failed inside; try again, and report it with the request id.")
            return await self._fail(record, request, identity, internal, run, timing)
        await self._answer(run, served, sealed, timing)
        return False

    def _admit(self, tenant: str, inforce: InForce) -> None:
        """A tenant has a cap of calls in flight, so that one cannot fill the partitions."""
        cap = inforce.configuration.caps.get(tenant)
        if cap is not None and self.live.tenants[tenant] > cap:
            message = f"The tenant {tenant} has {cap} requests in flight, its limit; send them slower."
            raise RequestError("throttled", message, retry_after_ms=1_000)

    def _decide(
        self, request: ChatRequest, identity: Identity, inforce: InForce, deadline_at: int, timing: Timing
    ) -> Decision:
        live, now = self.live, self.clock.now()
        view = RoutingView(
            inforce=inforce,
            circuits=self.knowledge.circuits,
            health=self.knowledge.health,
            spend=self.knowledge.spend,
            in_flight=live.calls.total,
            tokens_in_flight=live.tokens.total,
            response_ms=live.responses.ms,
            cooling=live.cooling,
            out_of_service=live.out_of_service,
            turn=live.turn,
            trials=live.trials,
            turns=live.turns,
            workers=live.workers,
            learned=self.knowledge.learned,
            quality=self.knowledge.quality,
            forecast=self.knowledge.demand.expected(now),
            full=live.rates.full(inforce.configuration.catalog.deployment_by_id, now),
        )
        live.turn += 1
        seed = self.rng.getrandbits(63)
        started = perf_counter()
        try:
            decision = decide(request, identity.tenant, view, now=now, deadline_at=deadline_at, seed=seed)
        finally:
            timing.decision = (perf_counter() - started) * 1000
        live.turns[decision.turn_key] = live.turns.get(decision.turn_key, 0) + 1
        return decision

    def _sealed(self, run: Run, served: Served, timing: Timing) -> Sealed:
        """Before anything says that it was answered. Raises RequestError for an answer that no record holds."""
        record, identity = run.record, run.identity
        routing = routing_object(run, identity, served, timing, self._total_ms(record))
        body = chat_response(
            served.outcome.completion,
            identity.request_id,
            record.accepted_at // 1_000_000,
            served.deployment.model,
            routing,
        )
        answer = Answer(body, "ok", False, identity.request_id, identity.tenant, identity.traceparent)
        return self.log.seal(record, answer)

    async def _answer(self, run: Run, served: Served, sealed: Sealed, timing: Timing) -> None:
        completed = self._completed(run.record, run.identity, run.request, run, served, timing, None)
        await self.log.append([*run.pending, completed])
        if run.chunks is not None:
            await run.chunks.end(None)
        await self.log.answer(sealed)

    async def _fail(
        self, record: RequestRecord, request: ChatRequest | None, identity: Identity, error: RequestError,
        run: Run | None, timing: Timing,
    ) -> bool:  # fmt: skip
        pending = run.pending if run else []
        if run is None or not run.attempts:
            shared = self._origin(record, identity, "RequestRejected")
            pending = [*pending, self._decision(record, RequestRejected(**shared, code=error.code))]
        pending = [*pending, self._completed(record, identity, request, run, None, timing, error)]
        await self.log.append(pending)
        if request is not None and request.stream:
            chunks = (run.chunks if run else None) or Chunks(self.log, record, identity.request_id)
            await chunks.end(error)
        routing = routing_object(run, identity, None, timing, self._total_ms(record))
        answer = Answer(
            error_response(error, routing), "error", error.retryable, identity.request_id, identity.tenant,
            identity.traceparent,
        )  # fmt: skip
        await self.log.answer(self.log.seal(record, answer))
        return error.retryable

    async def _refuse(
        self,
        record: RequestRecord,
        request: ChatRequest | None,
        identity: Identity,
        error: RequestError,
        timing: Timing,
    ) -> bool:
        """A request that cannot be served as it is: a final error, and a dead letter where it could not be read."""
        if request is None:
            value = record.value or b""
            letter = DeadLetter(error.code, record.source, len(value), sha256(value).hexdigest(), identity.request_id)
            await self.log.dead_letter(record, letter)
        return await self._fail(record, request, identity, error, None, timing)

    def _origin(self, record: RequestRecord, identity: Identity, kind: str) -> dict[str, Any]:
        event_id = f"{record.source}@{record.run}/{kind}"
        return {**origin(record, identity, self.worker), "event_id": event_id, "occurred_at": self.clock.now()}

    def _decision(self, record: RequestRecord, event: Any) -> Planned:
        partition = record.source.partition
        return Planned("decisions", event, str(partition), partition)

    def _accepted(self, run: Run) -> Planned:
        decision = run.decision
        return self._decision(run.record, RequestAccepted(
            **run.origin("RequestAccepted", self.clock.now()), task=decision.task, strategy=decision.strategy,
            priority=run.request.routing.priority or run.record.priority, estimated_tokens_in=decision.estimated_tokens_in,
            estimated_tokens_out=decision.estimated_tokens_out, deadline_at=run.deadline_at, streaming=run.request.stream,
        ))  # fmt: skip

    def _decided(self, run: Run, timing: Timing) -> Planned:
        return self._decision(run.record, RouteDecided(
            **run.origin("RouteDecided", self.clock.now()), **dict(zip(DECIDED, decided(run.decision), strict=True)),
            decision_us=timing.decision * 1000,
        ))  # fmt: skip

    def _completed(
        self, record: RequestRecord, identity: Identity, request: ChatRequest | None, run: Run | None,
        served: Served | None, timing: Timing, error: RequestError | None,
    ) -> Planned:  # fmt: skip
        deployment = served.deployment if served else None
        usage = served.outcome.usage if served else None
        decision = run.decision if run else None
        return self._decision(record, RequestCompleted(
            **self._origin(record, identity, "RequestCompleted"),
            status="error" if error else "ok", code=error.code if error else "",
            retryable=error.retryable if error else False,
            task=decision.task if decision else "", strategy=decision.strategy if decision else "",
            priority=(request.routing.priority if request else None) or record.priority,
            deployment=deployment.id if deployment else "", provider=deployment.provider if deployment else "",
            model=deployment.model if deployment else "", tier=served.step.tier if served else "",
            attempts=len(run.attempts) if run else 0, fallback=bool(run and len(run.attempts) > 1),
            streaming=request.stream if request else False, queue_ms=timing.queue, decision_ms=timing.decision,
            first_token_ms=run.first_token_ms if run else 0.0, provider_ms=run.provider_ms if run else 0.0,
            total_ms=self._total_ms(record), tokens_in=usage.tokens_in if usage else 0,
            tokens_out=usage.tokens_out if usage else 0, cost_nano_usd=run.cost_nano_usd if run else 0,
        ))  # fmt: skip

    def _total_ms(self, record: RequestRecord) -> float:
        return max(0.0, (self.clock.now() - record.accepted_at) / MICROS_PER_MS)


def _raised_at(error: BaseException) -> str:
    """File and line that raised, without the message, which may hold content."""
    frame = extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"
