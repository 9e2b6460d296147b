"""Batches as the writer hands them to the engine.

The same records in another order, or in another form, are the same batch: a sink that reads its last intent again takes
partition after partition, and decodes here what the engine refused.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from sql_story import block

from infra.bench.sink_log import requests_log
from infra.sql.engine import Engine
from projections.clickhouse.container import block_of
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import row_of
from projections.clickhouse.writer import Superseded, Writer
from schemas.events import CostIncurred, Event

BEGAN = 1_790_000_000_000_000


Told = list[tuple[str, str, int, int, int, Event]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "sql") as engine:
        yield engine


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    with contextlib.closing(engine.client()) as client:
        migrate(client)
        yield client


def log_of(records: int) -> Told:
    """The first records of a log of requests, all of one partition."""
    log = list(requests_log(records // 7, 1, BEGAN, 10.0))[:records]
    return [(kind, f"llm.{kind}", 0, offset, BEGAN + offset, event) for offset, (_, (kind, event)) in enumerate(log)]


def holds_once(client: Client, told: Told) -> bool:
    """Whether the log and what is fed by it have every record once."""
    ((rows, drift, charges),) = client.query(
        "SELECT (SELECT count() FROM turnout.log), (SELECT count() FROM turnout.drift),"
        " (SELECT sum(charges) FROM turnout.tenant_hour)"
    ).result_rows
    return (rows, drift, charges) == (len(told), 0, sum(isinstance(event, CostIncurred) for *_, event in told))


def test_a_batch_written_again_in_another_order_or_form_adds_nothing(client: Client) -> None:
    told = log_of(4_000)
    passed, decoded = [block(*each) for each in told], [block_of(row_of(*each)) for each in told]
    writer, ranges = Writer(client, "s"), {("llm.log", 0): (0, len(told) - 1)}
    for again in (passed, passed[1:] + passed[:1], passed[::-1], decoded):
        writer.write(ranges, again)
        assert holds_once(client, told)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_of_two_parts_written_again_in_another_form_adds_nothing(
    engine: Engine, client: Client, threads: int
) -> None:
    told = log_of(4_000)
    ranges = {("llm.log", 0): (0, len(told) - 1)}
    with contextlib.closing(engine.client()) as beside:
        writer = Writer(client, "s", beside if threads == 2 else None)
        for again in ([block(*each) for each in told], [block_of(row_of(*each)) for each in told]):
            writer.write(ranges, again[:1_500], again[1_500:])
            assert holds_once(client, told)
    assert int(client.command("SELECT uniqExact(_part) FROM turnout.log")) == 2


def test_a_batch_of_which_one_part_was_written_is_whole_when_it_is_written_again(
    engine: Engine, client: Client
) -> None:
    told = log_of(4_000)
    blocks, ranges = [block(*each) for each in told], {("llm.log", 0): (0, len(told) - 1)}
    parts = blocks[:1_500], blocks[1_500:]
    with contextlib.closing(engine.client(readonly=1)) as refused, pytest.raises(DatabaseError):
        Writer(client, "s", refused).write(ranges, *parts)
    assert client.command("SELECT count() FROM turnout.log") == 1_500
    with contextlib.closing(engine.client()) as beside:
        again = Writer(client, "s", beside)
        last = again.last_intent()
        assert last is not None and not last.done
        again.write(last.ranges, *parts)
    assert holds_once(client, told)


def test_a_writer_whose_place_another_took_writes_no_more(client: Client) -> None:
    log = [
        (kind, f"llm.{kind}", 0, BEGAN + offset, event)
        for offset, (_, (kind, event)) in enumerate(requests_log(3, 1, BEGAN, 10.0))
    ]
    blocks = [
        block(kind, topic, partition, offset, at, event)
        for offset, (kind, topic, partition, at, event) in enumerate(log)
    ]
    frozen = Writer(client, "s")
    frozen.write({("llm.log", 0): (0, 4)}, blocks[:5])
    successor = Writer(client, "s")
    last = successor.last_intent()
    assert last is not None
    successor.write(last.ranges, blocks[:5])
    # What it was about to write when it stood still may still come.
    frozen.write(last.ranges, blocks[:5])
    successor.write({("llm.log", 0): (5, 9)}, blocks[5:10])
    with pytest.raises(Superseded):
        frozen.write({("llm.log", 0): (5, 7)}, blocks[5:8])
    found = client.query("SELECT (SELECT count() FROM turnout.log), (SELECT count() FROM turnout.drift)").result_rows
    assert found == [(10, 0)]
    again = Writer(client, "s")
    assert again.last_intent() == successor.last_intent() and again.positions() == {("llm.log", 0): 10}
