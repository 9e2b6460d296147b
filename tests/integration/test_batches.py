"""Batches as the writer hands them to the engine.

The same rows in another order are the same batch: a sink that reads its last intent again takes partition after partition.
"""

import contextlib
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from infra.bench.sink_log import requests_log
from infra.sql.engine import Engine
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import INDEX, Row, row_of
from projections.clickhouse.writer import Writer

BEGAN = 1_790_000_000_000_000
# The driver looks at so many rows to guess how large a block may be, evenly spread from the first on.
SAMPLED = 215


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Engine(tmp_path / "sql") as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        yield client


def batch() -> list[Row]:
    """Four thousand rows, of which those that the driver looks at are a hundred times as large."""
    rows = [
        row_of(kind, f"llm.{kind}", 0, offset, BEGAN + offset, event)
        for offset, (_, (kind, event)) in enumerate(requests_log(600, 1, BEGAN, 10.0))
    ][:4000]
    payload = INDEX["payload"]
    return [
        (*row[:payload], row[payload] + " " * 30_000, *row[payload + 1 :]) if number % SAMPLED == 0 else row
        for number, row in enumerate(rows)
    ]


def test_a_batch_written_again_in_another_order_adds_nothing(client: Client) -> None:
    rows, writer = batch(), Writer(client, "s")
    ranges = {("llm.log", 0): (0, len(rows) - 1)}
    for again in (rows, rows[1:] + rows[:1], rows[::-1]):
        writer.write(ranges, again)
        counts = client.query(
            "SELECT (SELECT count() FROM turnout.log), (SELECT count() FROM turnout.drift),"
            " (SELECT sum(charges) FROM turnout.tenant_hour)"
        ).result_rows[0]
        assert counts[:2] == (len(rows), 0)
        assert counts[2] == sum(row[INDEX["event"]] == "CostIncurred" for row in rows)


class Text(str):
    """A payload that can be seen to be gone."""


def test_nothing_of_a_batch_stays_once_it_is_written(client: Client) -> None:
    writer, payload = Writer(client, "s"), INDEX["payload"]
    row = batch()[1]
    text = Text(row[payload])
    watched = weakref.ref(text)
    rows = [(*row[:payload], text, *row[payload + 1 :])]
    gc.disable()
    try:
        writer.write({("llm.log", 0): (0, 0)}, rows)
        del rows, text
        # Not even for the garbage collector, which looks at what is old after gigabytes.
        assert watched() is None
    finally:
        gc.enable()
    assert client.query("SELECT count() FROM turnout.log").result_rows == [(1,)]
