"""A worker: the router and the projector, each a Faust app with a consumer group of its own, on one page.

llm.requests* --> router --> llm.decisions, llm.attempts, llm.costs, llm.responses*, llm.dead-letters
llm.decisions, llm.attempts, llm.costs, llm.transitions, llm.feedback --> projector --> llm.state, llm.transitions, llm.costs
llm.control, llm.state --> both, whole and without a group
"""

import asyncio
import contextlib
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Literal

import structlog

from agents.attempts import Attempts
from agents.dedup import Claims
from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.live import Live
from agents.router import Knowledge, Router
from agents.routing.prepare import intake
from projections.partition import FOLDS
from schemas.codec import Codec
from schemas.failures import Failure
from schemas.units import MICROS_PER_S
from streams.alerts import AlertDelivery
from streams.app import SafeApp, safe_app
from streams.apply import apply_if_none
from streams.background import Background, unless_lost
from streams.clock import BrokerClock
from streams.codecs import codec_of
from streams.control import ControlLog, follow_control
from streams.eventlog import KafkaEventLog
from streams.incoming import request_reader
from streams.lease import Lease
from streams.load import LoadReports
from streams.ownership import RequestOwnership
from streams.probing import Probing
from streams.producer import Producer
from streams.projector import Projector
from streams.reader import group_less
from streams.router_app import RequestTasks, route_requests
from streams.settings import Settings
from streams.tls import authorities
from streams.topics import Topics, topics_of, verify_topics
from streams.view import DECIDED_BY, StateReader, StateView
from streams.web import WorkerPages, serve_pages

log = structlog.get_logger()
Role = Literal["router", "projector"]
LOAD_INTERVAL_S = 1.0
PROBE_CHECK_S = 0.25
# A fetch costs about a millisecond of this process and of the broker; a circuit opens 40 ms later at most.
GATHER_S = 0.04
CREDENTIAL_CHECK_S = 1.0
DELIVERY_CHECK_S = 0.25
NEWS_CHECK_S = 1.0


