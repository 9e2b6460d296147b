"""Batches as the writer hands them to the engine.

The same records in another order, or in another form, are the same batch: a sink that reads its last intent again takes
partition after partition, and decodes here what the engine refused.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from sql_story import block

from infra.bench.sink_log import requests_log
from infra.sql.engine import Engine
from projections.clickhouse.container import block_of
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import row_of
from projections.clickhouse.writer import BACKLOG, Superseded, Writer
from schemas.events import CostIncurred

BEGAN = 1_790_000_000_000_000


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Engine(tmp_path / "sql") as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        yield client


@pytest.mark.parametrize("records", [4_000, BACKLOG], ids=["in time", "of a backlog"])
def test_a_batch_written_again_in_another_order_or_form_adds_nothing(client: Client, records: int) -> None:
    log = list(requests_log(records // 7, 1, BEGAN, 10.0))[:records]
    told = [(kind, f"llm.{kind}", 0, offset, BEGAN + offset, event) for offset, (_, (kind, event)) in enumerate(log)]
    passed, decoded = [block(*each) for each in told], [block_of(row_of(*each)) for each in told]
    writer = Writer(client, "s")
    ranges = {("llm.log", 0): (0, len(told) - 1)}
    for again in (passed, passed[1:] + passed[:1], passed[::-1], decoded):
        writer.write(ranges, again)
        counts = client.query(
            "SELECT (SELECT count() FROM turnout.log), (SELECT count() FROM turnout.drift),"
            " (SELECT sum(charges) FROM turnout.tenant_hour)"
        ).result_rows[0]
        assert counts[:2] == (len(told), 0)
        assert counts[2] == sum(isinstance(event, CostIncurred) for _, (_, event) in log)


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
