"""The sink from a real broker into the real engine: each record once, whoever starts, stops or breaks off in the middle."""

import asyncio
import contextlib
import threading
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.bench.fold_logs import attempts
from infra.kafka import EmbeddedKafka
from infra.sql.engine import Engine
from projections.clickhouse.container import Block
from projections.clickhouse.migrate import migrate
from projections.clickhouse.writer import Intent, Writer
from schemas.codec import Codec
from streams.assignor import AllToOne
from streams.chores import Chore
from streams.recorder import SINK_KINDS, Recorder
from streams.settings import Settings
from streams.sink import Sink
from streams.topics import Topics, create_topics, topics_of

EVENTS = 6_000


async def prepared(kafka: EmbeddedKafka, prefix: str) -> tuple[Settings, Topics]:
    settings = Settings.model_validate({
        "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 3},
    })  # fmt: skip
    topics = topics_of(settings)
    await create_topics(topics, settings)
    return settings, topics


async def publish(settings: Settings, first: int, count: int, *junk: bytes) -> None:
    codec, records = Codec(), attempts(EVENTS)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, linger_ms=5) as producer:
        topic = f"{settings.kafka.topic_prefix}attempts"
        for record in records[first : first + count]:
            partition = record.offset % settings.kafka.partitions
            await producer.send(topic, codec.encode(record.event), partition=partition)
        for value in junk:
            await producer.send(topic, value, partition=0)
        await producer.flush()


