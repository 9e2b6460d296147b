"""A worker's assembly in the simulation: the real parts, wired as streams.worker wires them."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition
from simulation.broker import Broker
from simulation.codec import ByReference
from simulation.group import Membership_, SimConsumer
from simulation.owners import SimLease, SimOwnership, SimProjector
from simulation.producer import SimProducer
from simulation.providers import Call, Providers
from simulation.reader import Reader
from simulation.virtual import Process, VirtualLoop

from agents.attempts import Attempts
from agents.dedup import Claims
from agents.execution.outcome import Outcome
from agents.live import Live
from agents.prober import ProbeSchedule, probe
from agents.router import Knowledge, Router
from projections.partition import FOLDS
from schemas.errors import LeaseLost
from streams.control import ControlLog
from streams.eventlog import KafkaEventLog
from streams.lease import Lease
from streams.router_app import RequestTasks
from streams.topics import Topics
from streams.view import StateReader, StateView

SESSION_S = 6.0
DRAIN_S = 2.0
REBALANCE_S = 4.0
TICK_S = 3.0
FLUSH_S = 1.0
WINDOW_S = 600
MAX_IN_FLIGHT = 8


class Clock:
    """Broker time as a worker estimates it, off by `error` microseconds."""

    def __init__(self, broker: Broker, error: int) -> None:
        self._broker, self.error = broker, error

    def now(self) -> int:
        return self._broker.now_ms() * 1000 + self.error


class Calls:
    """Caller and ProbeCaller of one worker."""

    def __init__(self, providers: Providers, broker: Broker, worker: str) -> None:
        self._providers, self._broker, self._worker = providers, broker, worker

    async def call(
        self, deployment: Any, body: Any, *, deadline: float, attempt_id: str, traceparent: str | None
    ) -> Outcome:
        self._providers.calls.append(Call(attempt_id, deployment.id, self._worker, self._broker.appended))
        return await self._providers.answer(deployment.id, deadline - self._providers.loop.time())

    async def probe(self, deployment: Any, *, timeout_s: float) -> Outcome:
        return await self._providers.answer(deployment.id, timeout_s)


class Worker:
    """One process. `parts`: a defect's substitutes."""

    def __init__(
        self, name: str, loop: VirtualLoop, broker: Broker, topics: Topics, providers: Providers, rng: random.Random,
        parts: dict[str, Any], codec: ByReference, fail: Callable[["Worker", BaseException], None],
        trace: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.codec: Any = codec
        self.name, self.loop, self.broker, self.topics, self.providers = name, loop, broker, topics, providers
        self.rng, self.parts, self.trace = rng, parts, trace
        self.clock = Clock(broker, rng.randrange(-30_000, 30_000))
        self.process = Process(name)
        self.fail = lambda error: fail(self, error)
        self.projector: SimProjector | None = None
        self.members: list[Membership_] = []
        loop.inside(self.process, self._main())

    async def _main(self) -> None:
        self.live = Live()
        self.control, self.view = ControlLog(), StateView()
        reader: Any = Reader(self.broker)
        state = StateReader(self.view, reader, self.topics.name("state"), self.codec)
        self._background(state.run())
        self._background(self._follow_control())
        await self.control.reached(0)
        self.calls = Calls(self.providers, self.broker, self.name)
        self._projector(state)
        self._router()

    def _background(self, work: Any) -> None:
        task = self.loop.create_task(work)

        def ended(done: asyncio.Task[Any]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self.fail(error)

        task.add_done_callback(ended)

    async def _follow_control(self) -> None:
        reader = Reader(self.broker)
        reader.assign([TopicPartition(self.topics.name("control"), 0)])
        while True:
            for records in (await reader.getmany(timeout_ms=5_000)).values():
                for record in records:
                    assert record.value is not None
                    event: Any = self.codec.decode(record.value)
                    self.control.put(record.offset, event)
                await self.control.advanced()

    def _member(self, role: str, lease: Lease, ownership: Any, handle: Any, topics: tuple[str, ...]) -> Membership_:
        group = self.broker.group(role, topics, SESSION_S, REBALANCE_S)
        member = Membership_(
            loop=self.loop, process=self.process, broker=self.broker, group=group, ownership=ownership, lease=lease,
            handle=handle, fail=self.fail, consumer=self.parts.get("consumer", SimConsumer), trace=self.trace,
        )  # fmt: skip
        self._background(member.run())
        self.members.append(member)
        return member

    def _producer(self, lease: Lease) -> Any:
        return SimProducer(
            self.loop, self.process, self.broker, self.codec, lease, leased=self.parts.get("leased", True)
        )

    def _lease(self) -> Lease:
        return SimLease(SESSION_S, DRAIN_S, self.loop.time, rebalance_timeout_s=REBALANCE_S)

    def _router(self) -> None:
        lease, answering = self._lease(), asyncio.Event()
        producer = self._producer(lease)
        event_log = self.parts.get("log", KafkaEventLog)(producer, self.topics, answering)
        claims = self.parts.get("claims", Claims)(WINDOW_S * 1_000_000)
        clock: Any = self.clock
        router = Router(
            log=event_log, clock=clock, claims=claims, live=self.live, rng=self.rng, worker=self.name,
            attempts=Attempts(event_log, clock, self.calls, self.live, self.view.circuits, self.rng),
            knowledge=Knowledge(lambda: self.control.current, self.view.circuits, self.view.health, self.view.spend),
            max_request_bytes=100_000,
        )  # fmt: skip
        tasks = self.parts.get("tasks", RequestTasks)(router, self.topics, MAX_IN_FLIGHT, self.fail)
        ownership = self.parts.get("ownership", SimOwnership)(
            lease=lease, drain_s=DRAIN_S, producer=producer, topics=self.topics, clock=clock, claims=claims,
            cluster="", worker=self.name, cancel=tasks.cancel, answering=answering,
        )  # fmt: skip
        ownership.broker = self.broker
        tasks.ownership = ownership
        self.tasks = tasks
        self.router = self._member("router", lease, ownership, tasks.start, tuple(t.name for t in self.topics.requests))

    def _projector(self, state: StateReader) -> None:
        lease = self._lease()
        producer = self._producer(lease)
        clock: Any = self.clock
        projector = self.parts.get("projector", SimProjector)(
            lease=lease, drain_s=DRAIN_S, producer=producer, topics=self.topics, clock=clock, control=self.control,
            view=self.view, state_reader=state, codec=self.codec, cluster="", worker=self.name,
        )  # fmt: skip
        projector.broker = self.broker
        member = self._member(
            "projector", lease, projector, projector.fold, tuple(self.topics.name(kind) for kind in FOLDS)
        )
        projector.generation = lambda: member.generation
        self.projector = projector
        self._background(self._every(FLUSH_S, projector.flush))
        self._background(self._every(TICK_S, projector.tick))
        self._background(self._flush_when_urgent(projector))
        self._background(self._tick_on_control(projector))
        self._background(self._take_again(projector, member))
        self._background(self._probes(projector, producer))

    async def _take_again(self, projector: SimProjector, member: Any) -> None:
        while True:
            await projector.lost.wait()
            projector.lost.clear()
            await member.consumer.settle_again()

    async def _every(self, seconds: float, action: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._unless_lost(action())

    async def _flush_when_urgent(self, projector: SimProjector) -> None:
        while True:
            await projector.urgent.wait()
            projector.urgent.clear()
            await self._unless_lost(projector.flush())

    async def _tick_on_control(self, projector: SimProjector) -> None:
        seen = self.control.current.offset
        while True:
            seen = (await self.control.reached(seen + 1)).offset
            await self._unless_lost(projector.tick())

    async def _probes(self, projector: SimProjector, producer: Any) -> None:
        schedule = ProbeSchedule()
        while True:
            await asyncio.sleep(1.0)
            for owned in [owned for owned in projector.owned.values() if owned.kind == "attempts"]:
                configuration = owned.projection.inforce.configuration
                for subject in owned.projection.subjects("circuit"):
                    circuit = owned.projection.snapshot("circuit", subject)
                    deployment = configuration.catalog.deployment_by_id.get(subject)
                    if deployment is None or not schedule.due(
                        subject, circuit, configuration.circuit, self.clock.now()
                    ):
                        continue
                    event = await probe(
                        self.calls, deployment, circuit, configuration.circuit, worker=self.name,
                        now=self.clock.now(), rng=self.rng,
                    )  # fmt: skip
                    await self._unless_lost(
                        producer.emit(
                            self.topics.name("attempts"), event, key=deployment.id, partition=owned.tp.partition
                        )
                    )

    async def _unless_lost(self, work: Any) -> None:
        try:
            await work
        except LeaseLost:
            self.trace(f"{self.name} write dropped: lease lost")