class Worker:
    """Owns everything a worker runs. `failed` resolves with the error that ended it."""

    def __init__(self, settings: Settings, roles: tuple[Role, ...] = ("router", "projector")) -> None:
        self.settings = settings
        self.roles = roles
        self.name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.topics: Topics = topics_of(settings)
        self.clock = BrokerClock()
        self.control = ControlLog()
        self.view = StateView(kinds=None if "projector" in roles else DECIDED_BY)
        self.live = Live()
        self.rng = random.Random(secrets.randbits(128))
        self.tasks: RequestTasks | None = None
        self.projector: Projector | None = None
        self.apps: dict[Role, SafeApp] = {}
        self._stack = contextlib.AsyncExitStack()
        self._background = Background(self._stack, self._fail)
        self._codec = Codec()
        self._limits: dict[str, int] = {}

    async def start(self) -> None:
        """Start everything; returns when both apps joined their groups. Raises the first error."""
        kafka = self.settings.kafka
        self._limits = await verify_topics(self.topics, self.settings)
        self._codec = await codec_of(kafka)
        state_reader = await self._follow_state()
        await self._follow_control()
        credentials = Credentials()
        self.credentials = credentials
        self._tls = authorities(self.settings.worker.ca_file)
        self.caller = Caller(credentials, tls=self._tls)
        self._stack.push_async_callback(self.caller.aclose)
        self._check_credentials(credentials)
        if "projector" in self.roles:
            await self._start_projector(state_reader)
        if "router" in self.roles:
            await self._start_router()
        await self._stack.enter_async_context(serve_pages(WorkerPages(self), self.settings.web.port))
        log.info("worker started", worker=self.name, roles=self.roles)

    async def stop(self) -> None:
        """Drain within the bound, then close everything."""
        for app in self.apps.values():
            await app.stop()
            # We left the group: what calls that outlived the drain still hand over belongs to the next owner.
            app.ownership.lease.ended()
        if self.tasks is not None:
            await self.tasks.cancel()
        await self._stack.aclose()
        log.info("worker stopped", worker=self.name)

    async def _follow_state(self) -> StateReader:
        consumer = await self._stack.enter_async_context(group_less(self.settings.kafka.access, wait_ms=500))
        reader = StateReader(self.view, consumer, self.topics.name("state"), self._codec)
        if "router" in self.roles:
            reader.taken = self._prepare
        self._background.run(reader.run())
        return reader

    def _prepare(self) -> None:
        """What state says is made ready for decisions as it arrives, so that none waits for it."""
        intake(self.control.current.configuration.catalog, self.view.health, self.view.learned, self.clock.now())

    async def _follow_control(self) -> None:
        ready = asyncio.Event()
        consumer = await self._stack.enter_async_context(group_less(self.settings.kafka.access, wait_ms=500))
        self._background.run(follow_control(self.control, consumer, self.topics.name("control"), self._codec, ready))
        await ready.wait()
        await apply_if_none(self.settings, self.control, self._codec, self.clock)

    def _check_credentials(self, credentials: Credentials) -> None:
        for deployment in self.control.current.configuration.catalog.deployments:
            if problem := credentials.problem(deployment):
                self.live.out_of_service[deployment.id] = problem
                log.warning("deployment out of service", deployment=deployment.id, reason=problem)

    async def _use_rotated(self) -> None:
        """A credential whose file changed is used at once, and takes its deployments back into service."""
        if not (changed := self.caller.rotated()):
            return
        for deployment in self.control.current.configuration.catalog.deployments:
            if not changed.isdisjoint(deployment.credentials):
                log.info("credential rotated", deployment=deployment.id)
                # A model that its provider does not know is no matter of the credential.
                if self.live.out_of_service.get(deployment.id) != Failure.MODEL_NOT_FOUND:
                    self.live.out_of_service.pop(deployment.id, None)

    async def _release_on_control(self) -> None:
        seen = self.control.current.offset
        while True:
            inforce = await self.control.reached(seen + 1)
            for deployment, offset in inforce.released.items():
                if offset > seen:
                    self.caller.release(deployment)
                    self.live.out_of_service.pop(deployment, None)
                    log.info("credential released", deployment=deployment)
            seen = inforce.offset

    async def _producer(self, lease: Lease) -> Producer:
        producer = Producer(self.settings.kafka.access, self._codec, self.clock, lease)
        await producer.start()
        self._stack.push_async_callback(producer.stop)
        return producer

    def _app(self, role: Role) -> tuple[SafeApp, Lease]:
        worker = self.settings.worker
        app = safe_app(
            f"{self.topics.prefix}turnout-{role}", self.settings.kafka.access,
            session_timeout_s=worker.session_timeout_s, rebalance_timeout_s=worker.rebalance_timeout_s,
        )  # fmt: skip
        app.on_failure = self._fail
        self.apps[role] = app
        return app, Lease(worker.session_timeout_s, worker.drain_s, rebalance_timeout_s=worker.rebalance_timeout_s)

    async def _start_router(self) -> None:
        settings, worker = self.settings, self.settings.worker
        app, lease = self._app("router")
        producer = await self._producer(lease)
        answering = asyncio.Event()
        event_log = KafkaEventLog(producer, self.topics, answering, self._codec.registry_ids, self._limits)
        claims = Claims(int(worker.dedup_window_s * MICROS_PER_S))
        router = Router(
            log=event_log, clock=self.clock, claims=claims, live=self.live, rng=self.rng, worker=self.name,
            attempts=Attempts(event_log, self.clock, self.caller, self.live, self.view.circuits, self.rng, self.view.health),
            knowledge=Knowledge(
                lambda: self.control.current, self.view.circuits, self.view.health, self.view.spend, self.view.learned,
                self.view.quality, self.view.demand,
            ),
            max_request_bytes=worker.max_request_bytes, read=request_reader(self._codec.registry_ids),
        )  # fmt: skip
        tasks = RequestTasks(router, self.topics, worker.max_in_flight, self._fail)
        tasks.ownership = RequestOwnership(
            lease=lease, drain_s=worker.drain_s, producer=producer, topics=self.topics, clock=self.clock, claims=claims,
            cluster=settings.kafka.access, worker=self.name, cancel=tasks.cancel, answering=answering,
        )  # fmt: skip
        app.ownership = tasks.ownership
        self.tasks = tasks
        route_requests(app, tasks)
        # Before the first request: a worker that joins knows what the others sent.
        reports = LoadReports(
            live=self.live, view=self.view, control=self.control, clock=self.clock, topics=self.topics, producer=producer,
            lease=lease, worker=self.name,
        )  # fmt: skip
        await reports.exchange()
        self._background.every(LOAD_INTERVAL_S, reports.exchange)
        self._background.every(CREDENTIAL_CHECK_S, self._use_rotated)
        self._background.run(self._release_on_control())
        await app.start()

    async def _start_projector(self, state_reader: StateReader) -> None:
        app, lease = self._app("projector")
        app.gather_s = GATHER_S
        producer = await self._producer(lease)
        projector = Projector(
            lease=lease, drain_s=self.settings.worker.drain_s, producer=producer, topics=self.topics, clock=self.clock,
            control=self.control, view=self.view, state_reader=state_reader, codec=self._codec,
            cluster=self.settings.kafka.access, worker=self.name,
        )  # fmt: skip
        self.projector = app.ownership = projector

        app.topics.add(app.topic(*(self.topics.name(kind) for kind in FOLDS)))
        app.direct = projector.fold
        self._background.run(self._flush_when_due(projector))
        self._background.every(self.settings.worker.tick_s, projector.tick)
        self._background.every(NEWS_CHECK_S, projector.tick_for_news)
        self._background.run(self._tick_on_control(projector))
        self._background.run(self._take_again(app, projector))
        delivery = AlertDelivery(
            projector=projector, producer=producer, topics=self.topics, clock=self.clock, credentials=self.credentials,
            worker=self.name, tls=self._tls,
        )  # fmt: skip
        self._stack.push_async_callback(delivery.aclose)
        self._background.every(DELIVERY_CHECK_S, delivery.deliver_due)
        probing = Probing(
            projector=projector, producer=producer, caller=self.caller, topics=self.topics, clock=self.clock, rng=self.rng,
            worker=self.name, background=lambda probe: self._background.run(probe, lasting=False),
        )  # fmt: skip
        self._background.every(PROBE_CHECK_S, probing.probe_due)
        await app.start()

    async def _flush_when_due(self, projector: Projector) -> None:
        while True:
            # Not wait_for(): that of Python 3.11 forgets a cancellation which comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.worker.snapshot_interval_s):
                    await projector.urgent.wait()
            projector.urgent.clear()
            await unless_lost(projector.flush_due())

    async def _tick_on_control(self, projector: Projector) -> None:
        """A command takes effect at a tick: write one as soon as the log of commands grew."""
        seen = self.control.current.offset
        while True:
            seen = (await self.control.reached(seen + 1)).offset
            await unless_lost(projector.tick())

    async def _take_again(self, app: SafeApp, projector: Projector) -> None:
        while True:
            await projector.lost.wait()
            projector.lost.clear()
            await app.consumer.settle_again()

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            log.error("worker failed", error=type(error).__name__, reason=str(error)[:300])
            self.failed.set_exception(error)


@contextlib.asynccontextmanager
async def running_worker(
    settings: Settings, roles: tuple[Role, ...] = ("router", "projector"), ending: Callable[[], None] = lambda: None
) -> AsyncIterator[Worker]:
    """A started worker that is stopped at the end. `ending`: called before it is stopped, whatever the reason."""
    worker = Worker(settings, roles)
    try:
        await worker.start()
        yield worker
    finally:
        ending()
        await worker.stop()
