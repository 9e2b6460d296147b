"""Topics read to their end: events as folds take them, published states, and the commands."""

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from projections.fold import LogRecord
from schemas.codec import Codec, event_of
from schemas.feedback import read_feedback
from schemas.snapshots import Snapshot
from streams.control import ControlLog
from streams.reader import partitions_of, read_to_end
from streams.view import snapshot_of


def log_record(record: ConsumerRecord, codec: Codec, kind: str) -> LogRecord:
    """A record of an event topic as folds take it. `kind`: its topic's. Raises UnknownEvent, UnreadableRecord."""
    logged_at = record.timestamp * 1000
    if kind == "feedback":
        position = f"{record.topic}-{record.partition}-{record.offset}"
        event = read_feedback(record.value, codec, position, logged_at)
    else:
        event = event_of(record.value, codec)
    return LogRecord(record.topic, record.partition, record.offset, logged_at, event)


async def published_states(
    consumer: AIOKafkaConsumer, topic: str, codec: Codec
) -> dict[tuple[str, int], list[Snapshot]]:
    """Every snapshot that stands in llm.state, by source partition, in the order it was written."""
    found: dict[tuple[str, int], list[Snapshot]] = {}
    async for record in read_to_end(consumer, await partitions_of(consumer, topic)):
        if (snapshot := snapshot_of(record.key, record.value, codec)) is not None and snapshot.topic:
            found.setdefault((snapshot.topic, snapshot.partition), []).append(snapshot)
    return found


async def control_log(consumer: AIOKafkaConsumer, topic: str, codec: Codec) -> tuple[ControlLog, list[tuple[int, int]]]:
    """What is in force at each offset of llm.control, and (broker time, offset) of each of its records."""
    control, placed = ControlLog(), []
    async for record in read_to_end(consumer, await partitions_of(consumer, topic)):
        if control.take(record.offset, record.value, codec) is not None:
            placed.append((record.timestamp * 1000, record.offset))
    return control, placed
