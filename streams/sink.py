"""The sink: every event, snapshot and dead letter into ClickHouse, exactly once.

An intent journal makes at-least-once reading exact: the ranges of a flush are written down before its rows, and a sink that
starts replays the last intent with the same rows and the same token, which ClickHouse then drops if they were there.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from projections.clickhouse.rows import DeadLetter, IngestError, Recorded, Row, Tombstone, row_of
from projections.clickhouse.writer import Writer
from schemas.codec import Codec
from schemas.errors import OperationError
from schemas.feedback import read_feedback
from streams.assignor import AllToOne
from streams.fetching import pace
from streams.settings import Settings
from streams.topics import EVENT_KINDS, Topics

log = structlog.get_logger()
Range = tuple[int, int]
SINK_KINDS = (*EVENT_KINDS, "state", "control", "feedback", "dead-letters")
FLUSH_ROWS = 5_000
MAX_ROWS = 50_000
FLUSH_S = 1.0
# Ticks and loads alone may wait: an insert costs the same whether it has ten rows or a thousand.
QUIET_FLUSH_S = 5.0
# Rows are written once a second: to fetch each one as it comes would cost more than to write it.
GATHER_S = 0.25
QUIET_KINDS = frozenset({"attempts", "costs", "transitions", "state"})


@dataclass
class Batch:
    """Records read and not yet written. `ranges`: first and last offset of each partition. `quiet`: none is a request's."""

    records: list[ConsumerRecord] = field(default_factory=list)
    ranges: dict[tuple[str, int], Range] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    quiet: bool = True

    def add(self, records: list[ConsumerRecord], kind: str) -> None:
        self.quiet = self.quiet and kind in QUIET_KINDS
        self.records.extend(records)
        place = records[0].topic, records[0].partition
        first = self.ranges.get(place, (records[0].offset, 0))[0]
        self.ranges[place] = (first, records[-1].offset)

    @property
    def due(self) -> bool:
        wait_s = QUIET_FLUSH_S if self.quiet else FLUSH_S
        return bool(self.records) and (len(self.records) >= FLUSH_ROWS or time.monotonic() - self.since >= wait_s)


class Sink(ConsumerRebalanceListener):  # type: ignore[misc]
    """Owns the consumer; the journal's client is used from one thread at a time."""

    def __init__(self, settings: Settings, topics: Topics, journal: Writer, codec: Codec) -> None:
        self._topics = topics
        self._journal = journal
        self._codec = codec
        self._kinds = {topics.name(kind): kind for kind in SINK_KINDS}
        self._batch = Batch()
        self._assigned: asyncio.Event = asyncio.Event()
        self.rows_written = 0
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers, group_id=f"{topics.prefix}turnout-sink",
            client_id=f"sink-{time.time_ns():020d}", enable_auto_commit=False, auto_offset_reset="earliest",
            partition_assignment_strategy=[AllToOne], max_poll_records=MAX_ROWS, fetch_max_wait_ms=500,
            session_timeout_ms=int(settings.worker.session_timeout_s * 1000), heartbeat_interval_ms=1_000,
            max_poll_interval_ms=600_000, fetch_max_bytes=16 * 1024 * 1024,
        )  # fmt: skip

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """What is read and not written is read again by the next owner."""
        self._batch = Batch()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Start where the journal ends, after its last intent was replayed to the letter."""
        if not assigned:
            return
        last = await asyncio.to_thread(self._journal.last_intent)
        unfinished = last is not None and not last.done
        if last is not None and unfinished:
            await self._replay(last.ranges)
        positions = await asyncio.to_thread(self._journal.positions)
        for tp in assigned:
            self._consumer.seek(tp, positions.get((tp.topic, tp.partition), 0))
        log.info("sink assigned", partitions=len(assigned), replayed=unfinished)

    async def _replay(self, ranges: Mapping[tuple[str, int], Range]) -> None:
        records: list[ConsumerRecord] = []
        for (topic, partition), (first, last) in ranges.items():
            tp = TopicPartition(topic, partition)
            self._consumer.seek(tp, first)
            position = first
            while position <= last:
                found = (await self._consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
                records.extend(record for record in found if record.offset <= last)
                position = await self._consumer.position(tp)
                if not found and position <= (await self._consumer.beginning_offsets([tp]))[tp]:
                    raise OperationError(
                        f"{topic}-{partition} no longer holds offsets {first} to {last} of the sink's last intent; "
                        "raise kafka.event_retention_days above the longest stop of the sink."
                    )
        await self._write(records, dict(ranges))

    async def run(self, stop: asyncio.Event) -> None:
        """Copy until `stop` is set; then write what is read and leave the group."""
        await self._consumer.start()
        pace(self._consumer, gather_s=GATHER_S)
        try:
            self._consumer.subscribe([self._topics.name(kind) for kind in SINK_KINDS], listener=self)
            while not stop.is_set():
                found = await self._consumer.getmany(timeout_ms=200, max_records=MAX_ROWS)
                if found and not self._batch.records:
                    self._batch = Batch()
                for partition, records in found.items():
                    self._batch.add(records, self._kinds[partition.topic])
                if self._batch.due:
                    await self._flush()
            await self._flush()
        finally:
            await self._consumer.stop()

    async def _flush(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not batch.records:
            return
        await self._write(batch.records, batch.ranges)
        # For lag to be seen; where to go on stands in the journal.
        offsets = {TopicPartition(*place): last + 1 for place, (_, last) in batch.ranges.items()}
        assignment = self._consumer.assignment()
        await self._consumer.commit({tp: offset for tp, offset in offsets.items() if tp in assignment})

    async def _write(self, records: list[ConsumerRecord], ranges: Mapping[tuple[str, int], Range]) -> None:
        rows = await asyncio.to_thread(self._rows, records)
        await asyncio.to_thread(self._journal.write, ranges, rows)
        self.rows_written += len(rows)

    def _rows(self, records: list[ConsumerRecord]) -> list[Row]:
        return [
            row_of(
                self._kinds[record.topic], record.topic, record.partition, record.offset, record.timestamp * 1000,
                self._recorded(record),
            )
            for record in records
        ]  # fmt: skip

    def _recorded(self, record: ConsumerRecord) -> Recorded:
        """What the record says; what cannot be read becomes a row of `ingest_errors`, and the sink goes on."""
        kind = self._kinds[record.topic]
        try:
            if record.value is None and kind == "state":
                return Tombstone.parse(record.key.decode())
            if kind == "dead-letters":
                return DeadLetter.parse(record.value, record.timestamp * 1000)
            if kind == "feedback":
                position = f"{record.topic}-{record.partition}-{record.offset}"
                return read_feedback(record.value, self._codec, position, record.timestamp * 1000)
            return self._codec.decode(record.value)
        except Exception as error:
            # Anything may stand in a topic: named by class, for the text of an error may quote bytes.
            log.warning("record unreadable", topic=record.topic, partition=record.partition, offset=record.offset)
            value = record.value or b""
            return IngestError(type(error).__name__, len(value), sha256(value).hexdigest())
