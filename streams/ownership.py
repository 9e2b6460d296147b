"""Ownership of request partitions: the epoch marker, and what was answered before us."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from agents.dedup import Claims
from schemas.events import AssignmentStarted
from schemas.ids import Source
from streams.access import Cluster
from streams.clock import BrokerClock
from streams.lease import UNKNOWN, Lease, Membership, continues
from streams.producer import Producer
from streams.reader import group_less, read_to_end
from streams.topics import Topics

log = structlog.get_logger()


class RequestOwnership:
    """What the router does when request partitions come and go. `runs`: partition -> offset of our marker."""

    def __init__(
        self, *, lease: Lease, drain_s: float, producer: Producer, topics: Topics, clock: BrokerClock, claims: Claims,
        cluster: Cluster, worker: str, cancel: Callable[[set[TP]], Awaitable[None]],
        answering: asyncio.Event,
    ) -> None:  # fmt: skip
        self.lease = lease
        self.drain_s = drain_s
        self.runs: dict[TP, int] = {}
        # Answers wait from the end of a drain until we know which partitions came back: a new owner may have read by then
        # what was answered before it.
        self.answering = answering
        self._held: Membership | None = None
        # Partitions whose calls are not all ended yet: whoever is given up meanwhile leaves them to its successor.
        self._leaving: set[TP] = set()
        self._losses = 0
        self._producer = producer
        self._topics = topics
        self._clock = clock
        self._claims = claims
        self._cluster = cluster
        self._worker = worker
        self._cancel = cancel

    async def assigned(self, positions: Mapping[TP, int]) -> Mapping[TP, int]:
        """Mark every new partition with an epoch, then learn which requests in it have an answer."""
        await self._producer.ready()
        membership, losses = self.lease.membership, self.lease.losses
        # Whoever missed a generation may find a partition that others owned meanwhile: nothing of it counts any more.
        # Where results were dropped, requests are served again: under the same run their attempts would have the same ids.
        continued = losses == self._losses and continues(self._held, membership)
        kept = positions.keys() if continued else set()
        # Before their calls end: a record that waited for the room they leave must not begin under a run that is over.
        for tp in self.runs.keys() - kept:
            del self.runs[tp]
            self._leaving.add(tp)
        await self._cancel(self._leaving)
        for tp in self._leaving:
            self._claims.drop_partition(tp.topic, tp.partition)
        self._leaving.clear()
        # Only now: a call that is given up before must leave its successor the same doubt.
        self._held, self._losses = membership, losses
        fresh = {tp: offset for tp, offset in positions.items() if tp not in self.runs}
        markers = await asyncio.gather(*(self._mark(tp) for tp in fresh))
        await self._recall(fresh)
        self.runs.update(zip(fresh, markers, strict=True))
        self.answering.set()
        log.info("request partitions assigned", partitions=len(positions), fresh=len(fresh))
        return positions

    async def revoked(self, partitions: set[TP]) -> None:
        """The drain is over: hold what answers come now, and let those on their way arrive.

        Calls go on; `assigned` ends those of partitions that left.
        """
        self.answering.clear()
        await self._producer.flush(self.drain_s)

    async def _mark(self, tp: TP) -> int:
        now, held = self._clock.now(), self.lease.membership or UNKNOWN
        event = AssignmentStarted(
            event_id=f"{self._worker}/{tp.topic}-{tp.partition}/{now}", occurred_at=now, worker=self._worker,
            role="router", topic=tp.topic, partition=tp.partition, member=held.member, generation=held.generation,
        )  # fmt: skip
        future = await self._producer.emit(
            self._topics.name("decisions"), event, key=str(tp.partition), partition=tp.partition
        )
        return int((await future).offset)

    async def _recall(self, fresh: Mapping[TP, int]) -> None:
        """Read each response partition from the oldest uncommitted request, less the window, to its end."""
        if not fresh:
            return
        async with group_less(self._cluster) as consumer:
            starts = await self._starts(consumer, fresh)
            async for record in read_to_end(consumer, starts, starts):
                headers = dict(record.headers)
                with contextlib.suppress(KeyError, ValueError):
                    source = Source.parse(headers["turnout-source"].decode())
                    identity = (source.topic, headers["turnout-tenant"].decode(), headers["request-id"].decode())
                    retryable = headers["turnout-retryable"] == b"true"
                    self._claims.answered(identity, source, retryable=retryable, now=record.timestamp * 1000)

    async def _starts(self, consumer: AIOKafkaConsumer, fresh: Mapping[TP, int]) -> dict[TopicPartition, int]:
        """Offsets in the response partitions to read from."""
        requests = self._topics.by_name
        since: dict[TopicPartition, int] = {}
        for tp, offset in fresh.items():
            at = await _timestamp_of(consumer, TopicPartition(tp.topic, tp.partition), offset)
            oldest = min(at, self._clock.now()) - self._claims.window
            since[TopicPartition(requests[tp.topic].responses, tp.partition)] = max(0, oldest // 1000)
        found = await consumer.offsets_for_times(since)
        ends = await consumer.end_offsets(list(since))
        return {tp: found[tp].offset if found[tp] else ends[tp] for tp in since}


async def _timestamp_of(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> int:
    """Broker time in microseconds of the record at or after `offset`; now and later where there is none yet."""
    # Not one getone(): what is committed may be followed by nothing but the marker of a publisher's transaction.
    async with contextlib.aclosing(read_to_end(consumer, [partition], {partition: offset})) as records:
        async for record in records:
            return int(record.timestamp) * 1000
    return 1 << 62
