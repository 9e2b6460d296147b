"""The attempt loop: call the deployments of a plan in order, under one absolute deadline, until one answers.

Before a call its AttemptStarted and CostReserved are acknowledged; what the previous attempt came to is written in the
same round. Every reservation is settled by exactly one CostIncurred.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from agents.chunks import Delta
from agents.execution.outcome import Failed, Outcome, Succeeded
from agents.following import exhausted, following
from agents.hedging import Race, late_after_ms
from agents.limits import used_up_until
from agents.live import Live
from agents.ports import Caller, Clock, EventLog
from agents.retry_budget import Kind, allows
from agents.run import Attempt, Run
from schemas.catalog import Deployment
from schemas.errors import LeaseLost, RequestError
from schemas.events import PlanStep
from schemas.state import CircuitState, HealthState
from schemas.units import MICROS_PER_MS, MICROS_PER_S

log = structlog.get_logger()
DEFAULT_COOLING_MS = 1_000
_KINDS: dict[str, Kind] = {"": "first", "other": "fallback"}


@dataclass(frozen=True, slots=True)
class Served:
    """The attempt that answered."""

    deployment: Deployment
    step: PlanStep
    outcome: Succeeded


@dataclass(frozen=True, slots=True)
class Attempts:
    """Runs plans. `circuits` and `health` are the live view."""

    log: EventLog
    clock: Clock
    caller: Caller
    live: Live
    circuits: Mapping[str, CircuitState]
    rng: random.Random
    health: Mapping[str, HealthState] = field(default_factory=dict)

    async def serve(self, run: Run) -> Served:
        """Try the plan. Raises RequestError with the final error when nothing answered. Either way `run.pending` holds
        events that the caller writes together with the end of the request."""
        catalog = run.inforce.configuration.catalog
        steps = list(run.decision.plan)
        failed: Failed | None = None
        action, kind = "", _KINDS[""]
        while steps:
            step = steps[0]
            deployment = catalog.deployment_by_id[step.deployment]
            if len(steps) > 1 and self._blocked(deployment):
                steps.pop(0)
                continue
            if (late := self._late(run)) is not None:
                raise late
            late_ms = self._late_after_ms(run, steps)
            if late_ms is None:
                attempt, outcome = await self._call(run, step, kind, len(run.attempts) + 1)
            else:
                attempt, outcome, steps = await self._hedged(run, steps, late_ms / 1000)
            if isinstance(outcome, Succeeded):
                run.ended(attempt, outcome, self.clock.now(), next_action="none", jitter=0.0)
                run.attempts.sort(key=lambda summary: summary.number)
                return Served(attempt.deployment, attempt.step, outcome)
            failed = outcome
            now = self.clock.now()
            follow = following(
                failed, steps, run.attempts, catalog, most=run.inforce.configuration.routing.max_attempts,
                remaining_s=(run.deadline_at - now) / MICROS_PER_S, allowed=self._may_repeat, jitter=self.rng.random(),
            )  # fmt: skip
            action, kind, steps = follow.action, _KINDS.get(follow.action, "repeat"), follow.steps
            if kind == "repeat" and steps:
                self.live.repeating(steps[0].deployment, now)
            run.ended(attempt, failed, now, next_action=action, jitter=self.rng.uniform(-1.0, 1.0))
            if follow.pause_s:
                await asyncio.sleep(follow.pause_s)
        assert failed is not None, "a plan has at least one step that is tried"
        raise self._late(run) or exhausted(run.attempts, failed, held_back=action == "retry_budget")

    def _late_after_ms(self, run: Run, steps: list[PlanStep]) -> float | None:
        """From when on a second call is worth its price; None: never."""
        interactive = (run.request.routing.priority or run.record.priority) == "interactive"
        if run.attempts or len(steps) < 2 or not interactive or not run.inforce.configuration.routing.hedge:
            return None
        streaming = run.chunks is not None
        return late_after_ms(self.health.get(steps[0].deployment), self.clock.now(), streaming=streaming)

    async def _hedged(self, run: Run, steps: list[PlanStep], late_s: float) -> tuple[Attempt, Outcome, list[PlanStep]]:
        """The first step's call, and beside it one of the next step once it is later than `late_s`. The first that answers
        wins and the other is cancelled, its cost recorded. Returns the call that decides, and its step with what is left.
        """
        race, number = Race(run.chunks), len(run.attempts) + 1
        calls = race.calls
        calls[number] = asyncio.create_task(self._call(run, steps[0], "first", number, race))
        try:
            await asyncio.wait(calls.values(), timeout=late_s)
            beside = None if calls[number].done() or race.winner else self._beside(run, steps)
            if beside is not None:
                self.live.repeating(beside.deployment, self.clock.now())
                calls[number + 1] = asyncio.create_task(self._call(run, beside, "repeat", number + 1, race))
            ended: list[tuple[Attempt, Outcome]] = []
            while under_way := [call for call in calls.values() if not call.done()]:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                ended = [call.result() for call in calls.values() if call.done() and not call.cancelled()]
                decided = [a.number for a, o in ended if isinstance(o, Succeeded) or o.other == "none"]
                if decided:
                    race.won_by(decided[0])
            ended = [call.result() for call in calls.values() if not call.cancelled()]
        finally:
            for call in calls.values():
                call.cancel()
            await asyncio.gather(*calls.values(), return_exceptions=True)
        # What decides: the answer, else a failure that ends the request, else the last failure.
        ended.sort(key=lambda one: (isinstance(one[1], Succeeded), one[0].number == race.winner))
        for attempt, outcome in ended[:-1]:
            jitter = self.rng.uniform(-1.0, 1.0)
            run.ended(attempt, outcome, self.clock.now(), next_action="other", jitter=jitter)
        attempt, outcome = ended[-1]
        called = {call_steps.deployment for call_steps in (steps[0], beside) if call_steps is not None}
        return attempt, outcome, [attempt.step, *(step for step in steps if step.deployment not in called)]

    def _beside(self, run: Run, steps: list[PlanStep]) -> PlanStep | None:
        """The next step whose deployment is open and has an extra call left."""
        by_id = run.inforce.configuration.catalog.deployment_by_id
        for step in steps[1:]:
            if not self._blocked(by_id[step.deployment]) and self._may_repeat(step.deployment):
                return step
        return None

    def _may_repeat(self, deployment: str) -> bool:
        budget = self.live.budgets.get(deployment)
        return budget is None or allows(budget, self.clock.now())

    def _blocked(self, deployment: Deployment) -> bool:
        """Whether the deployment closed its door since the decision was made."""
        circuit = self.circuits.get(deployment.id)
        now = self.clock.now()
        if circuit is not None and circuit.status == "open" and (circuit.forced or circuit.open_until > now):
            return True
        if circuit is not None and circuit.status == "half_open" and deployment.id in self.live.trials:
            return True
        if self.live.cooling.get(deployment.id, 0) > now or deployment.id in self.live.out_of_service:
            return True
        return self.live.rates.is_full(deployment, now)

    def _late(self, run: Run) -> RequestError | None:
        if self.clock.now() < run.deadline_at:
            return None
        tried = len(run.attempts)
        message = (
            f"The deadline passed after {tried} attempt{'s' * (tried != 1)}; raise routing.deadline_ms or try again."
        )
        return RequestError("deadline_exceeded", message)

    async def _call(
        self, run: Run, step: PlanStep, kind: Kind, number: int, race: Race | None = None
    ) -> tuple[Attempt, Outcome]:
        deployment = run.inforce.configuration.catalog.deployment_by_id[step.deployment]
        circuit = self.circuits.get(deployment.id)
        trial = circuit is not None and circuit.status == "half_open"
        attempt = Attempt(
            number, deployment, step, circuit.epoch if circuit else 0, trial,
            run.decision.reserve_nano_usd[deployment.id],
        )  # fmt: skip
        if trial:
            self.live.trials.add(deployment.id)
        tokens = run.decision.estimated_tokens_in + run.decision.estimated_tokens_out
        self.live.started(deployment.id, self.clock.now(), kind, tokens)
        good: bool | None = None
        try:
            events = [*run.pending, *run.started(attempt, self.clock.now())]
            run.pending = []
            try:
                await self.log.append(events)
            except asyncio.CancelledError:
                if race is not None and number in race.lost:
                    run.pending += run.abandoned(attempt, "hedge_lost", 0.0, self.clock.now(), sent=False)
                raise
            outcome = await self._answered(run, attempt, race)
            self._learn(deployment.id, outcome, tokens)
            if isinstance(outcome, Succeeded):
                good = True
            elif outcome.counts or outcome.cool:
                good = False
            return attempt, outcome
        finally:
            self.live.ended(deployment.id, self.clock.now(), kind, tokens, good)
            if trial:
                self.live.trials.discard(deployment.id)

    async def _answered(self, run: Run, attempt: Attempt, race: Race | None) -> Outcome:
        before = asyncio.get_running_loop().time()
        remaining_s = (run.deadline_at - self.clock.now()) / MICROS_PER_S
        deadline = before + max(0.0, remaining_s)
        attempt_id = f"{run.record.source}@{run.record.run}/{attempt.number}"
        deployment, body, trace = attempt.deployment, run.request.body, run.identity.traceparent
        try:
            if run.chunks is None:
                return await self.caller.call(
                    deployment, body, deadline=deadline, attempt_id=attempt_id, traceparent=trace
                )
            if race is None:
                run.chunks.begin(attempt.number, deployment.model)
                take: Callable[[Delta], Awaitable[None]] = run.chunks.take
            else:
                take = partial(race.take, attempt.number, deployment.model)
            return await self.caller.stream(
                deployment, body, deadline=deadline, attempt_id=attempt_id, traceparent=trace, on_delta=take
            )
        except asyncio.CancelledError:
            latency_ms = (asyncio.get_running_loop().time() - before) * 1000
            if race is not None and attempt.number in race.lost:
                # Its events are written together with the end of the request.
                run.pending += run.abandoned(attempt, "hedge_lost", latency_ms, self.clock.now())
                raise
            # The partition left or the process ends: say so while the lease still lets us, then go.
            try:
                await self.log.append(run.abandoned(attempt, "drained", latency_ms, self.clock.now()))
            except LeaseLost:
                pass
            raise

    def _learn(self, deployment: str, outcome: Outcome, tokens: int) -> None:
        """What this worker knows at once; the log tells the others. `tokens`: what was counted at the start."""
        now, usage = self.clock.now(), outcome.usage
        if usage is not None and usage.certain:
            self.live.rates.sent(deployment, now, 0, usage.tokens_in + usage.tokens_out - tokens)
        if outcome.headroom is not None:
            self.live.rates.told(deployment, outcome.headroom, now, self.live.calls.total[deployment] - 1)
            if until := used_up_until(outcome.headroom, now):
                self.live.cooling[deployment] = max(until, self.live.cooling.get(deployment, 0))
        if isinstance(outcome, Succeeded):
            self.live.responses.answered(deployment, outcome.latency_ms, now)
            return
        if outcome.counts:
            self.live.responses.failed(deployment, outcome.latency_ms, now)
        if outcome.cool:
            wait_ms = outcome.retry_after_ms if outcome.retry_after_ms is not None else DEFAULT_COOLING_MS
            self.live.cooling[deployment] = max(now + wait_ms * MICROS_PER_MS, self.live.cooling.get(deployment, 0))
        elif outcome.quarantine and outcome.elsewhere:
            log.warning("credential refused, the next one is used", deployment=deployment, reason=outcome.failure.value)
        elif outcome.quarantine:
            log.warning("deployment out of service", deployment=deployment, reason=outcome.failure.value)
            self.live.out_of_service[deployment] = outcome.failure.value
