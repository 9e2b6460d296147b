"""A consumer without a group in virtual time."""

import asyncio
from collections.abc import Iterable

from aiokafka import TopicPartition
from simulation.broker import Broker, Record
from simulation.virtual import resolve

FETCHED = 100
"""Records of one partition in one fetch, at most."""


class Reader:
    """An aiokafka consumer without a group, as far as our code uses one."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._client = self
        self._idle = False
        self._waiter: asyncio.Future[None] | None = None

    async def topics(self) -> set[str]:
        return {topic for topic, _ in self.broker.logs}

    async def _wait_on_metadata(self, topic: str) -> None:
        return None

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {partition for name, partition in self.broker.logs if name == topic}

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, 0)
        self._paused, self._idle = set(), False

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self.positions[partition] = 0

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        found: dict[TopicPartition, int] = await self.broker.call(
            lambda: {tp: len(self.broker.log(tp.topic, tp.partition)) for tp in wanted}
        )
        return found

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def offsets_for_times(self, since: dict[TopicPartition, int]) -> dict[TopicPartition, Record | None]:
        def work() -> dict[TopicPartition, Record | None]:
            return {
                tp: next(
                    (r for r in self.broker.log(tp.topic, tp.partition) if r is not None and r.timestamp >= at), None
                )
                for tp, at in since.items()
            }

        found: dict[TopicPartition, Record | None] = await self.broker.call(work)
        return found

    def wake(self) -> None:
        """Answer a fetch that waits, if one does."""
        if self._waiter is not None:
            resolve(self._waiter, None)

    def _ready(self) -> dict[TopicPartition, list[Record]]:
        batch = {}
        lagging, now = self.broker.lagging, self.broker.loop.now
        for tp, position in self.positions.items():
            if tp in self._paused:
                continue
            log = self.broker.logs.get((tp.topic, tp.partition))
            if log is None or position >= len(log):
                continue
            if lagging and lagging.get((tp.topic, tp.partition), 0.0) > now:
                continue
            found = [record for record in log[position : position + FETCHED] if record is not None]
            if found or position + FETCHED < len(log):
                batch[tp] = found
            else:
                # Holes alone at the end: a fetch moves over them without an answer.
                self.positions[tp] = len(log)
        return batch

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """What is there, of some partitions before others: a fetch of several is answered by several brokers."""
        batch = self._ready()
        if not batch:
            waiter = self._waiter = self.broker.loop.create_future()
            self.broker.moved(waiter, [(tp.topic, tp.partition) for tp in self.positions])
            if not self._idle:
                # Only the first empty answer has to come in time; later ones would only wake the reader for nothing.
                self.broker.loop.later(timeout_ms / 1000, resolve, waiter, None)
            await waiter
            batch = self._ready()
            self._idle = self._idle or not batch
        if len(batch) > 1:
            places = list(batch)
            self.broker.rng.shuffle(places)
            batch = {tp: batch[tp] for tp in places}
        for tp in batch:
            end = len(self.broker.log(tp.topic, tp.partition))
            self.positions[tp] = min(self.positions[tp] + FETCHED, end)
        return batch
