"""The router as a Faust app: request topics in; decisions, attempts, costs, answers and dead letters out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from faust.types import TP, EventT, StreamT

from agents.ports import RequestRecord
from agents.router import Router
from schemas.errors import LeaseLost
from schemas.ids import Source
from streams.app import SafeApp
from streams.ownership import RequestOwnership
from streams.topics import Topics

log = structlog.get_logger()


@dataclass
class RequestTasks:
    """Requests under way, by source. A record that is read again after a rebalance joins its first run."""

    router: Router
    topics: Topics
    max_in_flight: int
    crash: Callable[[BaseException], None]
    ownership: RequestOwnership | None = None

    def __post_init__(self) -> None:
        self._running: dict[Source, asyncio.Task[None]] = {}
        self._topics = self.topics.by_name
        # A topic waits for its own share alone, so that one tenant's flood leaves the others their room.
        self._limits = {
            topic.name: asyncio.Semaphore(max(1, round(topic.share * self.max_in_flight)))
            for topic in self.topics.requests
        }
        self.completed = 0
        # The consumer's memory of a record is weak: it would commit past one that nobody holds.
        self._dropped: list[EventT] = []

    @property
    def count(self) -> int:
        return len(self._running)

    async def start(self, event: EventT) -> None:
        """Begin to serve a record, once its topic has room for it."""
        message = event.message
        limit = self._limits[message.topic]
        await limit.acquire()
        source = Source(message.topic, message.partition, message.offset)
        task = self._running.get(source)
        if task is None:
            assert self.ownership is not None
            run = self.ownership.runs.get(TP(source.topic, source.partition))
            if run is None:
                # The partition left while the record waited for room: its next owner reads it. Held all the same, so that
                # nothing can be committed past what nobody served.
                limit.release()
                self._dropped.append(event)
                return
            topic = self._topics[message.topic]
            record = RequestRecord(
                source, run, message.key, message.value,
                tuple(message.headers.items() if isinstance(message.headers, dict) else message.headers or ()),
                round(message.timestamp * 1000) * 1000, topic.tenant, topic.priority,
            )  # fmt: skip
            task = asyncio.create_task(self.router.handle(record))
            self._running[source] = task
            task.add_done_callback(lambda _: self._running.pop(source, None))
        task.add_done_callback(lambda done: self._ended(done, event))

    def _ended(self, task: asyncio.Task[None], event: EventT) -> None:
        self._limits[event.message.topic].release()
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.completed += 1
            event.ack()
        elif isinstance(error, LeaseLost):
            # Another worker owns the partition, or will: the record is not acknowledged, its owner runs it.
            self._dropped.append(event)
            log.warning(
                "result dropped", source=f"{event.message.topic}-{event.message.partition}-{event.message.offset}"
            )
        else:
            self.crash(error)

    async def cancel(self, partitions: set[TP] | None = None) -> None:
        """End the calls of partitions that left, after their drain; by default all. Called at every assignment."""
        self._dropped.clear()
        leaving = [
            task for source, task in self._running.items()
            if partitions is None or TP(source.topic, source.partition) in partitions
        ]  # fmt: skip
        for task in leaving:
            task.cancel()
        if leaving:
            await asyncio.wait(leaving)


def route_requests(app: SafeApp, tasks: RequestTasks) -> None:
    """Add an agent for each request topic, so that one that has no room does not hold up the others."""
    for topic in tasks.topics.requests:

        @app.agent(app.topic(topic.name), name=f"router-{topic.name}")  # type: ignore[untyped-decorator]
        async def route(stream: StreamT[bytes]) -> None:
            async for event in stream.noack().events():
                await tasks.start(event)
