"""Reading a topic without a consumer group: every record of every partition, from the start or the end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

import streams.connections  # noqa: F401 - every client from here on uses them
from schemas.errors import OperationError
from streams.access import Cluster, client_options
from streams.fetching import pace

METADATA_TRIES = 10
METADATA_WAIT_S = 0.1


@contextlib.asynccontextmanager
async def group_less(cluster: Cluster, *, wait_ms: int = 10) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group. `wait_ms`: how long the broker may hold an empty fetch."""
    consumer = AIOKafkaConsumer(
        **client_options(cluster), enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=wait_ms, max_partition_fetch_bytes=4 * 1024 * 1024,
    )  # fmt: skip
    try:
        await consumer.start()
        pace(consumer)
        yield consumer
    finally:
        await _stopped(consumer)


async def _stopped(consumer: AIOKafkaConsumer) -> None:
    """Stop it. aiokafka takes a cancellation that comes meanwhile for that of its own tasks, and whoever was cancelled
    goes on: a stream of the client library waited for ever for an answer that had come."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    await consumer.stop()
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic. Raises OperationError within a second when it does not exist."""
    for _ in range(METADATA_TRIES):
        if topic in await consumer.topics():
            await consumer._client._wait_on_metadata(topic)
            return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        # A broker shows a topic a moment after it said that it had created it.
        await asyncio.sleep(METADATA_WAIT_S)
    raise OperationError(f"Topic {topic} does not exist; run `turnout topics create`.")


async def read_to_end(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition], starts: dict[TopicPartition, int] | None = None
) -> AsyncGenerator[ConsumerRecord, None]:
    """Every record from `starts` (the beginning by default) to the end as it was at the call."""
    assigned = list(partitions)
    consumer.assign(assigned)
    ends = await consumer.end_offsets(assigned)
    begins = await consumer.beginning_offsets(assigned)
    waiting = {}
    for partition in assigned:
        start = max(begins[partition], (starts or {}).get(partition, 0))
        if start < ends[partition]:
            consumer.seek(partition, start)
            waiting[partition] = ends[partition]
        else:
            consumer.pause(partition)
    while waiting:
        batch = await consumer.getmany(timeout_ms=200)
        for records in batch.values():
            for record in records:
                if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    yield record
        for partition in list(waiting):
            # The position, not the last record: compaction and control records leave holes at the end.
            if await consumer.position(partition) >= waiting[partition]:
                del waiting[partition]
                consumer.pause(partition)
        await asyncio.sleep(0)
