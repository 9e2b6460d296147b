"""What ClickHouse decodes comes to the same rows as what is decoded here: any event, any value."""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any, cast

import pytest
from any_event import instances
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.bench.sink_log import requests_log
from infra.sql.engine import Engine
from projections.clickhouse.container import PASSED, Passing, block_of
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import INDEX, row_of
from projections.clickhouse.writer import Writer
from schemas.codec import SINGLE_OBJECT, Codec
from schemas.events import EVENT_TYPES, AttemptSucceeded, Event

AT = 1_790_000_000_000_000
CODEC = Codec()
PASSING = Passing(CODEC)
BATCHES = count()
EVENTS = st.one_of([instances(EVENT_TYPES[name]) for name in PASSED])
WRITTEN = [event for _, (_, event) in requests_log(30, 1, AT, 10.0)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Engine(tmp_path_factory.mktemp("sql")) as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        yield client


def numbers_as_written(payload: str) -> dict[str, Any]:
    """2.0 is 2 and 6e16 is 60000000000000000, to the last digit."""
    return cast(dict[str, Any], json.loads(payload, parse_int=Decimal, parse_float=Decimal))


def both(client: Client, events: list[Event]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each event as ClickHouse decoded it and as it was decoded here, where it stood aside."""
    batch, writer = next(BATCHES), Writer(client, "s")
    values = [CODEC.encode(event) for event in events]
    blocks = [PASSING.block("costs", f"t{batch}", 0, offset, AT, value) for offset, value in enumerate(values)]
    assert None not in blocks
    rows = [row_of("costs", f"t{batch}", 1, offset, AT, CODEC.newest(value)) for offset, value in enumerate(values)]
    writer.write({(f"t{batch}", 0): (0, len(events))}, [block for block in blocks if block is not None])
    writer.write({(f"t{batch}", 1): (0, len(events))}, [block_of(row) for row in rows])
    found = client.query(
        "SELECT * FROM turnout.log WHERE topic = {topic:String} ORDER BY partition, offset", {"topic": f"t{batch}"}
    )
    told = [{**row, "partition": 0, "payload": numbers_as_written(row["payload"])} for row in found.named_results()]
    assert len(told) == 2 * len(events)
    yield from zip(told[: len(events)], told[len(events) :], strict=True)


@settings(max_examples=30, deadline=None)
@given(events=st.lists(EVENTS, min_size=20, max_size=60))
def test_any_event_comes_to_the_same_row_either_way(client: Client, events: list[Event]) -> None:
    for passed, decoded in both(client, events):
        assert passed == decoded


def test_what_is_no_number_is_null_in_its_payload(client: Client) -> None:
    (event,) = (event for event in WRITTEN[:8] if isinstance(event, AttemptSucceeded))
    odd = [replace(event, latency_ms=value) for value in (math.nan, math.inf, -math.inf)]
    for passed, decoded in both(client, odd):
        assert passed["payload"] == decoded["payload"]
        assert passed["payload"]["latency_ms"] is None
        assert str(passed["latency_ms"]) == str(decoded["latency_ms"])


@pytest.mark.parametrize("damage", ["cut", "no UTF-8", "a length beyond everything", "a negative length"])
def test_a_damaged_event_is_refused_with_its_batch_and_nothing_of_it_is_written(client: Client, damage: str) -> None:
    values = [CODEC.encode(event) for event in WRITTEN]
    start = len(SINGLE_OBJECT) + 8
    name_end = start + 1 + values[0][start] // 2
    values[0] = {
        "cut": values[0][:-1],
        "no UTF-8": values[0].replace(b"bench", b"ben\xff\xfe"),
        "a length beyond everything": values[0][:start] + b"\xfe\xff\xff\xff\xff\xff\xff\x07" + values[0][name_end:],
        "a negative length": values[0][:start] + b"\x05" + values[0][name_end:],
    }[damage]
    batch = f"t{next(BATCHES)}"
    blocks = [PASSING.block("costs", batch, 0, offset, AT, value) for offset, value in enumerate(values)]
    writer = Writer(client, "s")
    with pytest.raises(DatabaseError):
        writer.write({(batch, 0): (0, len(values))}, [block for block in blocks if block is not None])
    assert client.query(f"SELECT count() FROM turnout.log WHERE topic = '{batch}'").result_rows == [(0,)]
    # The same batch in another form, under the same token.
    rows = [row_of("costs", batch, 0, offset, AT, CODEC.newest(value)) for offset, value in enumerate(values[1:], 1)]
    writer.write({(batch, 0): (0, len(values))}, [block_of(row) for row in rows])
    assert client.query(f"SELECT count() FROM turnout.log WHERE topic = '{batch}'").result_rows == [(len(rows),)]


def test_the_columns_of_a_row_stand_where_they_are_looked_for(client: Client) -> None:
    described = client.query("SELECT name FROM system.columns WHERE database = 'turnout' AND table = 'log'").result_rows
    assert [name for (name,) in described] == list(INDEX)
