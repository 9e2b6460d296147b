"""A sink on a ClickHouse server that is away, refuses it, or comes back."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError
from structlog.testing import capture_logs

from infra.bench.fold_logs import attempts
from infra.cli.sink import copy
from infra.kafka import EmbeddedKafka
from infra.ports import free_port
from infra.sql.account import Account
from infra.sql.door import start_door
from infra.sql.engine import Engine
from infra.sql.server import server
from projections.clickhouse.migrate import migrate
from projections.clickhouse.writer import Writer
from schemas.codec import Codec
from schemas.errors import OperationError
from streams.settings import Settings
from streams.topics import create_topics, topics_of

EACH = 500


class Line:
    """The engine's client behind a line that can be cut: before a statement reaches it, or on the way back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.cut, self.asked, self.lost_answers = False, 0, 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def carried(*arguments: Any, **named: Any) -> Any:
            if self.cut:
                self.asked += 1
                raise OperationalError("the line is cut")
            answer = call(*arguments, **named)
            if name == "raw_insert" and self.lost_answers:
                self.lost_answers -= 1
                raise OperationalError("the line was cut before the answer")
            return answer

        return carried


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "sql") as engine:
        yield engine


async def publish(settings: Settings) -> None:
    codec = Codec()
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, linger_ms=5) as producer:
        for record in attempts(EACH):
            await producer.send(f"{settings.kafka.topic_prefix}attempts", codec.encode(record.event), partition=0)


async def test_it_waits_for_a_server_that_is_away_and_writes_each_row_once(
    kafka: EmbeddedKafka, prefix: str, engine: Engine
) -> None:
    settings = Settings.model_validate({
        "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 1},
    })  # fmt: skip
    await create_topics(topics_of(settings), settings)
    with contextlib.closing(engine.client()) as client:
        migrate(client)
        line, stop = Line(client), asyncio.Event()
        line.cut = True
        running = asyncio.create_task(copy(settings, line, stop, away_s=0.2))

        async def until(found: Any) -> None:
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(found):
                    assert not running.done()
                    await asyncio.sleep(0.1)

        def rows() -> int:
            return int(engine.execute("SELECT count() FROM turnout.log WHERE topic LIKE '%attempts'"))

        await publish(settings)
        await until(lambda: line.asked > 2)
        line.cut = False
        await until(lambda: rows() == EACH)
        # As a sink that took over while this one was frozen, and is gone again.
        with contextlib.closing(engine.client()) as other:
            rival = Writer(other, f"{prefix}sink")
            rival.write({("another", 0): (0, 0)}, [])
            rival.finish()
        with capture_logs() as said:
            await publish(settings)
            await until(lambda: rows() == 2 * EACH)
        assert "another sink took over" in [each["event"] for each in said]
        # Written, and nobody heard of it.
        line.lost_answers = 1
        await publish(settings)
        await until(lambda: rows() == 3 * EACH and not line.lost_answers)
        line.cut, line.asked = True, 0
        await publish(settings)
        await until(lambda: line.asked > 2)
        line.cut = False
        # The log shows an insert a moment before the rollups that it feeds.
        await until(lambda: rows() == 4 * EACH and engine.execute("SELECT count() FROM turnout.drift") == b"0\n")
        counted = engine.execute("SELECT sum(succeeded) + sum(failed) FROM turnout.provider_minute")
        ended = engine.execute("SELECT count() FROM turnout.log WHERE event IN ('AttemptSucceeded', 'AttemptFailed')")
        assert counted == ended
        line.cut, line.asked = True, 0
        await publish(settings)
        await until(lambda: line.asked > 2)
        stop.set()
        with pytest.raises(OperationalError):
            await running


def test_one_that_does_not_answer_is_named_without_the_password() -> None:
    port = free_port()
    with pytest.raises(OperationError) as raised, server(f"http://ops:secret@127.0.0.1:{port}"):
        raise AssertionError("nobody listens")
    assert str(raised.value) == f"ClickHouse at http://127.0.0.1:{port} does not answer; start it, or correct sql.url."


async def test_one_that_refuses_the_password_or_a_statement_says_so(engine: Engine) -> None:
    def told(url: str) -> str:
        with pytest.raises(OperationError) as raised, server(url) as client:
            migrate(client)
        return str(raised.value)

    async with await start_door(engine, port=0, users={"ops": Account("right")}) as door:
        where = door.url.removeprefix("http://")
        refused = await asyncio.to_thread(told, f"http://ops:wrong@{where}")
        assert refused == f"ClickHouse at {door.url} refused our credentials; correct the user and password in sql.url."
        # The door is read-only.
        refused = await asyncio.to_thread(told, f"http://ops:right@{where}")
        assert refused.startswith(f"ClickHouse at {door.url} refused a statement: ") and "right" not in refused