async def test_every_record_is_one_row_after_a_break_and_a_restart(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    settings, topics = await prepared(kafka, prefix)
    with Engine(tmp_path) as engine, contextlib.closing(engine.client()) as client:
        migrate(client)

        def count() -> int:
            return int(engine.execute("SELECT count() FROM turnout.log WHERE topic LIKE '%attempts'"))

        async def copy_until(rows: int, *, orderly: bool) -> None:
            stop = asyncio.Event()
            journal = Writer(client, "s")
            sink = Sink(settings, topics, journal, Codec())
            running = asyncio.create_task(sink.run(stop))
            async with asyncio.timeout(90):
                while not running.done() and await asyncio.to_thread(count) < rows:
                    await asyncio.sleep(0.2)
            if orderly:
                stop.set()
                await running
            else:
                running.cancel()
                await asyncio.wait([running])

        await publish(settings, 0, 3_000, b"no event")
        await copy_until(1, orderly=False)
        # Only ClickHouse sees that it is no event.
        cut = Codec().encode(attempts(1)[0].event)[:-1]
        await publish(settings, 3_000, 3_000, cut)
        await copy_until(EVENTS + 2, orderly=True)
        await copy_until(EVENTS + 2, orderly=True)

        rows = engine.execute(
            "SELECT count(), uniqExact(partition, offset) FROM turnout.log WHERE topic LIKE '%attempts'"
        )
        assert rows == f"{EVENTS + 2}\t{EVENTS + 2}\n".encode()
        ended = engine.execute(
            "SELECT countIf(event IN ('AttemptSucceeded', 'AttemptFailed')) = (SELECT sum(succeeded) + sum(failed)"
            " FROM turnout.provider_minute), countIf(event = 'IngestError') FROM turnout.log"
        )
        assert ended == b"1\t2\n"
        assert engine.execute("SELECT count() FROM turnout.drift") == b"0\n"
        last = Writer(client, "s").last_intent()
        assert last is not None and last.done


class Slow(Recorder):
    """Takes a while, so that a rebalance finds records that were taken and are in no batch yet."""

    def blocks(self, records: list[ConsumerRecord]) -> list[Block]:
        time.sleep(0.3)
        return super().blocks(records)


async def test_what_was_taken_when_the_group_changed_hands_is_written_once(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    settings, topics = await prepared(kafka, prefix)
    with Engine(tmp_path) as engine, contextlib.ExitStack() as clients:
        first, *_ = kept = [clients.enter_context(contextlib.closing(engine.client())) for _ in range(4)]
        migrate(first)
        stops, running = [], []
        for number, client in enumerate(kept):
            # Each that joins takes the partitions away from the eldest, which gets them back; then the eldest leaves.
            sink, stop = Sink(settings, topics, Writer(client, "s"), Codec()), asyncio.Event()
            sink._recorder = Slow(topics, Codec())
            stops.append(stop)
            running.append(asyncio.create_task(sink.run(stop)))
            await publish(settings, number * 1_500, 1_500)
            await asyncio.sleep(1.0)
        for stop, task in zip(stops[:-1], running[:-1], strict=True):
            stop.set()
            await task

        def counts() -> list[int]:
            found = engine.execute(
                "SELECT count(), uniqExact(partition, offset) FROM turnout.log WHERE topic LIKE '%attempts'"
            )
            return [int(each) for each in found.split()]

        async with asyncio.timeout(90):
            while (await asyncio.to_thread(counts))[1] < EVENTS:
                await asyncio.sleep(0.2)
        stops[-1].set()
        await running[-1]
        assert counts() == [EVENTS, EVENTS]
        assert engine.execute("SELECT count() FROM turnout.drift") == b"0\n"


async def test_who_stands_by_leaves_the_batch_of_a_dead_sink_unfinished(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, topics = await prepared(kafka, prefix)
    await publish(settings, 0, 300)
    begun = {(f"{prefix}attempts", partition): (0, 99) for partition in range(3)}
    with Engine(tmp_path) as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        # Killed between its intent and its rows; the group still holds the partitions for it.
        with pytest.raises(DatabaseError):
            Writer(client, "s").write(begun, [b"no rows"])
        dead = AIOKafkaConsumer(
            bootstrap_servers=kafka.bootstrap_servers, group_id=f"{prefix}turnout-sink", client_id="sink-0",
            partition_assignment_strategy=[AllToOne], enable_auto_commit=False,
        )  # fmt: skip
        await dead.start()
        dead.subscribe([topics.name(kind) for kind in SINK_KINDS])
        monkeypatch.setattr("streams.sink.QUIET_FLUSH_S", 0.1)
        sink, stop = Sink(settings, topics, Writer(client, "s"), Codec()), asyncio.Event()
        async with asyncio.timeout(90):
            while not dead.assignment():
                await dead.getmany(timeout_ms=50)
            running = asyncio.create_task(sink.run(stop))
            while not sink._settled:
                await asyncio.sleep(0.05)
            assert not sink._consumer.assignment()
            await asyncio.sleep(1.0)
            await dead.stop()
            while engine.execute("SELECT count() FROM turnout.log") != b"300\n":
                await asyncio.sleep(0.1)
        stop.set()
        await running


class Journal(Writer):
    """Notes who asks it while a chore is done."""

    chore_runs = False
    asked_meanwhile = False

    def last_intent(self) -> Intent | None:
        self.asked_meanwhile = self.asked_meanwhile or self.chore_runs
        return super().last_intent()


async def test_a_rebalance_waits_for_the_chore_that_uses_the_client(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    settings, topics = await prepared(kafka, prefix)
    with Engine(tmp_path) as engine, contextlib.ExitStack() as clients:
        first, second = (clients.enter_context(contextlib.closing(engine.client())) for _ in range(2))
        migrate(first)
        journal, began, may_end = Journal(first, "s"), threading.Event(), threading.Event()
        stood_by = list[int]()

        def chore(now: int) -> None:
            journal.chore_runs = True
            began.set()
            may_end.wait(60)
            journal.chore_runs = False

        owner = Sink(settings, topics, journal, Codec(), [Chore("slow", 1e9, chore)])
        standby = Sink(settings, topics, Writer(second, "s"), Codec(), [Chore("none", 1e9, stood_by.append)])
        stop = asyncio.Event()
        running = [asyncio.create_task(owner.run(stop))]
        async with asyncio.timeout(60):
            await asyncio.to_thread(began.wait)
            running.append(asyncio.create_task(standby.run(stop)))
            # The group has both once the eldest has its partitions again.
            while not standby._settled:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            assert not owner._settled
            may_end.set()
            while not owner._settled:
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*running)
        assert not journal.asked_meanwhile
        assert not stood_by
