"""Fetches that are lost on their way to the consumer, on a real broker: their records are read again, however often that
happens and also when none follows; only a hole that the log itself has is passed over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP
from loop import Bench, catalog, prepared, settings_for

from infra.kafka import EmbeddedKafka
from streams.app import safe_app
from streams.consumer import DirectRecord, SafeConsumer
from streams.continuity import SEEKS
from streams.lease import Lease
from streams.reader import group_less

TIMEOUT_S = 60


class Lossy(SafeConsumer):
    """Loses so many of the next fetches that bring something."""

    armed = 0

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        lost = False
        async for fetched in super().getmany(timeout):
            if type(self).armed:
                lost = True
            else:
                yield fetched
        if lost:
            type(self).armed -= 1


class Owner:
    """Takes every partition from where it was committed."""

    def __init__(self) -> None:
        self.lease, self.drain_s = Lease(6.0, 1.0), 1.0

    async def assigned(self, positions: Mapping[TP, int]) -> Mapping[TP, int]:
        return {}

    async def revoked(self, partitions: set[TP]) -> None:
        return None


async def published_in_a_transaction(kafka: EmbeddedKafka, topic: str, name: str) -> None:
    """A record and the marker of its transaction, which takes an offset that nobody reads."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=name)
    await producer.start()
    async with producer.transaction():
        written = await producer.send_and_wait(topic, b"marked", partition=0)
    await producer.stop()
    partition = TopicPartition(topic, 0)
    async with asyncio.timeout(TIMEOUT_S), group_less(kafka.bootstrap_servers) as consumer:
        # The marker comes a moment after the commit was answered.
        while (await consumer.end_offsets([partition]))[partition] < written.offset + 2:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("times", [1, 2 * SEEKS], ids=["once", "again and again"])
@pytest.mark.parametrize("after", [0, 2], ids=["nothing follows", "records follow"])
async def test_a_dropped_fetch_is_read_again(kafka: EmbeddedKafka, prefix: str, after: int, times: int) -> None:
    settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog("http://127.0.0.1:1/{name}", {})))
    topic, seen, failures = f"{prefix}decisions", list[int](), list[BaseException]()
    app = safe_app(f"{prefix}group", kafka.bootstrap_servers, session_timeout_s=6.0, rebalance_timeout_s=9.0)
    app.ownership, app.on_failure = Owner(), failures.append

    class Consumer(Lossy):
        pass

    async def take(record: DirectRecord) -> None:
        seen.append(record.message.offset)
        record.ack()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition() and not failures:
                await asyncio.sleep(0.02)

    app.topics.add(app.topic(topic))
    app.direct = take
    app.transport.Consumer = Consumer
    async with Bench(settings) as bench:
        try:
            await app.start()
            await bench.publish(b"first", topic=topic, partition=0)
            await until(lambda: seen == [0])
            Consumer.armed = times
            await bench.publish(b"dropped", topic=topic, partition=0)
            for _ in range(after):
                await bench.publish(b"after it", topic=topic, partition=0)
            await until(lambda: not Consumer.armed and len(seen) >= 2 + after)
            await published_in_a_transaction(kafka, topic, f"{prefix}writer")
            await bench.publish(b"after the marker", topic=topic, partition=0)
            await until(lambda: len(seen) >= 4 + after)
        finally:
            await app.stop()
    assert failures == []
    hole = 3 + after
    assert seen == [*range(hole), hole + 1]
