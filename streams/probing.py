"""Probes of the deployments whose circuit this worker folds and that is not closed, each a task and then an event."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from agents.prober import ProbeCaller, ProbeSchedule, probe
from schemas.catalog import Deployment
from schemas.errors import LeaseLost
from schemas.policy import CircuitPolicy
from schemas.state import CircuitState
from streams.clock import BrokerClock
from streams.producer import Producer
from streams.projector import Projector
from streams.topics import Topics

log = structlog.get_logger()


class Probing:
    """Owns the schedule. `background` runs a probe beside everything else."""

    def __init__(
        self, *, projector: Projector, producer: Producer, caller: ProbeCaller, topics: Topics, clock: BrokerClock,
        rng: random.Random, worker: str, background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:  # fmt: skip
        self._projector = projector
        self._producer = producer
        self._caller = caller
        self._topics = topics
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._background = background
        self._schedule = ProbeSchedule()

    async def probe_due(self) -> None:
        """Begin the probes whose time has come."""
        for owned in [owned for owned in self._projector.owned.values() if owned.kind == "attempts"]:
            configuration = owned.projection.inforce.configuration
            for subject in owned.projection.subjects("circuit"):
                circuit = owned.projection.snapshot("circuit", subject)
                deployment, policy = configuration.catalog.deployment_by_id.get(subject), configuration.circuit
                if deployment is not None and self._schedule.due(subject, circuit, policy, self._clock.now()):
                    self._background(self._probe(deployment, circuit, policy, owned.tp.partition))

    async def _probe(
        self, deployment: Deployment, circuit: CircuitState, policy: CircuitPolicy, partition: int
    ) -> None:
        event = await probe(
            self._caller, deployment, circuit, policy, worker=self._worker, now=self._clock.now(), rng=self._rng
        )
        try:
            await self._producer.emit(self._topics.name("attempts"), event, key=deployment.id, partition=partition)
        except LeaseLost:
            log.warning("write dropped", reason="lease lost")
