"""The sink: every event, snapshot and dead letter into ClickHouse, exactly once.

An intent journal makes at-least-once reading exact: the ranges of a flush are written down before its rows, and a sink that
starts replays the last intent with the same rows and the same token, which ClickHouse then drops if they were there.
The next batch is read while the last one is written, and grows until that is done.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from projections.clickhouse.container import Block
from projections.clickhouse.writer import ROLLUPS, Writer
from schemas.codec import Codec
from schemas.errors import OperationError
from streams.access import client_options
from streams.assignor import AllToOne
from streams.batch import QUIET_FLUSH_S, Batch, Place, Range, parted
from streams.chores import Chore
from streams.fetching import pace
from streams.reader import group_less, read_to_end
from streams.recorder import SINK_KINDS, Recorder
from streams.settings import Settings
from streams.topics import Topics

log = structlog.get_logger()
T = TypeVar("T")
# aiokafka unpacks them at one go: the loop answers heartbeats and commits in between.
TAKEN_ROWS = 5_000
FLUSH_S = 1.0
# An insert costs nearly the same for ten rows as for a thousand (70 to 150 ms of processor time on a slow machine, for it
# feeds a dozen tables), so a sink waits 20 times as long as its last one took: flushes then use a twentieth of a core.
FLUSH_SHARE = 0.05
# Rows are written once a second or less: to fetch each one as it comes would cost more than to write it.
GATHER_S = 0.25


class Sink(ConsumerRebalanceListener):  # type: ignore[misc]
    """Owns the consumer and the one write under way; the client is asked for one thing at a time (`_asked`)."""

    def __init__(
        self, settings: Settings, topics: Topics, journal: Writer, codec: Codec, chores: Sequence[Chore] = ()
    ) -> None:
        self._topics = topics
        self._journal = journal
        self._chores = chores
        self._recorder = Recorder(topics, codec)
        self._kinds = {topics.name(kind): kind for kind in SINK_KINDS}
        self._client = asyncio.Lock()
        self._batch = Batch()
        self._writing: asyncio.Task[None] | None = None
        self._uncommitted: dict[TopicPartition, int] = {}
        self._wait_s = FLUSH_S
        self._ownership = 0
        self._settled = False
        self._failed: Exception | None = None
        self._checked = False
        # After parts were lost: how far each partition is read again before the rollups are rebuilt.
        self._reread: dict[TopicPartition, int] = {}
        self._cluster = settings.kafka.access
        self.rows_written = 0
        self._consumer = AIOKafkaConsumer(
            **client_options(settings.kafka.access), group_id=f"{topics.prefix}turnout-sink",
            client_id=f"sink-{time.time_ns():020d}", enable_auto_commit=False, auto_offset_reset="earliest",
            partition_assignment_strategy=[AllToOne], max_poll_records=TAKEN_ROWS, fetch_max_wait_ms=500,
            session_timeout_ms=int(settings.worker.session_timeout_s * 1000), heartbeat_interval_ms=1_000,
            max_poll_interval_ms=600_000, fetch_max_bytes=16 * 1024 * 1024, max_partition_fetch_bytes=4 * 1024 * 1024,
        )  # fmt: skip

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """What is read and not written is read again by the next owner."""
        self._settled = False
        self._ownership += 1
        self._reread = {}
        await self._written()
        await self._commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Start where the journal ends, after its last intent was replayed to the letter."""
        self._settled = False
        try:
            if assigned:
                await self._written()
                await self._resume(assigned)
        except Exception as error:
            # The coordinator would log it and let the sink read on from a wrong place: `run` raises it instead.
            self._failed = error
            return
        # Whatever was read before the seeks stands elsewhere.
        self._batch = Batch()
        self._settled = True

    async def _resume(self, assigned: set[TopicPartition]) -> None:
        last = await self._asked(self._journal.last_intent)
        unfinished = last is not None and not last.done
        if last is not None and unfinished:
            await self._replay(last.ranges)
        if self._journal.alert:
            log.warning("parts lost", alert=self._journal.alert)
            self._reread = await self._consumer.end_offsets(list(assigned))
        elif not self._checked:
            # Not before the last intent is written: see Writer.repair.
            await self._check()
        self._checked = True
        positions = await self._asked(self._journal.positions)
        for tp in assigned:
            self._consumer.seek(tp, positions.get((tp.topic, tp.partition), 0))
        log.info("sink assigned", partitions=len(assigned), replayed=unfinished)

    async def _check(self) -> None:
        """Once a start: rebuild the rollups that do not agree with the raw log."""
        try:
            drifted = await self._asked(self._journal.drifted)
        except ClickHouseError as error:
            # Too large a question for the engine, say: a check must not keep events out of SQL.
            log.warning("drift unknown", error=type(error).__name__)
            return
        if drifted:
            await self._rebuild(drifted)

    async def _rebuild(self, rollups: Iterable[str]) -> None:
        await self._asked(self._journal.repair, rollups)
        log.warning("rollups rebuilt from the raw log", rollups=list(rollups))

    async def _rebuild_reread(self) -> None:
        """Rebuild once everything is read again: until then the rollups hold twice what was not lost."""
        ends = self._reread
        for tp, end in ends.items():
            if not self._settled or await self._consumer.position(tp) < end:
                return
        await self._flush()
        await self._written()
        # Another one after a rebalance: what was read and not written then is read again.
        if self._settled and self._reread is ends:
            self._reread = {}
            self._writing = asyncio.create_task(self._rebuild(ROLLUPS))
            await self._written()

    async def _replay(self, ranges: Mapping[Place, Range]) -> None:
        """With a consumer of its own: `run` reads from the sink's at the same time, and would take some of the records."""
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        async with group_less(self._cluster) as consumer:
            for (topic, partition), (first, last) in ranges.items():
                tp = TopicPartition(topic, partition)
                begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
                if begin > last or end <= last:
                    raise OperationError(
                        f"{topic}-{partition} no longer holds offsets {first} to {last} of the sink's last intent; "
                        "raise kafka.event_retention_days above the longest stop of the sink."
                    )
                async for record in read_to_end(consumer, [tp], {tp: first}):
                    if record.offset > last:
                        break
                    found.setdefault(tp, []).append(record)
        batch = Batch()
        batch.add(found, await self._blocks(found), self._kinds)
        # As they were: of a compacted topic records may be gone.
        batch.ranges = dict(ranges)
        await self._write(batch)

    async def run(self, stop: asyncio.Event) -> None:
        """Copy until `stop` is set; then write what is read and leave the group.

        Raises OperationalError when a server of ClickHouse does not answer: what is not there then, the next sink writes.
        """
        await self._consumer.start()
        # Who is behind has enough company.
        pace(self._consumer, gather_s=lambda: 0.0 if self._batch.large else GATHER_S)
        try:
            self._consumer.subscribe([self._topics.name(kind) for kind in SINK_KINDS], listener=self)
            while not stop.is_set():
                found = await self._consumer.getmany(timeout_ms=200, max_records=TAKEN_ROWS)
                if found and self._settled:
                    await self._take(found)
                if self._failed is not None:
                    raise self._failed
                # Also where they were revoked while they were taken: what the batch holds is another's to write.
                if not self._settled:
                    continue
                # Who is behind fills a batch before it is written, and while the last one is.
                behind = sum(map(len, found.values())) >= TAKEN_ROWS
                if self._batch.full or (
                    self._batch.due(self._wait_s, time.monotonic()) and not behind and not self._busy
                ):
                    await self._flush()
                elif not self._batch.rows and time.monotonic() - self._batch.since > QUIET_FLUSH_S:
                    await self._rest()
                await self._commit()
                if self._reread:
                    await self._rebuild_reread()
                else:
                    await self._keep_house()
            if self._settled:
                await self._flush()
                await self._rest()
                await self._commit()
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            await self._consumer.stop()

    async def _take(self, found: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        ownership = self._ownership
        blocks = await self._blocks(found)
        if ownership != self._ownership:
            # Revoked meanwhile: read again from where the journal ends.
            return
        if not self._batch.rows:
            self._batch = Batch()
        self._batch.add(found, blocks, self._kinds)

    async def _blocks(self, found: Mapping[TopicPartition, list[ConsumerRecord]]) -> list[Block]:
        records = [each for of_one in found.values() for each in of_one]
        return await asyncio.to_thread(self._recorder.blocks, records)

    @property
    def _busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    async def _flush(self) -> None:
        """Hand the batch to the writer, once it is done with the one before; raises what that one raised."""
        batch, self._batch = self._batch, Batch()
        if not batch.rows:
            return
        ownership = self._ownership
        await self._written()
        # Else revoked meanwhile.
        if ownership == self._ownership:
            self._writing = asyncio.create_task(self._write_batch(batch))

    async def _written(self) -> None:
        """Nothing is being written any more."""
        if (writing := self._writing) is not None:
            # Not awaited itself: a cancelled waiter must not cancel the write.
            await asyncio.wait([writing])
            self._writing = None if self._writing is writing else self._writing
            writing.result()

    async def _asked(self, call: Callable[..., T], *arguments: object) -> T:
        """What `call` says in a thread of its own. A rebalance may come while a chore runs, and asks the journal then."""
        async with self._client:
            return await asyncio.to_thread(call, *arguments)

    async def _rest(self) -> None:
        """Close the journal: the next sink need not read the last batch again, which Kafka may no longer hold by then."""
        await self._written()
        await self._asked(self._journal.finish)

    async def _keep_house(self) -> None:
        """Chores are the owner's: one that stands by has the same."""
        for chore in self._chores if self._consumer.assignment() else ():
            if time.monotonic() < chore.due_at:
                continue
            chore.due_at = time.monotonic() + chore.every_s
            await self._written()
            try:
                done = await self._asked(chore.run, time.time_ns() // 1000)
            except ClickHouseError as error:
                # The engine may lack memory for it, say: a chore must not keep events out of SQL.
                log.warning("chore failed", chore=chore.name, error=type(error).__name__)
            else:
                log.info("chore done", chore=chore.name, result=done)

    async def _write_batch(self, batch: Batch) -> None:
        began = time.monotonic()
        await self._write(batch)
        # A large one took its time for its rows: what comes after it need not wait for that.
        fixed_s = 0.0 if batch.large else time.monotonic() - began
        self._wait_s = min(max(FLUSH_S, fixed_s / FLUSH_SHARE), QUIET_FLUSH_S)
        self._uncommitted |= {TopicPartition(*place): last + 1 for place, (_, last) in batch.ranges.items()}

    async def _write(self, batch: Batch) -> None:
        parts = parted(batch.ranges)
        blocks = [[each for place in part for each in batch.blocks.get(place, ())] for part in parts]
        try:
            await self._asked(self._journal.write, batch.ranges, *blocks)
        except OperationalError:
            # Nobody answered.
            raise
        except DatabaseError as error:
            # One may begin like an event and be none: decoded here it is a row of `ingest_errors`, and the others are whole.
            log.warning("batch decoded record by record", records=batch.rows, error=type(error).__name__)
            for number, part in enumerate(parts):
                records = [each for place in part for each in batch.records.get(place, ())]
                blocks[number] = await asyncio.to_thread(self._recorder.rows, records)
            await self._asked(self._journal.write, batch.ranges, *blocks)
        self.rows_written += batch.rows

    async def _commit(self) -> None:
        """For lag to be seen; where to go on stands in the journal."""
        offsets, self._uncommitted = self._uncommitted, {}
        assignment = self._consumer.assignment()
        if not (owned := {tp: offset for tp, offset in offsets.items() if tp in assignment}):
            return
        try:
            await self._consumer.commit(owned)
        except KafkaError as error:
            # The group moved on, as after a broker that stood still: the next assignment begins where the journal ends.
            log.warning("commit refused", error=type(error).__name__)
