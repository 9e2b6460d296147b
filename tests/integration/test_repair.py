"""Rollups that went wrong: rebuilt by the command, and by a sink that starts or that lost parts of the log."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from sql_story import story

from infra.bench.fold_logs import attempts
from infra.cli.main import run_command
from infra.kafka import EmbeddedKafka
from infra.sql.engine import Engine
from projections.clickhouse.migrate import migrate
from projections.clickhouse.writer import Writer
from schemas.codec import Codec
from streams.settings import Settings
from streams.sink import Sink
from streams.topics import Topics, create_topics, topics_of

SINK = "llm.sink"
STORY = story()
DRIFT = "SELECT DISTINCT rollup FROM turnout.drift ORDER BY rollup"
COUNTED = (
    "SELECT sum(charges), sum(nano_usd), (SELECT sum(succeeded) FROM turnout.provider_minute) FROM turnout.tenant_hour"
)
TWICE = "INSERT INTO turnout.{0} SELECT * FROM turnout.{0} SETTINGS insert_deduplicate = 0"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[tuple[Engine, Writer]]:
    with Engine(folder) as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        yield engine, Writer(client, SINK)


def repair(capfd: pytest.CaptureFixture[str], folder: Path) -> tuple[int, str]:
    file = folder.parent / "turnout.yaml"
    file.write_text(f"sql: {{url: 'chdb:{folder}'}}\n")
    status = run_command(["sql", "--repair", "--config", str(file)])
    out, err = capfd.readouterr()
    return status, (out + err).strip()


def test_the_command_rebuilds_what_drift_names(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "sql"
    assert repair(capfd, folder)[0] == 1
    assert not folder.exists()
    with writing(folder) as (engine, writer):
        writer.write(STORY.ranges, STORY.blocks)
        before = engine.execute(COUNTED)
        engine.execute(TWICE.format("tenant_hour"))
        status, said = repair(capfd, folder)
        assert status == 1 and f"is open in process {os.getpid()}: a sink repairs when it starts" in said
    status, said = repair(capfd, folder)
    assert status == 1 and "The last batch of the sink is unfinished: start `turnout sink`" in said
    with writing(folder) as (engine, writer):
        assert engine.execute(DRIFT) == b"tenant_hour\n"
        writer.write(STORY.ranges, STORY.blocks)
        writer.finish()
    assert repair(capfd, folder) == (0, "rebuilt: tenant_hour")
    assert repair(capfd, folder) == (0, "nothing to repair: drift is empty")
    with writing(folder) as (engine, _):
        assert engine.execute(DRIFT) == b""
        assert engine.execute(COUNTED) == before


def test_a_batch_written_again_after_a_repair_counts_once(tmp_path: Path) -> None:
    """Parts that a repair emptied stay, for their tokens go with them; a table beside them shows that removal had its turn."""
    with writing(tmp_path / "sql") as (engine, writer):
        writer.write(STORY.ranges, STORY.blocks)
        before = engine.execute(COUNTED)
        engine.execute("CREATE TABLE turnout.witness AS turnout.tenant_hour")
        engine.execute("ALTER TABLE turnout.witness MODIFY SETTING remove_empty_parts = 1")
        engine.execute("INSERT INTO turnout.witness SELECT * FROM turnout.tenant_hour")
        engine.execute(TWICE.format("provider_minute"))
        writer.repair()
        engine.execute("ALTER TABLE turnout.witness DELETE WHERE true SETTINGS mutations_sync = 2")
        removed = b"1\n"
        deadline = time.monotonic() + 120
        while removed != b"0\n" and time.monotonic() < deadline:
            time.sleep(0.5)
            removed = engine.execute("SELECT count() FROM system.parts WHERE table = 'witness' AND active")
        assert removed == b"0\n"
        writer.write(STORY.ranges, STORY.blocks)
        assert engine.execute(COUNTED) == before
        assert engine.execute(DRIFT) == b""


async def copy_until_whole(settings: Settings, topics: Topics, engine: Engine, journal: Writer, rows: int) -> None:
    """A sink from its start until so many records are in SQL and no alert stands."""
    stop = asyncio.Event()
    running = asyncio.create_task(Sink(settings, topics, journal, Codec()).run(stop))
    count = "SELECT count() FROM turnout.log FINAL WHERE topic LIKE '%attempts'"
    async with asyncio.timeout(90):
        while not running.done() and (journal.alert or int(await asyncio.to_thread(engine.execute, count)) < rows):
            await asyncio.sleep(0.2)
    stop.set()
    await running


async def test_a_sink_mends_rollups_when_it_starts_and_after_parts_were_lost(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate({
        "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 2},
    })  # fmt: skip
    topics, codec, records = topics_of(settings), Codec(), attempts(300)
    await create_topics(topics, settings)

    async def publish(first: int, last: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, linger_ms=5) as producer:
            for record in records[first:last]:
                await producer.send(topics.name("attempts"), codec.encode(record.event), partition=record.offset % 2)
            await producer.flush()

    await publish(0, 200)
    with writing(tmp_path) as (engine, journal):
        await copy_until_whole(settings, topics, engine, journal, 200)
        engine.execute(TWICE.format("provider_minute"))
        assert engine.execute(DRIFT) == b"provider_minute\n"
    await publish(200, 300)
    with writing(tmp_path) as (engine, journal):
        await copy_until_whole(settings, topics, engine, journal, 300)
        assert engine.execute(DRIFT) == b""
        whole = engine.execute(COUNTED)
        paths = engine.execute("SELECT path FROM system.parts WHERE database = 'turnout' AND table = 'log' AND active")
    # As a power loss leaves it: a file of the part is cut short.
    part = Path(paths.decode().split()[0])
    (part / "columns.txt").write_text("")
    with writing(tmp_path) as (engine, journal):
        assert "detached 1 broken parts" in journal.alert
        await copy_until_whole(settings, topics, engine, journal, 300)
        assert engine.execute("SELECT count() FROM turnout.log FINAL WHERE topic LIKE '%attempts'") == b"300\n"
        assert engine.execute(DRIFT) == b""
        assert engine.execute(COUNTED) == whole
    with writing(tmp_path) as (_, journal):
        assert journal.alert == ""
